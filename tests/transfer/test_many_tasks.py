"""Many tasks over shared tensors: whose steps they are, what a loss weighs, what is not shared."""

import math

import pytest
import torch

from adaptkit import AdaptkitError, adapt, load_base
from adaptkit.data.tables import Table
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
from tests.helpers.many_tasks import BASE, METHOD, rows
from tests.tiny import randomize


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


def test_adapters_of_two_methods_are_not_shared():
    tokenizer_free = [
        adapt(load_base(BASE, task="classify", labels=2), method)
        for method in (METHOD, "lora[r=4,sites=attn.q]")
    ]
    with pytest.raises(AdaptkitError, match="one method"):
        share_tensors(tokenizer_free)
