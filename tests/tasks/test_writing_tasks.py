"""Tasks that write: which tokens carry loss, packing without leaks, perplexity, generation. Real
models, made on the spot.
"""

import dataclasses
import importlib
import math

import pytest
import torch
import transformers
from torch.nn import functional
from transformers import AutoModelForSeq2SeqLM

from adaptkit import AdaptkitError, adapt, load_base, load_tokenizer
from adaptkit.data.collate import IGNORED
from adaptkit.data.conversations import encode_conversation, pack, render, template_of
from adaptkit.data.corpus import load_corpus
from adaptkit.data.tables import Table
from adaptkit.inference.predict import predict
from adaptkit.models.scratch import make_model
from adaptkit.tasks.chat import Chat
from adaptkit.tasks.pretrain import Pretrain
from adaptkit.tasks.translate import Translate
from adaptkit.utils.overrides import overrides
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


@pytest.fixture(scope="module")
def texts():
    return [row[key] for row in load_corpus("train") for key in ("text", "reply")]


@pytest.fixture(scope="module")
def llama(texts, tmp_path_factory):
    return make_model("llama", texts, tmp_path_factory.mktemp("llama"), vocab_size=600)[0]


@pytest.fixture(scope="module")
def t5(texts, tmp_path_factory):
    return make_model("t5", texts, tmp_path_factory.mktemp("t5"), vocab_size=600)[0]


@pytest.mark.parametrize("template", [None, CHATML])
def test_loss_is_on_what_the_assistant_says(llama, template):
    tokenizer = load_tokenizer(llama)
    tokenizer.chat_template = template
    row = encode_conversation(TALK, tokenizer, 512)
    said = tokenizer.decode([label for label in row["labels"] if label != IGNORED])
    assert [part.split() for part in said.split("</s>")[:2]] == [["On", "its", "way."], ["Gladly!"]]
    assert said.count("</s>") == 2  # it learns to end its turns
    assert tokenizer.decode(row["input_ids"]) == render(tokenizer, TALK, False)
    assert all(
        label in (IGNORED, token)
        for label, token in zip(row["labels"], row["input_ids"], strict=True)
    )
    short = encode_conversation(TALK, tokenizer, 8)
    assert len(short["input_ids"]) == 8
    assert short["input_ids"][1:] == row["input_ids"][-7:]


@pytest.mark.parametrize(("template", "more"), [(ENDS, "<pad>"), (THINKS, "(nothing to think)")])
def test_every_turn_carries_loss_where_the_last_is_written_otherwise(llama, template, more):
    tokenizer = load_tokenizer(llama)
    tokenizer.chat_template = template
    row = encode_conversation(TALK, tokenizer, 512)
    said = tokenizer.decode([label for label in row["labels"] if label != IGNORED])
    assert said.count("</s>") == 2
    assert "".join(said.replace(more, "").split()) == "Onitsway.</s>Gladly!</s>"
    assert more in said


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


