"""Prompts as texts, conversations or ids, as the ids that the network reads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from adaptkit.data.conversations.rendering import render
from adaptkit.data.messages import read_messages
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
from adaptkit.host.backbone import Backbone
from adaptkit.host.rows import plain_text
from adaptkit.tasks.language import ends


class Prompts:
    """Reads prompts for a base. lock: tokenizers store their settings in themselves."""

    def __init__(self, backbone: Backbone, lock: threading.Lock):
        self.backbone, self._lock = backbone, lock

    def ids(self, prompts: Sequence[Any], new_tokens: Sequence[int]) -> list[list[int]]:
        """The ids of each prompt, checked.

        Raises:
            AdaptkitError: a prompt is empty, has ids that the base does not know, or leaves no room
                for so many new tokens.
        """
        if self.backbone.tokenizer is None and any(map(_is_read, prompts)):
            raise AdaptkitError("this host was made without a tokenizer: give ids.")
        with self._lock:
            found = [self._ids(prompt) for prompt in prompts]
        known = self.backbone.network.get_input_embeddings().weight.shape[0]
        for i, (row, most) in enumerate(zip(found, new_tokens, strict=True)):
            if not row or not all(isinstance(token, int) and 0 <= token < known for token in row):
                raise AdaptkitError(
                    f"prompt {i} is {str(prompts[i])[:60]!r}; prompts are texts, lists of "
                    f"messages, or lists of ids below {known}, as in [[5, 6]]."
                )
            self._need_room(row, most)
        return found

    def _ids(self, prompt: Any) -> list[int]:
        tokenizer = self.backbone.tokenizer
        if isinstance(prompt, str):
            return tokenizer(plain_text(prompt))["input_ids"]
        if is_conversation(prompt):
            messages = read_messages(Table([{}], "prompts"), 0, list(prompt))
            text = render(tokenizer, messages, True)
            return tokenizer(text, add_special_tokens=False)["input_ids"]
        return list(prompt) if isinstance(prompt, (list, tuple)) else []

    def room(self, read: int) -> int | None:
        """The tokens that can be written behind so many that are read; None: any number."""
        config = self.backbone.model.config
        most = getattr(config, "max_position_embeddings", None)
        return None if most is None else most - (0 if config.is_encoder_decoder else read)

    def _need_room(self, ids: list[int], new_tokens: int) -> None:
        room = self.room(len(ids))
        if room is not None and new_tokens > room:
            most = self.backbone.model.config.max_position_embeddings
            raise AdaptkitError(
                f"a prompt of {len(ids)} tokens and {new_tokens} new ones are more than the "
                f"base's {most} positions."
            )

    def ends(self, conversation: bool) -> list[int]:
        """The ids that end an answer: the base's own; in a conversation its template's, too."""
        model = self.backbone.model
        if conversation:
            with self._lock:
                return ends(self.backbone.tokenizer, model) or []
        own = model.generation_config.eos_token_id
        own = own if isinstance(own, list) else [own]
        return [token for token in own if token is not None]

    def text(self, ids: list[int]) -> str:
        """The text of generated ids."""
        return self.decode(ids).strip()

    def decode(self, ids: list[int]) -> str:
        """The text of generated ids, with the blanks around it."""
        return self.backbone.tokenizer.decode(ids, skip_special_tokens=True)


def is_conversation(prompt: Any) -> bool:
    """A prompt is a list of messages."""
    return isinstance(prompt, (list, tuple)) and bool(prompt) and isinstance(prompt[0], dict)


def _is_read(prompt: Any) -> bool:
    return isinstance(prompt, str) or is_conversation(prompt)
