"""Load an adapter with its base and answer, evaluate or analyse rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from adaptkit.adapters.card import read_card, task_of
from adaptkit.adapters.save_load import load_adapter
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.inference.confusions import confusions
from adaptkit.inference.predict import predict
from adaptkit.inference.scored import Group, Scored, digest_of_tokens
from adaptkit.inference.slices import Slice, groups, scores_of, slices, values_of
from adaptkit.metrics.row_scores import RowScores
from adaptkit.models.backbone import bare_model
from adaptkit.models.tokenizer import align_padding, load_tokenizer
from adaptkit.tasks.base import Task
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.decide import Decide
from adaptkit.tasks.language import Language, perplexity

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset


class Predictor:
    """The base, adapter, tokenizer and task from one folder, ready to answer.

    Args:
        folder: an adapter with a task card, from a recipe or `save_adapter`.
        base_options: for `load_base`: quantize, dtype, device_map, ...

    Raises:
        AdaptkitError: the folder holds no adapter, or one without a task.
    """

    def __init__(self, folder: str | Path, **base_options):
        card = read_card(folder) if Path(folder).is_dir() else None
        if card is not None and card.task is None:
            raise AdaptkitError(
                f"{folder} has no task in its card: answer with adaptkit.load_adapter and your "
                "own code."
            )
        self.model = load_adapter(folder, **base_options)
        if card is None or card.base is None:
            raise AdaptkitError(f"{folder} has no task card (task.json).")
        self.card = card
        self.task = task_of(card)
        self.max_length = card.max_length or 128
        self.tokenizer = load_tokenizer(card.base, card.revision)
        align_padding(bare_model(self.model), self.tokenizer)

    def choose_among(
        self,
        options: Sequence[str],
        table: Table | None = None,
        columns: dict[str, str] | None = None,
    ) -> None:
        """Decide among these options from now on, in rows that have none of their own.

        Args:
            table, columns: the rows to be answered, as in `answer`, some of which must need them.

        Raises:
            AdaptkitError: the task is not decide, these are not two options or more, or each row of
                the table has options of its own.
        """
        if not isinstance(self.task, Decide):
            raise AdaptkitError(f"--options is for decide; the task here is {self.task.name}.")
        task = dataclasses.replace(self.task, options=list(options))
        if table is not None:
            task.check_options_used([with_columns(task, columns).read(table, labelled=False)])
        self.task = task

    def answer(
        self,
        table: Table,
        columns: dict[str, str] | None = None,
        batch_size: int = 64,
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        abstain_below: float | None = None,
    ) -> list[dict[str, Any]]:
        """One answer per row, in order; for classification `{"label": ..., "score": ...}`.

        Args:
            columns: what a row has -> the column where it is; by default as in training.
            top_k: answer with the `labels` of the K highest probabilities and their `scores`.
            threshold: of a task with several labels a text: give labels from this probability on.
            abstain_below: answer "none of these" where the likeliest label is less probable.

        Raises:
            AdaptkitError: a column is missing, or a row cannot be read; by file and line. Or the
                task does not have such an option.
        """
        task = with_columns(self.task, columns)
        if threshold is not None:
            if not getattr(task, "multi_label", False) or not 0 <= threshold <= 1:
                raise AdaptkitError(
                    f"threshold is for tasks with several labels a text, from 0 to 1; it got "
                    f"{threshold:g} for {task.name}."
                )
            task = dataclasses.replace(cast(Classify, task), threshold=threshold, thresholds=None)
        if abstain_below is not None:
            if not isinstance(task, Classify):
                raise AdaptkitError(
                    f"abstain_below is for tasks with labels; this one is {task.name}."
                )
            task = dataclasses.replace(task, abstain_below=abstain_below)
        if top_k is not None:
            if not isinstance(task, Classify):
                raise AdaptkitError(f"top_k is for tasks with labels; this one is {task.name}.")
            task = dataclasses.replace(task, top_k=top_k)
        answers = self._answers(task, task.read(table, labelled=False), batch_size)
        return [task.hand_over(answer) for answer in answers]

    def _answers(
        self, task: Task, rows: Table, batch_size: int, labelled: bool = False
    ) -> list[dict[str, Any]]:
        if not task.answers:
            raise AdaptkitError(
                f"{task.name} learns a language and has no answers; adaptkit.pipeline(folder) "
                "fills gaps or goes on."
            )
        if task.generates:
            return task.generate(self.model, rows, self.tokenizer, self.max_length, batch_size)
        outputs, encoded = self._outputs(task, rows, batch_size, labelled)
        return task.decode(outputs, encoded, rows)

    def _outputs(
        self, task: Task, rows: Table, batch_size: int, labelled: bool = True
    ) -> tuple[np.ndarray, Dataset]:
        """The postprocessed outputs, and the encoded rows that they are of."""
        encoded = task.encode(rows, self.tokenizer, self.max_length, labelled=labelled)
        return predict(self.model, task, encoded, self.tokenizer, batch_size), encoded

    def evaluate(
        self, table: Table, columns: dict[str, str] | None = None, batch_size: int = 64
    ) -> dict[str, float]:
        """The task's metrics on labelled rows.

        Raises:
            AdaptkitError: a column is missing, a text is empty, or a label is not one of the
                adapter's.
        """
        task, rows = self._labelled(table, columns)
        metrics = task.metrics(*self._outputs(task, rows, batch_size), rows)
        if task.generates:
            metrics |= task.score(self._answers(task, rows, batch_size), rows)
        return metrics

    def slices(
        self, table: Table, by: str, columns: dict[str, str] | None = None, batch_size: int = 64
    ) -> list[Slice]:
        """The task's metrics, with intervals, for each value of a column of the labelled rows.

        See `adaptkit.inference.slices`.

        Raises:
            AdaptkitError: as in `evaluate`, or the column does not exist.
        """
        task, rows = self._labelled(table, columns)
        values = values_of(task, by, table, rows)
        return slices(task, self._answers(task, rows, batch_size, labelled=True), rows, values)

    def row_scores(
        self,
        table: Table,
        columns: dict[str, str] | None = None,
        batch_size: int = 64,
        *,
        by: str | None = None,
        scorer: Task | None = None,
    ) -> Scored:
        """What the answer to each labelled row adds to the metrics, for `adaptkit.compare`.

        Args:
            by: a column whose values are groups.
            scorer: the task that scores, by default the adapter's own.

        Raises:
            AdaptkitError: as in `evaluate` and `slices`.
        """
        task, rows = self._labelled(table, columns)
        if by and not task.answers:
            raise AdaptkitError(f"{task.name} joins rows into blocks, which have no groups.")
        chosen = groups(values_of(task, by, table, rows) if by else [], len(rows))
        losses, tokens = None, ""
        if isinstance(task, Language):
            losses, encoded = self._outputs(task, rows, batch_size)
            losses = task.losses_by_row(losses, encoded, len(rows))
            tokens = digest_of_tokens(encoded, self.tokenizer)
        if not task.answers:
            return Scored(rows, [Group("all", None, RowScores((losses,), perplexity))], tokens)
        answers = self._answers(task, rows, batch_size, labelled=True)
        return Scored(
            rows,
            [
                Group(
                    name,
                    scores_of(scorer or task, answers, rows, own),
                    None if losses is None else RowScores((losses[own],), perplexity),
                )
                for name, own in chosen
            ],
            tokens,
        )

    def confusions(
        self, table: Table, columns: dict[str, str] | None = None, batch_size: int = 64
    ) -> list[dict[str, Any]]:
        """How often each label is mistaken for which other in labelled rows, with an example each.

        See `adaptkit.inference.confusions`.

        Raises:
            AdaptkitError: as in `evaluate`, or the task does not give one label per row.
        """
        task, rows = self._labelled(table, columns)
        if not task.one_label:
            raise AdaptkitError(
                f"{task.name} does not give one label a row here: there are no kinds of mistakes "
                "to count."
            )
        return confusions(task, self._answers(task, rows, batch_size, labelled=True), rows)

    def _labelled(self, table: Table, columns: dict[str, str] | None) -> tuple[Task, Table]:
        task = with_columns(self.task, columns)
        rows = task.read(table)
        task.check_labels(rows)
        return task, rows

    def __call__(self, *texts: str | Sequence[str], **more: Any) -> list[dict[str, Any]]:
        """Answer one text or a list; pass other inputs by name: `predictor("Who?", context="...")`.

        Raises:
            AdaptkitError: the task needs further inputs.
        """
        if (
            len(texts) == 1
            and isinstance(texts[0], (list, tuple))
            and all(isinstance(text, str) for text in texts[0])
        ):
            texts = tuple(texts[0])
            if not texts:
                return []
        first, *others = self.task.input_fields()
        if needed := [part for part in others if part not in more]:
            raise AdaptkitError(
                f"this adapter was trained on {' and '.join([first, *others])}, not on {first} "
                "alone; give rows in a file "
                f"with these columns, or {needed[0]}=..."
            )
        if strange := more.keys() - self.task.parts.keys():
            raise unknown(f"input of {self.task.name}", strange.pop(), list(self.task.parts))
        columns = {part: self.task.column(part) or part for part in (first, *more)}
        return self.answer(
            Table(
                [{columns[p]: v for p, v in ({first: text} | more).items()} for text in texts],
                "text",
            ),
            columns,
        )


def with_columns(task: Task, columns: dict[str, str] | None) -> Task:
    """The task, reading some of its parts from other columns.

    Raises:
        AdaptkitError: the task does not have such a part.
    """
    given = {part: column for part, column in (columns or {}).items() if column}
    if strange := given.keys() - task.parts.keys():
        raise AdaptkitError(
            f"{task.name} knows no {', '.join(strange)}; it knows {', '.join(task.parts)}."
        )
    return dataclasses.replace(task, columns=task.columns | given)
