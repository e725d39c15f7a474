"""Hyperparameter search with Optuna through Trainer: learning rate, batch size and LoRA rank."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from adaptkit.adapters.full import FULL
from adaptkit.errors import AdaptkitError
from adaptkit.methods.grammar import describe_method, parse_method
from adaptkit.methods.lora import LoRA
from adaptkit.models.backbone import bare_model
from adaptkit.recipe.load import load, new_model
from adaptkit.recipe.report import write_details
from adaptkit.recipe.steps import Encoded, Loaded, Prepared, Shared
from adaptkit.training.fit import check_best_metric, make_trainer, precision
from adaptkit.training.frozen_layers import FrozenLayers
from adaptkit.utils.atomic_files import staging
from adaptkit.utils.output_folder import place_for
from adaptkit.utils.processes import is_main, log_main

RANKS = (4, 8, 16, 32)


def search(encoded: Encoded) -> tuple[Encoded, Shared]:
    """Try `--search` settings, evaluated on the validation rows; `search.tsv` lists all of them.

    Returns:
        The same rows with the best settings, and what the next training can share.

    Raises:
        AdaptkitError: Optuna is not installed, or fewer than two trials are requested.
    """
    prepared = encoded.prepared
    arguments = prepared.arguments
    try:
        import optuna
    except ImportError:
        raise AdaptkitError("--search needs Optuna: pip install optuna") from None
    if arguments.search < 2:
        raise AdaptkitError("--search is 2 trials or more.")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    loaded = load(encoded)
    validation = encoded.splits["validation"]
    check_best_metric(loaded.model, prepared.task, validation, encoded.tokenizer, prepared.training)
    quiet = {"save_strategy": "no", "load_best_model_at_end": False}
    with staging(place_for(prepared.output_dir)) as folder:
        args = dataclasses.replace(prepared.training, output_dir=str(folder), **quiet)
        return _search(loaded, args)


def _search(loaded: Loaded, args: Any) -> tuple[Encoded, Shared]:
    """All trials, with a folder of their own in Trainer's arguments."""
    import optuna

    encoded, prepared = loaded.encoded, loaded.prepared
    arguments, validation = prepared.arguments, encoded.splits["validation"]
    trials: list[Any] = []

    def model_init(trial: Any = None) -> Any:
        if trial is None:
            return new_model(encoded, str(arguments.method), loaded.shared.attention)[0]
        trials.append(trial)
        _space(
            prepared,
            trial,
            # Trainer makes the model before it asks for the settings; asked twice, a trial repeats
            # itself
        )
        method = _with_rank(str(arguments.method), trial.params.get("rank"))
        model = precision(args, loaded.options()).set(
            new_model(encoded, method, loaded.shared.attention)[0]
        )
        if loaded.shared.cache is not None:
            FrozenLayers(
                bare_model(model), loaded.shared.cache
            ).place()  # permanently: the model ends with its trial
        return model

    train = encoded.splits["train"]
    trainer = make_trainer(
        None,
        prepared.task,
        train,
        validation,
        encoded.tokenizer,
        args,
        loaded.options(),
        model_init,
    )
    metric = str(args.metric_for_best_model).removeprefix("eval_")
    best = trainer.hyperparameter_search(
        hp_space=lambda trial: _space(prepared, trial),
        compute_objective=lambda metrics: metrics[f"eval_{metric}"],
        n_trials=arguments.search,
        direction="maximize" if args.greater_is_better else "minimize",
        backend="optuna",
        sampler=optuna.samplers.TPESampler(seed=prepared.training.seed),
    )
    # only the main process knows
    shared = [(best.hyperparameters, best.objective) if best else None]
    if prepared.training.world_size > 1:
        torch.distributed.broadcast_object_list(shared, src=0)
    assert shared[0] is not None
    chosen, score = dict(shared[0][0]), shared[0][1]
    log_main(f"best of {arguments.search}: {chosen}, validation {metric} {score:.4f}")
    if is_main():
        _write_trials(prepared, trials, metric)
    return _with_settings(encoded, chosen), loaded.shared


def _with_settings(encoded: Encoded, chosen: dict[str, Any]) -> Encoded:
    """The same rows, to be trained on with the chosen settings."""
    prepared = encoded.prepared
    method = _with_rank(str(prepared.arguments.method), chosen.pop("rank", None))
    arguments = dataclasses.replace(prepared.arguments, method=method)
    training = dataclasses.replace(prepared.training, **chosen)
    prepared = dataclasses.replace(prepared, arguments=arguments, training=training)
    return dataclasses.replace(encoded, prepared=prepared)


def _write_trials(prepared: Prepared, trials: list[Any], metric: str) -> None:
    """Write `search.tsv`: every trial with its settings and its score."""
    ended = [trial for trial in trials[0].study.trials if trial.value is not None]
    rows = [{"trial": trial.number, metric: float(trial.value), **trial.params} for trial in ended]
    prepared.output_dir.mkdir(parents=True, exist_ok=True)
    write_details(prepared.output_dir / "search.tsv", rows)


def _space(prepared: Prepared, trial: Any) -> dict[str, Any]:
    """The settings of one trial, around the recipe's defaults."""
    training, method = prepared.training, str(prepared.arguments.method)
    rate, batch = training.learning_rate, training.per_device_train_batch_size
    batches = sorted({max(4, batch // 2), batch, batch * 2})
    space = {
        "learning_rate": trial.suggest_float("learning_rate", rate / 4, rate * 4, log=True),
        "per_device_train_batch_size": trial.suggest_categorical(
            "per_device_train_batch_size", batches
        ),
    }
    if not prepared.arguments.warm_start and _with_rank(method, 1) != _with_rank(method, 2):
        trial.suggest_categorical("rank", RANKS)  # for the model; Trainer has no such setting
    return space


def _with_rank(method: str, rank: int | None) -> str:
    """A method with another rank in each of its LoRAs.

    They keep their scale alpha / r, or with rslora alpha itself.
    """
    if rank is None or method == FULL or method.startswith("peft:"):
        return method
    union = parse_method(method)
    return describe_method(
        tuple(_ranked(one, rank) if isinstance(one, LoRA) else one for one in union)
    )


def _ranked(lora: LoRA, rank: int) -> LoRA:
    if lora.alpha is None or lora.rslora:
        return dataclasses.replace(lora, r=rank)
    return dataclasses.replace(lora, r=rank, alpha=lora.alpha * rank / lora.r)
