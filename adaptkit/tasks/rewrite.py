"""Sequence-to-sequence tasks with an encoder-decoder: the base of translation and summarization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from adaptkit.data.collate import IGNORED
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.data.texts import normalize_text, text_at
from adaptkit.tasks.flags import Flag, flag
from adaptkit.tasks.language import Language


@dataclass(frozen=True)
class Rewrite(Language):
    """Source to target by beam search. Rows: `source`, `target`, and `references` if several.

    source_prefix: put before every source (T5's "summarize: ").
    max_target_length, min_target_length: tokens of the target.
    num_beams, length_penalty, no_repeat_ngram_size: as in transformers' generate.
    """

    source_prefix: str = flag("", 'put before every source, such as "summarize: " for T5')
    max_target_length: int = flag(64, "maximum length of a target in tokens")
    min_target_length: int = flag(0, "minimum length of a target in tokens")
    num_beams: int = flag(4, "beams of the beam search; 1: greedy")
    length_penalty: float = flag(1.0, "values above 1 favour long targets")
    no_repeat_ngram_size: int = flag(
        0, "n-grams of this size never repeat in a target; 0: no limit"
    )

    auto_class = "AutoModelForSeq2SeqLM"
    causal = False
    generates = True
    small_model = "t5"
    recipe_flags = {
        "model_name_or_path": Flag(
            None, "pretrained encoder-decoder (default: untrained, a small one is made)"
        )
    }
    changeable = ("source",)
    defaults = {"per_device_train_batch_size": 16, "per_device_eval_batch_size": 16}
    sides: ClassVar[tuple[str, str]] = ("source", "target")

    def read(self, table: Table, labelled: bool = True) -> Table:
        source, target = self.sides
        rows = [{"source": row[source]} for row in self.read_texts(table, [source])]
        column = self.column(target) or target
        several = _numbered(table, column)
        if labelled and not several:
            table.need(column, f"{target}_column")
        for index, (row, given) in enumerate(zip(rows, table.rows, strict=True)):
            if labelled:
                texts = (
                    given[column]
                    if isinstance(given.get(column), list)
                    else [given.get(name) for name in several or [column]]
                )
                row["references"] = [
                    text_at(table, index, {column: text}, column) for text in texts
                ]
                if not row["references"]:
                    raise table.bad(index, f"column {column!r} holds no text.")
                row["target"] = row["references"][0]
        return table.with_rows(rows)

    def groups(self, table: Table) -> list[str]:
        return [normalize_text(row["source"]) for row in table.rows]

    def tokenize(self, tokenizer: Any, table: Table, max_length: int) -> dict[str, Any]:
        """The sources as the encoder reads them."""
        return dict(
            tokenizer(
                [self.source_prefix + row["source"] for row in table.rows],
                truncation=True,
                max_length=max_length,
            )
        )

    def features(
        self, table: Table, tokenizer, max_length: int, labelled: bool = True, train: bool = False
    ):
        encoded = self.tokenize(tokenizer, table, max_length)
        encoded.pop("token_type_ids", None)
        encoded["length"] = [len(ids) for ids in encoded["input_ids"]]
        if labelled:
            targets = [row["target"] for row in table.rows]
            cut = {"truncation": True, "max_length": self.max_target_length}
            encoded["labels"] = tokenizer(text_target=targets, **cut)["input_ids"]
        return encoded

    def model_inputs(self, model, batch, labels):
        if labels is None:
            return batch
        shift = getattr(model, "prepare_decoder_input_ids_from_labels", None) or (
            lambda labels: _shifted(model, labels)
        )
        return batch | {"decoder_input_ids": shift(labels)}

    def prompts(self, model, table: Table, tokenizer, max_length: int) -> list[list[int]]:
        return self.tokenize(tokenizer, table, max_length)["input_ids"]

    def generation(self, tokenizer: Any, model: Any) -> dict[str, Any]:
        chosen: dict[str, Any] = {
            "max_new_tokens": self.max_target_length,
            "num_beams": self.num_beams,
        }
        least = self.min_target_length
        chosen |= (
            {"min_new_tokens": least} if least else {"min_length": 0}
        )  # a base may have its own minimum length
        chosen |= {"length_penalty": self.length_penalty} if self.num_beams > 1 else {}
        return chosen | {"no_repeat_ngram_size": self.no_repeat_ngram_size}

    def text(self, row: dict[str, Any]) -> str:
        return row["source"]

    def reference_text(self, row: dict[str, Any]) -> str:
        return row["target"]

    def findings(self, splits: Splits):
        from adaptkit.tasks.finding import Finding

        found = []
        for name, table in splits.items():
            same = sum(row["source"].strip() == row["target"].strip() for row in table.rows)
            if same:
                found.append(
                    Finding(
                        "warn",
                        f"{name}: {same} of {len(table)} rows have the same text on both sides",
                    )
                )
            ratio = sum(len(row["target"]) for row in table.rows) / sum(
                len(row["source"]) for row in table.rows
            )
            found.append(
                Finding(
                    "good", f"{name}: a target has {ratio:.2f} times the characters of its source"
                )
            )
        return found

    def encoding_issues(self, encoded, table: Table):
        from adaptkit.tasks.finding import Finding

        full = sum(len(labels) >= self.max_target_length for labels in encoded["labels"])
        text = (
            f"{full} of {len(table)} targets have {self.max_target_length} tokens or more and "
            "may be cut"
        )
        return [Finding("warn" if full > 0.02 * len(table) else "good", text)]

    def render(self, row: dict[str, Any], tokenizer: Any) -> str:
        return f"{tokenizer.decode(row['input_ids'])}  ->  [{tokenizer.decode(row['labels'])}]"


def _shifted(model: Any, labels: Any) -> Any:
    """Labels shifted one place to the right, for models that cannot shift them themselves."""
    shifted = labels.new_full(labels.shape, model.config.decoder_start_token_id)
    shifted[:, 1:] = labels[:, :-1]
    return shifted.masked_fill(shifted == IGNORED, model.config.pad_token_id)


def _numbered(table: Table, column: str) -> list[str]:
    """column1, column2, ... if `column` does not exist: several references."""
    names = [
        name
        for name in table.columns
        if name.removeprefix(column).isdigit() and name.startswith(column)
    ]
    return [] if column in table.columns else names
