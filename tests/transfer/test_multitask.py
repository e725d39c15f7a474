"""Many tasks at once: what is shared, whose steps they are, what a loss weighs, resuming, two
processes, and what is refused.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from adaptkit.recipes import multitask
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from adaptkit import AdaptkitError, Predictor, adapt, load_base
from adaptkit.data.samplers import TaskBuckets
from adaptkit.data.tables import Table
from adaptkit.host.answers import Entities
from adaptkit.host.api import Host
from adaptkit.models.backbone import bare_model
from adaptkit.models.tokenizer import load_tokenizer
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.tag import Tag
from adaptkit.training.fit import make_trainer
from adaptkit.training.options import EncodedSplit, TrainerOptions
from adaptkit.transfer.many_tasks import (
    Job,
    ManyTasks,
    ManyTasksTrainer,
    own_history,
    share_tensors,
)
from tests.test_recipe import without_dropout
from tests.tiny import randomize

ROOT = Path(__file__).parents[2]
BASE = "all-MiniLM-L6-v2"
METHOD = "lora[r=2,sites=attn.q]"
MOODS = ("a warm kind day", "a cold rude day")


def rows(count, names=("bad", "good")):
    return [{"text": f"{MOODS[i % 2]} {i}", "label": names[i % 2]} for i in range(count)]


@pytest.fixture
def tasks(tmp_path):
    """A file of two tasks, of one model kind, and one of another."""
    for name, found in (("mood", rows(24)), ("more", rows(12, ("no", "yes")))):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    words = "\n".join(f"Ada B-PER\nin O\nRome B-LOC\n{word} O\n" for word in "abcdefghijkl")
    (tmp_path / "names.txt").write_text(words)
    content = {
        "mood": {"recipe": "classify", "train_file": str(tmp_path / "mood.jsonl")},
        "more": {"recipe": "classify", "train_file": str(tmp_path / "more.jsonl")},
        "names": {"recipe": "tag", "train_file": str(tmp_path / "names.txt")},
    }
    file = tmp_path / "tasks.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


FEW = [
    "--method",
    METHOD,
    "--per_device_train_batch_size",
    "4",
    "--num_train_epochs",
    "2",
    "--bf16",
    "false",
]
FEW += ["--disable_tqdm", "true", "--attn_implementation", "sdpa", "--learning_rate", "5e-3"]


def run(file, out, *more):
    multitask.main(["--tasks", str(file), "--output_dir", str(out), *FEW, *more])
    return {
        name: load_file(out / name / "adapter_model.safetensors")
        for name in ("mood", "more", "names")
    }


def split(tensors):
    """The tensors of the adapter and those of the head."""
    adapter = {key: value for key, value in tensors.items() if "lora_" in key}
    return adapter, {key: value for key, value in tensors.items() if key not in adapter}


def test_one_adapter_answers_for_all_tasks_and_each_folder_is_whole(tmp_path, tasks, capsys):
    saved = run(tasks, tmp_path / "out")
    adapters = {name: split(tensors)[0] for name, tensors in saved.items()}
    assert adapters["mood"].keys() == adapters["more"].keys() == adapters["names"].keys()
    for key, tensor in adapters["mood"].items():
        assert torch.equal(tensor, adapters["more"][key])
        assert torch.equal(tensor, adapters["names"][key])
    heads = [split(tensors)[1] for tensors in saved.values()]
    assert not any(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])
    card = (tmp_path / "out/README.md").read_text()
    assert all(f"|{name}|" in card for name in saved)
    results = json.loads((tmp_path / "out/all_results.json").read_text())
    assert (
        results["mood_eval_accuracy"]
        == json.loads((tmp_path / "out/mood/all_results.json").read_text())["eval_accuracy"]
    )
    with Host.from_store(tmp_path / "out", base=BASE, slots=3) as host:
        together = host([MOODS[0], "Ada in Rome"], ["mood", "names"])
    alone = Predictor(tmp_path / "out/mood").answer(Table([{"text": MOODS[0]}], "here"))
    assert together[0].label == alone[0]["label"]
    assert isinstance(together[1], Entities)
    assert "steps in an epoch" in capsys.readouterr().out


def test_a_task_without_validation_rows_trains_all_of_them_and_the_others_are_judged(
    tmp_path, tasks
):
    content = yaml.safe_load(tasks.read_text())
    content["mood"]["validation_split_percentage"] = 0  # the largest
    tasks.write_text(yaml.safe_dump(content))
    run(tasks, tmp_path / "out", "--logging_steps", "1")
    found = json.loads((tmp_path / "out/all_results.json").read_text())
    assert found["mood_train_samples"] == 24
    assert {"more_eval_accuracy", "names_eval_f1"} <= found.keys()
    assert "mood_eval_accuracy" not in found
    state = next((tmp_path / "out").glob("checkpoint-*/trainer_state.json"))
    judged = {
        key
        for entry in json.loads(state.read_text())["log_history"]
        for key in entry
        if key.endswith(("_accuracy", "_f1"))
    }
    assert "eval_more_accuracy" in judged
    assert not any(key.startswith("eval_mood") for key in judged)


def test_with_the_base_alone_in_common_each_task_has_its_adapter(tmp_path, tasks):
    saved = run(tasks, tmp_path / "out", "--share", "base")
    first, second = (split(saved[name])[0] for name in ("mood", "more"))
    assert not any(torch.equal(first[key], second[key]) for key in first)


def models():
    """A classifier and a tagger with fresh adapters, tasks and parts."""
    tokenizer = load_tokenizer(BASE)
    table = Table(rows(8), "here")
    classify = Classify(labels=["bad", "good"])
    tokens = Table(
        [{"tokens": ["Ada", "in", "Rome"], "tags": ["B-PER", "O", "B-LOC"]} for _ in range(8)],
        "there",
    )
    tag = Tag()
    tokens = tag.read(tokens)
    tag = tag.fit_labels(tokens)
    found = []
    for index, (task, rows_) in enumerate(((classify, table), (tag, tokens))):
        base = load_base(BASE, task=task.name, labels=task.labels, attn_implementation="sdpa")
        model = adapt(base, METHOD)
        randomize(model, seed=index)
        part = EncodedSplit(rows_, task.encode(rows_, tokenizer, 32))
        found.append((task.name, model, task, part, part, tokenizer))
    return found


def test_sharing_makes_tensors_one_and_leaves_heads_and_answers_alone():
    (_, first, *_), (_, second, *_) = models()
    batch = {
        "input_ids": torch.arange(5, 9)[None],
        "attention_mask": torch.ones(1, 4, dtype=torch.long),
    }
    before = first(**batch).logits
    share_tensors([first, second])
    assert torch.equal(first(**batch).logits, before)
    one, other = bare_model(first).bert, bare_model(second).bert
    ours, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    assert all(ours[name] is parameter for name, parameter in theirs.items())
    both = ManyTasks([first, second], ["mood", "names"])
    shared = sum(p.numel() for p in both.shared())
    own = [
        sum(p.numel() for p in model.parameters() if p.requires_grad) for model in (first, second)
    ]
    assert shared == 6 * (2 * 384 + 384 * 2)
    assert sum(p.numel() for p in both.parameters() if p.requires_grad) == sum(own) - shared


def test_a_step_is_that_of_the_task_alone(tmp_path):
    from transformers import TrainingArguments

    def args(name):
        return TrainingArguments(
            str(tmp_path / name), use_cpu=True, report_to="none", per_device_train_batch_size=8
        )

    options = TrainerOptions(half_base=False, cut_last_layer=False)
    gradients = []
    for _, model, task, train, validation, tokenizer in models():
        trainer = make_trainer(model, task, train, validation, tokenizer, args("alone"), options)
        batch = trainer.data_collator([train.encoded[i] for i in range(8)])
        loss = trainer.compute_loss(
            model, batch, num_items_in_batch=(batch["labels"] != -100).sum()
        )
        loss.backward()
        gradients.append(
            (loss, {name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        )
    jobs = [Job(*one) for one in models()]
    both = ManyTasksTrainer(jobs, args("both"), options)
    for index, (job, (loss, alone)) in enumerate(zip(jobs, gradients, strict=True)):
        rows_ = [job.train.encoded[i] | {"_job": index} for i in range(8)]
        batch = both.data_collator(rows_)
        found = both.compute_loss(
            both.model, batch, num_items_in_batch=(batch["labels"] != -100).sum()
        )
        found.backward()
        assert torch.equal(found, loss)
        for name, p in job.model.named_parameters():
            assert p.grad is None if name not in alone else torch.equal(p.grad, alone[name]), name


def test_weights_are_those_of_the_formulas(tmp_path):
    from transformers import TrainingArguments

    args = TrainingArguments(
        str(tmp_path), use_cpu=True, report_to="none", per_device_train_batch_size=8
    )
    jobs = [Job(*one) for one in models()]
    share_tensors([job.model for job in jobs])
    plain = ManyTasksTrainer(jobs, args, TrainerOptions(cut_last_layer=False))
    batch = plain.data_collator([jobs[1].train.encoded[i] | {"_job": 1} for i in range(4)])
    loss = float(plain.compute_loss(plain.model, batch).detach())
    jobs[1].weight = 0.25
    assert float(plain.compute_loss(plain.model, batch).detach()) == pytest.approx(
        0.25 * loss, rel=1e-6
    )
    jobs[1].weight = 1.0
    learned = ManyTasksTrainer(
        jobs, args, TrainerOptions(cut_last_layer=False), weighting="uncertainty"
    )
    learned.model.log_variances.data[1] = 0.7
    found = learned.compute_loss(learned.model, batch)
    assert float(found.detach()) == pytest.approx(math.exp(-0.7) * loss + 0.35, rel=1e-6)
    found.backward()
    assert float(learned.model.log_variances.grad[1]) == pytest.approx(
        -math.exp(-0.7) * loss + 0.5, rel=1e-5
    )
    balanced = ManyTasksTrainer(
        jobs, args, TrainerOptions(cut_last_layer=False), weighting="balanced"
    )
    assert balanced._balance(1) == 1
    balanced.model.lengths.copy_(torch.tensor([3.0, 1.0]))
    assert float(balanced.compute_loss(balanced.model, batch).detach()) == pytest.approx(
        2 * loss, rel=1e-6
    )


def test_balanced_weights_follow_the_gradients(tmp_path, tasks):
    run(tasks, tmp_path / "out", "--task_weighting", "balanced")
    checkpoint = next((tmp_path / "out").glob("checkpoint-*"))
    lengths = load_file(checkpoint / "model.safetensors")["lengths"]
    assert (lengths > 0).all()
    assert len(set(lengths.tolist())) == 3


def test_going_on_ends_where_one_run_ends(tmp_path, tasks):
    whole = run(
        tasks, tmp_path / "whole", "--task_weighting", "uncertainty", "--save_total_limit", "5"
    )
    steps = sorted(
        int(path.name.rpartition("-")[2]) for path in (tmp_path / "whole").glob("checkpoint-*")
    )
    assert len(steps) == 2
    start = tmp_path / f"whole/checkpoint-{steps[0]}"
    again = run(
        tasks,
        tmp_path / "again",
        "--task_weighting",
        "uncertainty",
        "--resume_from_checkpoint",
        str(start),
    )
    for name, tensors in whole.items():
        assert all(torch.equal(tensor, again[name][key]) for key, tensor in tensors.items()), name


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 70), min_size=2, max_size=4),
    st.integers(1, 9),
    st.integers(0, 99),
    st.floats(1, 8),
)
def test_each_step_is_of_one_task_and_by_size_every_row_comes(sizes, step, seed, temperature):
    generator = np.random.default_rng(seed)
    lengths = [generator.integers(1, 40, size).tolist() for size in sizes]
    for heat in (1.0, temperature):
        order = TaskBuckets(lengths, step, seed, heat)
        order.set_epoch(3)
        rows_ = list(order)
        assert rows_ == list(order)
        assert len(rows_) == len(order)
        owner = np.searchsorted(order.starts, rows_, "right") - 1
        groups = owner.reshape(-1, step)
        assert (groups == groups[:, :1]).all()
        shares = (np.asarray(sizes) / max(sizes)) ** (1 / heat)
        total = sum(-(-size // step) for size in sizes)
        assert (
            np.bincount(groups[:, 0], minlength=len(sizes)).tolist()
            == np.maximum(1, np.rint(total * shares / shares.sum())).astype(int).tolist()
        )
    whole = [-(-size // step) * step for size in sizes]
    if all(size == full for size, full in zip(sizes, whole, strict=True)):
        assert sorted(TaskBuckets(lengths, step, seed)) == list(range(sum(sizes)))


def test_the_log_of_one_task_has_its_own_names():
    history = [
        {"loss": 2.0, "epoch": 0.5},
        {"eval_a_f1": 0.3, "eval_b_f1": 0.4, "eval_score": 0.35, "epoch": 1.0},
        {"total": 1},
    ]
    assert own_history(history, "b") == [
        {"loss": 2.0, "epoch": 0.5},
        {"epoch": 1.0, "eval_f1": 0.4},
    ]


def test_two_processes_train_what_one_trains(tmp_path, tasks):
    base = ["--model_name_or_path", str(without_dropout(tmp_path / "base"))]
    base += [
        "--adam_epsilon",
        "1e-5",
    ]  # where a gradient is next to nothing, its rounding is no reason for a whole step
    one = run(tasks, tmp_path / "one", *base)
    flags = [
        "--tasks",
        str(tasks),
        "--output_dir",
        str(tmp_path / "two"),
        *FEW,
        *base,
        "--per_device_train_batch_size",
        "2",
    ]
    (tmp_path / "jobs.json").write_text(json.dumps([["multitask", flags]]))
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--num_processes",
        "2",
        "--cpu",
        "--num_machines",
        "1",
    ]
    command += [
        "--dynamo_backend",
        "no",
        "--mixed_precision",
        "no",
        str(ROOT / "tests/launched.py"),
        str(tmp_path / "jobs.json"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-6000:]
    for name, tensors in one.items():
        two = load_file(tmp_path / f"two/{name}/adapter_model.safetensors")
        for key, tensor in tensors.items():
            assert torch.allclose(two[key], tensor, atol=2e-5), (
                name,
                key,
                (two[key] - tensor).abs().max(),
            )


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        ({"a": {"recipe": "classify"}}, [], "two tasks or more"),
        ({"a": {"recipe": "clasify"}, "b": {"recipe": "tag"}}, [], "classify"),
        ({"a/b": {"recipe": "classify"}, "b": {"recipe": "tag"}}, [], "letters, digits"),
        ({"a": {"recipe": "classify", "task_weight": 0}, "b": {"recipe": "tag"}}, [], "above 0"),
        (
            {"a": {"recipe": "classify", "lable_column": "x"}, "b": {"recipe": "tag"}},
            [],
            "did you mean 'label_column'",
        ),
        (
            {"a": {"recipe": "classify"}, "b": {"recipe": "tag"}},
            ["--folds", "3"],
            "not support --folds",
        ),
        (
            {"a": {"recipe": "classify"}, "b": {"recipe": "tag"}},
            ["--train", "full"],
            "share adapters",
        ),
        ({"a": {"recipe": "classify"}, "b": {"recipe": "tag"}}, ["--share", "all"], "--share"),
        (
            {"a": {"recipe": "classify"}, "b": {"recipe": "tag"}},
            ["--task_weighting", "balance"],
            "balanced",
        ),
        (
            {"a": {"recipe": "classify"}, "b": {"recipe": "tag"}},
            ["--sampling_temperature", "0"],
            "more than 0",
        ),
    ],
)
def test_what_cannot_be_learned_together_is_refused(tmp_path, content, flags, message):
    file = tmp_path / "tasks.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(AdaptkitError, match=message):
        multitask.main(["--tasks", str(file), "--output_dir", str(tmp_path / "out"), *flags])


def test_tasks_without_a_shared_adapter_cannot_be_balanced(tmp_path, tasks):
    with pytest.raises(AdaptkitError, match="its own"):
        run(tasks, tmp_path / "out", "--share", "base", "--task_weighting", "balanced")


def test_adapters_of_two_methods_are_not_shared():
    tokenizer_free = [
        adapt(load_base(BASE, task="classify", labels=2), method)
        for method in (METHOD, "lora[r=4,sites=attn.q]")
    ]
    with pytest.raises(AdaptkitError, match="one method"):
        share_tensors(tokenizer_free)
