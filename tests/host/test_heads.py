"""Tasks mixed in one batch, through transformers' own heads: every answer is the Predictor's, for
one row alone.
"""

import dataclasses

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from adaptkit import AdaptkitError, Host, Predictor, TaskCard, adapt, load_base, save_adapter
from adaptkit.data.corpus import load_corpus
from adaptkit.host.answers import Entities, Hidden, Label, Labels, Score, Span, Text, Vector
from adaptkit.models.untrained.scratch import make_model, make_tokenizer
from tests.helpers.answers import close, said
from tests.tiny import randomize, tiny

TEXTS = [row["text"] for row in load_corpus("train")[:120]]
CARDS = {
    "intent": TaskCard(task="classify", labels=["refund", "praise", "question"], max_length=48),
    "topics": TaskCard(
        task="classify", labels=["a", "b", "c", "d"], settings={"multi_label": True}, max_length=32
    ),
    "pairs": TaskCard(
        task="classify",
        labels=["no", "yes"],
        columns={"text": "one", "text_pair": "two"},
        max_length=40,
    ),
    "urgency": TaskCard(
        task="score", labels=["score"], settings={"mean": 2.0, "spread": 1.5}, max_length=24
    ),
    "names": TaskCard(
        task="tag",
        labels=["O", "B-person", "I-person", "B-item", "I-item"],
        settings={"doc_stride": 4},
        max_length=16,
    ),
    "reader": TaskCard(
        task="answer", settings={"doc_stride": 6, "unanswerable": True}, max_length=32
    ),
    "search": TaskCard(task="embed", max_length=32),
}
METHODS = dict(
    zip(
        CARDS,
        [
            "lora[r=3]",
            "bottleneck[reduction=4]",
            "prefix[length=4]",
            "ia3",
            "lora[r=8]",
            "mam",
            "unipelt",
        ],
        strict=True,
    )
)
HEADS = {
    "bert": tuple(CARDS),
    "roberta": tuple(CARDS),
    "distilbert": tuple(CARDS),
    "deberta-v2": tuple(CARDS),
    "modernbert": tuple(CARDS),
    "llama": ("intent", "topics", "urgency", "names", "reader"),
    "bart": ("intent", "pairs", "reader"),
    "t5": ("intent", "topics"),
}
KINDS = {
    "intent": Label,
    "topics": Labels,
    "pairs": Label,
    "urgency": Score,
    "names": Entities,
    "reader": Span,
    "search": Vector,
}


@pytest.fixture(scope="module")
def base_of(tmp_path_factory):
    """A folder with a tiny model of an architecture and a tokenizer, made when first asked."""
    made: dict[str, str] = {}

    def make(name: str) -> str:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            tokenizer = make_tokenizer("bert", TEXTS, 400)
            tokenizer.model_max_length = 64
            vocabulary = {"vocab_size": len(tokenizer)} | (
                {"eos_token_id": 3} if name in ("bart", "t5") else {}
            )
            tiny(name, **vocabulary).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[name] = str(folder)
        return made[name]

    return make


def write(base: str, name: str, folder, seed: int, method: str | None = None) -> None:
    card = CARDS[name]
    model = adapt(
        load_base(base, task=card.task, labels=card.labels or None), method or METHODS[name]
    )
    randomize(model, seed=seed, std=0.15)
    save_adapter(model, folder / name, card=dataclasses.replace(card))


def test_a_pair_goes_only_to_what_reads_pairs(base_of, tmp_path):
    """A second text was dropped without a word."""
    pair = {"text": TEXTS[0], "text_pair": TEXTS[1]}
    for name, columns in (("single", {"text": "text"}), ("silent", {}), ("search", {})):
        card = dataclasses.replace(CARDS["search" if name == "search" else "intent"])
        card.columns = columns
        model = adapt(load_base(base_of("bert"), task=card.task, labels=card.labels or None), "ia3")
        randomize(model, seed=1, std=0.3)
        save_adapter(model, tmp_path / name, card=card)
    host = Host(base_of("bert"), slots=3, slot_capacity="ia3")
    for name in ("single", "silent", "search"):
        host.load(name, tmp_path / name)
    for name in ("single", "search"):
        with pytest.raises(AdaptkitError, match="reads single texts; it got a text_pair"):
            host(pair, name)
    answers = host([pair, TEXTS[0], pair], "silent", top_k=3)
    assert answers[0] == answers[2] != answers[1]
    expected = Predictor(tmp_path / "silent")(TEXTS[0], text_pair=TEXTS[1])[0]
    assert answers[0].labels[0] == expected["label"]
    close(answers[0].scores[expected["label"]], expected["score"])


