"""Layers are chosen by number."""

import re
import time

import pytest

from adaptkit import AdaptkitError, adapt
from tests.tiny import tiny


def test_layers_are_chosen_by_number():
    from adaptkit.methods.layer_ranges import chosen_layers

    assert chosen_layers("6-", 12) == set(range(6, 12))
    assert chosen_layers("last[4]", 12) == {8, 9, 10, 11}
    assert chosen_layers("0|2-3", 6) == {0, 2, 3}
    assert chosen_layers("5", 6) == {5}
    for text in ("6", "3-6", "last[7]", "6-"):
        with pytest.raises(AdaptkitError, match="this model has 6 layers, 0 to 5"):
            chosen_layers(text, 6)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1,2",
        "4-2",
        "last",
        "last[0]",
        "-1",
        "1||2",
        "0" * 7,
        "9" * 5000,
        "last[9999999]",
        "١",
        "1-٢",
    ],
)
def test_what_is_no_choice_of_layers_is_refused(text):
    from adaptkit.methods.layer_ranges import check_layers

    with pytest.raises(AdaptkitError, match="choice of layers|chooses no layer"):
        check_layers(text)


@pytest.mark.parametrize("text", ["2-2", " 1 | 3-4 ", "999999", "last[1]", "0-"])
def test_what_is_a_choice_of_layers_is_taken(text):
    from adaptkit.methods.layer_ranges import check_layers

    check_layers(text)


def test_only_the_chosen_layers_are_touched():
    model = adapt(tiny("bart"), "lora[layers=last[1]]+prefix[layers=0,length=2]", head=[])
    touched = {
        name.split(".adaptkit")[0] for name, p in model.named_parameters() if p.requires_grad
    }
    lora = {name for name in touched if any(part in name for part in (".fc1", ".fc2", ".out_proj"))}
    assert lora
    assert all(".layers.1." in name for name in lora)
    assert {"encoder.layers.0", "decoder.layers.0"} <= {
        re.search(r"\w+\.layers\.\d", name)[0] for name in touched
    }


def test_a_long_choice_is_read_once():
    from adaptkit.methods.layer_ranges import chosen_layers

    text = "|".join(["0"] * 75_000)
    start = time.process_time()
    assert all(chosen_layers(text, 12) == {0} for _ in range(500))
    assert time.process_time() - start < 2
