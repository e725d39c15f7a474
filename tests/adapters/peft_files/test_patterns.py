"""A pattern that never ends stops a process of its own, and no loading road."""

import time

import peft
import pytest

from adaptkit import AdaptkitError, Host, load_adapter
from adaptkit.adapters.peft_files.patterns import check_patterns
from tests.host.store import edit
from tests.tiny import tiny

NAMES = [name for name, _ in tiny("bert").named_modules()]
ENDLESS = r"((\w|\.)+)+!"


@pytest.fixture
def lora(tmp_path):
    model = peft.get_peft_model(tiny("bert"), peft.LoraConfig(r=2, target_modules=["query"]))
    model.save_pretrained(tmp_path / "one", save_embedding_layers=False)
    return tmp_path / "one"


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ENDLESS},
        {"exclude_modules": ENDLESS},
        {"layers_pattern": [ENDLESS], "layers_to_transform": [0]},
        {"rank_pattern": {ENDLESS: 4}},
        {"alpha_pattern": {ENDLESS: 4}},
        {"modules_to_save": [ENDLESS]},
        {"target_modules": "(a?){60}" + "a" * 60 + r"|(.*.*.*.*.*.*.*.*.*)*x"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_it_ends_after_a_second(settings, tmp_path):
    start = time.monotonic()
    with pytest.raises(AdaptkitError, match="take longer than 1 s"):
        check_patterns(settings, NAMES, tmp_path / "adapter_config.json")
    assert time.monotonic() - start < 10  # on a busy machine; it is one second of a processor


def test_both_roads_refuse_it(lora):
    edit(lora, "adapter_config.json", target_modules=ENDLESS)
    host = Host(tiny("bert"), slots=1)
    for load in (lambda: host.load("one", lora), lambda: load_adapter(lora, tiny("bert"))):
        with pytest.raises(
            AdaptkitError, match=r"adapter_config.json: the patterns .* take longer"
        ):
            load()


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": r".*layer\.\d\.output\.dense"},
        {"target_modules": r"^(?!.*pooler).*\.(query|key|value)$"},
        {"target_modules": r"(?:.*?(?:encoder).*?(?:attention|output).*?(?:query|dense).*?)"},
        {"rank_pattern": {f"layer.{i}.attention.self.query": 4 for i in range(96)}},
        {"target_modules": ["query"], "layers_pattern": "layer", "layers_to_transform": [1]},
        {},
    ],
)
def test_patterns_as_people_write_them_are_taken(settings, tmp_path):
    check_patterns(settings, NAMES, tmp_path)


def test_what_is_no_pattern_is_said(tmp_path):
    with pytest.raises(AdaptkitError, match="no pattern: missing \\)"):
        check_patterns({"target_modules": "(query"}, NAMES, tmp_path)
