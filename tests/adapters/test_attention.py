"""Attention that takes prefixes, and attention that cannot."""

import dataclasses

import pytest
import torch

from adaptkit import AdaptkitError, adapt
from adaptkit.models.architectures import ARCHITECTURES
from tests.tiny import first, inputs, randomize, tiny


def test_switching_the_attention_later_still_works():
    model = adapt(tiny("bert", attn="eager"), "prefix[length=3]")
    randomize(model)
    with torch.no_grad():
        before = first(model.eval()(**inputs("bert")))
        model.get_base_model().set_attn_implementation("sdpa")
        torch.testing.assert_close(first(model(**inputs("bert"))), before, atol=1e-5, rtol=1e-4)


def test_an_attention_that_cannot_be_routed_is_refused_before_the_model_is_touched(monkeypatch):
    model = tiny("deberta-v2")
    stack = ARCHITECTURES["deberta-v2"][0]
    monkeypatch.setitem(
        ARCHITECTURES, "deberta-v2", (dataclasses.replace(stack, attn="attention.self"),)
    )
    with pytest.raises(AdaptkitError, match="does not call transformers' attention interface"):
        adapt(model, "lora+prefix")
    assert not any("adaptkit" in name for name, _ in model.named_modules())
