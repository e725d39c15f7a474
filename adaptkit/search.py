"""Searching for good settings: Optuna through Trainer, over learning rate, batch size and the rank where the method has one."""

from __future__ import annotations

import dataclasses
import shutil
from typing import Any

import torch

from adaptkit import report
from adaptkit.errors import AdaptkitError
from adaptkit.full import FULL
from adaptkit.launch import IS_MAIN, say
from adaptkit.methods import describe, parse
from adaptkit.methods.lora import LoRA
from adaptkit.run import Run, load, new_model
from adaptkit.trainer import bare_model
from adaptkit.training import check_best_metric, make_trainer, precision
from adaptkit.trunk import Trunk

RANKS = (4, 8, 16, 32)


def search(run: Run) -> None:
    """Try `--search` settings, judged on the validation rows; leave the best in `run` and all of them in `search.tsv`.

    Raises:
        AdaptkitError: Optuna is not installed, or fewer than two trials are asked for.
    """
    try:
        import optuna
    except ImportError:
        raise AdaptkitError("--search needs Optuna: pip install optuna") from None
    if run.arguments.search < 2:
        raise AdaptkitError("--search is 2 trials or more.")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    load(run)
    check_best_metric(run.model, run.task, run.parts["validation"], run.tokenizer, run.training)
    task, folder = run.task, run.output_dir / "search"
    args = dataclasses.replace(run.training, output_dir=str(folder), save_strategy="no", load_best_model_at_end=False)
    asked: list[Any] = []

    def model_init(trial: Any = None) -> Any:
        if trial is None:
            return new_model(run, run.arguments.method)
        asked.append(trial)
        _space(run, trial)  # Trainer makes the model before it asks for the settings; asked twice, a trial says the same
        model = precision(args, run.extras()).set(new_model(run, _with_rank(run.arguments.method, trial.params.get("rank"))))
        if run.kept is not None:
            Trunk(bare_model(model), run.kept).place()  # for good: the model ends with its trial
        return model

    trainer = make_trainer(None, task, run.parts["train"], run.parts["validation"], run.tokenizer, args, run.extras(), model_init)
    metric = args.metric_for_best_model.removeprefix("eval_")
    best = trainer.hyperparameter_search(
        hp_space=lambda trial: _space(run, trial),
        compute_objective=lambda metrics: metrics[f"eval_{metric}"],
        n_trials=run.arguments.search,
        direction="maximize" if args.greater_is_better else "minimize",
        backend="optuna",
        sampler=optuna.samplers.TPESampler(seed=run.training.seed),
    )
    shared = [(best.hyperparameters, best.objective) if best else None]  # the main process alone knows
    if run.training.world_size > 1:
        torch.distributed.broadcast_object_list(shared, src=0)
    chosen, score = dict(shared[0][0]), shared[0][1]
    say(f"best of {run.arguments.search}: {chosen}, validation {metric} {score:.4f}")
    if IS_MAIN:
        shutil.rmtree(folder, ignore_errors=True)
        _write_trials(run, asked, metric)
    run.arguments.method = _with_rank(run.arguments.method, chosen.pop("rank", None))
    run.training = dataclasses.replace(run.training, **chosen)


def _write_trials(run: Run, asked: list[Any], metric: str) -> None:
    """`search.tsv`: every trial, its settings and its score."""
    trials = [trial for trial in asked[0].study.trials if trial.value is not None]
    rows = [{"trial": trial.number, metric: float(trial.value), **trial.params} for trial in trials]
    run.output_dir.mkdir(parents=True, exist_ok=True)
    report.write_details(run.output_dir / "search.tsv", rows)


def _space(run: Run, trial: Any) -> dict[str, Any]:
    rate, batch = run.training.learning_rate, run.training.per_device_train_batch_size
    space = {
        "learning_rate": trial.suggest_float("learning_rate", rate / 4, rate * 4, log=True),
        "per_device_train_batch_size": trial.suggest_categorical(
            "per_device_train_batch_size", sorted({max(4, batch // 2), batch, batch * 2})
        ),
    }
    if not run.arguments.warm_start and _with_rank(run.arguments.method, 1) != _with_rank(run.arguments.method, 2):
        trial.suggest_categorical("rank", RANKS)  # for the model; Trainer has no such setting
    return space


def _with_rank(method: str, rank: int | None) -> str:
    """A method with another rank in each of its LoRAs, which keep their scale alpha / r, or with rslora alpha itself."""
    if rank is None or method == FULL or method.startswith("peft:"):
        return method
    union = parse(method)
    return describe(tuple(_ranked(one, rank) if isinstance(one, LoRA) else one for one in union))


def _ranked(lora: LoRA, rank: int) -> LoRA:
    given = lora.alpha is not None and not lora.rslora
    return dataclasses.replace(lora, r=rank, alpha=lora.alpha * rank / lora.r if given else lora.alpha)
