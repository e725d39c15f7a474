"""FSDP that is asked for on a CPU is said not to be used."""

import pytest
from transformers import Trainer, TrainingArguments

from adaptkit.training.sharding import leave_out_fsdp
from adaptkit.utils.hardware import only_cpu
from tests.tiny import tiny

pytestmark = pytest.mark.skipif(not only_cpu(), reason="models run on a GPU here")


@pytest.mark.parametrize("how", ["flag", "accelerate launch"])
def test_fsdp_is_left_out_and_said_to_be(how, tmp_path, monkeypatch):
    if how == "accelerate launch":
        monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    given = {"fsdp": "full_shard"} if how == "flag" else {}
    training = TrainingArguments(str(tmp_path), report_to=[], **given)
    (note,) = leave_out_fsdp(training)
    assert "FSDP needs GPUs and is not used" in note
    assert not Trainer(tiny("bert"), training).is_fsdp_enabled  # it was an error of accelerate's


def test_nothing_is_said_otherwise(tmp_path, monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    assert leave_out_fsdp(TrainingArguments(str(tmp_path), report_to=[])) == []
