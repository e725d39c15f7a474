"""What makes no host is refused; texts longer than the base are cut."""

import shutil
from pathlib import Path

import pytest
import torch

from adaptkit import AdaptkitError, Host, adapt
from tests.host.store import TEXTS, edit
from tests.tiny import tiny

NO_HOSTS = (
    {"max_rows": 0},
    {"max_rows": "x"},
    {"max_wait": float("inf")},
    {"max_wait": "x"},
    {"max_queue": 0},
    {"slots": 0},
)


@pytest.mark.parametrize(
    "settings",
    [
        *NO_HOSTS,
        {"slots": 1.5},
        {"slot_capacity": []},
        {"slot_capacity": "lroa"},
        {"slots": 10**9},
        {"slot_capacity": "lora[r=1000000000]"},
    ],
)
def test_numbers_that_make_no_host_are_refused(settings):
    with pytest.raises(AdaptkitError):
        Host(tiny("bert"), **settings)


def test_only_bare_models_become_hosts():
    adapted = adapt(tiny("bert"), "lora")
    for base in (adapted, adapted.get_base_model(), torch.nn.Linear(2, 2), 5):
        with pytest.raises(AdaptkitError, match="a transformers model without adapters"):
            Host(base)


def test_a_text_longer_than_the_base_is_cut_to_it(root, tmp_path):
    folder = Path(shutil.copytree(root / "store/a0", tmp_path / "long"))
    edit(folder, "task.json", max_length=100_000)
    host = Host(str(root / "base"), slots=1, slot_capacity="lora[r=4]")
    host.load("long", folder)
    assert host(" ".join(TEXTS * 5), "long")
    assert host(" ".join(TEXTS * 5))[0].states.shape[0] <= 512
    for rows in (5, None, [5], [None]):
        with pytest.raises(AdaptkitError):
            host(rows)
