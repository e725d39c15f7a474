"""Compressed files: gzip, bzip2, xz, and zip archives of one file.

A file of a few kB may hold gigabytes of zeros, so what comes out is counted while it is unpacked.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any

from adaptkit.errors import AdaptkitError, listed

ALWAYS = 64 * 2**20  # bytes that any compressed file may hold
RATIO = 100  # above them: bytes for each byte of the compressed file; text has 3 to 20

_OPENERS: dict[bytes, tuple[str, Any]] = {
    b"\x1f\x8b": (".gz", gzip.open),
    b"BZh": (".bz2", bz2.open),
    b"\xfd7zXZ\x00": (".xz", lzma.open),
}
_ZIP = b"PK\x03\x04"
_WORKBOOK = "xl/workbook.xml"
_BROKEN = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError, MemoryError)


def unpack(raw: bytes, path: Path) -> tuple[bytes, str]:
    """The content of a compressed file and the name it has inside; others stay as they are.

    Raises:
        AdaptkitError: it is broken, locked, holds several files, or far more than its size tells.
    """
    for magic, (ending, opener) in _OPENERS.items():
        if raw.startswith(magic):
            with io.BytesIO(raw) as packed:
                content = _bounded(opener(packed), packed.tell, path, f"a {ending} file")
            return content, path.name.removesuffix(ending)
    if raw.startswith(_ZIP):
        return _unzip(raw, path)
    return raw, path.name


def allowed(packed: int) -> int:
    """The bytes that a compressed file of this size may hold."""
    return max(ALWAYS, RATIO * packed)


def too_large(path: Path) -> AdaptkitError:
    """The error for a file that holds far more than its size tells."""
    return AdaptkitError(
        f"{path} holds more than {RATIO} times its own size, as no file of texts does. If it is "
        "right, unpack it yourself and give the unpacked file."
    )


def check_zip(raw: bytes, path: Path) -> zipfile.ZipFile:
    """The archive in these bytes, if its members are of a sound size."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(raw))
    except (zipfile.BadZipFile, *_BROKEN):
        raise _broken(path, "a zip archive") from None
    if sum(member.file_size for member in archive.infolist()) > allowed(len(raw)):
        raise too_large(path)
    return archive


def _unzip(raw: bytes, path: Path) -> tuple[bytes, str]:
    archive = check_zip(raw, path)
    names = archive.namelist()
    if _WORKBOOK in names or "mimetype" in names or "[Content_Types].xml" in names:
        return raw, path.name  # a document that happens to be an archive
    files = [name for name in names if _is_file(name)]
    if len(files) != 1:
        raise AdaptkitError(
            f"{path} is a zip archive of {len(files)} files ({listed(files, 6)}). Unpack it and "
            f"name one: python -m zipfile -e {path} {path.with_suffix('')}"
        )
    if archive.getinfo(files[0]).flag_bits & 1:
        raise AdaptkitError(f"{path} is locked with a password: unpack it and give {files[0]}.")
    try:
        return archive.read(files[0]), PurePosixPath(files[0]).name
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, *_BROKEN):
        raise _broken(path, "a zip archive") from None


def _is_file(name: str) -> bool:
    """True for what the user packed, and not what an archiver added."""
    path = PurePosixPath(name)
    hidden = path.name[:1] in ("", ".") or "__MACOSX" in path.parts
    return not name.endswith("/") and not hidden


def _bounded(stream: IO[bytes], consumed: Any, path: Path, kind: str) -> bytes:
    """The content of a stream; refused once it is far larger than what it was made from."""
    chunks, size = [], 0
    try:
        while chunk := stream.read(2**20):
            chunks.append(chunk)
            size += len(chunk)
            if size > allowed(consumed()):
                raise too_large(path)
    except _BROKEN:
        raise _broken(path, kind) from None
    return b"".join(chunks)


def _broken(path: Path, kind: str) -> AdaptkitError:
    return AdaptkitError(
        f"{path} is {kind} that is damaged or ends early: download or pack it again."
    )
