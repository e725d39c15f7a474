"""Methods that a model cannot take, and heads that must be known."""

import pytest
from transformers import AutoModelForCausalLM

from adaptkit import AdaptkitError, adapt
from tests.adapters.classifiers import classifier
from tests.tiny import tiny


def test_a_head_must_be_known():
    with pytest.raises(AdaptkitError, match=r"Pass head=\['classifier'\]"):
        adapt(classifier(), "lora")
    with pytest.raises(
        AdaptkitError, match="unknown head module 'clasifier'; did you mean 'classifier'"
    ):
        adapt(classifier(), "lora", head=["clasifier"])
    assert not any(
        "modules_to_save" in n
        for n, _ in adapt(tiny("llama", AutoModelForCausalLM), "lora").named_parameters()
    )


@pytest.mark.parametrize(
    "method, message",
    [
        ("lora[sites=attn.qq]", "unknown site 'attn.qq'; did you mean 'attn.q'"),
        ("lora[sites=cross.q]", "which this model does not have"),
        ("lora[sites=attn]", "which this model does not have for this method"),
        ("peft:LOOHA", "did you mean 'LOHA'"),
        ("peft:LOHA[rr=3]", "unknown setting of peft:LOHA 'rr'"),
        ("peft:LOHA+lora", "cannot be part of a union"),
    ],
)
def test_methods_that_a_model_cannot_take(method, message):
    model = tiny("bert")
    with pytest.raises(AdaptkitError, match=message):
        adapt(model, method)
    assert not hasattr(model, "peft_config")
