"""Adapters that version 0.1 wrote load, and answer as they did there.

`tests/data/adapters_of_0_1` was written by it: tiny bases, ten trained adapters of ten kinds and
what they answered, each number as that version printed it.
"""

import json
from pathlib import Path

import pytest
import torch

from adaptkit import Host, Predictor, Table

FOLDER = Path(__file__).parent / "data/adapters_of_0_1"
ANSWERS = json.loads((FOLDER / "answers.json").read_text("utf-8"))
TEXTS = [
    "The kettle I bought on Sunday leaks from the base.",
    "Thanks for the quick answer yesterday!",
]
ENCODERS = ("classify", "lora", "score", "tag")  # one text in, and in a host beside each other


def answers_of(name: str) -> list:
    predictor = Predictor(FOLDER / name)
    if name == "answer":
        return predictor("What leaks?", "Who answered?", context=TEXTS[0])
    if name == "relate":
        row = {"text": TEXTS[0], "head": "kettle", "tail": "Sunday"}
        return predictor.answer(Table([row], "row"), {part: part for part in row})
    if name == "pretrain":
        ids = predictor.tokenizer(TEXTS, padding=True, return_tensors="pt")
        with torch.no_grad():
            return predictor.model(**ids).logits[:, 3, :8].tolist()
    return predictor(*TEXTS)


def assert_same(ours, theirs):
    """Equal texts, and numbers to 1e-5."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        pairs = [(ours[key], theirs[key]) for key in theirs]
    elif isinstance(theirs, list):
        pairs = list(zip(ours, theirs, strict=True))
    else:
        number = isinstance(theirs, float)
        assert ours == (pytest.approx(theirs, abs=1e-5) if number else theirs)
        return
    for one, two in pairs:
        assert_same(one, two)


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_it_answers_as_it_did(name):
    assert_same(answers_of(name), ANSWERS[name])


def test_they_answer_beside_each_other_in_a_host():
    host = Host.from_store(FOLDER, base=str(FOLDER / "bert"))
    names = [name for name in ENCODERS for _ in TEXTS]
    found = [answer.to_dict() for answer in host(TEXTS * len(ENCODERS), names)]
    host.close()
    expected = [answer for name in ENCODERS for answer in ANSWERS[name]]
    assert_same(found, expected)