@pytest.mark.parametrize(
    ("kind", "start"),
    [("MBartTokenizer", "decoder_start_token_id"), ("MBart50Tokenizer", "forced_bos_token_id")],
)
def test_a_translation_begins_as_it_is_trained(kind, start):
    """What the decoder reads first in training is what it is given in writing."""
    names = importlib.import_module(
        f"transformers.models.{kind.removesuffix('Tokenizer').lower()}.tokenization_{kind[:-9].lower()}"
    )
    letters = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        "\u2581",
        *"abcdefgh",
        *names.FAIRSEQ_LANGUAGE_CODES,
        "<mask>",
    ]
    tokenizer = getattr(transformers, kind)(vocab=[(letter, 0.0) for letter in letters])
    task = Translate(source_lang="en_XX", target_lang="de_DE", max_target_length=4, num_beams=1)
    german = tokenizer.convert_tokens_to_ids("de_DE")
    table = task.read(Table([{"source": "abc", "target": "fgh"}], "x"))
    encoded = task.features(table, tokenizer, 16)
    model = tiny(
        "mbart",
        AutoModelForSeq2SeqLM,
        vocab_size=len(letters),
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    read = task.model_inputs(model, {}, torch.tensor(encoded["labels"]))["decoder_input_ids"][
        0
    ].tolist()
    chosen = task.generation(tokenizer, model)
    assert chosen[start] == german
    written = model.generate(torch.tensor(encoded["input_ids"]), pad_token_id=1, **chosen)[
        0
    ].tolist()
    first = read.index(german) + 1
    assert written[:first] == read[:first]
    with pytest.raises(AdaptkitError, match="'de_DD'; did you mean 'de_DE'"):
        dataclasses.replace(task, target_lang="de_DD").generation(tokenizer, model)


def test_the_least_length_of_another_task_is_put_off(t5):
    model = load_base(t5, task="translate").eval()
    model.generation_config.min_length = 9
    with torch.no_grad():
        model.lm_head.weight.zero_()
    tokenizer, ids = load_tokenizer(t5), torch.tensor([[5, 6, 1]])
    for least in (0, 5):  # a model that would end at once
        bias = {"sequence_bias": {(tokenizer.eos_token_id,): 9.0}}
        chosen = Translate(min_target_length=least, num_beams=1, max_target_length=12).generation(
            tokenizer, model
        )
        assert (
            model.generate(ids, **chosen, **bias).shape[1] == 1 + least + 1
        )  # where it starts, and its end


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
    rows = [row for n in (2, 4) for row in [encode_conversation(TALK[: n + 1], tokenizer, 128)] * 2]
    rows[1] = encode_conversation(
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
            loss = task.loss(
                model(**task.model_inputs(model.get_base_model(), batch, labels)),
                batch,
                labels,
                items,
            )
            loss.backward()
            losses.append(loss.item())
        return sum(losses), [p.grad.clone() for p in model.parameters() if p.grad is not None]

    alone, together = gradients([[row] for row in rows]), gradients([packed])
    assert together[0] == pytest.approx(alone[0], rel=1e-5)
    for one, two in zip(alone[1], together[1], strict=True):
        torch.testing.assert_close(two, one, atol=1e-6, rtol=1e-4)


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


def test_answers_in_a_batch_are_those_alone(llama):
    tokenizer = load_tokenizer(llama)
    task = Chat(max_new_tokens=6)
    rows = task.read(
        Table([{"prompt": text} for text in ("Hi", "Where is my blue kettle, please?", "No")], "x"),
        labelled=False,
    )
    model = adapt(load_base(llama, task="chat"), "prefix[length=4]+lora").eval()
    randomize(model)
    together = task.generate(model, rows, tokenizer, 128, 3)
    alone = [task.generate(model, rows.take([i]), tokenizer, 128, 1)[0] for i in range(3)]
    assert together == alone
    assert any(answer["text"] for answer in together)


def test_a_sequence_to_sequence_loss_is_the_models_own(t5):
    tokenizer = load_tokenizer(t5)
    task = Translate()
    table = task.read(
        Table([{"source": r["text"], "target": r["summary"]} for r in load_corpus("test")[:4]], "x")
    )
    batch = task.collator(tokenizer)(list(task.encode(table, tokenizer, 64)))
    model = load_base(t5, task="translate").eval()
    labels = batch.pop("labels")
    ours = task.loss(
        model(**task.model_inputs(model, batch, labels)), batch, labels, (labels != IGNORED).sum()
    )
    torch.testing.assert_close(ours, model(**batch, labels=labels).loss)
    answers = task.generate(model, table, tokenizer, 64, 2)
    assert len(answers) == 4


@pytest.mark.parametrize("objective, kind", [("mlm", "bert"), ("clm", "llama")])
def test_blocks_hold_the_whole_text(texts, tmp_path, objective, kind):
    folder, _ = make_model(kind, texts, tmp_path, vocab_size=600)
    tokenizer = load_tokenizer(folder)
    task = Pretrain(objective=objective)
    table = Table([{"text": text} for text in texts[:40]], "x")
    train = task.encode(table, tokenizer, 64, train=True)
    words = [
        token
        for row in train
        for token in row["input_ids"]
        if token not in tokenizer.all_special_ids
    ]
    assert words == [
        t for ids in tokenizer(texts[:40], add_special_tokens=False)["input_ids"] for t in ids
    ]
    assert max(train["length"]) == 64
    fixed = task.encode(table, tokenizer, 64)
    assert (
        fixed["labels"] == task.encode(table, tokenizer, 64)["labels"]
    )  # hidden the same way every time
    share = sum(label != IGNORED for labels in fixed["labels"] for label in labels) / len(words)
    assert share > 0.9 if objective == "clm" else 0.1 < share < 0.2
    assert task.collator(tokenizer)([train[0], train[1]])["labels"].shape == (2, 64)


def test_settings_of_a_model_from_nothing():
    assert overrides("hidden_size=256,hidden_dropout_prob=0.1,hidden_act=relu") == {
        "hidden_size": 256,
        "hidden_dropout_prob": 0.1,
        "hidden_act": "relu",
    }
    with pytest.raises(AdaptkitError, match="'hidden_size' should be name=value"):
        overrides("hidden_size")
    with pytest.raises(AdaptkitError, match="did you mean 'hidden_size'|Did you mean"):
        make_model("bert", ["x"], "/nowhere", hiden_size=3)
