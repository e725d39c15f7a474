"""A fingerprint knows its base, whatever it is stored in, and no other one."""

import pytest
import torch

from adaptkit import (
    AdaptkitError,
    adapt,
    fingerprint,
    load_adapter,
    load_base,
    same_base,
    save_adapter,
)
from tests.tiny import tiny


def test_a_fingerprint_knows_its_base(folders, tmp_path):
    base = load_base(str(folders / "bert"))
    print_of_base = base.adaptkit_base.fingerprint
    same = [
        load_base(str(folders / "bert"), task="classify", labels=7),
        load_base(str(folders / "bert"), dtype="bfloat16"),
        load_base(str(folders / "bert"), dtype="float16"),
    ]
    wide = load_base(str(folders / "wide-bert")).adaptkit_base.fingerprint
    packed = [
        load_base(str(folders / "wide-bert"), quantize=quantize) for quantize in ("int8", "nf4")
    ]
    assert all(same_base(wide, model.adaptkit_base.fingerprint) for model in packed)
    assert not same_base(wide, print_of_base)
    assert all(same_base(print_of_base, model.adaptkit_base.fingerprint) for model in same)
    half = load_base(str(folders / "bert"), dtype="bfloat16")
    half.save_pretrained(tmp_path / "half")
    assert same_base(print_of_base, load_base(str(tmp_path / "half")).adaptkit_base.fingerprint)
    assert same_base(print_of_base, fingerprint(adapt(base, "lora+prefix")))
    tuned = tiny("bert")
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "query" in name:
                parameter.add_(torch.randn_like(parameter) * 1e-3)
    assert not same_base(print_of_base, fingerprint(tuned))
    assert not same_base(print_of_base, fingerprint(tiny("bert", num_hidden_layers=1)))
    assert not same_base(print_of_base, fingerprint(tiny("roberta", seed=1)))


def test_an_adapter_over_a_base_that_is_stored_quantized_knows_another_one(tmp_path):
    """Both have the same norms, as decoders that were tuned by LoRA do."""
    for name, seed in (("one", 0), ("other", 5)):
        model = tiny("llama", seed=seed, hidden_size=64, intermediate_size=128)
        for parameter in model.parameters():
            if parameter.ndim < 2:
                torch.nn.init.ones_(parameter)
        model.save_pretrained(tmp_path / name / "whole")
        load_base(str(tmp_path / name / "whole"), quantize="nf4").save_pretrained(
            tmp_path / name / "packed"
        )
    one, other = (
        load_base(str(tmp_path / name / "packed"), task="classify", labels=3)
        for name in ("one", "other")
    )
    save_adapter(adapt(one, "lora[r=2]"), tmp_path / "a")
    with pytest.raises(AdaptkitError, match="trained on another base"):
        load_adapter(tmp_path / "a", other)
    assert load_adapter(tmp_path / "a")
