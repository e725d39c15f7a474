"""The loss of hidden states by hand, also at another width."""

import pytest
import torch
from transformers import AutoModel

from adaptkit import AdaptkitError
from adaptkit.distillation.hidden_states import MAPS, HiddenStateLoss
from adaptkit.models.tokenizer import load_tokenizer
from tests.tiny import tiny

MINILM = "all-MiniLM-L6-v2"


@torch.no_grad()
@pytest.mark.parametrize("width", [32, 48])
def test_the_loss_is_that_of_the_formula(width):
    torch.manual_seed(0)
    teacher, learner = tiny("bert", hidden_size=32).eval(), tiny("bert", hidden_size=width).eval()
    ids = torch.randint(5, 60, (3, 7))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    inside = HiddenStateLoss([1, 0], weight=1.0)
    wanted = teacher(**batch, output_hidden_states=True)
    inside.keep(wanted, batch)
    given = learner(**batch, output_hidden_states=True)
    with inside.learning(learner):
        maps = getattr(learner, MAPS)
        found = inside.loss(given, batch)
        assert {id(p) for p in maps.parameters()} <= {id(p) for p in learner.parameters()}
        by_hand = torch.zeros(3)
        for one, layer, own in zip(maps, (1, 0), given.hidden_states[1:], strict=True):
            told = wanted.hidden_states[layer + 1].bfloat16().float()
            for row in range(3):
                seen = mask[row].bool()
                by_hand[row] += (
                    (one(own[row]) - told[row])[seen].square().sum()
                    / told[row][seen].square().sum()
                    / 2
                )
    torch.testing.assert_close(found, by_hand)
    assert not hasattr(learner, MAPS)


@torch.no_grad()
def test_the_teacher_is_at_no_distance_from_itself():
    model = AutoModel.from_pretrained(
        load_tokenizer(MINILM).name_or_path, dtype=torch.float32
    ).eval()
    batch = dict(
        load_tokenizer(MINILM)(
            ["one text", "another, longer one"], padding=True, return_tensors="pt"
        )
    )
    inside = HiddenStateLoss(range(6), weight=1.0)
    outputs = model(**batch, output_hidden_states=True)
    inside.keep(outputs, batch)
    with inside.learning(model):
        assert float(inside.loss(outputs, batch).max()) < 1e-4  # kept in bf16
        with pytest.raises(AdaptkitError, match="has not read these tokens"):
            inside.loss(
                outputs,
                {"input_ids": batch["input_ids"] + 1, "attention_mask": batch["attention_mask"]},
            )
