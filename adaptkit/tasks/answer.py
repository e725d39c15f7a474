"""Extractive question answering, with unanswerable questions."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from adaptkit.data.alignment import held_characters, with_marks
from adaptkit.data.answer_windows import held_answers, shorten, target_tokens, windows_of
from adaptkit.data.answers import read_answers
from adaptkit.data.collate import IGNORED, by_column
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.data.texts import normalize_text, visible_part
from adaptkit.errors import quoted
from adaptkit.metrics.row_scores import RowScores
from adaptkit.tasks.base import Task
from adaptkit.tasks.flags import Flag, flag
from adaptkit.tasks.registry import register_task

BEST = 20  # candidate starts and ends


@register_task
@dataclass(frozen=True)
class Answer(Task):
    """Find the part of a context that answers a question.

    Long contexts are read in overlapping windows; the best span of all windows is the answer.

    doc_stride: tokens shared by two windows. max_answer_length: in tokens.
    unanswerable: "no answer" is a possible answer; fitted on the training rows.
    null_threshold: how much higher (in logits) "no answer" must score than the best span.
    """

    doc_stride: int = flag(64, "tokens shared by two windows of a long context")
    max_answer_length: int = flag(30, "maximum length of an answer in tokens")
    unanswerable: bool = False
    null_threshold: float = flag(
        0.0, "how much higher (in logits) no answer must score than the best answer"
    )

    name = "answer"
    auto_class = "AutoModelForQuestionAnswering"
    recordable = True
    reads_every_token = True
    reads_padding = True  # logits of first and last tokens compete with those of all others
    parts = {"question": "question", "context": "context", "answers": "answers"}
    label_parts = ("answers",)
    embedded = {"context": "text", "answers": "answer"}
    column_helps = {"context": "column of the text (default: context)"}
    recipe_flags = {
        "max_seq_length": Flag(256, "maximum length of question and context in tokens", int)
    }
    best_metric = "f1"
    reported = ("exact_match", "f1", "has_answer_f1", "no_answer_accuracy")
    long_texts = "are read in windows"
    smooths = False  # it would be spread over padding

    def read(self, table: Table, labelled: bool = True) -> Table:
        rows = self.read_texts(table, ("question", "context"))
        if labelled:
            column = self.column("answers") or "answers"
            table.need(column, "answers_column")
            for index, (row, given) in enumerate(zip(rows, table.rows, strict=True)):
                if (value := given.get(column)) is None:
                    raise table.bad(
                        index, f"the row has no {column!r}; write [] if nothing answers it."
                    )
                row["answers"], row["unplaced"] = read_answers(table, index, value, row["context"])
                row["group"] = str(given.get("article") or given.get("title") or row["context"])
        return table.with_rows(rows)

    def fit_labels(self, train: Table) -> Answer:
        for index, row in enumerate(train.rows):
            if row["unplaced"] and not row["answers"]:
                raise train.bad(
                    index,
                    f"the place of the answer {quoted(row['unplaced'][0])} is not given, and the "
                    f"context holds it {row['context'].count(row['unplaced'][0])} times. To train "
                    "on it, give its start.",
                )
        return dataclasses.replace(self, unanswerable=any(not row["answers"] for row in train.rows))

    def check_labels(self, table: Table) -> None:
        if not self.unanswerable and (
            none := [i for i, row in enumerate(table.rows) if not _references(row)]
        ):
            raise table.bad(
                none[0], "the question has no answer here, but every training question has one."
            )

    def groups(self, table: Table) -> list[str]:
        return [normalize_text(row["group"]) for row in table.rows]

    def features(
        self, table: Table, tokenizer, max_length: int, labelled: bool = True, train: bool = False
    ):
        """Windows, with `_offsets` and `labels`.

        `_offsets`: each token's characters in the context, (-1, -1) elsewhere. `labels`: first and
            last
        token of the answer.
        """
        pairs = [(row["question"], row["context"]) for row in table.rows]
        lengths = [
            len(ids)
            for ids in tokenizer([question for question, _ in pairs], add_special_tokens=False)[
                "input_ids"
            ]
        ]
        room = max_length - tokenizer.num_special_tokens_to_add(pair=True)
        for row, length in enumerate(lengths):
            if length > room // 2:
                pairs[row] = shorten(pairs[row][0], tokenizer, room // 2), pairs[row][1]
        by_stride: dict[int, list[int]] = {}  # a row's windows depend only on the row
        for row, length in enumerate(lengths):
            by_stride.setdefault(
                max(0, min(self.doc_stride, room - min(length, room // 2) - 8)), []
            ).append(row)
        windows = [
            w
            for stride, rows in by_stride.items()
            for w in windows_of(table, pairs, rows, tokenizer, max_length, stride)
        ]
        columns = by_column(sorted(windows, key=lambda window: window["_row"]))
        columns["length"] = [len(ids) for ids in columns["input_ids"]]
        columns["_nothing"] = [
            ids.index(tokenizer.cls_token_id) if tokenizer.cls_token_id in ids else 0
            for ids in columns["input_ids"]
        ]
        if labelled:
            spans = held_answers(table, columns)
            columns["labels"] = [
                target_tokens(spans[owner], places, none)
                for owner, places, none in zip(
                    columns["_row"], columns["_offsets"], columns["_nothing"], strict=True
                )
            ]
            for window, owner in enumerate(columns["_row"]):
                if table.rows[owner]["unplaced"] and not table.rows[owner]["answers"]:
                    columns["labels"][window] = [IGNORED, IGNORED]
        return columns

    def loss(self, outputs, batch, labels, items, smoothing: float = 0.0):
        from torch.nn import functional

        both = ((outputs.start_logits, labels[:, 0]), (outputs.end_logits, labels[:, 1]))
        return (
            sum(
                functional.cross_entropy(x.float(), y, reduction="sum", label_smoothing=smoothing)
                for x, y in both
            )
            / items
        )

    def postprocess(self, outputs, batch, labels):
        """`(rows, tokens, 2)`: the logits of first and last token."""
        import torch

        return torch.stack([outputs.start_logits.float(), outputs.end_logits.float()], -1)

    def decode(self, outputs: np.ndarray, encoded, table: Table) -> list[dict[str, Any]]:
        """`{"text", "start", "end", "score"}`; `text` is empty for no answer.

        `score` is the sum of two logits.
        """
        best: list[dict[str, Any]] = [
            {"text": "", "start": 0, "end": 0, "score": -np.inf} for _ in table.rows
        ]
        none = np.full(len(table), np.inf)
        held = held_characters(encoded, [row["context"] for row in table.rows])
        windows = zip(
            encoded["_row"], encoded["_offsets"], encoded["_nothing"], outputs, strict=True
        )
        for owner, offsets, nothing, logits in windows:
            none[owner] = min(none[owner], float(logits[nothing].sum()))
            start, end, score = self._best_span(logits[: len(offsets)], np.asarray(offsets))
            if score > best[owner]["score"]:
                context = table.rows[owner]["context"]
                end = with_marks(context, held[owner], end)
                start, end = visible_part(context, start, end)  # tokens may include blanks
                best[owner] = {
                    "text": context[start:end],
                    "start": start,
                    "end": end,
                    "score": score,
                }
        for owner, answer in enumerate(best):
            unread = not np.isfinite(answer["score"])  # the context has no token that is read
            if unread or (
                self.unanswerable and none[owner] - answer["score"] > self.null_threshold
            ):
                best[owner] = {"text": "", "start": 0, "end": 0, "score": float(none[owner])}
        return best

    def _best_span(self, logits: np.ndarray, offsets: np.ndarray) -> tuple[int, int, float]:
        """(start, end, score) of the best span of characters in a window."""
        inside = np.where(offsets[:, 0] >= 0)[0]
        if not len(inside):
            return 0, 0, -np.inf
        first = inside[np.argsort(-logits[inside, 0], kind="stable")[:BEST]]
        last = inside[np.argsort(-logits[inside, 1], kind="stable")[:BEST]]
        allowed = (last >= first[:, None]) & (last < first[:, None] + self.max_answer_length)
        scores = np.where(allowed, logits[first, 0][:, None] + logits[last, 1], -np.inf)
        i, j = np.unravel_index(scores.argmax(), scores.shape)
        return int(offsets[first[i], 0]), int(offsets[last[j], 1]), float(scores[i, j])

    def row_scores(self, answers, table: Table) -> RowScores:
        from adaptkit.metrics.squad import exact_match, f1

        references = [list(map(_visible, _references(row))) for row in table.rows]
        exact = np.asarray(
            [
                exact_match(answer["text"], texts)
                for answer, texts in zip(answers, references, strict=True)
            ]
        )
        overlap = np.asarray(
            [f1(answer["text"], texts) for answer, texts in zip(answers, references, strict=True)]
        )
        has_answer = np.asarray([bool(texts) for texts in references])
        return RowScores((exact, overlap, has_answer), self._means)

    def _means(self, exact, overlap, has_answer) -> dict[str, float]:
        scores = {"exact_match": float(exact.mean()), "f1": float(overlap.mean())}
        if self.unanswerable and has_answer.any() and not has_answer.all():
            scores |= {
                "has_answer_f1": float(overlap[has_answer].mean()),
                "no_answer_accuracy": float(exact[~has_answer].mean()),
            }
        return scores

    def reference_text(self, row: dict[str, Any]) -> str:
        return next(iter(_references(row)), "")

    def findings(self, splits: Splits):
        from adaptkit.tasks.finding import Finding

        found = []
        for name, table in splits.items():
            none = sum(not _references(row) for row in table.rows)
            text = (
                f"{name}: {len(table)} questions on "
                f"{len({row['context'] for row in table.rows})} texts, {none} without an answer"
            )
            found.append(Finding("good", text))
        return found

    def encoding_issues(self, encoded, table: Table):
        from adaptkit.tasks.finding import Finding

        found = set()
        for owner, label, nothing in zip(
            encoded["_row"], encoded["labels"], encoded["_nothing"], strict=True
        ):
            if label[0] != nothing:
                found.add(owner)
        gone = [i for i, row in enumerate(table.rows) if row["answers"] and i not in found]
        text = (
            f"{len(encoded)} windows for {len(table)} questions; {len(gone)} answers lie in no "
            "window whole"
        )
        return [Finding("warn" if gone else "good", text)]

    def render(self, row: dict[str, Any], tokenizer: Any) -> str:
        first, last = row["labels"]
        tokens = tokenizer.convert_ids_to_tokens(row["input_ids"])
        return " ".join(
            [*tokens[:first], f"[{' '.join(tokens[first : last + 1])}]", *tokens[last + 1 :]]
        )


def _references(row: dict[str, Any]) -> list[str]:
    """The texts of the right answers; none if the question has no answer."""
    return [answer["text"] for answer in row["answers"]] + row["unplaced"]


def _visible(text: str) -> str:
    start, end = visible_part(text, 0, len(text))
    return text[start:end]
