"""Conversations as tokens, with labels on what the assistant is to write, and packing."""

from __future__ import annotations

import bisect
from typing import Any

from adaptkit.data.alignment import tokens_of
from adaptkit.data.collate import IGNORED
from adaptkit.data.conversations.ends import added_tokens
from adaptkit.data.conversations.turns import (
    answer_of,
    shared_start,
    trained_turns,
    whole_text,
)
from adaptkit.data.messages import Message


def encode_conversation(
    messages: list[Message],
    tokenizer: Any,
    max_length: int,
    tools: list[dict] | None = None,
) -> list[dict[str, list[int]]]:
    """Encode a conversation, with labels on what the assistant is to write.

    The first example is the whole conversation. A turn has its labels there if it stands there as
    it does when it is the last one. Templates may write it otherwise, without its thoughts for one;
    what the model is to write then stands in an example of its own, which ends with that turn.
    Turns with `train: False` get no labels.
    """
    trained = trained_turns(messages)
    answers = {turn: answer_of(tokenizer, messages[: turn + 1], tools) for turn in trained}
    text = whole_text(tokenizer, messages, tools)
    contents = {turn: (messages[turn].get("content") or "").strip() for turn in trained}
    found = {turn: _place(tokenizer, text, *answers[turn], contents[turn]) for turn in trained}
    others = [answers[turn] for turn in trained if found[turn] is None]
    examples = [_labelled(tokenizer, text, [place for place in found.values() if place])]
    for before, written in others:
        end = len(before) + len(written)
        examples.append(_labelled(tokenizer, before + written, [(len(before), end, end)]))
    return [
        {
            "input_ids": tokens[-max_length:],
            "attention_mask": [1] * len(tokens[-max_length:]),
            "labels": [IGNORED, *labels[-max_length:][1:]],  # the first has no prediction
        }
        for tokens, labels in examples
    ]


def _labelled(
    tokenizer: Any, text: str, spans: list[tuple[int, int, int]]
) -> tuple[list[int], list[int]]:
    """The tokens of a text, and labels for those in spans of start, end and latest end."""
    tokens, places = tokens_of(tokenizer, text)
    labels = [
        token
        if any(start <= one < end and two <= whole for start, end, whole in spans)
        else IGNORED
        for token, (one, two) in zip(tokens, places, strict=True)
    ]
    return tokens, labels


def _place(
    tokenizer: Any, text: str, before: str, written: str, content: str
) -> tuple[int, int, int] | None:
    """The start, end and latest end of an answer's tokens in the text of a whole conversation.

    None if the conversation holds it otherwise than the model is to write it. Only what follows the
    token that ends it may differ: Phi-3 ends the last turn with one more token.
    """
    start = len(before)
    if text.startswith(before + written):
        return start, start + len(written), len(text)
    cut = written.rfind(content) + len(content)
    if not content or not text.startswith(before + written[:cut]):
        return None
    ending = shared_start(text[start + cut :], written[cut:])
    tokens, places = tokens_of(tokenizer, written[cut:])
    kept = {token for token, (_, end) in zip(tokens, places, strict=True) if end <= len(ending)}
    end = start + cut + len(ending)
    return (start, end, end) if kept & added_tokens(tokenizer) else None


def pack(rows: list[dict[str, list[int]]], max_length: int) -> list[dict[str, list[int]]]:
    """Pack conversations, longest first, into rows of at most `max_length` tokens.

    Positions restart with each conversation.
    """
    packed: list[dict[str, list[int]]] = []
    rooms: list[tuple[int, int]] = []  # free space and index of each row; the fullest first
    for row in sorted(rows, key=lambda row: -len(row["input_ids"])):
        taken = len(row["input_ids"])
        found = bisect.bisect_left(rooms, (taken, 0))
        if found == len(rooms):
            packed.append({"input_ids": [], "labels": [], "position_ids": []})
            rooms.append((max_length, len(packed) - 1))
        free, index = rooms.pop(found)
        bisect.insort(rooms, (free - taken, index))
        packed[index]["input_ids"] += row["input_ids"]
        packed[index]["labels"] += row["labels"]
        packed[index]["position_ids"] += range(taken)
    return packed
