"""What a training needs beside Trainer's arguments: encoded splits and our own options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptkit.data.samplers import lengths_of
from adaptkit.data.tables import Table
from adaptkit.training.activation_cache import ActivationCache

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class EncodedSplit:
    """A split, as rows and as the model reads it (from `Task.encode`)."""

    table: Table
    encoded: Dataset

    def lengths(self) -> list[int]:
        """Tokens of each encoded row."""
        return lengths_of(self.encoded)

    def first(self, count: int) -> EncodedSplit:
        """The first encoded rows, and the rows that they belong to: a long text may be several."""
        encoded = self.encoded.select(range(min(count, len(self.encoded))))
        owners = (
            encoded["_row"]
            if "_row" in encoded.column_names
            else range(min(len(encoded), len(self.table)))
        )
        return EncodedSplit(self.table.take(range(max(owners) + 1)), encoded)


@dataclass(frozen=True)
class TrainerOptions:
    """What Trainer has no flag for.

    early_stopping_patience: stop after so many evaluations without a better one; 0 for never.
    adversarial_epsilon: train on embeddings moved by so much against the loss, too (FGM, Miyato et
    al. 2017); 0 for not.
    half_base: while training in bf16, keep a frozen base in bf16 too.
    activation_cache: run the frozen layers below all that trains once a text, and keep their
        outputs there (`adaptkit.training.frozen_layers`); None: not.
    cut_last_layer: run the last layer behind its attention for the one token that the head reads
    (`adaptkit.training.last_layer`).
    cuda_graphs: on one GPU, record a training step for each shape of batch and replay it
    (`adaptkit.training.cuda_graphs`), where that can be.
    layerwise_lr_decay, l2_sp, gradual_unfreezing: for a model's own weights, see
    `adaptkit.training.regularization`; 1, 0, False: not.
    progress: print a line after each evaluation, see `adaptkit.training.progress`.
    """

    early_stopping_patience: int = 0
    adversarial_epsilon: float = 0.0
    half_base: bool = True
    activation_cache: ActivationCache | None = None
    cut_last_layer: bool = True
    cuda_graphs: bool = True
    layerwise_lr_decay: float = 1.0
    l2_sp: float = 0.0
    gradual_unfreezing: bool = False
    progress: bool = True
