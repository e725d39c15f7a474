"""The tokenizer of a base, its padding, and the longest input that the base can read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptkit.errors import AdaptkitError
from adaptkit.models.names import loaded_or_refused, resolve

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FEWEST_TOKENS = (
    3  # beside the special ones: without its files a tokenizer of some kinds has up to two
)


def load_tokenizer(name_or_path: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a base; without a padding token it pads with its end-of-text token.

    Raises:
        AdaptkitError: the base has no tokenizer, or one without a vocabulary, which transformers
            creates for a folder that holds only a model.
    """
    from transformers import AutoTokenizer

    source = resolve(name_or_path)
    try:
        more: dict[str, Any] = {"revision": revision, "trust_remote_code": False}  # else it may ask
        tokenizer = loaded_or_refused(
            lambda: AutoTokenizer.from_pretrained(source, **more), name_or_path
        )
    except TypeError as problem:  # some tokenizers open a file without a name
        raise _no_tokenizer(name_or_path, problem) from problem
    files = {"tokenizer.json", *tokenizer.vocab_files_names.values()}
    bare = Path(source).is_dir() and not any((Path(source) / file).is_file() for file in files)
    if bare and len(tokenizer) - len(tokenizer.all_special_ids) < FEWEST_TOKENS:
        raise _no_tokenizer(name_or_path)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _no_tokenizer(name: str, problem: Exception | None = None) -> AdaptkitError:
    why = f" ({str(problem).splitlines()[0]})" if problem else ""
    return AdaptkitError(
        f"{name} holds no tokenizer{why}: put the files of the model's own there, with "
        "AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER)."
    )


def align_padding(model: Any, tokenizer: Any) -> None:
    """Set a model's padding token to the tokenizer's.

    Heads over decoders read the last token that is not padding.
    """
    if tokenizer.pad_token_id is not None:
        model.config.pad_token_id = tokenizer.pad_token_id


def longest_input(config: Any, tokenizer: Any) -> int:
    """The longest input of a base in tokens, from its positions and its tokenizer."""
    limit = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    if config.model_type in ("roberta", "xlm-roberta"):  # the first positions are used for padding
        limit -= config.pad_token_id + 1
    return min(limit, tokenizer.model_max_length)
