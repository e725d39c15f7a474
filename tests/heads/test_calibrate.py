"""A calibrated head: the same labels, other probabilities, in every tool that reads the folder."""

import numpy as np
import pytest
import torch
from transformers import pipeline

from adaptkit import (
    EncodedSplit,
    Host,
    Predictor,
    Table,
    TaskCard,
    adapt,
    load_base,
    load_tokenizer,
    save_adapter,
)
from adaptkit.heads.calibrate import calibrate, output_map
from adaptkit.inference.predict import predict
from adaptkit.models.untrained.scratch import make_model, make_tokenizer
from adaptkit.tasks.classify import Classify
from tests.tiny import randomize, tiny

LABELS = ["red", "green", "blue"]
ROWS = [
    {"text": f"the {thing} is {colour}", "label": colour}
    for thing in ("house", "river", "apple", "car", "lamp", "sky", "wall", "bird", "ship")
    for colour in LABELS
]


def adapted(root, kind: str, pooling: str = "native", **settings):
    """An adapted model whose head gives large logits, its task, its rows."""
    folder = root / kind
    if kind == "roberta":
        tokenizer = make_tokenizer("bert", [row["text"] for row in ROWS], 200)
        tiny(kind, vocab_size=len(tokenizer)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    else:
        make_model(kind, [row["text"] for row in ROWS], folder, vocab_size=200)
    task = Classify(labels=LABELS, pooling=pooling, **settings)
    model = adapt(load_base(str(folder), task=task.auto_class, labels=LABELS), "lora[r=2]")
    randomize(model, std=0.8, seed=3)
    tokenizer = load_tokenizer(str(folder))
    table = Table(ROWS, "rows")
    return model, task, tokenizer, EncodedSplit(table, task.encode(table, tokenizer, 32))


@pytest.mark.parametrize("pooling", ["native", "mean"])
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_logits_are_divided_and_every_tool_sees_it(tmp_path, kind, pooling):
    model, task, tokenizer, split = adapted(tmp_path, kind, pooling)
    before = predict(model, task, split.encoded, tokenizer)
    task, found = calibrate(model, task, split.table, split.encoded, tokenizer, 8)
    after = predict(model, task, split.encoded, tokenizer)
    np.testing.assert_allclose(after * found["temperature"], before, rtol=1e-4, atol=1e-5)
    assert (after.argmax(-1) == before.argmax(-1)).all()
    assert found["temperature"] > 1.2  # random answers were too sure
    card = TaskCard(task="classify", labels=LABELS, settings=task.settings(), max_length=32)
    save_adapter(model, tmp_path / "saved", card=card)
    expected = task.shares(after[:1])[0].max()
    [answer] = Predictor(tmp_path / "saved")(ROWS[0]["text"])
    assert answer["score"] == pytest.approx(expected, abs=1e-5)
    host = Host(str(tmp_path / kind), slots=1, slot_capacity="lora[r=2]")
    host.load("it", tmp_path / "saved")
    assert host(ROWS[0]["text"], "it")[0].score == pytest.approx(expected, abs=1e-5)
    if pooling == "native":
        merged = Predictor(tmp_path / "saved").model.merge_and_unload()
        theirs = pipeline("text-classification", model=merged, tokenizer=tokenizer)
        assert theirs(ROWS[0]["text"])[0]["score"] == pytest.approx(expected, abs=1e-5)


def test_a_head_of_two_maps_is_scaled_at_its_last(tmp_path):
    model, task, tokenizer, split = adapted(tmp_path, "roberta")
    before = predict(model, task, split.encoded, tokenizer)
    assert output_map(model, 3).out_features == 3
    _, found = calibrate(model, task, split.table, split.encoded, tokenizer, 8)
    after = predict(model, task, split.encoded, tokenizer)
    np.testing.assert_allclose(after * found["temperature"], before, rtol=1e-4, atol=1e-5)


def test_a_threshold_is_chosen_and_kept(tmp_path):
    model, task, tokenizer, split = adapted(tmp_path, "bert", abstain_coverage=0.5)
    task, found = calibrate(model, task, split.table, split.encoded, tokenizer, 8)
    assert task.settings()["abstain_below"] == pytest.approx(found["abstain_below"], abs=1e-6)
    card = TaskCard(task="classify", labels=LABELS, settings=task.settings(), max_length=32)
    save_adapter(model, tmp_path / "saved", card=card)
    answers = Predictor(tmp_path / "saved").answer(Table(ROWS, "rows"))
    withheld = [answer for answer in answers if answer["label"] == "none of these"]
    assert len(withheld) == len(ROWS) - round(found["abstain_coverage"] * len(ROWS))
    assert {answer["likeliest"] for answer in withheld} <= {*LABELS}
    host = Host(str(tmp_path / "bert"), slots=1, slot_capacity="lora[r=2]")
    host.load("it", tmp_path / "saved")
    found = [one.to_dict()["label"] for one in host([row["text"] for row in ROWS], "it")]
    assert found == [answer["label"] for answer in answers]


@pytest.mark.parametrize("settings, rows", [({"calibrate": False}, 27), ({}, 10)])
def test_nothing_changes_if_it_is_not_wished_or_rows_are_few(tmp_path, settings, rows):
    model, task, tokenizer, split = adapted(tmp_path, "bert", **settings)
    few = split.table.take(range(rows))
    before = {name: one.clone() for name, one in model.state_dict().items()}
    split = EncodedSplit(few, task.encode(few, tokenizer, 32))
    assert calibrate(model, task, split.table, split.encoded, tokenizer, 8) == (task, {})
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_thresholds_do_not_hang_on_the_temperature_and_need_rows(tmp_path, capsys):
    """They were left out without a word."""
    model, task, tokenizer, split = adapted(tmp_path, "bert", calibrate=False, abstain_coverage=0.5)
    rows = split.table, split.encoded
    chosen, found = calibrate(model, task, *rows, tokenizer, 8)
    assert chosen.abstain_below == pytest.approx(found["abstain_below"], abs=1e-6)
    assert "temperature" not in found
    few = split.table.take(range(10))
    encoded = task.encode(few, tokenizer, 32)
    assert calibrate(model, task, few, encoded, tokenizer, 8) == (task, {})
    assert "10 validation rows are fewer than 20" in capsys.readouterr().out
