"""A text for a text, by an encoder-decoder or a decoder: the base of translation and summaries."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

from adaptkit.data.alignment import tokens_of
from adaptkit.data.collate import IGNORED, by_column
from adaptkit.data.conversations.checks import check_template
from adaptkit.data.conversations.examples import encode_conversation
from adaptkit.data.conversations.rendering import render
from adaptkit.data.messages import Message
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.data.texts import normalize_text, text_at
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.tasks.flags import Flag, flag
from adaptkit.tasks.language import Language, ends

ENCODER_DECODER, DECODER = "encoder-decoder", "decoder"
KINDS = (ENCODER_DECODER, DECODER)
AROUND = 256  # tokens that a chat template may write around source and target


@dataclass(frozen=True)
class Rewrite(Language):
    """Source to target. Rows: `source`, `target`, and `references` if several.

    An encoder-decoder reads the source and writes the target. A decoder reads the source as the
    user's message of a conversation, behind `source_prefix` or the task's `request`, and answers
    with the target.

    source_prefix: put before every source (T5's "summarize: ").
    max_target_length, min_target_length: tokens of the target.
    num_beams, length_penalty, no_repeat_ngram_size: as in transformers' generate.
    """

    model_kind: str = flag(
        ENCODER_DECODER,
        "encoder-decoder, decoder (a chat model is asked for each target), or auto: what the model "
        "is",
        flag_default="auto",
    )
    source_prefix: str = flag(
        "",
        'put before every source, such as "summarize: " for T5 (default: with a decoder a request)',
    )
    max_target_length: int = flag(64, "maximum length of a target in tokens")
    min_target_length: int = flag(0, "minimum length of a target in tokens")
    num_beams: int = flag(4, "beams of the beam search; 1: greedy")
    length_penalty: float = flag(1.0, "values above 1 favour long targets")
    no_repeat_ngram_size: int = flag(
        0, "n-grams of this size never repeat in a target; 0: no limit"
    )

    request: ClassVar[str]  # what a decoder is asked, before the source
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

    def __post_init__(self) -> None:
        if self.model_kind not in KINDS:
            raise unknown("model_kind", self.model_kind, KINDS)

    @property
    def causal(self) -> bool:  # type: ignore[override]
        return self.model_kind == DECODER

    @property
    def auto_class(self) -> str:  # type: ignore[override]
        return "AutoModelForCausalLM" if self.causal else "AutoModelForSeq2SeqLM"

    def small_model_settings(self) -> dict[str, Any]:
        return {"kind": "llama" if self.causal else "t5"}

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
        if self.causal:
            return self._asked(table, tokenizer, max_length, labelled)
        encoded = self.tokenize(tokenizer, table, max_length)
        encoded.pop("token_type_ids", None)
        encoded["length"] = [len(ids) for ids in encoded["input_ids"]]
        if labelled:
            targets = [row["target"] for row in table.rows]
            cut = {"truncation": True, "max_length": self.max_target_length}
            encoded["labels"] = tokenizer(text_target=targets, **cut)["input_ids"]
        return encoded

    def _asked(self, table: Table, tokenizer: Any, max_length: int, labelled: bool):
        """Each row as a conversation, with loss on the target."""
        room = max_length + self.max_target_length + AROUND
        rows: list[dict[str, Any]] = []
        known: set[Hashable] = set()
        for index, row in enumerate(table.rows):
            talk = self._request(tokenizer, row, max_length)
            if labelled:
                target = _cut(tokenizer, row["target"], self.max_target_length)
                talk.append({"role": "assistant", "content": target})
            try:
                check_template(tokenizer, talk, None, known)
                rows += encode_conversation(talk, tokenizer, room)[-1:]
            except AdaptkitError as problem:
                raise table.bad(index, str(problem)) from problem
        return by_column([row | {"length": len(row["input_ids"])} for row in rows])

    def _request(self, tokenizer: Any, row: dict[str, Any], max_length: int) -> list[Message]:
        source = _cut(tokenizer, row["source"], max_length)
        return [{"role": "user", "content": (self.source_prefix or self.request) + source}]

    def model_inputs(self, model, batch, labels):
        if labels is None or self.causal:
            return batch
        shift = getattr(model, "prepare_decoder_input_ids_from_labels", None) or (
            lambda labels: _shifted(model, labels)
        )
        return batch | {"decoder_input_ids": shift(labels)}

    def prompts(self, model, table: Table, tokenizer, max_length: int) -> list[list[int]]:
        if not self.causal:
            return self.tokenize(tokenizer, table, max_length)["input_ids"]
        texts = [
            render(tokenizer, self._request(tokenizer, row, max_length), True) for row in table.rows
        ]
        return tokenizer(texts, add_special_tokens=False)["input_ids"]

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
        if self.causal:
            return chosen | {"do_sample": False, "eos_token_id": ends(tokenizer, model)}
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

        lengths = (sum(one != IGNORED for one in labels) for labels in encoded["labels"])
        full = sum(length >= self.max_target_length for length in lengths)
        text = (
            f"{full} of {len(table)} targets have {self.max_target_length} tokens or more and "
            "may be cut"
        )
        return [Finding("warn" if full > 0.02 * len(table) else "good", text)]

    def render(self, row: dict[str, Any], tokenizer: Any) -> str:
        if self.causal:
            return super().render(row, tokenizer)
        return f"{tokenizer.decode(row['input_ids'])}  ->  [{tokenizer.decode(row['labels'])}]"


def _cut(tokenizer: Any, text: str, most: int) -> str:
    """The text of its first tokens, without blanks around it, as answers are given."""
    text = text.strip()
    _, places = tokens_of(tokenizer, text)
    return text if len(places) <= most else text[: places[most - 1][1]]


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
