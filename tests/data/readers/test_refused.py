"""The snippets in messages work."""

import pickle
import re
import subprocess
import sys

import pytest

from adaptkit import AdaptkitError
from adaptkit.data.readers.read import read
from tests.helpers.files import refused, write

ROWS = [{"text": "it hums", "label": "bad"}]


@pytest.mark.parametrize(
    "name, content",
    [
        ("rows.pkl", pickle.dumps(__import__("pandas").DataFrame(ROWS))),
        ("rows.xml", b"<?xml version='1.0'?><rows><row/></rows>"),
    ],
)
def test_a_command_of_pandas_is_whole(tmp_path, name, content):
    path = write(tmp_path / name, content)
    with pytest.raises(AdaptkitError) as told:
        read(path)
    command = re.search(r'python -c "(.*?)"', str(told.value))
    assert command
    assert str(path) in command[1]
    compile(command[1], name, "exec")
    if name == "rows.pkl":
        subprocess.run([sys.executable, "-c", command[1]], check=True, cwd=tmp_path)
        assert read(tmp_path / "rows.csv").rows == ROWS


def test_the_program_for_a_docbin_is_python(tmp_path):
    with pytest.raises(AdaptkitError) as told:
        read(write(tmp_path / "a.spacy", b"x\x9c"))
    program = str(told.value).partition(":\n")[2]
    compile("\n".join(line[2:] for line in program.splitlines()), "a", "exec")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"%PDF-1.7", "it is a PDF"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd -d"),
        (b"Rar!\x1a\x07", "unrar x"),
        (bytes(257) + b"ustar\x0000", "tar -xf"),
        (b"\x00\x01\x02\x03" * 99, "is no text: zeros are among its first bytes"),
    ],
)
def test_a_binary_file_is_named_whatever_its_ending(tmp_path, content, message):
    for name in ("a.csv", "a.jsonl", "a.txt"):
        refused(write(tmp_path / name, content), message)


def test_a_format_that_is_named_does_not_hide_what_the_file_is(tmp_path):
    refused(write(tmp_path / "a.csv", b"%PDF-1.7"), "it is a PDF", format="csv")
    refused(write(tmp_path / "b.csv", b"PAR1" + bytes(99)), "parquet", format="csv")
