"""The tokens that a chat template writes right before the words of an answer, and behind them."""

from __future__ import annotations

import contextlib
from typing import Any

from adaptkit.data.conversations.turns import answer_of
from adaptkit.data.messages import Message
from adaptkit.errors import AdaptkitError

_ASKED: Message = {"role": "user", "content": "Is it blue?"}
_SAYS: Message = {"role": "assistant", "content": "wordsaid"}
_CALL = {
    "id": "abcdefghi",
    "type": "function",
    "function": {"name": "look", "arguments": {"at": "wordsent"}},
}
_ANSWERS: list[Message] = [
    _SAYS,
    _SAYS | {"reasoning_content": "wordthought"},
    {"role": "assistant", "content": "", "tool_calls": [_CALL, _CALL]},
    {"role": "assistant", "content": "", "tool_calls": [_CALL]},
    _SAYS | {"tool_calls": [_CALL]},
]


def added_tokens(tokenizer: Any) -> set[int]:
    """The ids of tokens that are no part of a text: special ones, and what was added as such."""
    added = set(tokenizer.all_special_ids)
    with contextlib.suppress(NotImplementedError):  # mistral-common's has special ones only
        added.update(tokenizer.added_tokens_decoder)
    return added


def words_begin(tokenizer: Any) -> int | None:
    """The token right before an answer's words: the end of thoughts, or of a channel's name.

    None if the model is to write the words at once.
    """
    try:
        _, written = answer_of(tokenizer, [_ASKED, _SAYS], None)
    except AdaptkitError:
        return None
    before = written[: written.find(_SAYS["content"])].rstrip()
    ids = tokenizer(before, add_special_tokens=False)["input_ids"]
    return ids[-1] if ids and ids[-1] in added_tokens(tokenizer) else None


def turn_ends(tokenizer: Any) -> set[int]:
    """The tokens that the chat template writes behind answers and never within one.

    They are found by rendering answers: words, words after thoughts, calls, and words with calls.
    """
    behind: set[int] = set()
    within: set[int] = set()
    added = added_tokens(tokenizer)

    def marks(text: str) -> list[int]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return [token for token in ids if token in added]

    for answer in _ANSWERS:
        try:
            written = answer_of(tokenizer, [_ASKED, answer], None)[1]
        except AdaptkitError:
            if answer is _SAYS:
                break
            continue
        end = max(written.rfind(word) for word in ("wordsaid", "wordsent")) + len("wordsaid")
        if end < len("wordsaid"):  # it writes neither
            continue
        last = -1 if "tool_calls" in answer else 0  # others than the last one end the calls
        behind.update(marks(written[end:])[last:])
        within.update(marks(written[:end]))
    return behind - within
