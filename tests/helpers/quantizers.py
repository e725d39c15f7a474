"""Adapters over quantized bases; those of torchao and quanto in a process of their own.

python -m tests.helpers.quantizers KIND BASE FOLDER
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, QuantoConfig, TorchAoConfig

from adaptkit import AdaptkitError, adapt, load_adapter, load_base, save_adapter
from adaptkit.models.quantization import is_packed
from tests.tiny import inputs, randomize


def settings_of(kind: str):
    if kind == "quanto":
        return QuantoConfig(weights="int8")
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


def check_that_it_trains_saves_and_loads(loaded: Callable[[], Any], folder: Path) -> None:
    """A base, loaded anew at each call: the adapter comes back bit for bit, and is not merged."""
    model = adapt(loaded(), "lora[sites=attn.q|ffn.in]")
    randomize(model)
    batch = inputs("llama") | {"labels": inputs("llama")["input_ids"]}
    model.train()(**batch).loss.backward()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in trained)
    save_adapter(model, folder / "a")
    with torch.no_grad():
        expected = model.eval()(**batch).logits
        for given in (None, loaded()):
            again = load_adapter(folder / "a", given)(**batch).logits
            torch.testing.assert_close(again, expected, atol=0, rtol=0)
        whole = load_adapter(folder / "a", quantize="none")
        assert not any(map(is_packed, whole.parameters()))
        assert not torch.equal(whole(**batch).logits, expected)
    with pytest.raises(AdaptkitError, match="is quantized.*Load the base without quantization"):
        model.merge_and_unload()


def main(kind: str, base: str, folder: Path) -> None:
    def loaded() -> Any:
        return AutoModelForCausalLM.from_pretrained(
            base, quantization_config=settings_of(kind), dtype=torch.float32
        )

    check_that_it_trains_saves_and_loads(loaded, folder)
    head = load_base(base, task="classify", labels=["a", "b"], quantize=settings_of(kind)).score
    assert not is_packed(head.weight)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
