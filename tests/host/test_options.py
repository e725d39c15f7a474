"""Options of a host that are none, and names that are none."""

import pytest
import torch

from adaptkit import AdaptkitError, Host, load_base
from adaptkit.compute.maps import packs, quantizes
from adaptkit.compute.precision import CLEARLY, fastest
from adaptkit.models.untrained.scratch import make_model
from tests.tiny import tiny


@pytest.mark.parametrize("name, close", [("rom", None), ("max_row", "max_rows"), ("task", None)])
def test_a_misspelled_option_names_those_of_a_host(root, name, close):
    """Before, the names of the model's configuration were listed."""
    hint = f"; did you mean '{close}'\\?" if close else r"\."
    message = rf"Host has no option '{name}'{hint} It takes slots, slot_capacity, tokenizer, max_"
    for make in (
        lambda: Host(str(root / "base"), **{name: 3}),
        lambda: Host.from_store(root / "store", **{name: 3}),
        lambda: Host(tiny("bert"), **{name: 3}),
    ):
        with pytest.raises(AdaptkitError, match=message) as refusal:
            make()
        assert "vocab_size" not in str(refusal.value)


def test_a_setting_of_the_configuration_is_an_option(root):
    host = Host(str(root / "base"), slots=1, layer_norm_eps=1e-3)
    assert host.backbone.model.config.layer_norm_eps == 1e-3
    with pytest.raises(
        AdaptkitError, match="load_base has no option 'quantise'; did you mean 'qua"
    ):
        load_base(str(root / "base"), quantise="int8")


@pytest.mark.parametrize("name", [["a0", "a1"], None, 5, {"a": 1}])
def test_unload_takes_one_name(host, root, name):
    with pytest.raises(AdaptkitError, match="unload takes one name"):
        host.unload(name)
    with pytest.raises(AdaptkitError, match="unload takes one name"):
        Host.from_store(root / "store", slots=1).unload(name)
    assert host.names() == ["a0", "a1", "a2"]


def test_compute_names_a_precision_or_takes_the_faster_one(root):
    for compute, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        assert Host(str(root / "base"), slots=1, compute=compute).backbone.dtype is dtype
        store = Host.from_store(root / "store", slots=1, compute=compute, capture=True)
        assert store.backbone.dtype is dtype
    if torch.cuda.is_available():
        pytest.skip("auto is measured on a CPU")
    assert Host(str(root / "base"), slots=1, compute="auto").backbone.dtype is fastest()


@pytest.mark.skipif(not packs(torch.bfloat16), reason="bf16 is not packed on this processor")
@pytest.mark.parametrize("slower", [0.0, 10.0])
def test_the_faster_precision_is_measured(monkeypatch, slower):
    """A bf16 that costs ten times as much as fp32 is not taken, one that costs nothing is."""
    times = iter([1.0, slower])
    monkeypatch.setattr("adaptkit.compute.precision._seconds", lambda run: (run(), next(times))[1])
    expected = torch.bfloat16 if slower * CLEARLY < 1 else torch.float32
    assert fastest.__wrapped__() is expected


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"compute": "bfloat"}, "did you mean 'bfloat16'"),
        ({"compute": "auto", "dtype": "float32"}, "compute and dtype both say"),
        ({"compute": "float32", "quantize": "int8"}, "compute and quantize both say"),
    ],
)
def test_a_precision_that_is_none_is_refused(root, options, problem):
    with pytest.raises(AdaptkitError, match=problem):
        Host(str(root / "base"), slots=1, **options)


@pytest.mark.skipif(not quantizes(), reason="this processor has no int8 instructions")
def test_a_base_in_int8(root, tmp_path):
    texts = ["the lamp is red", "a", "my green coat is old"]
    exact = Host.from_store(root / "store", compute="float32")
    host = Host.from_store(root / "store", compute="int8")
    assert (host.stats()["int8"], host.stats()["captured"]) == (True, True)
    for name in exact.names():
        for one, other in zip(host(texts, name), exact(texts, name), strict=True):
            assert one.score == pytest.approx(other.score, abs=0.05)
    assert [one.score for one in host(texts, "a0")] != [one.score for one in exact(texts, "a0")]
    make_model("llama", texts, tmp_path / "writer", vocab_size=300)
    with pytest.raises(AdaptkitError, match='compute="int8" is not possible: captured networks'):
        Host(str(tmp_path / "writer"), slots=1, compute="int8")
