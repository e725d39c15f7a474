"""Dialogues and instructions: the model's chat template, loss on answers only, packing."""

from __future__ import annotations

import sys
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

from adaptkit.data.collate import IGNORED, by_column
from adaptkit.data.conversations.checks import check_template
from adaptkit.data.conversations.examples import encode_conversation, pack
from adaptkit.data.conversations.rendering import ROLES, render
from adaptkit.data.conversations.turns import without_answer, without_greeting
from adaptkit.data.messages import (
    Message,
    content_of,
    read_before,
    read_messages,
    read_tools,
    refuse_weight,
)
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.data.texts import text_at
from adaptkit.errors import AdaptkitError
from adaptkit.metrics.row_scores import RowScores, mean_rows
from adaptkit.tasks.flags import Flag, flag
from adaptkit.tasks.language import Language, ends
from adaptkit.tasks.registry import register_task
from adaptkit.utils.processes import is_main

SHAREGPT_COLUMNS = ("conversations", "conversation")  # columns of messages
CONTEXTS = ("input", "context")  # columns of a text below the prompt, as Alpaca and Dolly call it


@register_task
@dataclass(frozen=True)
class Chat(Language):
    """Conversations as `messages` ([{"role", "content"}]), or `prompt` and `completion`.

    system: a system message for conversations that have none.
    packing: pack several conversations into one row of the batch; each has its own positions and
        does not see the others.
    max_new_tokens: maximum length of a generated answer.
    num_generated: how many test rows to answer and score at the end; 0: all.
    """

    system: str | None = flag(None, "a system message for conversations that have none")
    packing: bool = flag(
        False, "pack several conversations into one row, without attention between them"
    )
    max_new_tokens: int = flag(64, "maximum length of a generated answer in tokens")
    num_generated: int = flag(64, "how many test rows to answer and score; 0: all")

    name = "chat"
    auto_class = "AutoModelForCausalLM"
    parts = {
        "messages": "messages",
        "prompt": "prompt",
        "completion": "completion",
        "context": None,
        "tools": None,
    }
    label_parts: ClassVar[tuple[str, ...]] = ("completion",)
    embedded = {"prompt": "text", "completion": "reply"}
    column_helps = {
        "prompt": "column of the prompt, if there are no messages (default: prompt)",
        "completion": "column of its answer (default: completion; output or response, if the "
        "prompt is in a column called instruction)",
        "context": "column of a text that is read below the prompt (default: input and context)",
        "tools": "column of the tools that the template writes (default: tools)",
    }
    recipe_flags = {
        "model_name_or_path": Flag(
            "SmolLM2-135M-Instruct", "pretrained causal model; untrained: a small one is made"
        ),
        "max_seq_length": Flag(
            512, "maximum length of a conversation in tokens; longer ones lose their beginning", int
        ),
    }
    reported: ClassVar[tuple[str, ...]] = (
        *("perplexity", "base_perplexity", "rougeL", "exact_match"),
    )
    generates = True
    long_texts = "lose their beginning"
    small_model = "llama"
    defaults = {"per_device_train_batch_size": 8, "per_device_eval_batch_size": 8}

    @property
    def same_inputs(self) -> bool:
        return not self.packing  # without a mask, the padded length is part of what the model reads

    def input_fields(self) -> list[str]:
        return ["prompt"]

    def read(self, table: Table, labelled: bool = True) -> Table:
        rows = []
        given = self._listed_in(table)
        listed = given in table.columns
        columns = {} if listed else self._columns(table)
        for part in () if listed else ("prompt", "completion")[: 1 + labelled]:
            table.need(columns[part], f"{part}_column")
        if labelled and not listed and (context := self.column("context")):
            table.need(context, "context_column")
        for index, row in enumerate(table.rows):
            talk = row.get(given) if listed else self._written(table, index, row, columns, labelled)
            if isinstance(talk, str) and talk.strip() and not labelled:  # one line of a file
                talk = [{"role": "user", "content": talk}]
            if labelled:
                refuse_weight(table, index, row)
            talk = read_messages(table, index, talk)
            if listed:
                talk = [*read_before(table, index, row, {given, "history"}), *talk]
            if len(talk) > 1 and talk[0]["role"] == talk[1]["role"] == "system":
                raise table.bad(index, "there is a system message and a column system; leave one.")
            if self.system and talk[0]["role"] != "system":
                talk = [{"role": "system", "content": self.system}, *talk]
            if not without_answer(talk):
                raise table.bad(
                    index, "there is nothing before the answer: no question, no system."
                )
            if labelled and talk[-1]["role"] != "assistant":
                raise table.bad(
                    index,
                    f"the last message is of {talk[-1]['role']!r}; it should be the assistant's.",
                )
            tools = read_tools(table, index, row, self.column("tools") or "tools")
            rows.append({"messages": talk, "tools": tools})
        return table.with_rows(rows)

    def _listed_in(self, table: Table) -> str:
        """The column of whole conversations: as given, or ShareGPT's."""
        given = self.column("messages") or "messages"
        usual = given == self.parts["messages"] and given not in table.columns
        return next((name for name in SHAREGPT_COLUMNS if usual and name in table.columns), given)

    def _columns(self, table: Table) -> dict[str, str]:
        """The column of each part: as given, or as the files of instructions call it."""

        def first(part: str, *names: str) -> str:
            column = self.column(part) or ""
            if column != self.parts[part]:  # the user's own; a card names the usual ones, too
                return column
            return next((name for name in (column, *names) if name in table.columns), column)

        prompt = first("prompt", "instruction")
        known = prompt == "instruction"
        return {
            "prompt": prompt,
            "completion": first("completion", *(("output", "response") if known else ())),
        }

    def _written(
        self,
        table: Table,
        index: int,
        row: dict[str, Any],
        columns: dict[str, str],
        labelled: bool,
    ) -> list[Message]:
        """A prompt and its completion, each a text or a list of messages."""
        found: list[Message] = []
        for part, role in [("prompt", "user"), ("completion", "assistant")][: 1 + labelled]:
            value = row.get(columns[part])
            if isinstance(value, list):
                found += value
            else:
                found.append({"role": role, "content": text_at(table, index, row, columns[part])})
        asked, contexts = row.get(columns["prompt"]), self._contexts(columns)
        for column in contexts:
            if row.get(column) in (None, "") or not str(row[column]).strip():
                continue
            if not isinstance(asked, str):
                raise table.bad(index, f"column {column!r} goes with a prompt that is a text.")
            found[0]["content"] += f"\n\n{text_at(table, index, row, column)}"
        before = read_before(table, index, row, {*columns.values(), *contexts})
        if before and isinstance(asked, list):
            raise table.bad(index, "system and history go with a prompt that is a text.")
        return [*before, *found]

    def _contexts(self, columns: dict[str, str]) -> list[str]:
        """The columns of what is read below a prompt."""
        given = self.column("context")
        return [given] if given else [one for one in CONTEXTS if one not in columns.values()]

    def features(
        self, table: Table, tokenizer, max_length: int, labelled: bool = True, train: bool = False
    ):
        """One example a conversation, and one more for each turn that its template rewrites later.

        Long conversations lose their beginning. Examples without any answer left are not trained
        on.
        """
        examples = each_conversation(
            table,
            tokenizer,
            lambda talk, tools: encode_conversation(talk, tokenizer, max_length, tools),
        )
        rows = [example | {"_row": owner} for owner, own in enumerate(examples) for example in own]
        if train:
            rows = [row for row in rows if any(label != IGNORED for label in row["labels"])]
            if not rows:
                raise AdaptkitError(
                    f"no answer is left within {max_length} tokens: raise --max_seq_length."
                )
            rows = pack(rows, max_length) if self.packing else rows
        return by_column([row | {"length": len(row["input_ids"])} for row in rows])

    def model_inputs(self, model, batch, labels):
        if "position_ids" not in batch:
            return batch
        # With positions and no mask, transformers keeps packed conversations apart; with a cache
        # it would not.
        return {key: value for key, value in batch.items() if key != "attention_mask"} | {
            "use_cache": False
        }

    def prompts(self, model, table: Table, tokenizer, max_length: int) -> list[list[int]]:
        texts = each_conversation(
            table, tokenizer, lambda talk, tools: render(tokenizer, talk, True, tools), asked=True
        )
        positions = (
            getattr(model.config, "max_position_embeddings", None)
            or max_length + self.max_new_tokens
        )
        room = min(max_length, positions - self.max_new_tokens)
        if room < 8:
            raise AdaptkitError(
                f"--max_new_tokens {self.max_new_tokens} leaves no room for a question: the base "
                f"has {positions} positions."
            )
        return [tokenizer(text, add_special_tokens=False)["input_ids"][-room:] for text in texts]

    def generation(self, tokenizer: Any, model: Any) -> dict[str, Any]:
        return {
            "max_new_tokens": self.max_new_tokens,
            "do_sample": False,
            "eos_token_id": ends(tokenizer, model),
        }

    def row_scores(self, answers, table: Table) -> RowScores:
        from adaptkit.metrics.generation import rouge_rows

        predictions, references = (
            [answer["text"] for answer in answers],
            [self.reference_text(row) for row in table.rows],
        )
        exact = [
            one.split() == two.split() for one, two in zip(predictions, references, strict=True)
        ]
        rouge = rouge_rows(predictions, [[text] for text in references])
        return rouge.beside(mean_rows({"exact_match": exact}))

    def text(self, row: dict[str, Any]) -> str:
        return " | ".join(content_of(message) for message in without_answer(row["messages"]))

    def reference_text(self, row: dict[str, Any]) -> str:
        return content_of(row["messages"][-1])

    def findings(self, splits: Splits):
        from adaptkit.tasks.finding import Finding

        found = []
        for name, table in splits.items():
            turns = [
                sum(message["role"] == "assistant" for message in row["messages"])
                for row in table.rows
            ]
            found.append(
                Finding(
                    "good",
                    f"{name}: {len(table)} conversations, {sum(turns) / len(turns):.1f} answers "
                    "in each",
                )
            )
            if strange := sorted(
                {message["role"] for row in table.rows for message in row["messages"]} - ROLES
            ):
                known = "user, assistant, system or tool; questions are asked as the user's"
                found.append(
                    Finding("warn", f"{name}: the roles {', '.join(strange)} are not {known}")
                )
        return found

    def encoding_issues(self, encoded, table: Table):
        from adaptkit.tasks.finding import Finding

        masked = sum(all(label == IGNORED for label in labels) for labels in encoded["labels"])
        loss = sum(label != IGNORED for labels in encoded["labels"] for label in labels)
        tokens = sum(encoded["length"])
        return [
            Finding(
                "warn" if masked else "good",
                f"{masked} of {len(encoded)} examples have no token that carries loss",
            ),
            Finding("good", f"{loss} of {tokens} tokens carry loss ({loss / max(tokens, 1):.0%})"),
        ]


def each_conversation(table: Table, tokenizer: Any, make: Any, asked: bool = False) -> list[Any]:
    """What `make` gives for the messages and tools of each row, if the template writes them.

    A greeting that the template does not write is left out, with a note.

    Args:
        asked: read the rows without their last answers, and none that carries loss.

    Raises:
        AdaptkitError: that of the first row, with file and line. Later rows are not tried: a
            template that refuses one may run long in each.
    """
    found: list[Any] = []
    known: set[Hashable] = set()
    shorter = 0
    for index, row in enumerate(table.rows):
        talk, tools = row["messages"], row["tools"]
        if asked:
            talk = [message | {"train": False} for message in without_answer(talk)]
        try:
            read = without_greeting(tokenizer, talk, tools)
            shorter += len(read) < len(talk)
            check_template(tokenizer, read, tools, known)
            found.append(make(read, tools))
        except AdaptkitError as problem:
            raise table.bad(index, str(problem)) from problem
    if shorter and is_main():
        print(
            f"note: {table.source}: {shorter} conversations begin with the assistant, which the "
            "base's chat template does not write; that is left out.",
            file=sys.stderr,
        )
    return found
