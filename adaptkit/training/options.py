"""Training options beside Trainer's arguments, and encoded splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptkit.data.samplers import lengths_of
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
from adaptkit.training.activation_cache import ActivationCache

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainingArguments


@dataclass(frozen=True)
class EncodedSplit:
    """A split as rows and as model inputs (from `Task.encode`)."""

    table: Table
    encoded: Dataset

    def lengths(self) -> list[int]:
        """Tokens per encoded row."""
        return lengths_of(self.encoded)

    def first(self, count: int) -> EncodedSplit:
        """The first encoded rows with the rows they come from; a long text may have several."""
        encoded = self.encoded.select(range(min(count, len(self.encoded))))
        owners = (
            encoded["_row"]
            if "_row" in encoded.column_names
            else range(min(len(encoded), len(self.table)))
        )
        return EncodedSplit(self.table.take(range(max(owners) + 1)), encoded)


@dataclass(frozen=True)
class TrainerOptions:
    """Options that Trainer has no flag for.

    early_stopping_patience: stop after this many evaluations without improvement; 0 disables it.
    adversarial_epsilon: also train on embeddings moved by this much against the loss (FGM, Miyato
        et al. 2017); 0 disables it.
    half_base: keep a frozen base in bf16 while training in bf16.
    activation_cache: run the frozen layers below the first trained one once per text and store
        their outputs in this cache (`adaptkit.training.frozen_layers`); None disables it.
    cut_last_layer: after its attention, run the last layer only for the token that the head reads
        (`adaptkit.training.last_layer`).
    cuda_graphs: on one GPU, record a training step per batch shape and replay it, where possible
        (`adaptkit.training.cuda_graphs`).
    head_learning_rate: the rate of the new head; None: that of all else.
    lora_plus_ratio: the rate of LoRA's matrices B over that of all else (LoRA+).
    max_tokens_per_batch: batches of as many rows as have so many tokens together, padding included;
        None: of `per_device_train_batch_size` rows.
    layerwise_lr_decay, l2_sp, gradual_unfreezing: for full fine-tuning, see
        `adaptkit.training.regularization`; 1, 0 and False disable them.
    stop_dead_run: give a training up whose first evaluation shows that nothing is learned (the same
        answer for every row); `TrainOutput.dead` then says so.
    progress: print a line after each evaluation, see `adaptkit.training.progress`.
    """

    early_stopping_patience: int = 0
    adversarial_epsilon: float = 0.0
    half_base: bool = True
    activation_cache: ActivationCache | None = None
    cut_last_layer: bool = True
    cuda_graphs: bool = True
    head_learning_rate: float | None = None
    lora_plus_ratio: float = 1.0
    max_tokens_per_batch: int | None = None
    layerwise_lr_decay: float = 1.0
    l2_sp: float = 0.0
    gradual_unfreezing: bool = False
    stop_dead_run: bool = False
    progress: bool = True


def check_token_budget(training: TrainingArguments, tokens: int | None) -> None:
    """Refuse `--max_tokens_per_batch` where batches cannot be made so."""
    if tokens is None:
        return
    if tokens < 1:
        raise AdaptkitError(f"--max_tokens_per_batch is 1 or more, not {tokens}.")
    if training.world_size > 1 or training.n_gpu > 1:
        raise AdaptkitError("--max_tokens_per_batch works in one process on one device.")
    if training.train_sampling_strategy != "group_by_length":
        raise AdaptkitError(
            "--max_tokens_per_batch makes batches of similar lengths; it does not go with "
            f"--train_sampling_strategy {training.train_sampling_strategy}."
        )
