"""Parquet and Arrow: broken files, and those that hold far more than they take on disk."""

import contextlib
import io
import random

import pyarrow
import pyarrow.parquet
import pytest

from adaptkit import AdaptkitError
from adaptkit.data.readers.read import read
from tests.helpers.files import refused, write


def _parquet(table: pyarrow.Table) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


def test_a_parquet_that_unfolds_to_gigabytes_is_refused(tmp_path):
    long = pyarrow.table({"text": ["x" * 100_000] * 800})  # 80 MB of text
    refused(write(tmp_path / "a.parquet", _parquet(long)), "more than 100 times its own size")
    many = pyarrow.table({"text": pyarrow.repeat("x", 200_000)})
    refused(write(tmp_path / "b.parquet", _parquet(many)), "more than 100 times its own size")


def test_whatever_is_broken_in_a_parquet_is_our_error(tmp_path):
    rows = [{"text": f"number {n}", "label": [n], "score": n / 2} for n in range(50)]
    whole = _parquet(pyarrow.Table.from_pylist(rows))
    generator = random.Random(0)
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            content[generator.randrange(4, len(content))] = generator.randrange(256)
        with contextlib.suppress(AdaptkitError):
            read(write(tmp_path / "a.parquet", bytes(content)))


def test_two_columns_of_one_name(tmp_path):
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], ["x", "x"])
    with pyarrow.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    refused(tmp_path / "a.arrow", "the column 'x' is there twice")


@pytest.mark.parametrize("content", [b"PAR1", b"ARROW1\0\0", b"\xff\xff\xff\xff\x00"])
def test_a_beginning_is_no_table(tmp_path, content):
    refused(write(tmp_path / "a.csv", content), "is not a whole (parquet|arrow) file")


def test_a_text_that_every_row_names_again_is_no_bomb(tmp_path):
    """Some kilobytes of parquet that are gigabytes of rows: one text in a dictionary."""
    path = tmp_path / "rows.parquet"
    index = pyarrow.array([0] * 3000, pyarrow.int32())
    text = pyarrow.DictionaryArray.from_arrays(index, pyarrow.array(["x" * 1_000_000]))
    pyarrow.parquet.write_table(pyarrow.table({"text": text, "label": index}), path)
    with pytest.raises(AdaptkitError, match="more than 100 times its own size"):
        read(path)
    few = pyarrow.DictionaryArray.from_arrays(index, pyarrow.array(["a text", "another"]))
    pyarrow.parquet.write_table(pyarrow.table({"text": few, "label": index}), path)
    assert read(path).rows == [{"text": "a text", "label": 0}] * 3000
