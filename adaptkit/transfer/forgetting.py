"""Forgetting: how much language a model has lost while learning a task.

The base's language head reads the backbone before and after training. The loss is that of masked
tokens (encoders) or next tokens (decoders) of general text on which neither was trained. The head
stays unchanged.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import peft

from adaptkit.adapters.card import TaskCard, existing_card
from adaptkit.adapters.full import FULL
from adaptkit.data.readers.options import Reading
from adaptkit.data.readers.read import read
from adaptkit.errors import AdaptkitError
from adaptkit.inference.predict import predict
from adaptkit.inference.predictor import Predictor
from adaptkit.models.backbone import backbone_of
from adaptkit.models.fingerprint import fingerprint, same_base
from adaptkit.models.load import load_base
from adaptkit.models.names import full_name, load_config
from adaptkit.models.objective import language_objective
from adaptkit.models.tokenizer import load_tokenizer, longest_input
from adaptkit.tasks.pretrain import Pretrain


def forgetting(
    folder: str | Path,
    file: str | Path,
    head: str | None = None,
    max_length: int = 128,
    batch_size: int = 16,
    format: str | None = None,
    text_column: str | None = None,
) -> dict[str, Any]:
    """The mean token loss on general text in nats, `before` and `after` training with `method`.

    Args:
        folder: an adapter, or a model whose own weights were trained.
        file: general text, in any format that recipes read; text_column: its column if there are
            several (default: text).
        head: a model over the same base with a language head (default: the base itself, if it has
            one).

    Raises:
        AdaptkitError: there is no language head, it is over another base, or the method changes
            nothing in the network.
    """
    base, card = base_and_card(folder, head)
    config = load_config(base, None if head else card.revision)
    if config.is_encoder_decoder:
        raise AdaptkitError(
            f"{base} has an encoder and a decoder; forgetting is measured for one of them."
        )
    task = Pretrain(
        objective=language_objective(base, ""), columns={"text": text_column} if text_column else {}
    )
    model = load_base(base, task=task.auto_class, revision=None if head else card.revision)
    if model.adaptkit_base.head:
        raise AdaptkitError(
            f"{base} has no language head. Fit one over it as it is: adaptkit train pretrain "
            f"--model_name_or_path {base} "
            "--train head --train_file GENERAL.txt --output_dir runs/language, and give --head "
            "runs/language."
        )
    if card.fingerprint and not same_base(card.fingerprint, fingerprint(model)):
        raise AdaptkitError(
            f"{full_name(base)} is not the base that {folder} was trained from "
            f"({card.origin or card.base}): a language head has "
            "to lie over that base as it is (adaptkit train pretrain --train head)."
        )
    tokenizer = load_tokenizer(base)
    table = task.read(read(file, Reading(format, wanted=task.wanted())))
    encoded = task.encode(table, tokenizer, min(max_length, longest_input(config, tokenizer)))

    def loss() -> float:
        return math.log(
            task.metrics(predict(model, task, encoded, tokenizer, batch_size), encoded, table)[
                "perplexity"
            ]
        )

    before = loss()
    backbone, place = backbone_of(model)
    tuned, _ = backbone_of(_trained_network(folder))
    if type(tuned) is not type(backbone):
        raise AdaptkitError(
            f"{full_name(base)} has a {type(backbone).__name__}, {folder} a {type(tuned).__name__}."
        )
    model.set_submodule(place.rstrip("."), tuned)
    return {"before": before, "after": loss(), "method": card.method}


def base_and_card(folder: str | Path, head: str | None) -> tuple[str, TaskCard]:
    """The model before training, and the card of what was trained.

    Raises:
        AdaptkitError: the folder holds nothing to measure, or a full model that does not name its
            base.
    """
    card = existing_card(Path(folder))
    origin = card.origin if card.method == FULL else card.base
    if not (base := head or origin):
        raise AdaptkitError(
            f"{folder} does not say what it was trained from: give --head, that base with a "
            "language head."
        )
    return base, card


def _trained_network(folder: str | Path) -> Any:
    """The transformers model in a folder, with its adapter."""
    model = Predictor(folder).model
    if isinstance(model, peft.PeftModel):
        if model.active_peft_config.is_prompt_learning:
            kind = str(model.active_peft_config.peft_type).rpartition(".")[2]
            raise AdaptkitError(
                f"{folder}: {kind} puts its prompt before the text of one task and leaves the "
                "network as it is."
            )
        return model.get_base_model()
    return model
