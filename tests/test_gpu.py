"""What only a GPU does: steps recorded as CUDA graphs train what the same steps train without;
bases, hosts and files on a GPU.
"""

import dataclasses
import json

import pytest
import torch
from adaptkit.recipes import classify
from safetensors.torch import load_file
from transformers import TrainerCallback, TrainingArguments, set_seed

from adaptkit import (
    EncodedSplit,
    Host,
    Predictor,
    TaskCard,
    TrainerOptions,
    adapt,
    load_base,
    load_tokenizer,
    save_adapter,
)
from adaptkit.data.corpus import load_corpus
from adaptkit.data.tables import Table
from adaptkit.models.untrained.scratch import make_model
from adaptkit.tasks.classify import Classify
from adaptkit.training.defaults import DEFAULTS
from adaptkit.training.fit import make_trainer, run_trainer
from tests.host.build import auto_of, batch_for, host_for, seen, write_adapters
from tests.tiny import randomize, tiny

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="this machine has no CUDA GPU"
)

METHODS = (
    "lora[r=4,dropout=0.2]",
    "bottleneck",
    "prefix[length=4]",
    "ia3",
    "bias+miss[r=8]+vera[r=8]",
    "unipelt",
    "peft:LoHa[r=4]",
)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A BERT and a Llama of three layers."""
    root = tmp_path_factory.mktemp("bases")
    texts = [row["text"] for row in load_corpus("train")]
    for kind in ("bert", "llama"):
        make_model(kind, texts, root / kind, vocab_size=500, num_hidden_layers=3)
    return root


@dataclasses.dataclass(frozen=True)
class Asking(Classify):
    """A task whose loss reads a number on the CPU, which no graph can hold."""

    def loss(self, outputs, batch, labels, items, smoothing=0.0):
        assert (labels >= 0).all().item()
        return super().loss(outputs, batch, labels, items, smoothing)


class Freed(TrainerCallback):
    """What trains in the first of three layers is frozen until the third epoch."""

    def on_epoch_begin(self, args, state, control, model=None, **kwargs):
        for name, parameter in model.named_parameters():
            if "adaptkit_weights" in name and "layer.0." in name:
                parameter.requires_grad_(state.epoch >= 2)


def trained(base, folder, method, kind=Classify, graphs=True, callbacks=(), **settings):
    """The weights of an adapter after four epochs over 80 rows, and what `drive` says."""
    rows = [{"text": row["text"], "label": row["sentiment"]} for row in load_corpus("train")[:80]]
    labels = sorted({row["label"] for row in rows})
    task = kind(labels=labels)
    set_seed(1)
    model = adapt(load_base(str(base), task="classify", labels=len(labels)), method)
    randomize(model, seed=2, std=0.05)
    tokenizer = load_tokenizer(str(base))
    table = Table(rows, "rows")
    part = EncodedSplit(table, task.encode(table, tokenizer, 64))
    defaults = DEFAULTS | {
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "logging_steps": 1,
    }
    defaults |= {
        "per_device_train_batch_size": 8,
        "num_train_epochs": 4,
        "learning_rate": 3e-3,
        "disable_tqdm": True,
    }
    args = TrainingArguments(output_dir=str(folder), **(defaults | settings))
    trainer = make_trainer(
        model, task, part, part, tokenizer, args, TrainerOptions(cuda_graphs=graphs)
    )
    for callback in callbacks:
        trainer.add_callback(callback)
    found = run_trainer(trainer)
    return {
        name: p.detach().cpu() for name, p in model.named_parameters() if p.requires_grad
    }, found


def assert_same(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], **tolerance)


MORE = {
    "fp32": {},
    "accumulated": {"gradient_accumulation_steps": 2},
    "bf16": {"bf16": True},
    "evaluated": {"eval_strategy": "steps", "eval_steps": 7},
}


@pytest.mark.parametrize("settings", MORE.values(), ids=MORE)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_recorded_steps_train_the_same(bases, tmp_path, kind, method, settings):
    on, said = trained(bases / kind, tmp_path / "on", method, **settings)
    off, plain = trained(bases / kind, tmp_path / "off", method, graphs=False, **settings)
    assert said.metrics["cuda_graphs"] >= 1
    assert "cuda_graphs" not in plain.metrics
    close = {"rtol": 0.05, "atol": 5e-3} if "bf16" in settings else {"rtol": 1e-3, "atol": 1e-4}
    assert_same(on, off, **close)
    losses = [
        [entry["loss"] for entry in found.history if "loss" in entry] for found in (said, plain)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.02 if "bf16" in settings else 1e-3)


def test_what_is_freed_in_the_middle_trains_from_then_on(bases, tmp_path):
    on, said = trained(bases / "bert", tmp_path / "on", "lora[r=4]", callbacks=[Freed()])
    off, _ = trained(
        bases / "bert", tmp_path / "off", "lora[r=4]", graphs=False, callbacks=[Freed()]
    )
    assert said.metrics["cuda_graphs"] >= 1
    assert_same(on, off, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["lora[r=4]", "lora[r=4,dropout=0.2]"])
def test_what_cannot_be_recorded_is_said_and_trains_as_always(bases, tmp_path, capsys, method):
    on, said = trained(bases / "bert", tmp_path / "on", method, Asking)
    assert "cannot be recorded as CUDA graphs" in capsys.readouterr().out
    off, _ = trained(bases / "bert", tmp_path / "off", method, Asking, graphs=False)
    assert "cuda_graphs" not in said.metrics
    assert_same(on, off, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--class_weights"],
        ["--quantize", "nf4"],
        ["--quantize", "int8"],
        ["--train", "last[1]"],
    ],
)
def test_a_recipe_trains_saves_and_answers(bases, tmp_path, more):
    rows = load_corpus("train")[:120]
    (tmp_path / "rows.jsonl").write_text(
        "\n".join(json.dumps({"text": r["text"], "label": r["sentiment"]}) for r in rows)
    )
    words = [
        "--train_file",
        str(tmp_path / "rows.jsonl"),
        "--test_file",
        str(tmp_path / "rows.jsonl"),
        "--num_train_epochs",
        "3",
    ]
    words += [
        "--model_name_or_path",
        str(bases / "bert"),
        "--output_dir",
        str(tmp_path / "out"),
        "--disable_tqdm",
        "true",
    ]
    classify.main([*words, "--learning_rate", "3e-3", *more])
    results = json.loads((tmp_path / "out/all_results.json").read_text())
    assert 0 < results["test_accuracy"] <= 1
    predictor = Predictor(tmp_path / "out")
    answers = predictor([row["text"] for row in rows])
    said = sum(
        answer["label"] == row["sentiment"] for answer, row in zip(answers, rows, strict=True)
    ) / len(rows)
    assert said == pytest.approx(results["test_accuracy"], abs=0.03)


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
def test_a_host_gives_every_row_its_own_adapter(tmp_path, name):
    adapters = write_adapters(name, tmp_path)
    cpu = host_for(name, tmp_path, adapters)
    gpu = Host(
        tiny(name, auto_of(name)).cuda(), slots=len(adapters), slot_capacity=list(adapters.values())
    )
    for adapter in adapters:
        gpu.load(adapter, tmp_path / adapter)
    batch = batch_for(name, len(adapters))
    names = list(adapters)
    with torch.no_grad():
        expected = cpu.hidden(batch, names)
        found = gpu.hidden({key: value.cuda() for key, value in batch.items()}, names).cpu()
    torch.testing.assert_close(found[seen(batch)], expected[seen(batch)], rtol=1e-3, atol=1e-3)


def test_a_file_from_a_gpu_is_read_on_a_cpu(bases, tmp_path):
    model = adapt(load_base(str(bases / "bert"), task="classify", labels=2).cuda(), "lora[r=4]")
    randomize(model, seed=3, std=0.1)
    save_adapter(model, tmp_path / "a", card=TaskCard(task="classify", labels=["no", "yes"]))
    assert all(
        tensor.device.type == "cpu"
        for tensor in load_file(tmp_path / "a/adapter_model.safetensors").values()
    )
    assert Predictor(tmp_path / "a")(["well done"])[0]["label"] in ("no", "yes")
