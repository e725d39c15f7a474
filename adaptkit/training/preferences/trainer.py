"""TRL's trainers with our rows, progress, checkpoints and scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from adaptkit.inference.predict import predict
from adaptkit.training.options import EncodedSplit
from adaptkit.training.trainer import RecipeTrainer

REFERENCE = "ref"  # without an adapter of this name, TRL's reference is the base alone


class PreferenceTrainer(RecipeTrainer):
    """What the classes in `engines` add to TRL's trainers, which compute the loss.

    The rows come as tokens, so the chat template was checked as for any conversation; the scores
    are those of the task.

    config: the class of TRL's configuration.
    rows: makes the rows that TRL's trainer reads.
    """

    config: type
    rows: Callable[..., list[dict[str, Any]]]
    validation: EncodedSplit | None = None

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if REFERENCE in self.model.peft_config:  # TRL's copy of the adapter as it is now
            self.model.delete_adapter(REFERENCE)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():  # TRL reads what transformers has renamed
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            return super().train(*args, **kwargs)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """DPO's and KTO's rows are encoded."""
        return dataset

    def tokenize_row(self, feature: Any, model: Any = None) -> dict[str, Any]:
        """ORPO's and CPO's rows are encoded."""
        return {}

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """The recipe writes one."""

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The task's metrics on the validation rows."""
        split = self.validation
        assert split is not None, "there are no validation rows"
        self.model.eval()
        size = self.args.per_device_eval_batch_size
        with self.compute_loss_context_manager():
            outputs = predict(
                self.model, self.task, split.encoded, self.processing_class, size, "validation"
            )
        scores = self.task.metrics(outputs, split.encoded, split.table)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics
