"""cuDNN's plans are left out while texts of many lengths run, and only then.

The switch is the same without a GPU.
"""

import threading

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, TrainingArguments

from adaptkit import (
    EncodedSplit,
    Host,
    TaskCard,
    TrainerOptions,
    adapt,
    load_base,
    load_tokenizer,
    pipeline,
    save_adapter,
)
from adaptkit.data.tables import Table
from adaptkit.inference.predict import predict
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.language import write
from adaptkit.training.fit import fit
from adaptkit.utils.cudnn import attention_for, disable_cudnn_sdpa
from tests.tiny import tiny


def is_on() -> bool:
    return torch.backends.cuda.cudnn_sdp_enabled()


def test_blocks_lie_in_each_other():
    assert is_on()
    with disable_cudnn_sdpa():
        with disable_cudnn_sdpa():
            assert not is_on()
        assert not is_on()
    assert is_on()


def test_a_user_who_has_switched_it_off_finds_it_off():
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        with disable_cudnn_sdpa():
            assert not is_on()
        assert not is_on()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)


def test_the_last_of_several_threads_gives_it_back():
    inside, leave = threading.Event(), threading.Event()

    def other():
        with disable_cudnn_sdpa():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with disable_cudnn_sdpa():
        thread.start()
        assert inside.wait(10)
    assert not is_on()
    leave.set()
    thread.join()
    assert is_on()


def test_a_failure_gives_it_back():
    with pytest.raises(KeyboardInterrupt), disable_cudnn_sdpa():
        raise KeyboardInterrupt
    assert is_on()


@pytest.mark.parametrize(
    ("lengths", "on"), [(range(7, 17), False), ([512] * 10 + [3], True), (range(900, 1200), False)]
)
def test_texts_of_many_lengths_leave_it_out(lengths, on):
    with attention_for(np.asarray(lengths)):
        assert is_on() == on


def test_who_asks_for_cudnn_alone_keeps_it():
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION), disable_cudnn_sdpa():
        assert is_on()
    assert is_on()


def watched(network) -> list[bool]:
    """Whether it is on, for every forward pass from now on."""
    seen: list[bool] = []
    network.register_forward_pre_hook(lambda *_: seen.append(is_on()))
    return seen


def test_predictions_leave_it_out():
    model = adapt(
        tiny("bert", AutoModelForSequenceClassification), "lora[r=2]", head=["classifier"]
    )
    rows = Dataset.from_dict(
        {"input_ids": [[1, 2, 3], [4, 5]], "attention_mask": [[1] * 3, [1] * 2], "length": [3, 2]}
    )
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
    host.hidden(
        {
            "input_ids": torch.tensor([[1, 2, 3]]),
            "attention_mask": torch.ones(1, 3, dtype=torch.long),
        }
    )
    assert seen == [False]
    assert is_on()


@pytest.mark.parametrize(("count", "on"), [(12, False), (4, True)])
def test_training_leaves_it_out_for_texts_of_many_lengths_only(tmp_path, count, on):
    model = adapt(
        tiny("bert", AutoModelForSequenceClassification), "lora[r=2]", head=["classifier"]
    )
    texts = [[2] * (3 + i) for i in range(count)]
    encoded = {
        "input_ids": texts,
        "attention_mask": [[1] * len(text) for text in texts],
        "labels": [i % 2 for i in range(count)],
    }
    rows = EncodedSplit(
        Table([{}] * count, "rows"),
        Dataset.from_dict(encoded | {"length": [len(text) for text in texts]}),
    )
    quiet = {"save_strategy": "no", "report_to": "none", "use_cpu": True, "disable_tqdm": True}
    args = TrainingArguments(str(tmp_path), max_steps=1, per_device_train_batch_size=4, **quiet)
    seen = watched(model.get_base_model())
    fit(
        model,
        Classify(labels=["no", "yes"]),
        rows,
        None,
        load_tokenizer("all-MiniLM-L6-v2"),
        args,
        TrainerOptions(cut_last_layer=False),
    )
    assert seen == [on]
    assert is_on()


def test_a_pipeline_leaves_it_out(tmp_path):
    model = adapt(load_base("all-MiniLM-L6-v2", task="classify", labels=["no", "yes"]), "ia3")
    save_adapter(model, tmp_path, card=TaskCard(task="classify", labels=["no", "yes"]))
    made = pipeline(tmp_path)
    seen = watched(made.model)
    assert made("well done")[0]["label"] in ("no", "yes")
    assert seen == [False]
    assert is_on()
