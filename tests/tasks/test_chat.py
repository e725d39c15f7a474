"""Conversations: templates, which tokens carry loss, packing without leaks, perplexity, answers."""

import functools
import json
import math

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM

from adaptkit import AdaptkitError, Table, adapt, load_base, load_tokenizer, read_table
from adaptkit.data.collate import IGNORED
from adaptkit.data.conversations.examples import encode_conversation, pack
from adaptkit.data.conversations.rendering import render, template_of
from adaptkit.data.corpus import load_corpus
from adaptkit.data.splits import Splits
from adaptkit.host.rows import table_of
from adaptkit.inference.predict import predict
from adaptkit.models.language.outputs import task_outputs
from adaptkit.models.probe import check_packing, packing_leaks
from adaptkit.models.untrained.scratch import make_model
from adaptkit.tasks.chat import Chat
from tests.helpers.files import write
from tests.helpers.templates import ALTERNATES, WITH_TOOLS
from tests.tiny import randomize, tiny

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where is my kettle?"},
    {"role": "assistant", "content": "On its way."},
    {"role": "user", "content": "Thanks."},
    {"role": "assistant", "content": "Gladly!"},
]
# As Qwen and others write it.
CHATML = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
# These write the last turn otherwise than those before: one ends the whole with one token more (as
# Phi-3), one thinks (as Qwen3).
ENDS = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% else %}<pad>{% endif %}"
)
THINKS = (
    "{% for m in messages %}<s>{{ m['role'] }}\n"
    "{% if loop.last and m['role'] == 'assistant' %}(nothing to think)\n{% endif %}{{ "
    "m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def test_the_plain_template_writes_a_line_a_turn(llama):
    tokenizer = load_tokenizer(llama)
    tokenizer.chat_template = None
    begin, end = tokenizer.bos_token or "", tokenizer.eos_token or ""
    turns = [
        "System: Be brief.",
        "User: Where is my kettle?",
        f"Assistant: On its way.{end}",
        "User: Thanks.",
    ]
    assert render(tokenizer, TALK[:4], True) == begin + "\n".join(turns) + "\nAssistant:"


INDENTED = "    {% for m in messages %}\n{{ m['role'] }}: {{ m['content'] }}{% endfor %}"


@pytest.mark.parametrize(
    "template", [None, CHATML, "\n" + ENDS, INDENTED, {"default": CHATML, "tool_use": ENDS}]
)
@pytest.mark.parametrize(
    "system", [None, "Say \"hm\", {{ and }}.\nBe kind to Zoë \U0001f600 'now'."]
)
def test_a_template_puts_the_system_message_where_there_is_none(llama, template, system):
    tokenizer = load_tokenizer(llama)
    tokenizer.chat_template = template
    for talk in (TALK[1:4], TALK[:4]):
        told = (
            talk
            if talk[0]["role"] == "system" or not system
            else [{"role": "system", "content": system}, *talk]
        )
        wanted = render(tokenizer, told, True)
        again = load_tokenizer(llama)
        again.chat_template = template
        again.chat_template = template_of(again, system)
        assert render(again, talk, True) == wanted


@pytest.mark.parametrize("template", [None, CHATML])
def test_loss_is_on_what_the_assistant_says(llama, template):
    tokenizer = load_tokenizer(llama)
    tokenizer.chat_template = template
    [row] = encode_conversation(TALK, tokenizer, 512)
    said = tokenizer.decode([label for label in row["labels"] if label != IGNORED])
    assert [part.split() for part in said.split("</s>")[:2]] == [["On", "its", "way."], ["Gladly!"]]
    assert said.count("</s>") == 2  # it learns to end its turns
    assert tokenizer.decode(row["input_ids"]) == render(tokenizer, TALK, False)
    assert all(
        label in (IGNORED, token)
        for label, token in zip(row["labels"], row["input_ids"], strict=True)
    )
    [short] = encode_conversation(TALK, tokenizer, 8)
    assert len(short["input_ids"]) == 8
    assert short["input_ids"][1:] == row["input_ids"][-7:]


@pytest.mark.parametrize(
    ("template", "turns"),
    [
        (ENDS, [["On its way.</s>", "Gladly!</s><pad>"]]),
        (THINKS, [["(nothing to think) Gladly!</s>"], ["(nothing to think) On its way.</s>"]]),
    ],
)
def test_every_turn_carries_loss_where_the_last_is_written_otherwise(llama, template, turns):
    tokenizer = load_tokenizer(llama)
    tokenizer.chat_template = template
    examples = encode_conversation(TALK, tokenizer, 512)
    found = [[label for label in row["labels"] if label != IGNORED] for row in examples]
    texts = ["".join(tokenizer.decode(labels).split()) for labels in found]
    assert texts == ["".join("".join(own).split()) for own in turns]


def test_a_turn_ends_where_the_base_ends_it_too(llama):
    """Instruction models stop at a token that only their generation settings name."""
    tokenizer, model = load_tokenizer(llama), load_base(llama, task="chat").eval()
    task = Chat(max_new_tokens=12)
    table = task.read(Table([{"messages": "Where is my kettle?"}], "x"), labelled=False)
    long = task.generate(model, table, tokenizer, 64, 1)[0]["text"]
    ids = tokenizer(long, add_special_tokens=False)["input_ids"]
    assert len(ids) > 4
    third = int(
        model.generate(
            torch.tensor(task.prompts(model, table, tokenizer, 64)),
            max_new_tokens=3,
            do_sample=False,
        )[0, -1]
    )
    model.generation_config.eos_token_id = [third]
    assert task.generation(tokenizer, model)["eos_token_id"] == sorted(
        {third, tokenizer.eos_token_id}
    )
    short = task.generate(model, table, tokenizer, 64, 1)[0]["text"]
    assert len(short) < len(long)
    assert long.startswith(short)


def test_a_template_that_refuses_is_explained(llama):
    tokenizer = load_tokenizer(llama)
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(AdaptkitError, match="the chat template refuses.*roles must alternate"):
        encode_conversation(TALK, tokenizer, 64)


@pytest.mark.parametrize("method", ["lora", "prefix[length=3]", "bottleneck"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_conversations_do_not_see_each_other(llama, method, attention):
    """The same loss and the same gradients as one by one."""
    tokenizer = load_tokenizer(llama)
    task = Chat(packing=True)
    model = adapt(load_base(llama, task="chat", attn_implementation=attention), method)
    randomize(model)
    rows = [row for n in (2, 4) for row in encode_conversation(TALK[: n + 1], tokenizer, 128) * 2]
    [rows[1]] = encode_conversation(
        [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "No."}],
        tokenizer,
        128,
    )
    packed = pack(rows, 160)
    assert 1 < len(packed) < len(rows)
    assert sum(len(p["input_ids"]) for p in packed) == sum(len(r["input_ids"]) for r in rows)
    collate = task.collator(tokenizer)
    items = sum(label != IGNORED for row in rows for label in row["labels"])

    def gradients(parts):
        model.zero_grad()
        losses = []
        for part in parts:
            batch = collate(part)
            labels = batch.pop("labels")
            outputs = task_outputs(task, model.get_base_model(), batch, labels, model)
            loss = task.loss(outputs, batch, labels, items)
            loss.backward()
            losses.append(loss.item())
        return sum(losses), [p.grad.clone() for p in model.parameters() if p.grad is not None]

    alone, together = gradients([[row] for row in rows]), gradients([packed])
    assert together[0] == pytest.approx(alone[0], rel=1e-5)
    for one, two in zip(alone[1], together[1], strict=True):
        torch.testing.assert_close(two, one, atol=1e-6, rtol=1e-4)


def test_a_file_of_sharegpt_is_read_with_its_system_column():
    talk = [{"from": "human", "value": "Is it blue?"}, {"from": "gpt", "value": "It is."}]
    wanted = [
        {"role": "user", "content": "Is it blue?"},
        {"role": "assistant", "content": "It is."},
    ]
    table = Table([{"conversations": talk, "system": "Be brief."}], "x")
    [row] = Chat().read(table).rows
    assert row["messages"] == [{"role": "system", "content": "Be brief."}, *wanted]
    own = Chat(columns={"messages": "talk"}).read(Table([{"talk": talk}], "x"))
    assert own.rows[0]["messages"] == wanted
    twice = [{"from": "system", "value": "Be long."}, *talk]
    with pytest.raises(AdaptkitError, match="a system message and a column system"):
        Chat().read(Table([{"conversations": twice, "system": "Be brief."}], "x"))


def test_perplexity_counts_every_token_once(llama):
    """Over rows of different lengths in batches of any size, against the definition."""
    tokenizer = load_tokenizer(llama)
    task = Chat()
    table = task.read(
        Table(
            [{"prompt": r["text"], "completion": r["reply"]} for r in load_corpus("test")[:9]], "x"
        )
    )
    encoded = task.encode(table, tokenizer, 256)
    model = load_base(llama, task="chat").eval()
    losses, tokens = 0.0, 0
    for row in encoded:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
        labels = torch.tensor(row["labels"][1:])
        losses += functional.cross_entropy(logits, labels, reduction="sum").item()
        tokens += (labels != IGNORED).sum().item()
    for size in (1, 4, 9):
        outputs = predict(model, task, encoded, tokenizer, size)
        assert task.metrics(outputs, encoded, table)["perplexity"] == pytest.approx(
            math.exp(losses / tokens), rel=1e-4
        )


@pytest.mark.parametrize(
    "method", ["prefix[length=4]+lora", "peft:PROMPT_TUNING[num_virtual_tokens=4]"]
)
def test_answers_in_a_batch_are_those_alone(llama, method):
    tokenizer = load_tokenizer(llama)
    task = Chat(max_new_tokens=12)
    rows = task.read(
        Table([{"prompt": text} for text in ("Hi", "Where is my blue kettle, please?", "No")], "x"),
        labelled=False,
    )
    model = tiny("llama", AutoModelForCausalLM, vocab_size=len(tokenizer))
    model = adapt(model, method).eval()
    randomize(model)
    together = task.generate(model, rows, tokenizer, 128, 3)
    alone = [task.generate(model, rows.take([i]), tokenizer, 128, 1)[0] for i in range(3)]
    assert together == alone
    assert any(answer["text"] for answer in together)


ALPACA = {"instruction": "Name it.", "input": "a kettle", "output": "Kettle."}
DOLLY = {"instruction": "Name it.", "context": "a kettle", "response": "Kettle.", "category": "qa"}


@pytest.mark.parametrize("row", [ALPACA, DOLLY])
@pytest.mark.parametrize("named", [False, True])
def test_the_input_of_an_instruction_is_read_below_it(tmp_path, row, named):
    """Also where the columns of the instruction and its answer are named."""
    completion = "output" if "output" in row else "response"
    usual = {"prompt": "prompt", "completion": "completion"}  # as in a card
    columns = {"prompt": "instruction", "completion": completion} if named else usual
    rows = [row, {**row, "input": "", "context": None}]
    file = write(tmp_path / "a.json", json.dumps(rows))
    read = Chat(columns=columns).read(read_table(file)).rows
    answer = {"role": "assistant", "content": "Kettle."}
    assert [one["messages"] for one in read] == [
        [{"role": "user", "content": "Name it.\n\na kettle"}, answer],
        [{"role": "user", "content": "Name it."}, answer],
    ]
    asked = Chat(columns=columns).read(read_table(file), labelled=False).rows
    assert [one["messages"] for one in asked] == [one["messages"][:1] for one in read]


def test_a_host_and_a_predictor_read_the_context_by_its_name():
    row = {"prompt": "Name it.", "context": "a kettle"}
    asked = Chat().read(table_of(Chat(), [row], "a"), labelled=False).rows[0]["messages"]
    assert asked == [{"role": "user", "content": "Name it.\n\na kettle"}]
    with pytest.raises(AdaptkitError, match="no column 'about'.* --context_column"):
        Chat(columns={"context": "about"}).read(Table([row | {"completion": "x"}], "x"))


def test_a_context_is_any_column_that_is_named(tmp_path):
    row = {"prompt": "Where?", "completion": "Bern.", "about": "In Bern.", "input": "left out"}
    file = write(tmp_path / "a.jsonl", json.dumps(row))
    assert Chat(columns={"context": "about"}).read(read_table(file)).rows[0]["messages"][0] == {
        "role": "user",
        "content": "Where?\n\nIn Bern.",
    }
    talk = write(
        tmp_path / "b.jsonl", json.dumps(row | {"prompt": [{"role": "user", "content": "x"}]})
    )
    with pytest.raises(
        AdaptkitError, match=r"b\.jsonl:1: column 'about' goes with a prompt that is"
    ):
        Chat(columns={"context": "about"}).read(read_table(talk))


REFUSES = "{% for m in messages %}{% if 'blue' in m.content %}{{ raise_exception('no blue') }}"
REFUSES += "{% endif %}{{ m.role ~ ': ' ~ m.content ~ '\n' }}{% endfor %}"


@pytest.mark.parametrize("labelled", [True, False])
def test_a_template_that_refuses_a_row_is_named_with_file_and_line(llama, tmp_path, labelled):
    tokenizer = load_tokenizer(llama)
    rows = [{"prompt": one, "completion": "No."} for one in ("Red?", "Is it blue?")]
    file = write(tmp_path / "talks.jsonl", "\n\n".join(map(json.dumps, rows)))
    table, model = Chat().read(read_table(file)), load_base(llama, task="chat")
    tokenizer.chat_template = REFUSES
    run = (
        functools.partial(Chat().encode, table, tokenizer, 64)
        if labelled
        else functools.partial(Chat().generate, model, table, tokenizer, 64, 2)
    )
    with pytest.raises(AdaptkitError, match=r"talks\.jsonl:3: the chat template refuses.*no blue"):
        run()


def test_a_template_that_ignores_the_system_message_is_refused(llama):
    tokenizer, task = load_tokenizer(llama), Chat(system="Be brief.")
    tokenizer.chat_template = (
        "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
    )
    table = task.read(Table([{"prompt": "Hi.", "completion": "Hello."}], "rows"))
    with pytest.raises(AdaptkitError, match=r"rows row 0: .* does not write the system message"):
        task.encode(table, tokenizer, 64)


def test_conversations_that_begin_with_the_assistant_are_read(llama, capsys):
    """As ShareGPT's: the greeting is context, or is left out with a note; it is never learned."""
    tokenizer, model = load_tokenizer(llama), load_base(llama, task="chat")
    row = [{"from": "gpt", "value": "Hello."}, {"from": "human", "value": "Is it blue?"}]
    row.append({"from": "gpt", "value": "It is."})
    task = Chat()
    table = task.read(Table([{"conversations": row}] * 2, "talks.jsonl"))
    for template, greeted in ((CHATML, True), (ALTERNATES, False)):
        tokenizer.chat_template = template
        for encoded in task.encode(table, tokenizer, 64, train=True):
            assert ("Hello" in tokenizer.decode(encoded["input_ids"])) == greeted
            said = tokenizer.decode([one for one in encoded["labels"] if one != IGNORED])
            assert said.split("<")[0].split() == ["It", "is."]
        noted = capsys.readouterr().err
        assert ("talks.jsonl: 2 conversations begin with the assistant" in noted) != greeted
        for prompt in task.prompts(model, table, tokenizer, 64):
            assert ("Hello" in tokenizer.decode(prompt)) == greeted
    with pytest.raises(AdaptkitError, match="a row 0: there is nothing before the answer"):
        task.read(Table([{"conversations": row[:1]}], "a"))


def test_earlier_thoughts_do_not_keep_a_question_from_being_answered(llama):
    """A template without thoughts leaves them out; nothing is learned here that would lack them."""
    tokenizer, model, task = load_tokenizer(llama), load_base(llama, task="chat"), Chat()
    tokenizer.chat_template = CHATML
    thinks = TALK[2] | {"reasoning_content": "Hm."}
    table = task.read(Table([{"messages": [*TALK[:2], thinks, *TALK[3:]]}], "a"))
    assert len(task.prompts(model, table, tokenizer, 64)) == 1
    with pytest.raises(AdaptkitError, match="a row 0: .* does not write reasoning_content"):
        task.encode(table, tokenizer, 64)


def test_rows_with_tools_are_learned_with_them_and_answered_with_them(llama):
    tokenizer, model = load_tokenizer(llama), load_base(llama, task="chat").eval()
    tokenizer.chat_template = WITH_TOOLS
    call = {"function": {"name": "look", "arguments": '{"for": "kettle"}'}}
    talk = [TALK[1], {"role": "assistant", "content": None, "tool_calls": [call]}]
    tool = {"type": "function", "function": {"name": "look"}}
    task = Chat(max_new_tokens=4)
    table = task.read(Table([{"messages": talk, "tools": [tool]}], "x"))
    text = tokenizer.decode(task.encode(table, tokenizer, 512)[0]["input_ids"])
    assert "# Tools" in text
    assert '"arguments": {"for": "kettle"}' in text
    assert "# Tools" in tokenizer.decode(task.prompts(model, table, tokenizer, 512)[0])
    assert json.loads(task.reference_text(table.rows[0]))[0]["function"]["name"] == "look"
    assert task.text(table.rows[0]) == "Where is my kettle?"


@pytest.mark.parametrize("row, message", [
    ({"messages": [{"role": "user", "content": "x"}]}, ":1: the last message is of 'user'"),
    ({"messages": [{"speaker": "user", "text": "x"}]}, 'a message should be {"role"'),
    ({"messages": []}, "messages should be"),
    ({"prompt": "x", "completion": " "}, "'completion' is empty"),
    ({"prompt": "x", "reply": "y"}, "no column 'completion'"),
])  # fmt: skip
def test_bad_conversations(tmp_path, row, message):
    with pytest.raises(AdaptkitError, match=message):
        Chat().read(read_table(write(tmp_path / "a.jsonl", json.dumps(row))))


def test_packing_is_refused_where_conversations_see_each_other():
    models = {name: tiny(name, AutoModelForCausalLM) for name in ("opt", "llama", "gpt2")}
    assert {name: packing_leaks(model) for name, model in models.items()} == {
        "opt": True,
        "llama": False,
        "gpt2": False,
    }
    with pytest.raises(AdaptkitError, match="would see each other in a opt"):
        check_packing(models["opt"])


def test_long_answers_do_not_cut_the_question(tmp_path, sixty_texts):
    folder = make_model("llama", sixty_texts, tmp_path, vocab_size=500)[0]
    model, tokenizer = load_base(folder, task="chat").eval(), load_tokenizer(folder)
    rows = Chat().read(Table([{"prompt": sixty_texts[0]}], "x"), labelled=False)
    short, long = (
        Chat(max_new_tokens=n).generate(model, rows, tokenizer, 128, 1)[0]["text"] for n in (4, 128)
    )
    assert long.startswith(short)
    with pytest.raises(
        AdaptkitError, match="leaves no room for a question: the base has 1024 positions"
    ):
        Chat(max_new_tokens=1020).generate(model, rows, tokenizer, 128, 1)


@pytest.mark.slow
def test_a_check_doubts_roles_that_no_question_has():
    talk = [{"role": "human", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    fine = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."}, talk[1]]
    splits, task = Chat().prepare(
        Splits(Table([{"messages": talk}, {"messages": fine}] * 10, "talks")), seed=1, validation=0
    )
    doubts = [finding.text for finding in task.findings(splits) if finding.severity == "warn"]
    assert doubts == [
        "train: the roles human are not user, assistant, system or tool; questions are asked as "
        "the user's"
    ]


def test_what_is_asked_has_no_weight_in_training():
    """A column `weight` decides over training rows, not over rows to be answered."""
    row = {"prompt": "Is it blue?", "completion": "Yes.", "weight": 0}
    assert len(Chat().read(Table([row], "rows"), labelled=False)) == 1
    with pytest.raises(AdaptkitError, match="the row has weight: 0"):
        Chat().read(Table([row], "rows"))


def test_a_system_column_goes_with_a_prompt_that_is_a_text():
    row = {"prompt": "Is it blue?", "completion": "Yes.", "system": "Be brief."}
    (talk,) = Chat(system="Be kind.").read(Table([row], "rows")).rows
    assert [message["role"] for message in talk["messages"]] == ["system", "user", "assistant"]
    assert talk["messages"][0]["content"] == "Be brief."
    listed = row | {"prompt": [{"role": "user", "content": "Is it blue?"}]}
    with pytest.raises(AdaptkitError, match="system and history go with a prompt that is a text"):
        Chat().read(Table([listed], "rows"))
    as_context = Chat(columns={"context": "system"}).read(Table([row], "rows")).rows[0]["messages"]
    assert as_context[0] == {"role": "user", "content": "Is it blue?\n\nBe brief."}
