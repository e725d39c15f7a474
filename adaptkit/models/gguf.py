"""A GGUF file as a base: converted once, by transformers, to an ordinary folder in a cache.

A GGUF file (of llama.cpp) holds weights, mostly in blocks of few bits, the tokenizer and the chat
template. transformers reads both with the package gguf. Reading takes a while and packed weights
cannot be adapted everywhere, so the folder with whole weights is kept. It is found again by the
size, the time and both ends of the file, so a file that changes is converted anew. One process
converts, others wait for it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from adaptkit.errors import AdaptkitError
from adaptkit.utils.atomic_files import make_folder, new_version
from adaptkit.utils.json_files import write_json
from adaptkit.utils.locks import locked
from adaptkit.utils.processes import log_main

SUFFIX = ".gguf"
MAGIC = b"GGUF"
SAMPLE = 1 << 20  # bytes at both ends by which a file is known
DONE, LOCK = "converted.json", ".lock"  # written last
WAIT = 0.2  # seconds
DTYPES = {"F32": "float32", "F16": "float16"}  # all else becomes bfloat16


def is_gguf(name: str) -> bool:
    """True for the path of a GGUF file, existing or not."""
    return name.lower().endswith(SUFFIX)


def converted(file: str | Path) -> Path:
    """The folder of a GGUF file's model; made if it is not in the cache yet.

    Raises:
        AdaptkitError: there is no such file, it is no GGUF file, its architecture is not known to
            transformers, or the package gguf is missing.
    """
    file = Path(file).expanduser()
    folder = cache_folder() / f"{file.stem}-{_known_by(file)}"
    while not (folder / DONE).is_file():
        make_folder(folder)
        with locked(folder / LOCK) as ours:
            if ours and not (folder / DONE).is_file():
                _convert(file, folder)
        if not ours:
            time.sleep(WAIT)
    return folder


def cache_folder() -> Path:
    """Where converted models are kept: `$ADAPTKIT_CACHE`, or adaptkit's folder beside the Hub's."""
    from huggingface_hub.constants import HF_HOME

    return Path(os.environ.get("ADAPTKIT_CACHE") or Path(HF_HOME) / "adaptkit") / "gguf"


def _known_by(file: Path) -> str:
    """A short hash of a file's size, time and ends: whole ones may have many gigabytes."""
    try:
        with file.open("rb") as opened:
            first = opened.read(SAMPLE)
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - SAMPLE))
            last = opened.read(SAMPLE)
            changed = os.fstat(opened.fileno()).st_mtime_ns
    except OSError as problem:
        raise AdaptkitError(f"cannot read {file}: {problem.strerror}.") from problem
    if first[: len(MAGIC)] != MAGIC:
        raise AdaptkitError(f"{file} is no GGUF file: it does not begin with 'GGUF'.")
    return hashlib.sha256(b"%d %d" % (size, changed) + first + last).hexdigest()[:16]


def _convert(file: Path, folder: Path) -> None:
    if find_spec("gguf") is None:
        raise AdaptkitError(
            f"{file}: reading GGUF files needs the package gguf; pip install 'adaptkit[gguf]'."
        )
    log_main(f"converting {file.name} once, to {folder}")
    try:
        model, tokenizer = _read(file)
    except Exception as problem:  # of any kind: readers take what they find for lengths and places
        why = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise AdaptkitError(f"{file} cannot be read as a language model: {why}") from problem
    with new_version(folder) as staged:
        model.save_pretrained(staged)
        tokenizer.save_pretrained(staged)
    write_json(folder / DONE, {"file": str(file.absolute())})


def _read(file: Path) -> tuple[Any, Any]:
    """The model with whole weights, and its tokenizer."""
    import transformers

    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    options: dict[str, Any] = {"dtype": _dtype(file)}
    if hasattr(transformers, "GgufConfig"):  # before, weights were always unpacked
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(**place, **options)
    return model, transformers.AutoTokenizer.from_pretrained(**place)


def _dtype(file: Path) -> str:
    """The dtype that holds the matrices of a file: theirs, or bfloat16 for those of few bits."""
    from gguf import GGUFReader

    tensors = GGUFReader(file).tensors
    kinds = Counter(one.tensor_type.name for one in tensors if len(one.shape) > 1)
    return DTYPES.get(kinds.most_common(1)[0][0], "bfloat16") if kinds else "bfloat16"
