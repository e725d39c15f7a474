"""Which models divide their loss by the items of a step: what we say is what they do."""

import pytest
import torch
import transformers

from adaptkit import adapt
from adaptkit.models.loss_items import counts_items
from tests.tiny import inputs, tiny

CLASSES = ("SequenceClassification", "TokenClassification", "QuestionAnswering", "MaskedLM")
MODELS = [
    (name, kind)
    for name in ("bert", "distilbert", "modernbert", "gpt2", "opt", "llama", "gemma2")
    for kind in (*CLASSES, "CausalLM")
]


def labels_of(kind: str, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    ones = torch.ones(len(ids), dtype=torch.long)
    if kind == "QuestionAnswering":
        return {"start_positions": ones, "end_positions": ones}
    return {
        "labels": {"SequenceClassification": ones, "TokenClassification": ids % 2}.get(kind, ids)
    }


def test_what_is_said_is_what_they_do():
    seen = {True: set(), False: set()}
    for name, kind in MODELS:
        try:
            model = tiny(name, getattr(transformers, f"AutoModelFor{kind}"))
        except ValueError:  # there is no such class
            continue
        rows = inputs(name) | labels_of(kind, inputs(name)["input_ids"])
        with torch.no_grad():
            usual, divided = (
                model(**rows, **more).loss.item()
                for more in ({}, {"num_items_in_batch": torch.tensor(1000.0)})
            )
        assert counts_items(model) == (abs(usual - divided) > 1e-3), (name, kind)
        seen[counts_items(model)].add(f"{name} {kind}")
    assert {"llama CausalLM", "modernbert MaskedLM"} <= seen[True]
    assert {"bert MaskedLM", "llama SequenceClassification"} <= seen[False]
    assert len(seen[True] | seen[False]) >= 25


@pytest.mark.parametrize("kind, counts", [("CausalLM", True), ("SequenceClassification", False)])
def test_adapt_tells_trainer(kind, counts):
    model = adapt(tiny("llama", getattr(transformers, f"AutoModelFor{kind}")), "ia3", head=[])
    assert model.get_base_model().accepts_loss_kwargs is counts
