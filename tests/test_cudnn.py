"""cuDNN's plans are left out while texts of many lengths run, and only then. The switch is the same without a GPU."""

import threading

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from adaptkit import Host, adapt, load_tokenizer
from adaptkit.cudnn import no_plans
from adaptkit.predict import predict
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.language import write
from adaptkit.training import attention_for
from tests.tiny import tiny


def is_on() -> bool:
    return torch.backends.cuda.cudnn_sdp_enabled()


def test_blocks_lie_in_each_other():
    assert is_on()
    with no_plans():
        with no_plans():
            assert not is_on()
        assert not is_on()
    assert is_on()


def test_a_user_who_has_switched_it_off_finds_it_off():
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        with no_plans():
            assert not is_on()
        assert not is_on()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)


def test_the_last_of_several_threads_gives_it_back():
    inside, leave = threading.Event(), threading.Event()

    def other():
        with no_plans():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with no_plans():
        thread.start()
        inside.wait(10)
    assert not is_on()
    leave.set()
    thread.join()
    assert is_on()


def test_a_failure_gives_it_back():
    try:
        with no_plans():
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert is_on()


@pytest.mark.parametrize(
    ("lengths", "on"),
    [(range(7, 17), False), ([512] * 10 + [3], True), (range(900, 1200), True), ([9] * 500 + [*range(2000, 2100)], False)],
)
def test_training_leaves_it_out_for_short_texts_of_many_lengths(lengths, on):
    with attention_for(np.asarray(lengths)):
        assert is_on() == on


def watched(network) -> list[bool]:
    """Whether it is on, for every forward pass from now on."""
    seen: list[bool] = []
    network.register_forward_pre_hook(lambda *_: seen.append(is_on()))
    return seen


def test_predictions_leave_it_out():
    model = adapt(tiny("bert", AutoModelForSequenceClassification), "lora[r=2]", head=["classifier"])
    rows = Dataset.from_dict({"input_ids": [[1, 2, 3], [4, 5]], "attention_mask": [[1] * 3, [1] * 2], "length": [3, 2]})
    seen = watched(model.get_base_model())
    predict(model, Classify(labels=["no", "yes"]), rows, load_tokenizer("all-MiniLM-L6-v2"))
    assert seen == [False]
    assert is_on()


def test_a_model_that_writes_leaves_it_out():
    model = tiny("llama", AutoModelForCausalLM)
    seen = watched(model)
    write(model, [[3, 4, 5], [6]], 0, {"max_new_tokens": 3, "eos_token_id": None})
    assert seen == [False] * 3
    assert is_on()


def test_a_host_leaves_it_out():
    host = Host(tiny("bert"))
    seen = watched(host.backbone.network)
    host.hidden({"input_ids": torch.tensor([[1, 2, 3]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)})
    assert seen == [False]
    assert is_on()
