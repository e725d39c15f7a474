"""Forgetting: how much language a model has unlearned while it learned a task.

The language head of the base reads the backbone before training and after it; the loss is that of hidden tokens (encoders) or of
the next ones (decoders) of general text that neither has been trained on. The head stays as it was.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import peft

from adaptkit.aligned import aligned
from adaptkit.base import full_name, load_base, load_config, load_tokenizer
from adaptkit.cards import TaskCard, existing_card
from adaptkit.choices import within_positions
from adaptkit.errors import AdaptkitError
from adaptkit.fingerprints import fingerprint, same_base
from adaptkit.full import FULL
from adaptkit.predict import Predictor, predict
from adaptkit.readers import Reading, read
from adaptkit.sites import backbone_of
from adaptkit.tasks.pretrain import Pretrain, objective_of


def run(given: argparse.Namespace) -> None:
    """Measure and print a table."""
    for folder in given.folder:
        _base_of(folder, given.head)  # every folder is looked at before one is measured
    rows = [("folder", "trained", "loss before", "loss after", "rise")]
    for folder in given.folder:
        found = forgetting(folder, given.file, given.head, given.max_seq_length, given.batch_size, given.format, given.text_column)
        losses = (found["before"], found["after"], found["after"] - found["before"])
        rows.append((folder, found["method"], *(f"{loss:.4f}" for loss in losses)))
    print(aligned(rows))


def forgetting(
    folder: str | Path,
    file: str | Path,
    head: str | None = None,
    max_length: int = 128,
    batch_size: int = 16,
    format: str | None = None,
    text_column: str | None = None,
) -> dict[str, Any]:
    """The mean loss of a token of general text, in nats: `before` and `after` training, and the `method` that trained.

    Args:
        folder: an adapter, or a model whose own weights were trained.
        file: general text, in any format that recipes read; text_column: its column where there are several (default: text).
        head: a model over the same base with a language head (default: the base itself, where it has one).

    Raises:
        AdaptkitError: no language head, one over another base, or a method whose work is no part of the network.
    """
    base, card = _base_of(folder, head)
    config = load_config(base, None if head else card.revision)
    if config.is_encoder_decoder:
        raise AdaptkitError(f"{base} has an encoder and a decoder; forgetting is measured for one of them.")
    task = Pretrain(objective=objective_of(base, ""), columns={"text": text_column} if text_column else {})
    model = load_base(base, task=task.auto_class, revision=None if head else card.revision)
    if model.adaptkit_base.head:
        raise AdaptkitError(
            f"{base} has no language head. Fit one over it as it is: adaptkit train pretrain --model_name_or_path {base} "
            "--train head --train_file GENERAL.txt --output_dir runs/language, and give --head runs/language."
        )
    if card.fingerprint and not same_base(card.fingerprint, fingerprint(model)):
        raise AdaptkitError(
            f"{full_name(base)} is not the base that {folder} was trained from ({card.origin or card.base}): a language head has "
            "to lie over that base as it is (adaptkit train pretrain --train head)."
        )
    tokenizer = load_tokenizer(base)
    table = task.read(read(file, Reading(format, wanted=task.wanted())))
    encoded = task.encode(table, tokenizer, within_positions(max_length, config, tokenizer))

    def loss() -> float:
        return math.log(task.metrics(predict(model, task, encoded, tokenizer, batch_size), encoded, table)["perplexity"])

    before = loss()
    backbone, place = backbone_of(model)
    tuned, _ = backbone_of(_trained_network(folder))
    if type(tuned) is not type(backbone):
        raise AdaptkitError(f"{full_name(base)} has a {type(backbone).__name__}, {folder} a {type(tuned).__name__}.")
    model.set_submodule(place.rstrip("."), tuned)
    return {"before": before, "after": loss(), "method": card.method}


def _base_of(folder: str | Path, head: str | None) -> tuple[str, TaskCard]:
    """The model that reads before training, and the card of what was trained.

    Raises:
        AdaptkitError: nothing to measure in the folder, or a whole model that does not say what it was trained from.
    """
    card = existing_card(Path(folder))
    origin = card.origin if card.method == FULL else card.base
    if not (base := head or origin):
        raise AdaptkitError(f"{folder} does not say what it was trained from: give --head, that base with a language head.")
    return base, card


def _trained_network(folder: str | Path) -> Any:
    """The transformers model in a folder, with the adapter in it."""
    model = Predictor(folder).model
    if isinstance(model, peft.PeftModel):
        if model.active_peft_config.is_prompt_learning:
            kind = str(model.active_peft_config.peft_type).rpartition(".")[2]
            raise AdaptkitError(f"{folder}: {kind} puts its prompt before the text of one task and leaves the network as it is.")
        return model.get_base_model()
    return model
