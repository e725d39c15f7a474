"""Settings of `Host.generate` and `Host.stream`, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adaptkit.errors import AdaptkitError, unknown
from adaptkit.host.options import need_count
from adaptkit.host.writing.sampling import warpers
from adaptkit.host.writing.sequence import How

SAMPLING = ("temperature", "top_k", "top_p", "min_p")
# What is read row by row, a token at a time.
BY_ROW = ("min_new_tokens", "eos_token_id", "stop_strings", "logprobs")
# Settings of transformers' `generate` that do not depend on a row's place in the batch, either.
OF_GENERATE = (
    "repetition_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "length_penalty",
    "early_stopping",
    "bad_words_ids",
    "suppress_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "use_cache",
    "cache_implementation",
)
MOST_LOGPROBS = 20


@dataclass(frozen=True)
class Generation:
    """The settings of one call.

    max_new_tokens: of each row. by_row: for a loop over tokens. of_generate: those that only
    transformers' `generate` knows. sampling: how a host draws, if it does.
    """

    max_new_tokens: list[int]
    num_beams: int
    do_sample: bool
    by_row: dict[str, Any]
    of_generate: dict[str, Any]
    sampling: dict[str, Any]

    @property
    def plain(self) -> bool:
        """Rows can be written a token at a time, each by itself."""
        return self.num_beams == 1 and not self.of_generate

    @property
    def only_by_row(self) -> list[str]:
        """The settings that transformers' `generate` cannot do."""
        found = [name for name in ("stop_strings", "logprobs") if name in self.by_row]
        return found + ["max_new_tokens of each row"] * (len(set(self.max_new_tokens)) > 1)

    def for_generate(self) -> dict[str, Any]:
        """The settings as those of transformers' `generate`, which draws nothing itself."""
        counts = {"max_new_tokens": self.max_new_tokens[0], "num_beams": self.num_beams}
        ends = self.by_row.get("eos_token_id")
        more = {"eos_token_id": list(ends)} if isinstance(ends, tuple) else {}
        return counts | {"do_sample": False} | self.by_row | more | self.of_generate

    def hows(self, config: Any, ends: list[int], special: Sequence[int] = ()) -> list[How]:
        """How each row is written.

        config: the base's generation settings. ends: the ids that end a row, unless others are
        given. special: the ids of stop texts that are tokens of their own, which no text shows.
        """
        given = self.by_row.get("eos_token_id", ends)
        given = given if isinstance(given, (list, tuple)) else [given]
        stop = self.by_row.get("stop_strings") or ()
        drawn = warpers(config, self.sampling) if self.do_sample else None
        return [
            How(
                most,
                frozenset(given) | frozenset(special),
                self.by_row.get("min_new_tokens") or 0,
                (stop,) if isinstance(stop, str) else tuple(stop),
                drawn,
                self.by_row.get("logprobs"),
            )
            for most in self.max_new_tokens
        ]


def generation(
    settings: dict[str, Any],
    max_new_tokens: int | Sequence[int],
    num_beams: int,
    do_sample: bool,
    count: int,
) -> Generation:
    """The checked settings of one call with so many rows.

    Raises:
        AdaptkitError: a setting is not known, or contradicts another.
    """
    if do_sample and num_beams > 1:
        raise AdaptkitError(
            "sampling and beams do not go together: num_beams=1 with do_sample, or beams without "
            "it."
        )
    need_count("num_beams", num_beams)
    known = (*BY_ROW, *OF_GENERATE, *(SAMPLING if do_sample else ()))
    for name in settings:
        if name not in known:
            hint = "It goes with do_sample=True." if name in SAMPLING else ""
            raise unknown("setting of generate", name, list(known), hint)
    _check_by_row(settings)
    given = {name: value for name, value in settings.items() if value is not None}

    def those(names: Sequence[str]) -> dict[str, Any]:
        return {name: given[name] for name in names if name in given}

    found = Generation(
        _counts(max_new_tokens, count),
        num_beams,
        do_sample,
        those(BY_ROW),
        those(OF_GENERATE),
        those(SAMPLING),
    )
    if not found.plain and found.only_by_row:
        others = ["num_beams"] * (num_beams > 1) + list(found.of_generate)
        raise AdaptkitError(
            f"{' and '.join(found.only_by_row)} cannot go with {' and '.join(others)}, which "
            "transformers' generate does for a whole batch."
        )
    return found


def _counts(max_new_tokens: Any, count: int) -> list[int]:
    if isinstance(max_new_tokens, (list, tuple)):
        if len(max_new_tokens) != count:
            raise AdaptkitError(
                f"max_new_tokens is a whole number, or one for each of {count} prompts; it got "
                f"{len(max_new_tokens)}."
            )
        for one in max_new_tokens:
            need_count("max_new_tokens", one)
        return list(max_new_tokens)
    need_count("max_new_tokens", max_new_tokens)
    return [max_new_tokens] * max(count, 1)


def _check_by_row(settings: dict[str, Any]) -> None:
    ends = settings.get("eos_token_id")
    ends = [ends] if type(ends) is int else ends
    if ends is not None and not (
        isinstance(ends, (list, tuple)) and all(type(one) is int for one in ends)
    ):
        raise AdaptkitError(f"eos_token_id is an id, or a list of ids; it got {ends!r}.")
    fewest = settings.get("min_new_tokens")
    if fewest is not None and not (type(fewest) is int and fewest >= 0):
        raise AdaptkitError(f"min_new_tokens is a whole number, 0 or more; it got {fewest!r}.")
    stop = settings.get("stop_strings")
    stop = [stop] if isinstance(stop, str) else stop
    if stop is not None and not (
        isinstance(stop, (list, tuple)) and all(isinstance(one, str) and one for one in stop)
    ):
        raise AdaptkitError(f"stop_strings are texts that are not empty; it got {stop!r}.")
    count = settings.get("logprobs")
    if count is not None and not (type(count) is int and 0 <= count <= MOST_LOGPROBS):
        raise AdaptkitError(
            f"logprobs is how many of the likeliest tokens to tell, 0 to {MOST_LOGPROBS}; it got "
            f"{count!r}."
        )


def seeds_of(seed: int | Sequence[int], count: int) -> list[int]:
    """One seed per prompt; a single number s gives prompt i the seed s + i.

    Raises:
        AdaptkitError: a seed is not a whole number from 0 up, or there are more or fewer.
    """
    seeds = [seed + i for i in range(count)] if isinstance(seed, int) else list(seed or ())
    if len(seeds) == count and all(isinstance(one, int) and 0 <= one < 2**63 for one in seeds):
        return seeds
    raise AdaptkitError(
        f"seed is a whole number, or one for each of {count} prompts; it got {seed!r}."
    )
