"""Small networks that learn from a teacher."""

import pytest
import torch
from torch.nn import functional as F
from transformers import set_seed

from adaptkit.models.untrained.small_networks import SmallConfig, SmallForSequenceClassification


@pytest.mark.parametrize("kind", ["bilstm", "cnn"])
def test_small_networks_do_not_look_at_padding(kind):
    set_seed(0)
    model = SmallForSequenceClassification(SmallConfig(kind, vocab_size=50, num_labels=3)).eval()
    ids = torch.randint(1, 50, (1, 6))
    padded, mask = F.pad(ids, (0, 5)), F.pad(torch.ones_like(ids), (0, 5))
    torch.testing.assert_close(model(padded, mask).logits, model(ids).logits)
