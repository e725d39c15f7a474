"""Each text must find its own pair."""

import pytest
import torch
from torch.nn import functional

from adaptkit.tasks.embed import Embed
from tests.tasks.outputs import Outputs


@pytest.mark.parametrize("pooling", ["first", "cls"])  # two words for the same
def test_each_text_must_find_its_own_pair(tokenizer, pooling):
    """In-batch negatives, both ways, by the definition."""
    task = Embed(pooling=pooling, temperature=0.1)
    states = torch.randn(6, 4, 8)
    vectors = functional.normalize(states[:, 0], dim=-1)
    cosines = vectors[:3] @ vectors[3:].T / 0.1
    wanted = (
        functional.cross_entropy(cosines, torch.arange(3))
        + functional.cross_entropy(cosines.T, torch.arange(3))
    ) / 2
    batch = {"attention_mask": torch.ones(6, 4)}
    assert task.loss(
        Outputs(last_hidden_state=states), batch, torch.ones(3), 3
    ).item() == pytest.approx(wanted.item(), rel=1e-5)
    padded = torch.cat([states, torch.randn(6, 2, 8)], 1)
    mask = torch.cat([batch["attention_mask"], torch.zeros(6, 2)], 1)
    mean = Embed()
    torch.testing.assert_close(
        mean.pool(Outputs(last_hidden_state=states), batch),
        mean.pool(Outputs(last_hidden_state=padded), {"attention_mask": mask}),
    )
