"""Which pooling a base was made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adaptkit.errors import AdaptkitError
from adaptkit.models.names import folder_of, resolve
from adaptkit.models.objective import is_decoder
from adaptkit.tasks.sequence import NATIVE
from adaptkit.utils.json_files import read_json

# sentence-transformers' names, in the file of its pooling module
MODES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "first",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_max_tokens": "max",
}
NAMES = {"mean": "mean", "cls": "first", "lasttoken": "last", "max": "max"}


def poolings_for(base: str, revision: str | None, config: Any) -> tuple[str, ...]:
    """The poolings to choose from for a base: one if its files or its architecture tell.

    Sentence encoders say in their files what they were trained with. Encoders are read in the mean
    or at the first token, whichever says more. Decoders end in the last token, as transformers'
    classifiers read them, and encoder-decoders have classifiers of their own.
    """
    if config.is_encoder_decoder:
        return (NATIVE,)
    if known := sentence_pooling(folder_of(resolve(base), revision)):
        return (known,)
    return (NATIVE,) if is_decoder(config) else ("mean", "first")


def sentence_pooling(folder: Path | None) -> str | None:
    """The pooling in the files of sentence-transformers; None if there are none, or of several."""
    if folder is None:
        return None
    for file in sorted(Path(folder).glob("*_Pooling/config.json")):
        try:
            settings = read_json(file)
        except AdaptkitError:
            return None
        modes = [name for mode, name in MODES.items() if settings.get(mode) is True]
        named = NAMES.get(str(settings.get("pooling_mode")))
        if named or len(modes) == 1:
            return named or modes[0]
    return None
