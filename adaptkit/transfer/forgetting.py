"""Forgetting: how much language a model has unlearned while it learned a task.

The language head of the base reads the backbone before training and after it; the loss is that of hidden tokens (encoders) or of
the next ones (decoders) of general text that neither has been trained on. The head stays as it was.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from adaptkit.aligned import aligned
from adaptkit.base import full_name, load_base, load_tokenizer
from adaptkit.errors import AdaptkitError
from adaptkit.predict import Predictor, predict
from adaptkit.readers import Reading, read
from adaptkit.sites import backbone_of
from adaptkit.tasks.pretrain import Pretrain, objective_of
from adaptkit.training import bare_model


def run(given: argparse.Namespace) -> None:
    """Measure and print a table."""
    rows = [("folder", "trained", "loss before", "loss after", "rise")]
    for folder in given.folder:
        found = forgetting(folder, given.file, given.head, given.max_seq_length, given.batch_size)
        losses = (found["before"], found["after"], found["after"] - found["before"])
        rows.append((folder, found["method"], *(f"{loss:.4f}" for loss in losses)))
    print(aligned(rows))


def forgetting(
    folder: str | Path, file: str | Path, head: str | None = None, max_length: int = 128, batch_size: int = 16
) -> dict[str, Any]:
    """The mean loss of a token of general text, in nats: `before` and `after` training, and the `method` that trained.

    Args:
        folder: an adapter, or a model whose own weights were trained.
        file: general text, in any format that recipes read.
        head: a model of the same base with a language head (default: the base itself, where it has one).

    Raises:
        AdaptkitError: no language head, or one for another architecture.
    """
    predictor = Predictor(folder)
    base = head or str(predictor.card.base)
    task = Pretrain(objective=objective_of(base, ""))
    model = load_base(base, task=task.auto_class)
    if model.adaptkit_base.head:
        raise AdaptkitError(
            f"{base} has no language head. Fit one over it as it is: adaptkit train pretrain --model_name_or_path {base} "
            "--train head --train_file GENERAL.txt --output_dir runs/language, and give --head runs/language."
        )
    tokenizer = load_tokenizer(base)
    encoded = task.encode(table := task.read(read(file, Reading(wanted=("text",)))), tokenizer, max_length)

    def loss() -> float:
        return math.log(task.metrics(predict(model, task, encoded, tokenizer, batch_size), encoded, table)["perplexity"])

    before = loss()
    backbone, place = backbone_of(model)
    tuned, _ = backbone_of(bare_model(predictor.model))
    if type(tuned) is not type(backbone) or tuned.config.hidden_size != backbone.config.hidden_size:
        raise AdaptkitError(f"{full_name(base)} has a {type(backbone).__name__}, {folder} another network.")
    model.set_submodule(place.rstrip("."), tuned)
    return {"before": before, "after": loss(), "method": predictor.card.method}
