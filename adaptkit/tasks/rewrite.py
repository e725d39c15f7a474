"""One text into another with an encoder-decoder: what translation and summaries share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from adaptkit.tables import Splits, Table
from adaptkit.tasks.base import plain, read_texts, text_at
from adaptkit.tasks.collate import IGNORED
from adaptkit.tasks.language import Language


@dataclass(frozen=True)
class Rewrite(Language):
    """Source to target, by beam search. Rows: `source`, `target`, and `references` where there are several.

    source_prefix: put before every source (T5's "summarize: "). max_target_length, min_target_length: tokens of the target.
    num_beams, length_penalty, no_repeat_ngram_size: as in transformers' generate.
    """

    source_prefix: str = ""
    max_target_length: int = 64
    min_target_length: int = 0
    num_beams: int = 4
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0

    auto_class = "AutoModelForSeq2SeqLM"
    causal = False
    generates = True
    small_model = "t5"
    changeable = ("source",)
    defaults = {"per_device_train_batch_size": 16, "per_device_eval_batch_size": 16}
    sides: ClassVar[tuple[str, str]] = ("source", "target")

    def read(self, table: Table, gold: bool = True) -> Table:
        source, target = self.sides
        rows = [{"source": row[source]} for row in read_texts(self, table, [source])]
        column = self.column(target) or target
        several = _numbered(table, column)
        if gold and not several:
            table.need(column, f"{target}_column")
        for index, (row, given) in enumerate(zip(rows, table.rows, strict=True)):
            if gold:
                texts = given[column] if isinstance(given.get(column), list) else [given.get(name) for name in several or [column]]
                row["references"] = [text_at(table, index, {column: text}, column) for text in texts]
                if not row["references"]:
                    raise table.bad(index, f"column {column!r} holds no text.")
                row["target"] = row["references"][0]
        return table.with_rows(rows)

    def groups(self, table: Table) -> list[str]:
        return [plain(row["source"]) for row in table.rows]

    def tokenize(self, tokenizer: Any, table: Table, max_length: int) -> dict[str, Any]:
        """The sources as the encoder reads them."""
        return dict(tokenizer([self.source_prefix + row["source"] for row in table.rows], truncation=True, max_length=max_length))

    def features(self, table: Table, tokenizer, max_length: int, gold: bool = True, train: bool = False):
        encoded = self.tokenize(tokenizer, table, max_length)
        encoded.pop("token_type_ids", None)
        encoded["length"] = [len(ids) for ids in encoded["input_ids"]]
        if gold:
            targets = [row["target"] for row in table.rows]
            cut = {"truncation": True, "max_length": self.max_target_length}
            encoded["labels"] = tokenizer(text_target=targets, **cut)["input_ids"]
        return encoded

    def feed(self, model, batch, labels):
        if labels is None:
            return batch
        shift = getattr(model, "prepare_decoder_input_ids_from_labels", None) or (lambda labels: _shifted(model, labels))
        return batch | {"decoder_input_ids": shift(labels)}

    def prompts(self, model, table: Table, tokenizer, max_length: int) -> list[list[int]]:
        return self.tokenize(tokenizer, table, max_length)["input_ids"]

    def generation(self, tokenizer: Any, model: Any) -> dict[str, Any]:
        chosen: dict[str, Any] = {"max_new_tokens": self.max_target_length, "num_beams": self.num_beams}
        least = self.min_target_length
        chosen |= {"min_new_tokens": least} if least else {"min_length": 0}  # a base may have a least length of its own
        chosen |= {"length_penalty": self.length_penalty} if self.num_beams > 1 else {}
        return chosen | {"no_repeat_ngram_size": self.no_repeat_ngram_size}

    def text(self, row: dict[str, Any]) -> str:
        return row["source"]

    def gold_text(self, row: dict[str, Any]) -> str:
        return row["target"]

    def findings(self, splits: Splits):
        from adaptkit.judge import Finding

        found = []
        for name, table in splits.items():
            same = sum(row["source"].strip() == row["target"].strip() for row in table.rows)
            if same:
                found.append(Finding("warn", f"{name}: {same} of {len(table)} rows have the same text on both sides"))
            ratio = sum(len(row["target"]) for row in table.rows) / sum(len(row["source"]) for row in table.rows)
            found.append(Finding("good", f"{name}: a target has {ratio:.2f} times the characters of its source"))
        return found

    def lost(self, encoded, table: Table):
        from adaptkit.judge import Finding

        full = sum(len(labels) >= self.max_target_length for labels in encoded["labels"])
        text = f"{full} of {len(table)} targets have {self.max_target_length} tokens or more and may be cut"
        return [Finding("warn" if full > 0.02 * len(table) else "good", text)]

    def render(self, row: dict[str, Any], tokenizer: Any) -> str:
        return f"{tokenizer.decode(row['input_ids'])}  ->  [{tokenizer.decode(row['labels'])}]"


def _shifted(model: Any, labels: Any) -> Any:
    """Labels one place to the right, as decoders read them, for models that cannot tell themselves."""
    shifted = labels.new_full(labels.shape, model.config.decoder_start_token_id)
    shifted[:, 1:] = labels[:, :-1]
    return shifted.masked_fill(shifted == IGNORED, model.config.pad_token_id)


def _numbered(table: Table, column: str) -> list[str]:
    """column1, column2, ... where there is no `column` itself: several references."""
    names = [name for name in table.columns if name.removeprefix(column).isdigit() and name.startswith(column)]
    return [] if column in table.columns else names
