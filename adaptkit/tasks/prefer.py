"""Preferences: of two answers to a prompt, the better one is to become likelier."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, cast

import numpy as np

from adaptkit.data.collate import IGNORED, by_column
from adaptkit.data.conversations.examples import encode_conversation
from adaptkit.data.messages import Message
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.tasks.chat import Chat, each_conversation
from adaptkit.tasks.flags import Flag, flag
from adaptkit.tasks.language import perplexity
from adaptkit.tasks.registry import register_task

Example = dict[str, list[int]]
SIDES = ("chosen", "rejected")
WHOLE = sys.maxsize  # tokens: nothing is cut
# --loss_type -> the default of --beta
BETAS = {
    **dict.fromkeys(("dpo", "ipo", "hinge", "robust", "apo_zero", "kto", "orpo", "cpo"), 0.1),
    "simpo": 2.0,
}


@register_task
@dataclass(frozen=True)
class Prefer(Chat):
    """A `prompt` with a `chosen` and a `rejected` answer, or both as whole conversations.

    An answer's reward is `beta` times the logarithm of how much likelier the adapter makes it than
    the base without it (Rafailov et al. 2023).

    loss_type: see `adaptkit.training.preferences.losses`.
    beta: how much is lost by moving away from the base; None: the loss's own default.
    """

    loss_type: str = flag(
        "dpo", "dpo, ipo, hinge, robust, apo_zero, kto, orpo, cpo or simpo, as in TRL"
    )
    beta: float | None = flag(
        None, "strength of the pull to the base (default: 0.1; simpo, which scales rewards: 2)"
    )

    name = "prefer"
    parts = {
        "prompt": "prompt",
        "chosen": "chosen",
        "rejected": "rejected",
        "context": None,
        "tools": None,
        "messages": "messages",
    }
    label_parts = SIDES
    embedded = {"prompt": "text", "chosen": "reply", "rejected": "other_reply"}
    column_helps = {
        "prompt": "column of the prompt; conversations need none (default: prompt)",
        "chosen": "column of the better answer or conversation (default: chosen)",
        "rejected": "column of the worse one (default: rejected)",
        "context": "column of a text that is read below the prompt",
        "tools": "column of the tools that the template writes (default: tools)",
        "messages": "column of conversations to be answered (default: messages)",
    }
    recipe_flags = {
        **Chat.recipe_flags,
        "max_seq_length": Flag(
            512,
            "maximum length of a prompt and its longer answer; prompts lose their beginning",
            int,
        ),
    }
    not_flags = ("packing",)
    best_metric = "reward_accuracy"
    lower_is_better = False
    base_knows = False
    compares = True
    smooths = False
    inputs_per_row = 2
    recordable = False
    same_inputs = False
    reported = (
        *("reward_accuracy", "reward_margin", "chosen_likelier", "base_chosen_likelier"),
        *("perplexity", "base_perplexity", "rougeL"),
    )
    defaults = {
        **Chat.defaults,
        "learning_rate": 5e-4,
        "num_train_epochs": 1,
        "train_sampling_strategy": "random",
    }

    def __post_init__(self):
        if self.loss_type not in BETAS:
            raise unknown("--loss_type", self.loss_type, BETAS)
        if self.beta is None:
            object.__setattr__(self, "beta", BETAS[self.loss_type])
        if not self.strength > 0:
            raise AdaptkitError(f"--beta is more than 0; it got {self.beta:g}.")

    @property
    def strength(self) -> float:
        """The beta of the loss."""
        return cast(float, self.beta)

    # Rows

    def read(self, table: Table, labelled: bool = True) -> Table:
        if not labelled:
            asked = {"messages": self.column("messages") or "messages"}
            return Chat(columns=self._kept() | asked, system=self.system).read(table, False)
        for side in SIDES:
            table.need(self.column(side) or side, f"{side}_column")
        better, worse = (self._reader(side, table).read(table).rows for side in SIDES)
        rows = [
            one | {"rejected": self._other_answer(table, index, one["messages"], two["messages"])}
            for index, (one, two) in enumerate(zip(better, worse, strict=True))
        ]
        return table.with_rows(rows)

    def _reader(self, side: str, table: Table) -> Chat:
        """The task that reads one side of the pairs as conversations."""
        column = self.column(side) or side
        first = next((row[column] for row in table.rows if row.get(column)), None)
        columns = {"completion": column, "messages": "no messages"}
        if isinstance(first, list) and not _is_answer(first):
            columns = {"messages": column}
        return Chat(columns=self._kept() | columns, system=self.system)

    def _kept(self) -> dict[str, str]:
        """The columns that chat has, too."""
        return {part: own for part in ("prompt", "context", "tools") if (own := self.column(part))}

    def _other_answer(
        self, table: Table, index: int, better: list[Message], worse: list[Message]
    ) -> Message:
        """The last message of the worse conversation, which is otherwise the better one."""
        if better[:-1] != worse[:-1]:
            pairs = takewhile(lambda pair: pair[0] == pair[1], zip(better, worse, strict=False))
            raise table.bad(
                index,
                "chosen and rejected are to differ in the last answer only; they differ from "
                f"message {len(list(pairs)) + 1} on. Cut both behind that answer.",
            )
        return worse[-1]

    # Tensors

    def features(
        self, table: Table, tokenizer, max_length: int, labelled: bool = True, train: bool = False
    ):
        """Two examples a row: the prompt with its chosen answer, and with the rejected one.

        Both lose the same tokens at their beginning. Pairs of equal answers are left out.
        """
        worse = [row | {"messages": [*row["messages"][:-1], row["rejected"]]} for row in table.rows]
        sides = [_encoded(rows, tokenizer) for rows in (table, table.with_rows(worse))]
        found: list[Example] = []
        for owner, pair in enumerate(zip(*sides, strict=True)):
            if pair[0] == pair[1]:
                continue
            over = max(0, *(len(one["input_ids"]) - max_length for one in pair))
            if over > min(_prompt(one) for one in pair) - 1:
                raise table.bad(
                    owner,
                    f"an answer has {max(len(one['input_ids']) - _prompt(one) for one in pair)} "
                    f"tokens and leaves its prompt no room: raise --max_seq_length {max_length}.",
                )
            for one in pair:
                cut = {name: values[over:] for name, values in one.items()}
                found.append(cut | {"_row": owner, "length": len(cut["input_ids"])})
        if not found:
            raise AdaptkitError(f"{table.source}: each chosen answer equals the rejected one.")
        return by_column(found)

    # Answers

    def losses_by_row(self, outputs: np.ndarray, encoded, count: int) -> np.ndarray:
        """Of the chosen answers."""
        found = np.zeros((count, 2), outputs.dtype)
        found[encoded["_row"][::2]] = outputs[::2, :2]
        return found

    def metrics(self, outputs: np.ndarray, encoded, table: Table) -> dict[str, float]:
        """Of `(examples, 4)`: the loss and tokens of each, with the adapter and without."""
        losses, tokens, base_losses, _ = outputs.astype(np.float64).T
        rewards = self.strength * (base_losses - losses)
        margins = rewards[::2] - rewards[1::2]
        better = outputs[::2]
        return {
            "reward_accuracy": float((margins > 0).mean()),
            "reward_margin": float(margins.mean()),
            "chosen_likelier": _likelier(losses / tokens),
            "base_chosen_likelier": _likelier(base_losses / tokens),
            "perplexity": perplexity(better[:, :2])["perplexity"],
            "base_perplexity": perplexity(better[:, 2:])["perplexity"],
        }

    def findings(self, splits: Splits):
        from adaptkit.tasks.finding import Finding

        found = super().findings(splits)
        for name, table in splits.items():
            same = sum(row["messages"][-1] == row["rejected"] for row in table.rows)
            if same:
                text = f"{name}: in {same} rows the chosen answer equals the rejected one"
                found.append(Finding("warn", f"{text}; they count nowhere"))
        return found


def _is_answer(messages: list[Any]) -> bool:
    """An answer alone, without the question."""
    first = messages[0] if messages else {}
    role = first.get("role", first.get("from")) if isinstance(first, dict) else None
    return role in ("assistant", "gpt")


def _encoded(table: Table, tokenizer: Any) -> list[Example]:
    """Each conversation as tokens, with labels on its last answer alone."""

    def encode(talk: list[Message], tools: list[dict]) -> Example:
        before = [message | {"train": False} for message in talk[:-1]]
        answer = {key: value for key, value in talk[-1].items() if key != "train"}
        examples = encode_conversation([*before, answer], tokenizer, WHOLE, tools)
        return next(one for one in examples if _prompt(one) < len(one["labels"]))

    return each_conversation(table, tokenizer, encode)


def _prompt(example: Example) -> int:
    """How many tokens stand before those with loss."""
    labels = example["labels"]
    return next((i for i, label in enumerate(labels) if label != IGNORED), len(labels))


def _likelier(losses: np.ndarray) -> float:
    """The share of pairs whose chosen answer has the lower loss."""
    return float((losses[::2] < losses[1::2]).mean())
