"""A head that starts from a probe scores as the probe does, whatever the task and the head."""

import numpy as np
import pytest
import torch
from torch import nn

from adaptkit import AdaptkitError, load_base
from adaptkit.data.tables import Table
from adaptkit.heads.start import linear_head, start_from_prior, start_from_probe
from adaptkit.inference.predict import predict
from adaptkit.models.tokenizer import align_padding, load_tokenizer
from adaptkit.models.untrained.scratch import make_model
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.score import Score
from adaptkit.tasks.tag import Tag

COLOURS = ("red", "green", "blue")
THINGS = ("house", "river", "apple", "car", "lamp")
TEXTS = [f"the {thing} is {colour}" for thing in THINGS for colour in COLOURS] * 4


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Random small networks know words apart, which is all that these labels need."""
    root = tmp_path_factory.mktemp("starts")
    for kind in ("bert", "llama"):
        make_model(kind, TEXTS, root / kind, vocab_size=300, hidden_size=64, intermediate_size=64)
    return root


def _started(root, kind, task, rows, auto=None, poolings=()):
    base = load_base(str(root / kind), task=auto or task.auto_class, labels=task.labels)
    tokenizer = load_tokenizer(str(root / kind))
    align_padding(base, tokenizer)
    table = Table(rows, "rows")
    encoded = task.encode(table, tokenizer, 32)
    start = start_from_probe(base, task, encoded, tokenizer, poolings)
    metrics = task.metrics(predict(base, task, encoded, tokenizer), encoded, table)
    return base, start, metrics


def _coloured(text):
    return text.split()[-1]


@pytest.mark.parametrize(
    "kind, pooling",
    [("llama", "native"), ("bert", "mean"), ("llama", "last"), ("bert", "max")],
)
def test_one_label_a_text(bases, kind, pooling):
    task = Classify(labels=sorted(COLOURS), pooling=pooling)
    rows = [{"text": text, "label": _coloured(text)} for text in TEXTS]
    base, start, metrics = _started(bases, kind, task, rows)
    assert metrics["accuracy"] == 1.0
    assert (start.rows, start.pooling) == (60, "" if pooling == "native" else pooling)
    assert linear_head(base).weight.shape == (3, 64)


def test_several_labels_a_text(bases):
    task = Classify(labels=[*COLOURS, *THINGS], multi_label=True, pooling="mean")
    rows = [{"text": text, "label": [text.split()[1], text.split()[-1]]} for text in TEXTS]
    _, _, metrics = _started(bases, "bert", task, rows)
    assert metrics["f1_micro"] == 1.0


def test_a_number(bases):
    rows = [{"text": text, "score": float(len(text.split()[-1]))} for text in TEXTS]
    task = Score(pooling="mean").fit_labels(Table(rows, "rows"))
    _, _, metrics = _started(bases, "bert", task, rows)
    assert metrics["pearson"] > 0.99


def test_the_tags_of_words(bases):
    task = Tag(labels=["O", "B-colour", "I-colour"])
    rows = []
    for text in TEXTS:
        start = text.rindex(" ") + 1
        units = [(0, 3), (4, start - 4), (start - 3, start - 1), (start, len(text))]
        entity = {"start": start, "end": len(text), "label": "colour"}
        rows.append({"text": text, "units": units, "entities": [entity]})
    _, start, metrics = _started(bases, "bert", task, rows)
    assert metrics["f1"] == 1.0
    assert start.pooling == ""


def test_the_pooling_with_the_smaller_loss_is_chosen(bases):
    """The first token of every text is the same one, and sees no other in a network of no layers'
    attention; the mean holds the colour.
    """
    task = Classify(labels=sorted(COLOURS), pooling="first")
    rows = [{"text": text, "label": _coloured(text)} for text in TEXTS]
    base, start, metrics = _started(bases, "llama", task, rows, poolings=("first", "mean"))
    assert start.pooling == base.pool.pooling == base.config.adaptkit_pooling == "mean"
    assert metrics["accuracy"] == 1.0


def test_a_head_of_several_maps_is_left_as_it_is(bases):
    task = Classify(labels=sorted(COLOURS), pooling="attention")
    rows = [{"text": text, "label": _coloured(text)} for text in TEXTS[:6]]
    base, start, _ = _started(bases, "bert", task, rows)
    assert start is None
    assert linear_head(base) is None


def test_class_weights_count_in_the_probe(bases):
    """Of the same text with other labels, the rare one wins if it weighs more."""
    rows = [{"text": "the lamp is red", "label": "a"}] * 6 + [
        {"text": "the lamp is red", "label": "b"}
    ] * 2
    plain = Classify(labels=["a", "b"], pooling="mean")
    weighted = Classify(labels=["a", "b"], pooling="mean", class_weights=True, weights=[1.0, 9.0])
    biases = []
    for task in (plain, weighted):
        base, _, _ = _started(bases, "bert", task, rows)
        with torch.no_grad():
            biases.append(base.score(torch.zeros(1, 64))[0].softmax(-1))
    assert biases[0][0] > 0.5 > biases[1][0]


def test_a_model_stays_in_its_mode_and_gets_no_gradients(bases):
    task = Classify(labels=sorted(COLOURS), pooling="mean")
    rows = [{"text": text, "label": _coloured(text)} for text in TEXTS]
    base, _, _ = _started(bases, "bert", task, rows)
    assert not any(parameter.grad is not None for parameter in base.parameters())
    assert isinstance(linear_head(base), nn.Linear)
    assert np.isfinite(linear_head(base).weight.detach().numpy()).all()


def test_a_prior_gives_the_frequencies_of_the_labels(bases):
    """No weights, and a bias from which every row has the probabilities of the labels."""
    rows = [{"text": text, "label": _coloured(text)} for text in TEXTS]
    rows = [row for row in rows if row["label"] != "blue"] + rows[:3]
    counts = [sum(row["label"] == name for row in rows) for name in ("blue", "green", "red")]
    task = Classify(labels=["blue", "green", "red"])
    base = load_base(str(bases / "bert"), task=task.auto_class, labels=task.labels)
    encoded = task.encode(Table(rows, "rows"), load_tokenizer(str(bases / "bert")), 32)
    assert start_from_prior(base, task, encoded)
    shares = base.classifier(torch.randn(1, 64))[0].softmax(-1)
    assert torch.allclose(shares, torch.tensor(counts) / len(rows), atol=1e-3)


def test_a_prior_of_tags_of_several_labels_and_of_numbers(bases):
    tokenizer = load_tokenizer(str(bases / "bert"))

    def bias(task, rows):
        base = load_base(str(bases / "bert"), task=task.auto_class, labels=task.labels)
        assert start_from_prior(base, task, task.encode(Table(rows, "rows"), tokenizer, 32))
        (last,) = [m for m in base.modules() if isinstance(m, nn.Linear) and not m.weight.any()]
        return last.bias.detach()

    row = {"text": "the lamp", "units": [(0, 3), (4, 8)]}
    entity = {"start": 4, "end": 8, "label": "x"}
    tags = bias(Tag(labels=["O", "B-x", "I-x"]), [row | {"entities": [entity]}] * 3)
    assert torch.allclose(tags.softmax(-1)[:2], torch.tensor([0.5, 0.5]), atol=1e-2)
    several = Classify(labels=["a", "b"], multi_label=True, pooling="mean")
    rows = [{"text": "lamp", "label": ["a"]}] * 3 + [{"text": "lamp", "label": ["a", "b"]}]
    assert torch.allclose(bias(several, rows).sigmoid()[1], torch.tensor(0.25), atol=1e-3)
    numbers = [{"text": "lamp", "score": value} for value in (1.0, 2.0, 6.0)]
    score = Score(pooling="mean").fit_labels(Table(numbers, "rows"))
    assert torch.allclose(bias(score, numbers), torch.zeros(1), atol=1e-4)


def test_a_head_without_a_bias_has_no_prior(bases):
    task = Classify(labels=["a", "b"])
    base = load_base(str(bases / "llama"), task=task.auto_class, labels=task.labels)
    assert not start_from_prior(
        base,
        task,
        task.encode(
            Table([{"text": "lamp", "label": "a"}], "rows"),
            load_tokenizer(str(bases / "llama")),
            32,
        ),
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("bert", Classify(labels=sorted(COLOURS), pooling="mean")),
        ("bert", Classify(labels=sorted(COLOURS), pooling="max")),
        ("llama", Classify(labels=sorted(COLOURS))),
        ("bert", Tag(labels=["O", "B-colour"])),
    ],
)
def test_a_base_that_gives_no_numbers_is_refused_with_the_text(bases, kind, task, value):
    base = load_base(str(bases / kind), task=task.auto_class, labels=task.labels)
    tokenizer = load_tokenizer(str(bases / kind))
    align_padding(base, tokenizer)
    lamp = tokenizer("the lamp is red")["input_ids"]
    others = {i for text in TEXTS if "lamp" not in text for i in tokenizer(text)["input_ids"]}
    with torch.no_grad():
        base.get_input_embeddings().weight[[i for i in lamp if i not in others]] = value
    rows = [{"text": text, "label": _coloured(text)} for text in TEXTS]
    if isinstance(task, Tag):
        rows = [{"text": text, "units": [(0, 3)], "entities": []} for text in TEXTS]
    encoded = task.encode(Table(rows, "rows"), tokenizer, 32)
    with pytest.raises(AdaptkitError, match="not finite for the text 'the ?lamp is .*float32; c"):
        start_from_probe(base, task, encoded, tokenizer)
