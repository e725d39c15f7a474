"""Answers of a predictor, and whether two of them are the same."""

import pytest

from adaptkit import Predictor


def said(predictor: Predictor, row) -> dict:
    parts = row if isinstance(row, dict) else {predictor.task.input_fields()[0]: row}
    first, *others = parts
    return predictor(parts[first], **{part: parts[part] for part in others})[0]


def close(one, other) -> None:
    if isinstance(one, float):
        assert one == pytest.approx(other, abs=1e-5, rel=1e-5)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            close(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            close(*pair)
    else:
        assert one == other
