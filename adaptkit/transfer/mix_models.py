"""`adaptkit mix`: write a mixed network that is a new base, or answers if fine-tuned models mix."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

from adaptkit.adapters.card import CARD, CONFIG, TaskCard, read_card, task_of
from adaptkit.adapters.full import FULL
from adaptkit.errors import AdaptkitError
from adaptkit.models.load import load_base
from adaptkit.models.names import load_config
from adaptkit.models.tokenizer import load_tokenizer
from adaptkit.models.untrained.shallow import fresh
from adaptkit.transfer.mix import mix
from adaptkit.utils.atomic_files import exists_in, new_version, staging
from adaptkit.utils.json_files import write_json
from adaptkit.utils.output_folder import check_empty, place_for
from adaptkit.utils.overrides import overrides
from adaptkit.utils.terminal import say
from adaptkit.utils.writing import writing


def mix_models(given: argparse.Namespace) -> None:
    """Mix, and with several betas keep the one that is best on the validation rows.

    Raises:
        AdaptkitError: for any error that the user can correct.
    """
    check_empty(given.output_dir)
    if bool(given.target) == bool(given.num_hidden_layers):
        raise AdaptkitError(
            "one target is wanted: --target MODEL, or --num_hidden_layers N for a network from "
            "random weights."
        )
    if given.config_overrides and given.target:
        raise AdaptkitError(
            "--config_overrides are for a new network, of --num_hidden_layers N; --target is as "
            "it is."
        )
    card = full_card(given.target) if given.target else None
    if (len(given.beta) > 1 or given.validation_file) and card is None:
        raise AdaptkitError(
            "several --beta are judged by --validation_file, which only models of --method full "
            "can answer. Mix once for each "
            "and train each with a recipe."
        )
    if len(given.beta) > 1 and not given.validation_file:
        raise AdaptkitError("several --beta want a --validation_file to be judged by.")
    with staging(place_for(given.output_dir)) as work:
        scores = {}
        for beta in given.beta:
            folder = work / f"{beta}"
            say(f"beta {beta}: {_mixed(given, card, beta, folder)}")
            if given.validation_file:
                scores[beta], name = _score(folder, given.validation_file)
                say(f"beta {beta}: {name} {scores[beta]:.4f}")
        beta = max(given.beta, key=lambda one: scores.get(one, 0.0))
        with new_version(given.output_dir) as staged:
            for part in (work / f"{beta}").iterdir():
                os.rename(part, staged / part.name)
    say(f"beta {beta} is in {given.output_dir}")


def full_card(model: str) -> TaskCard | None:
    """The card of a fully fine-tuned model; None for a base.

    Raises:
        AdaptkitError: it is an adapter, whose weights are not those of a network.
    """
    folder = Path(model)
    card = read_card(folder) if folder.is_dir() else None
    if exists_in(folder, CONFIG):
        raise AdaptkitError(
            f"{model} is an adapter; networks are mixed: a base, or a model tuned with --method "
            "full."
        )
    return card if card is not None and card.method == FULL else None


def writer_of(names: list[str]) -> str | None:
    """The Auto class of generating models if all of these share one, with its head; else None."""
    kinds = {(config.model_type, _writer(config)) for config in map(load_config, names)}
    return kinds.pop()[1] if len(kinds) == 1 else None


def _writer(config: Any) -> str | None:
    """The Auto class that a checkpoint was saved from, if it is one of generating models."""
    import transformers

    mappings: dict[str, Any] = {
        "AutoModelForSeq2SeqLM": transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
        "AutoModelForCausalLM": transformers.MODEL_FOR_CAUSAL_LM_MAPPING,
    }
    kind, saved = type(config), config.architectures or ()
    return next(
        (
            auto
            for auto, mapping in mappings.items()
            if kind in mapping and mapping[kind].__name__ in saved
        ),
        None,
    )


def _load(name: str, card: TaskCard | None, head: str | None) -> Any:
    """The network in fp32, with its head if the target is fully fine-tuned or all generate."""
    more: dict[str, Any] = {"task": head}
    if card:
        task = task_of(card).auto_class if card.task else card.model_class
        more = {"task": task, "labels": card.labels or None}
    return load_base(name, dtype="float32", base_dropout=True, **more)


def _new(source: Any, given: argparse.Namespace, head: str | None) -> Any:
    """A randomly initialized network of the source's kind."""
    return fresh(
        source,
        given.num_hidden_layers,
        given.layers,
        given.seed,
        head,
        overrides(given.config_overrides),
    )


def _mixed(given: argparse.Namespace, card: TaskCard | None, beta: float, folder: Path) -> Any:
    head = None if card else writer_of([*given.source, *([given.target] if given.target else [])])
    sources = []
    for name in given.source:
        other = full_card(name)
        if (
            card
            and other
            and (other.task, other.model_class, other.labels)
            != (card.task, card.model_class, card.labels)
        ):
            theirs, ours = (
                f"{one.task}, {one.model_class}, {', '.join(one.labels[:10])}"
                for one in (other, card)
            )
            raise AdaptkitError(f"{name} does not answer as {given.target} does: {theirs}; {ours}.")
        sources.append(_load(name, card if other else None, head))
    target = _load(given.target, card, head) if given.target else _new(sources[0], given, head)
    mixed = mix(target, sources, beta, given.layers, given.leave_unmapped)
    tokenizer = load_tokenizer(given.target or given.source[0])
    with writing(folder):
        target.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    if card:
        write_json(
            folder / CARD, dataclasses.asdict(dataclasses.replace(card, base=".", metrics={}))
        )
    return mixed


def _score(folder: Path, file: str) -> tuple[float, str]:
    """The task's best metric on a file, higher is better, and its name."""
    from adaptkit.data.readers.options import Reading
    from adaptkit.data.readers.read import read
    from adaptkit.inference.predictor import Predictor

    predictor = Predictor(folder)
    task = predictor.task
    value = predictor.evaluate(read(file, Reading(wanted=task.wanted())))[task.best_metric]
    return (-value if task.lower_is_better else value), task.best_metric
