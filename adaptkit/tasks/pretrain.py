"""Language modelling on plain text: masked or causal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from typing import Any

from adaptkit.data.collate import IGNORED, Pad, by_column
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.tasks.flags import Flag, flag
from adaptkit.tasks.language import Language
from adaptkit.tasks.registry import register_task
from adaptkit.utils.overrides import overrides

OBJECTIVES = ("mlm", "clm")


@register_task
@dataclass(frozen=True)
class Pretrain(Language):
    """Predict every token (clm) or masked tokens (mlm) of texts, joined and cut into blocks.

    mlm_probability: the share of tokens to predict; 80 % of them are masked, 10 % replaced by
        another
    token, 10 % unchanged (BERT). Training blocks are masked anew in every epoch, the others once,
    so that perplexities can be compared.
    """

    objective: str = flag(
        "mlm",
        "mlm: predict masked tokens; clm: predict the next token (default: the model's own "
        "objective)",
        flag_default=None,
    )
    mlm_probability: float = flag(0.15, "share of tokens to predict")
    model_type: str = flag("bert", "architecture to train from scratch: bert, llama", stored=False)
    config_overrides: str | None = flag(
        None,
        "settings of a model from scratch: hidden_size=256,num_hidden_layers=4",
        stored=False,
    )
    vocab_size: int = flag(4000, "vocabulary size of its tokenizer", stored=False)

    name = "pretrain"
    parts = {"text": "text"}
    column_helps = {"text": "column of the text, if the file has columns (default: text)"}
    recipe_flags = {
        "model_name_or_path": Flag(
            None,
            "model to continue training (default: one from scratch; with --objective clm "
            "SmolLM2-135M-Instruct)",
        ),
        "method": Flag(
            None, "full: all weights; lora, ... (default: lora; full for a model from scratch)"
        ),
    }
    from_nothing = True
    label_parts = ()
    reported = ("perplexity", "base_perplexity")
    long_texts = "are cut into blocks"
    longest_text = math.inf
    how_split = "the last ones"
    answers = False
    changeable = ("text",)
    defaults = {"per_device_train_batch_size": 16, "per_device_eval_batch_size": 16}

    def __post_init__(self):
        if self.objective not in OBJECTIVES:
            raise unknown("objective", self.objective, OBJECTIVES)

    @property
    def auto_class(self) -> str:
        return "AutoModelForMaskedLM" if self.objective == "mlm" else "AutoModelForCausalLM"

    @property
    def same_inputs(self) -> bool:
        return self.objective == "clm"

    @property
    def causal(self) -> bool:
        return self.objective == "clm"

    def small_model_settings(self) -> dict[str, Any]:
        return {
            "kind": self.model_type,
            "vocab_size": self.vocab_size,
            **overrides(self.config_overrides),
        }

    def read(self, table: Table, labelled: bool = True) -> Table:
        return table.with_rows(self.read_texts(table, ["text"]))

    def split(self, table: Table, seed: int, share: float) -> tuple[Table, Table]:
        """Split off the last rows: neighbouring rows of a text are related."""
        edge = len(table) - max(1, round(share * len(table)))
        return table.take(range(edge)), table.take(range(edge, len(table)))

    def features(
        self, table: Table, tokenizer, max_length: int, labelled: bool = True, train: bool = False
    ):
        edges = [tokenizer.cls_token_id, tokenizer.sep_token_id] if self.objective == "mlm" else []
        edges = edges if None not in edges else []
        inside = max_length - len(edges)
        ids = tokenizer([row["text"] for row in table.rows], add_special_tokens=False)["input_ids"]
        end = (
            []
            if self.objective == "mlm" or tokenizer.eos_token_id is None
            else [tokenizer.eos_token_id]
        )
        stream = list(chain.from_iterable(row + end for row in ids))
        blocks = [stream[i : i + inside] for i in range(0, len(stream), inside)]
        blocks = [block for block in blocks if len(block) > 1]
        if not blocks:
            raise AdaptkitError(
                f"{table.source}: the text has {len(stream)} tokens, too few for a block."
            )
        blocks = [[*edges[:1], *block, *edges[1:]] for block in blocks]
        rows: list[dict[str, Any]] = [
            {"input_ids": block, "attention_mask": [1] * len(block), "length": len(block)}
            for block in blocks
        ]
        if self.objective == "clm":
            rows = [row | {"labels": [IGNORED, *row["input_ids"][1:]]} for row in rows]
        elif not train:
            rows = [
                row | self._hidden(row["input_ids"], tokenizer, number)
                for number, row in enumerate(rows)
            ]
        return by_column(rows)

    def _hidden(self, ids: list[int], tokenizer: Any, seed: int) -> dict[str, list[int]]:
        """A block with masked tokens, the same way every time."""
        batch = _masking(tokenizer, self.mlm_probability, seed)([{"input_ids": ids}])
        return {"input_ids": batch["input_ids"][0].tolist(), "labels": batch["labels"][0].tolist()}

    def collator(self, tokenizer):
        pad = Pad.for_tokenizer(tokenizer)
        mask = _masking(tokenizer, self.mlm_probability) if self.objective == "mlm" else None

        def collate(rows):
            if mask is None or "labels" in rows[0]:
                return pad(rows)
            return dict(
                mask(
                    [
                        {"input_ids": row["input_ids"], "attention_mask": row["attention_mask"]}
                        for row in rows
                    ]
                )
            )

        return collate

    def findings(self, splits: Splits):
        from adaptkit.tasks.finding import Finding

        return [
            Finding(
                "good",
                f"{name}: {len(table)} lines, {sum(len(row['text']) for row in table.rows):,} "
                "characters",
            )
            for name, table in splits.items()
        ]


def _masking(tokenizer: Any, share: float, seed: int | None = None):
    from transformers import DataCollatorForLanguageModeling

    if tokenizer.mask_token is None:
        raise AdaptkitError(
            "the tokenizer has no mask token: this model is not for --objective mlm; try clm."
        )
    seed = 2**32 - 1 if seed == 0 else seed  # transformers before 5.23 treats 0 as unset
    return DataCollatorForLanguageModeling(tokenizer, mlm=True, mlm_probability=share, seed=seed)