def row_for(name: str, i: int):
    text = TEXTS[i]
    if name == "pairs":
        return {"text": text, "text_pair": TEXTS[i + 7]}
    return {"question": TEXTS[i + 3][:20], "context": text} if name == "reader" else text


@pytest.mark.parametrize("name", HEADS)
def test_tasks_mixed_in_one_batch_answer_as_alone(name, base_of, tmp_path):
    base, tasks = base_of(name), HEADS[name]
    room = (
        ["lora[r=8]", "mam", "unipelt"]
        if name != "deberta-v2"
        else ["lora[r=8]", "bottleneck[placement=parallel]"]
    )
    host = Host(base, slots=len(tasks), slot_capacity=room)
    for seed, task in enumerate(tasks):
        swap = (
            "bottleneck[placement=pfeiffer,reduction=4]"
            if name == "deberta-v2" and task in ("pairs", "reader", "search")
            else None
        )
        write(base, task, tmp_path, seed, swap)
        host.load(task, tmp_path / task)
    names = [task for i in range(3) for task in tasks]
    rows = [row_for(task, i) for i, task in enumerate(names)]
    answers = host(rows, names, batch_size=500)
    assert host.stats()["batches"] == 1
    host.backbone.capture()
    assert host.stats()["captured"] == (name not in ("deberta-v2", "bart", "t5"))
    for answer, captured in zip(answers, host(rows, names, batch_size=500), strict=True):
        close(captured.to_dict(), answer.to_dict())
    for task in tasks:
        predictor = Predictor(tmp_path / task)
        for row, adapter, answer in zip(rows, names, answers, strict=True):
            if adapter == task:
                assert type(answer) is KINDS[task]
                expected = said(predictor, row)
                close(
                    {
                        key: value
                        for key, value in dataclasses.asdict(answer).items()
                        if key in expected
                    },
                    expected,
                )
    small = host(rows, names, batch_size=2)
    for one, other in zip(answers, small, strict=True):
        close(dataclasses.asdict(one), dataclasses.asdict(other))


def test_the_bare_base_gives_its_hidden_states(base_of):
    host = Host(base_of("bert"), slots=1)
    first, second = host([TEXTS[0], TEXTS[1] * 3])
    assert type(first) is Hidden
    base = load_base(base_of("bert"))
    for text, answer in ((TEXTS[0], first), (TEXTS[1] * 3, second)):
        encoded = host.backbone.tokenizer(
            [text], truncation=True, max_length=64, return_tensors="pt"
        )
        with torch.no_grad():
            torch.testing.assert_close(answer.states, base(**encoded)[0][0], atol=1e-5, rtol=1e-5)


def test_a_pooler_that_the_checkpoint_lacks_comes_with_the_adapter(base_of, tmp_path):
    """Over a checkpoint without pooler each adapter trains its own; in one batch each is pooled by
    its own.
    """
    tokenizer = make_tokenizer("bert", TEXTS, 400)
    model = type(tiny("bert"))(
        tiny("bert", vocab_size=len(tokenizer)).config, add_pooling_layer=False
    )
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    host = Host(str(tmp_path / "base"), slots=2)
    for seed, name in enumerate(("one", "two")):
        adapted = adapt(
            load_base(str(tmp_path / "base"), task="classify", labels=["a", "b"]), "lora[r=2]"
        )
        assert any("pooler" in key for key, p in adapted.named_parameters() if p.requires_grad)
        randomize(adapted, seed=seed, std=0.3)
        save_adapter(
            adapted,
            tmp_path / name,
            card=TaskCard(task="classify", labels=["a", "b"], max_length=32),
        )
        host.load(name, tmp_path / name)
    answers = host([TEXTS[0]] * 2, ["one", "two"])
    assert answers[0] != answers[1]
    for name, answer in zip(("one", "two"), answers, strict=True):
        close(answer.to_dict(), Predictor(tmp_path / name)(TEXTS[0])[0])


