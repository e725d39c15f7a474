"""Compressed files are read, and those that unfold to gigabytes are refused while they do."""

import bz2
import gzip
import io
import lzma
import resource
import subprocess
import sys
import zipfile

import pytest

from adaptkit.data.readers.read import read
from tests.helpers.files import refused, write

PIECE, PIECES = bytes(8 * 2**20), 10  # of zeros; compressed streams follow each other


def _bomb_of_zip(name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open(name, "w") as stream:
            for _ in range(PIECES):
                stream.write(PIECE)
        archive.writestr("xl/workbook.xml" if name.startswith("xl/") else "__MACOSX/x", "")
    return packed.getvalue()


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.csv.gz", lambda: gzip.compress(PIECE) * PIECES),
        ("a.csv.bz2", lambda: bz2.compress(PIECE) * PIECES),
        ("a.csv.xz", lambda: lzma.compress(PIECE) * PIECES),
        ("a.zip", lambda: _bomb_of_zip("a.csv")),
        ("a.xlsx", lambda: _bomb_of_zip("xl/worksheets/sheet1.xml")),
    ],
)
def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path, name, content):
    path = write(tmp_path / name, content())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path, r"holds more than 100 times its own size.*give the unpacked file")
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 300  # MB


def test_what_cannot_be_unpacked_says_why(tmp_path):
    inner = gzip.compress(b"text,label\na,b\n")
    refused(write(tmp_path / "a.csv.gz", gzip.compress(inner)), "compressed twice: gunzip")
    refused(write(tmp_path / "b.csv.gz", b"\x1f\x8b\x08"), "damaged or ends early")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", "text,label\n")
    locked = bytearray(packed.getvalue())
    locked[locked.index(b"PK\x01\x02") + 8] |= 1  # the flag of encryption
    refused(write(tmp_path / "c.zip", bytes(locked)), "locked with a password")


def test_the_command_that_a_message_names_unpacks_the_archive(tmp_path):
    path = tmp_path / "rows.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train.csv", "text,label\na,b\n")
        archive.writestr("test.csv", "text,label\nc,d\n")
    with pytest.raises(Exception, match="python -m zipfile") as told:
        read(path)
    command = str(told.value).partition(": python ")[2].split()
    subprocess.run([sys.executable, *command], check=True)
    assert read(tmp_path / "rows" / "train.csv").rows == [{"text": "a", "label": "b"}]
