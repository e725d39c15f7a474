"""Read whole files whose size is checked first: a folder that comes from others may hold anything.

A sparse file claims a terabyte and takes no room on the disk; reading it ends the process.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

from adaptkit.errors import AdaptkitError

LARGEST_JSON = 16_000_000  # bytes; a card with 100,000 labels has some two million
LARGEST_HEADER = 32_000_000  # bytes; one of ten thousand tensors has some two million
LENGTH = 8  # bytes that say how long the header of a safetensors file is


def read_whole(file: int, path: Path) -> bytes:
    """The content of an open file; `path` says what it should be, and is used in messages.

    Raises:
        AdaptkitError: a JSON file is too long, or a safetensors file longer than its header says.
    """
    size = os.fstat(file).st_size
    if path.suffix == ".json":
        check_json_size(size, path)
    if path.suffix == ".safetensors" and size > (whole := _whole_size(file, size)):
        raise AdaptkitError(
            f"{path} is not a whole safetensors file: it has {size:,} bytes, of which its header "
            f"knows {whole:,}; copy it again."
        )
    with open(file, "rb", closefd=False) as stream:
        return stream.read()


def check_json_size(size: int, path: Path) -> None:
    """Refuse a JSON file of more bytes than any of ours."""
    if size > LARGEST_JSON:
        raise AdaptkitError(
            f"{path} has {size / 1e6:,.0f} MB; such files have at most {LARGEST_JSON / 1e6:.0f}."
        )


def _whole_size(file: int, size: int) -> int:
    """The bytes of a safetensors file by its header; what has no header ends behind its length."""
    start = os.pread(file, LENGTH, 0)
    length = struct.unpack("<Q", start)[0] if len(start) == LENGTH else 0
    if not length or length > min(size, LARGEST_HEADER):
        return LENGTH
    try:
        header = json.loads(os.pread(file, length, LENGTH))
        ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
        return LENGTH + length + max(map(int, ends), default=0)
    except (ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError):
        return LENGTH
