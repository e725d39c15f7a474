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
from adaptkit.models.fingerprint import difference
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


@torch.no_grad()
def changed(part: str, change) -> str:
    """The fingerprint of a tiny BERT after a change to one of its parameters."""
    model = tiny("bert")
    change(model.get_parameter(part))
    return fingerprint(model)


QUERY = "encoder.layer.1.attention.self.query.weight"
TABLE = "embeddings.word_embeddings.weight"
CHANGES = {
    "one weight by one part in ten million": (QUERY, lambda p: p[7, 5].mul_(1 + 2e-7)),
    "the last bias": ("encoder.layer.1.output.dense.bias", lambda p: p[-1:].neg_()),
    "one embedding": (TABLE, lambda p: p[99, 31:].add_(1e-3)),
    "shifted embeddings": (TABLE, lambda p: p.copy_(p.roll(1, 0))),
    "positions": ("embeddings.position_embeddings.weight", lambda p: p[3].zero_()),
    "the embeddings' norm": ("embeddings.LayerNorm.weight", lambda p: p[0].add_(0.1)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_any_one_changed_number_is_another_base(name):
    part, change = CHANGES[name]
    where = "layers" if "layer." in part else "embeddings"
    assert where in difference(fingerprint(tiny("bert")), changed(part, change))


def test_resized_embeddings_are_another_base(tmp_path):
    """Before, the adapter loaded, and ids beyond the vocabulary crashed later."""
    grown = tiny("bert")
    grown.resize_token_embeddings(102)
    save_adapter(adapt(grown, "lora[r=2]"), tmp_path / "a")
    with pytest.raises(AdaptkitError, match="trained on another base.*embeddings differ"):
        load_adapter(tmp_path / "a", tiny("bert"))


def test_half_precision_is_known_by_its_own_numbers(tmp_path):
    """A change that fp32 rounds to the same bf16 is seen in fp32 and cannot be seen in bf16."""
    small = changed(QUERY, lambda p: p[0, 0].mul_(1 + 2e-7))
    large = changed(QUERY, lambda p: p[0, 0].add_(0.5))
    half = fingerprint(tiny("bert").bfloat16())
    assert [same_base(half, one) for one in (fingerprint(tiny("bert")), small, large)] == [
        True,
        True,
        False,
    ]
    one = tiny("bert").bfloat16()
    with torch.no_grad():
        one.get_parameter(QUERY)[5, 5] += 0.5
    assert not same_base(half, fingerprint(one))
    assert same_base(half, fingerprint(tiny("bert").bfloat16().float()))
    assert same_base(fingerprint(tiny("bert").half()), half)


def test_fingerprints_of_version_1_are_compared_by_their_numbers():
    now = fingerprint(tiny("bert"))
    version, dtype, numbers, *_ = now.split(":")
    assert (version, dtype) == ("2", "float32")
    before = f"1:{dtype}:{numbers}"
    assert same_base(before, now)
    assert same_base(now, before)
    assert same_base(before, before)
    assert not same_base(before, fingerprint(tiny("bert", seed=5)))
    assert not same_base(before, fingerprint(tiny("bert", num_hidden_layers=1)))


def test_a_base_without_numbered_layers_is_known_too():
    def small(seed: int):
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.ModuleDict({"table": torch.nn.Embedding(9, 4), "map": torch.nn.Linear(4, 4)})
        )[0]

    assert same_base(fingerprint(small(0)), fingerprint(small(0)))
    assert not same_base(fingerprint(small(0)), fingerprint(small(1)))


@pytest.mark.parametrize(
    "text",
    ["", "zz", "1:float32", "3:float32:AAAA", "1:int8:AAAA", "1:float32:%%", "1:float32:AAA=",
     "2:float32:AAAA:AAAA:AAAA", "2:float32:AAAAAAAAAAA=:AAAA:", "1:" + ":" * 10**5, "é:ü:ß"],
)  # fmt: skip
def test_what_is_no_fingerprint_is_refused(text):
    with pytest.raises(AdaptkitError, match="is no fingerprint of a base"):
        same_base(text, fingerprint(tiny("bert")))