def test_a_head_that_the_checkpoint_holds_is_taken_from_there(base_of, tmp_path):
    """A fine-tuned classifier, adapted further: its head is frozen, not in the adapter's file."""
    tokenizer = make_tokenizer("bert", TEXTS, 400)
    labels = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    tiny(
        "roberta", AutoModelForSequenceClassification, vocab_size=len(tokenizer), **labels
    ).save_pretrained(tmp_path / "tuned")
    tokenizer.save_pretrained(tmp_path / "tuned")
    model = adapt(
        load_base(str(tmp_path / "tuned"), task="classify", labels=["no", "yes"]), "lora[r=2]"
    )
    assert not model.peft_config["default"].modules_to_save
    randomize(model)
    save_adapter(
        model,
        tmp_path / "more",
        card=TaskCard(task="classify", labels=["no", "yes"], max_length=32),
    )
    host = Host(str(tmp_path / "tuned"), slots=1)
    host.load("more", tmp_path / "more")
    close(host(TEXTS[0], "more")[0].to_dict(), Predictor(tmp_path / "more")(TEXTS[0])[0])


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_writing_tasks_answer_as_alone_in_one_batch_with_reading_ones(kind, tmp_path):
    base, _ = make_model(kind, TEXTS, tmp_path / "base", vocab_size=400)
    cards = {
        "llama": {
            "reply": TaskCard(task="chat", settings={"max_new_tokens": 8}, max_length=64),
            "polite": TaskCard(
                task="chat", settings={"max_new_tokens": 5, "system": "Be polite."}, max_length=64
            ),
            "intent": CARDS["intent"],
        },
        "t5": {
            "german": TaskCard(
                task="translate", settings={"num_beams": 2, "max_target_length": 6}, max_length=64
            ),
            "short": TaskCard(
                task="summarize", settings={"num_beams": 3, "max_target_length": 9}, max_length=64
            ),
        },
    }[kind]
    host = Host(base, slots=3, slot_capacity=["lora[r=4]", "prefix[length=4]"])
    for seed, (name, card) in enumerate(cards.items()):
        model = adapt(
            load_base(base, task=card.task, labels=card.labels or None),
            ["lora[r=4]", "prefix[length=4]", "ia3"][seed],
        )
        randomize(model, seed=seed, std=0.1)
        save_adapter(model, tmp_path / name, card=dataclasses.replace(card))
        host.load(name, tmp_path / name)
    names = [*cards, None, *cards, *cards]
    rows = TEXTS[: len(names)]
    answers = host(rows, names)
    for name in cards:
        predictor = Predictor(tmp_path / name)
        for row, adapter, answer in zip(rows, names, answers, strict=True):
            if adapter == name:
                assert type(answer) is (Label if name == "intent" else Text)
                close(answer.to_dict(), predictor(row)[0])
    base_says = host.generate([rows[len(cards)]], max_new_tokens=64)[0]
    assert answers[len(cards)] == Text(base_says)


def test_what_a_host_cannot_serve_is_refused_with_a_reason(base_of, tmp_path):
    base = base_of("t5")
    model = adapt(load_base(base, task="tag", labels=CARDS["names"].labels), "lora[r=2]")
    save_adapter(model, tmp_path / "tags", card=dataclasses.replace(CARDS["names"]))
    with pytest.raises(
        AdaptkitError, match="T5ForTokenClassification is no T5Model with a head behind it"
    ):
        Host(base, slots=1).load("tags", tmp_path / "tags")


def test_rows_that_lack_a_part_or_have_a_strange_one_are_refused(base_of, tmp_path):
    base = base_of("bert")
    host = Host(base, slots=2, slot_capacity=["mam"])
    for seed, name in enumerate(("reader", "intent")):
        write(base, name, tmp_path, seed)
        host.load(name, tmp_path / name)
    with pytest.raises(
        AdaptkitError,
        match=r"adapter 'reader' \(answer\) asks for question and context; context is missing",
    ):
        host("Who?", "reader")
    with pytest.raises(AdaptkitError, match="knows text, text_pair, label; not txt"):
        host([{"text": "a", "txt": "b"}], "intent")
    with pytest.raises(AdaptkitError, match=r"the text in column 'text' is empty"):
        host([" "], "intent")
    with pytest.raises(AdaptkitError, match="the bare base reads a text that is not empty"):
        host([""])
    with pytest.raises(AdaptkitError, match="unknown adapter 'intend'; did you mean 'intent'"):
        host(["a", "b"], ["intent", "intend"])
    with pytest.raises(AdaptkitError, match="2 rows and 1 adapters"):
        host(["a", "b"], ["intent"])
    with pytest.raises(AdaptkitError, match="is an encoder: it cannot write"):
        host.generate(["a"])
    assert host(["a"], "intent")  # and nothing is stuck
