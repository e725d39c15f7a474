"""Prefixes beside positions that count."""

import torch

from adaptkit import adapt
from tests.tiny import first, inputs, tiny


def test_prefix_does_not_move_the_positions_of_t5():
    """A prefix that no token looks at leaves the model as it is: tokens keep their distances."""
    base = tiny("t5")
    expected = first(base(**inputs("t5")))
    model = adapt(base, "prefix[length=5,gate=true]").eval()
    hidden = []
    for module in base.modules():
        if hasattr(module, "adaptkit_weights"):
            weights = module.adaptkit_weights["default"]
            for name, weight in weights.items():
                weight.data.fill_(0.0 if "gate" in name else 0.1)
            hidden.append(module)
    assert hidden
    for module in hidden:  # a gate of e^-200: the prefix gets no weight
        name = next(name for name in module.adaptkit_weights["default"] if "gate" in name)
        own = module.adaptkit_attachments["default"][0].method
        assert own.gate
        assert name.endswith("gate")
        module.join = _closed(module.join)
    torch.testing.assert_close(first(model(**inputs("t5"))), expected, atol=1e-5, rtol=1e-4)


def _closed(join):
    return lambda y: (joined := join(y))._replace(scores=torch.full_like(joined.scores, -200.0))
