"""An adapter's files: what is compared before anything is made of them."""

from pathlib import Path

import pytest
import torch

from adaptkit import AdaptkitError
from adaptkit.adapters.card import TaskCard
from adaptkit.adapters.files import (
    AdapterFiles,
    all_finite,
    check_same_base,
    check_shapes,
    is_adapterhub,
    read_weights,
)
from adaptkit.models.fingerprint import fingerprint
from tests.tiny import tiny


@pytest.fixture(scope="module")
def prints() -> list[str]:
    return [fingerprint(tiny("bert", seed=seed)) for seed in (0, 1)]


def _files(name: str, fingerprint: str | None, base: str | None = None) -> AdapterFiles:
    card = TaskCard(fingerprint=fingerprint, base=base or f"base-of-{name}")
    return AdapterFiles(Path(name), card, {}, None)


def test_adapters_of_two_bases_are_told_apart_by_name(prints):
    one, two = _files("one", prints[0]), _files("two", prints[1])
    check_same_base(one, _files("other", prints[0], base="the same weights elsewhere"))
    for part, first in ((one, two), (two, one)):
        with pytest.raises(AdaptkitError) as refused:
            check_same_base(part, first)
        assert str(refused.value).startswith(
            f"{part.folder} was trained on another base than {first.folder}, "
            f"base-of-{part.folder} and base-of-{first.folder}: "
        )


@pytest.mark.parametrize("missing", ["fingerprint", "card"])
def test_an_adapter_that_does_not_say_what_its_base_is_is_named(prints, missing):
    one, two = _files("one", prints[0]), _files("two", None)
    two.card = two.card if missing == "fingerprint" else None
    for part, first in ((one, two), (two, one)):
        with pytest.raises(AdaptkitError, match="two does not say what its base is: it has no"):
            check_same_base(part, first)


def test_a_base_is_compared_by_name_where_there_is_no_card():
    files = AdapterFiles(Path("one"), None, {"base_model_name_or_path": "team/bert-small"}, None)
    files.check_base("any", "elsewhere/bert-small")
    files.check_base("any", "")
    AdapterFiles(Path("one"), None, {}, None).check_base("any", "bert-large")
    with pytest.raises(AdaptkitError) as refused:
        files.check_base("any", "bert-large")
    assert str(refused.value) == (
        "one was trained on team/bert-small, this base is bert-large. Pass check_base=False to "
        "use it anyway."
    )


def test_shapes_that_are_missing_unexpected_or_others():
    wanted = {"a": (2, 3), "b.adaptkit_weights.0": (4,), "c": (5,)}
    check_shapes(Path("one"), dict(wanted), wanted)
    for given, message in (
        ({"a": (2, 3)}, "2 tensors are missing, the first is b.adaptkit_weights.0."),
        (wanted | {"z": (1,), "y": (1,)}, "2 tensors belong nowhere, the first is y."),
        (
            wanted | {"a": (9, 3)},
            "a has shape (9, 3), this base wants (2, 3) (another number of labels: pass labels to "
            "load_base).",
        ),
        (wanted | {"b.adaptkit_weights.0": (9,)}, "0 has shape (9,), this base wants (4,)."),
        (
            {"a": (9, 3), "d": (1,), "c": (5,)},
            "1 tensors are missing, the first is b.adaptkit_weights.0; 1 tensors belong nowhere, "
            "the first is d; a has shape",
        ),
    ):
        with pytest.raises(AdaptkitError) as refused:
            check_shapes(Path("one"), given, wanted)
        assert message in str(refused.value)
        assert str(refused.value).startswith("one/adapter_model.safetensors does not fit this")


def test_numbers_that_are_none():
    assert all_finite(torch.tensor([1.0, -3e38, 3e38]))
    assert all_finite(torch.full((4,), 3e38))  # their sum is not
    for bad in (float("nan"), float("inf"), -float("inf")):
        assert not all_finite(torch.tensor([1.0, bad]))
    assert not all_finite(torch.tensor([1e39], dtype=torch.float64))
    assert all_finite(torch.tensor([1e38], dtype=torch.float64))


def test_another_librarys_settings_are_known_by_their_names():
    assert is_adapterhub({"config": {}, "model_type": "bert"})
    assert not is_adapterhub({"config": {}, "model_type": "bert", "peft_type": "LORA"})
    assert not is_adapterhub({"config": {}})


def test_a_pickle_beside_missing_weights_is_named(tmp_path):
    with pytest.raises(AdaptkitError, match=r"has no adapter_model.safetensors.$"):
        read_weights(tmp_path, None, None)
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(AdaptkitError, match="It has a pickle .adapter_model.bin., which is not"):
        read_weights(tmp_path, None, None)
