"""Settings of `Host.generate`, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adaptkit.errors import AdaptkitError, unknown
from adaptkit.host.options import need_count

SAMPLING = ("temperature", "top_k", "top_p", "min_p")

# Settings of transformers' `generate` that do not depend on a row's place in the batch.
SETTINGS = (
    "min_new_tokens",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "length_penalty",
    "early_stopping",
    "bad_words_ids",
    "suppress_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "eos_token_id",
    "use_cache",
    "cache_implementation",
)


@dataclass(frozen=True)
class Generation:
    """settings: for transformers' `generate`, which chooses greedily or by beams. sampling: how a
    host draws, if it does.
    """

    settings: dict[str, Any]
    sampling: dict[str, Any]


def generation(
    settings: dict[str, Any], max_new_tokens: int, num_beams: int, do_sample: bool
) -> Generation:
    """The checked settings of one call.

    Raises:
        AdaptkitError: a setting is not known, or contradicts another.
    """
    if do_sample and num_beams > 1:
        raise AdaptkitError(
            "sampling and beams do not go together: num_beams=1 with do_sample, or beams without "
            "it."
        )
    need_count("max_new_tokens", max_new_tokens)
    need_count("num_beams", num_beams)
    known = (*SETTINGS, *(SAMPLING if do_sample else ()))
    for name in settings:
        if name not in known:
            hint = "It goes with do_sample=True." if name in SAMPLING else ""
            raise unknown("setting of generate", name, list(known), hint)
    counts = {"max_new_tokens": max_new_tokens, "num_beams": num_beams, "do_sample": False}
    sampling = {name: settings[name] for name in SAMPLING if name in settings}
    rest = {name: value for name, value in settings.items() if name not in sampling}
    return Generation(counts | rest, sampling)


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
