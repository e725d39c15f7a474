"""Entity recognition: one tag per word, or per character in scripts without blanks."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from adaptkit.data.alignment import encode_windows, held_characters
from adaptkit.data.collate import IGNORED
from adaptkit.data.entities import (
    entities_from_tags,
    join_tokens,
    name_labels,
    overlapping,
    read_entities,
    tags_from_entities,
    trimmed,
    units_of,
)
from adaptkit.data.entity_places import at_words, refuse_shifted
from adaptkit.data.readers.conll import TAG
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.data.texts import text_at, unknown_label
from adaptkit.data.word_pieces import (
    by_unit,
    fill_tags,
    shared_units,
    unit_starts,
    units_begun,
    units_by_row,
)
from adaptkit.errors import AdaptkitError
from adaptkit.metrics.iob import best_tags, bio_labels
from adaptkit.metrics.row_scores import RowScores
from adaptkit.tasks.base import Task
from adaptkit.tasks.flags import flag
from adaptkit.tasks.registry import register_task

ALSO = ("label", "labels", "spans")  # where tools put entities


@register_task
@dataclass(frozen=True)
class Tag(Task):
    """Entities as BIO tags. The first piece of a word carries its tag.

    Long texts are read in windows and scored whole.

    doc_stride: tokens shared by two windows. The answer for a word in both comes from the window
        with more context around it.
    span_end: whether the given ends are exclusive or inclusive; detected if the data allow it.
    """

    doc_stride: int = flag(32, "tokens shared by two windows of a long text")
    span_end: str | None = flag(
        None, "ends of spans: exclusive or inclusive (default: detected if the data allow it)"
    )
    tag_column: int | None = flag(
        None,
        "in CoNLL files: the column that holds the tags, 1 is the first (default: detected)",
        stored=False,
    )

    name = "tag"
    auto_class = "AutoModelForTokenClassification"
    recordable = True
    linear_head = True
    reads_every_token = True
    parts = {"text": "text", "entities": "entities", "tokens": "tokens", "tags": "tags"}
    label_parts = ("entities", "tags")
    column_helps = {
        "text": "column of the text, if entities are character spans (default: text)",
        "tokens": "column of the words, if each has a tag (default: tokens)",
        "tags": "column of their tags (default: tags)",
    }
    best_metric = "f1"
    reported = ("f1", "precision", "recall", "f1_macro")
    long_texts = "are read in windows"

    def input_fields(self) -> list[str]:
        return ["text"]

    def read(self, table: Table, labelled: bool = True) -> Table:
        tokens, tags = (self.column(part) or part for part in ("tokens", "tags"))
        if tokens not in table.columns and {"words", "ner_tags"} & set(table.columns):
            tokens = "words" if "words" in table.columns else tokens
        tags = "ner_tags" if tags not in table.columns and "ner_tags" in table.columns else tags
        if tokens in table.columns:
            words = table.each(
                lambda i, row: self._from_tokens(table, i, row, tokens, tags, labelled)
            )
            return self._with_names(table, words, labelled)
        text, entities = (self.column(part) or part for part in ("text", "entities"))
        table.need(text, "text_column")
        if labelled:
            if entities not in table.columns:
                entities = next((name for name in ALSO if _holds_lists(table, name)), entities)
            table.need(entities, "entities_column")
        rows = table.each(lambda i, row: self._from_text(table, i, row, text, entities, labelled))
        if labelled and self.span_end is None:
            refuse_shifted(table, rows)
        return self._with_names(table, rows, labelled)

    def _with_names(self, table: Table, rows: list[dict[str, Any]], labelled: bool) -> Table:
        """The rows as a table, with one name for each label however it is spelled."""
        notes = name_labels(rows, self._kinds()) if labelled else []
        return dataclasses.replace(table.with_rows(rows), notes=notes)

    def _kinds(self) -> list[str]:
        return [label[2:] for label in self.labels if label.startswith("B-")]

    def _from_tokens(
        self, table: Table, index: int, row: dict, tokens: str, tags: str, labelled: bool
    ) -> dict[str, Any]:
        words = row.get(tokens)
        if (
            not isinstance(words, list)
            or not words
            or not all(isinstance(word, str) and word for word in words)
        ):
            raise table.bad(
                index, f"column {tokens!r} holds {str(words)[:60]!r}, which is not a list of words."
            )
        text, places = join_tokens(words)
        found = {"text": text, "units": places, "tokens": words}
        if not labelled:
            return found
        given = row.get(tags)
        if not isinstance(given, list) or len(given) != len(words):
            count = len(given) if isinstance(given, list) else "no"
            raise table.bad(index, f"{len(words)} words and {count} tags in column {tags!r}.")
        if strange := [tag for tag in given if not (isinstance(tag, str) and TAG.fullmatch(tag))]:
            raise table.bad(
                index,
                f"{strange[0]!r} is not a tag such as O, B-person, I-person (or of BIOES, BMES, "
                "BILOU).",
            )
        return found | {"entities": entities_from_tags(given, places)}

    def _from_text(
        self, table: Table, index: int, row: dict, text: str, entities: str, labelled: bool
    ) -> dict[str, Any]:
        words = text_at(table, index, row, text)
        found: dict[str, Any] = {"text": words, "units": units_of(words)}
        if labelled:
            if (given := row.get(entities)) is None:
                raise table.bad(
                    index, f"the row has no {entities!r}; write [] where a text has no entity."
                )
            found["entities"] = read_entities(table, index, words, given or [], self.span_end)
        return found

    def fit_labels(self, train: Table) -> Tag:
        kinds = sorted({entity["label"] for row in train.rows for entity in row["entities"]})
        if not kinds:
            raise AdaptkitError(
                f"{train.source}: no row holds an entity; there is nothing to learn."
            )
        return dataclasses.replace(self, labels=bio_labels(kinds))

    def check_labels(self, table: Table) -> None:
        kinds = self._kinds()
        for index, row in enumerate(table.rows):
            for entity in row["entities"]:
                if entity["label"] not in kinds:
                    raise unknown_label(table, index, entity["label"], kinds)

    def features(
        self, table: Table, tokenizer, max_length: int, labelled: bool = True, train: bool = False
    ):
        """Windows; `_first`, `_last`: for each piece the units that begin in it, or -1."""
        stride = min(self.doc_stride, (max_length - tokenizer.num_special_tokens_to_add()) // 2)
        texts = [row["text"] for row in table.rows]
        columns = encode_windows(
            tokenizer, [(text,) for text in texts], max_length, stride, table.bad
        )
        held = held_characters(columns, texts)
        starts = [unit_starts(row["units"], h) for row, h in zip(table.rows, held, strict=True)]
        begun = [
            units_begun(starts[owner], offsets)
            for owner, offsets in zip(columns["_row"], columns.pop("_offsets"), strict=True)
        ]
        columns["_first"], columns["_last"] = map(list, zip(*begun, strict=True))
        columns["length"] = [len(ids) for ids in columns["input_ids"]]
        if labelled:
            carried = units_by_row(columns, "_first", len(table))
            numbers = [self._numbers(row, c) for row, c in zip(table.rows, carried, strict=True)]
            columns["labels"] = [
                [numbers[owner].get(unit, IGNORED) for unit in firsts]
                for owner, firsts in zip(columns["_row"], columns["_first"], strict=True)
            ]
        return columns

    def _numbers(self, row: dict[str, Any], carried: set[int]) -> dict[int, int]:
        """The number of the tag of each unit that begins in a piece."""
        units = sorted(carried)
        tags = tags_from_entities(row["entities"], [row["units"][unit] for unit in units])
        return {unit: self.labels.index(tag) for unit, tag in zip(units, tags, strict=True)}

    def postprocess(self, outputs, batch, labels):
        return outputs.logits.float().log_softmax(-1)

    def decode(self, outputs: np.ndarray, encoded, table: Table) -> list[dict[str, Any]]:
        """`{"entities": [...]}`, and `tags` if the rows are given as words."""
        answers = []
        by_row = zip(
            by_unit(outputs, encoded, table), shared_units(encoded, len(table)), strict=True
        )
        for row, (given, shared) in zip(table.rows, by_row, strict=True):
            found = self._tags(given)
            fill_tags(found, given, shared, row)
            entities = entities_from_tags(found, row["units"])
            named = [
                {**entity, "text": row["text"][entity["start"] : entity["end"]]}
                for entity in entities
            ]
            answers.append({"entities": named} | ({"tags": found} if "tokens" in row else {}))
        return answers

    def _tags(self, given: list[np.ndarray | None]) -> list[str]:
        """The likeliest valid tags of a row's units; O of units without a piece of their own."""
        known = {unit: scores for unit, scores in enumerate(given) if scores is not None}
        found = ["O"] * len(given)
        if known:
            numbers = best_tags(np.stack(list(known.values())), self.labels)
            for unit, number in zip(known, numbers, strict=True):
                found[unit] = self.labels[number]
        return found

    def row_scores(self, answers, table: Table) -> RowScores:
        from adaptkit.metrics.spans import span_rows

        return span_rows(*_both(answers, table), self._kinds())

    def details(self, answers, table: Table) -> list[dict[str, Any]]:
        from adaptkit.metrics.spans import span_table

        return span_table(*_both(answers, table))

    def learned_nothing(self, answers, table: Table) -> str:
        found = any(answer["entities"] for answer in answers)
        if found or not any(row["entities"] for row in table.rows):
            return ""
        return "the model never predicts an entity: it has learned that most words are O"

    def reference_text(self, row: dict[str, Any]) -> str:
        return _shown(row["entities"], row["text"])

    def answer_text(self, answer: dict[str, Any]) -> str:
        return "; ".join(f"{entity['label']}: {entity['text']}" for entity in answer["entities"])

    def findings(self, splits: Splits):
        from adaptkit.tasks.finding import Finding

        counts = Counter(entity["label"] for row in splits.train.rows for entity in row["entities"])
        found = [
            Finding(
                "good",
                f"{counts.total()} entities: "
                f"{', '.join(f'{k} {n}' for k, n in counts.most_common(12))}",
            )
        ]
        if rare := [kind for kind, count in counts.items() if count < 10]:
            found.append(
                Finding(
                    "warn",
                    f"{len(rare)} types have fewer than 10 training entities: "
                    f"{', '.join(rare[:10])}",
                )
            )
        for name, table in splits.items():
            both = sum(overlapping(row["entities"]) for row in table.rows)
            split = [
                (index, entity)
                for index, row in enumerate(table.rows)
                for entity in row["entities"]
                if not at_words(row, entity)
            ]
            if both:
                found.append(
                    Finding(
                        "warn",
                        f"{name}: {both} entities overlap others; only the longer can be found",
                    )
                )
            if split:
                where = table.where(split[0][0])
                text = (
                    f"{name}: {len(split)} entities begin or end inside a word, the first at "
                    f"{where}; they cannot be found whole"
                )
                found.append(Finding("warn", text))
        return found

    def encoding_issues(self, encoded, table: Table):
        from adaptkit.tasks.finding import Finding

        carried = units_by_row(encoded, "_first", len(table))
        units = sum(len(row["units"]) for row in table.rows)
        none = units - sum(map(len, carried))
        text = (
            f"{none} of {units} words or characters have no piece of their own and go with those "
            "around them"
        )
        return [Finding("warn" if none > 0.01 * units else "good", text)]

    def render(self, row: dict[str, Any], tokenizer: Any) -> str:
        tokens = tokenizer.convert_ids_to_tokens(row["input_ids"])
        return " ".join(
            token if label == IGNORED else f"[{token}/{self.labels[label]}]"
            for token, label in zip(tokens, row["labels"], strict=True)
        )


def _holds_lists(table: Table, column: str) -> bool:
    return isinstance(table.rows[0].get(column), (dict, list))


def _both(answers, table: Table) -> tuple[list, list]:
    """Predictions and references as (start, end, type), without invisible words at their ends."""

    def spans(row: dict[str, Any], entities) -> list[tuple[int, int, str]]:
        return [
            (*trimmed(row["text"], entity["start"], entity["end"]), entity["label"])
            for entity in entities
        ]

    return (
        [spans(row, answer["entities"]) for row, answer in zip(table.rows, answers, strict=True)],
        [spans(row, row["entities"]) for row in table.rows],
    )


def _shown(entities, text: str) -> str:
    return "; ".join(
        f"{entity['label']}: {text[entity['start'] : entity['end']]}" for entity in entities
    )
