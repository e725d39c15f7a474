"""Gradients that are set to nothing."""

from adaptkit import adapt
from adaptkit.training.zero_grad import quick_zero_grad
from tests.tiny import inputs, tiny


def test_gradients_go_as_the_model_lets_them():
    model = adapt(tiny("bert"), "lora", head=[])
    with quick_zero_grad(model):
        model(**inputs("bert", rows=2))[0].sum().backward()
        model.zero_grad(set_to_none=False)
        grads = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
        assert not any(grad.any() for grad in grads)
        model.zero_grad()
        assert all(parameter.grad is None for parameter in model.parameters())
    assert "zero_grad" not in vars(model)
