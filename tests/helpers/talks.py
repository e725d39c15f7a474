"""Messages of conversations that tests share, and the texts that carry loss in an example."""

from typing import Any

from adaptkit.data.collate import IGNORED

ASK = {"role": "user", "content": "Is it blue?"}
SAY = {"role": "assistant", "content": "It is."}
SYSTEM = {"role": "system", "content": "Be brief."}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}
CALL = {"id": "abcdefghi", "function": {"name": "look", "arguments": {"x": 1}}}
CALLS = {"role": "assistant", "tool_calls": [CALL]}
REPLY = {"role": "tool", "content": "blue"}
THINKS = SAY | {"reasoning_content": "Hm."}


def learned(tokenizer: Any, row: dict[str, list[int]]) -> list[str]:
    """The texts that carry loss."""
    return [tokenizer.decode(row["input_ids"][start:end]) for start, end in spans(row)]


def seen_before(tokenizer: Any, row: dict[str, list[int]]) -> list[str]:
    """What the model has seen before each of them."""
    return [tokenizer.decode(row["input_ids"][:start]) for start, _ in spans(row)]


def spans(row: dict[str, list[int]]) -> list[tuple[int, int]]:
    """The start and end of each stretch of tokens that carry loss."""
    carries = [False, *(label != IGNORED for label in row["labels"]), False]
    edges = [i for i in range(len(carries) - 1) if carries[i] != carries[i + 1]]
    return list(zip(edges[::2], edges[1::2], strict=True))
