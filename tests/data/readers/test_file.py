"""What is no file, and what no memory holds, is refused before it is read."""

import os

from adaptkit.data.readers.read import read
from tests.helpers.files import refused, write


def test_pipes_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "rows.csv")  # nobody writes to it: reading would wait for ever
    refused(tmp_path / "rows.csv", "is a pipe and no file: write the rows to a file first")
    refused(tmp_path / "rows.csv", "is a pipe", format="csv")
    refused("/dev/zero", "is a device or a socket and no file")
    refused(tmp_path, "is a folder; a file is expected", format="csv")


def test_a_file_larger_than_the_memory_is_refused(tmp_path):
    with open(tmp_path / "a.jsonl", "wb") as stream:
        stream.truncate(2**42)  # a hole: it takes no place on the disk
    refused(tmp_path / "a.jsonl", r"a\.jsonl has 4,398 GB and \d+ GB of memory are free")


def test_a_link_is_a_file(tmp_path):
    write(tmp_path / "a.csv", "text,label\na,b\n")
    (tmp_path / "b.csv").symlink_to("a.csv")
    assert read(tmp_path / "b.csv").rows == [{"text": "a", "label": "b"}]
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    refused(tmp_path / "loop.csv", "there is no file|cannot be read")
