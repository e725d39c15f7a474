"""The steps of a training, each a frozen result of the previous one.

Parsed -> Prepared -> Encoded -> Loaded -> Fitted -> reports

`prepare`, `encode`, `load`, `train` and `finish` make them. Dry run, search, folds, distillation
and many tasks call the same functions.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.heads.start import HeadStart
from adaptkit.recipe.arguments import RecipeArguments
from adaptkit.tasks.base import Task
from adaptkit.training.activation_cache import ActivationCache
from adaptkit.training.fastest_attention import AttentionChoice
from adaptkit.training.fit import TrainOutput
from adaptkit.training.options import EncodedSplit, TrainerOptions


@dataclass(frozen=True)
class Prepared:
    """Checked flags and checked rows. No model is loaded and nothing is written yet.

    base: the pretrained model; empty if a small untrained one is to be made.
    given: the names of the flags that the user set.
    unlabelled: rows that may get pseudo-labels.
    """

    task: Task
    arguments: RecipeArguments
    training: Any  # transformers.TrainingArguments
    splits: Splits
    output_dir: Path
    base: str = ""
    given: frozenset[str] = frozenset()
    unlabelled: Table | None = None


@dataclass(frozen=True)
class Encoded:
    """The rows as token ids, with the base's tokenizer and configuration."""

    prepared: Prepared  # with its base
    tokenizer: Any
    config: Any
    max_length: int
    splits: dict[str, EncodedSplit]
    unlabelled: Any = None  # datasets.Dataset

    def lengths(self, name: str = "train") -> list[int]:
        """Tokens of each row of a split."""
        return self.splits[name].lengths()


@dataclass(frozen=True)
class Shared:
    """State shared by several trainings of one recipe.

    attention: the attention implementation; None for the model's own. cache: the activation cache,
        or
    None.
    """

    attention: AttentionChoice | None = None
    cache: ActivationCache | None = None


@dataclass(frozen=True)
class Loaded:
    """The base with its head and a fresh adapter.

    head_start: how the head was started from a probe; None if it is random.
    """

    encoded: Encoded
    model: Any
    shared: Shared = Shared()
    head_start: HeadStart | None = None

    @property
    def prepared(self) -> Prepared:
        return self.encoded.prepared

    def with_training(self, training: Any) -> Loaded:
        """The same with other Trainer arguments."""
        prepared = dataclasses.replace(self.prepared, training=training)
        return dataclasses.replace(
            self, encoded=dataclasses.replace(self.encoded, prepared=prepared)
        )

    def with_task(self, task: Task) -> Loaded:
        """The same with another version of the task."""
        prepared = dataclasses.replace(self.prepared, task=task)
        return dataclasses.replace(
            self, encoded=dataclasses.replace(self.encoded, prepared=prepared)
        )

    def options(self, stop_dead_run: bool = False) -> TrainerOptions:
        """The options that Trainer has no flag for, from the recipe's flags."""
        arguments = self.prepared.arguments
        return TrainerOptions(
            early_stopping_patience=arguments.early_stopping_patience,
            adversarial_epsilon=arguments.adversarial_epsilon,
            half_base=arguments.dtype == "auto",
            activation_cache=self.shared.cache,
            cut_last_layer=not arguments.whole_last_layer,
            cuda_graphs=arguments.cuda_graphs,
            head_learning_rate=arguments.head_learning_rate,
            lora_plus_ratio=arguments.lora_plus_ratio,
            max_tokens_per_batch=arguments.max_tokens_per_batch,
            layerwise_lr_decay=arguments.layerwise_lr_decay,
            l2_sp=arguments.l2_sp,
            gradual_unfreezing=arguments.gradual_unfreezing,
            stop_dead_run=stop_dead_run,
        )


@dataclass(frozen=True)
class Fitted:
    """A trained model and the log of its training.

    put_back: no epoch was as good as the probe that the head started from, and the model is that
        probe again.
    dead: what was wrong with a first training that was given up; this is then the second.
    """

    loaded: Loaded
    output: TrainOutput
    put_back: bool = False
    dead: str = ""
