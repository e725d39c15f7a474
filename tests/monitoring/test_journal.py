"""Journals that are read, swept and damaged while others write them."""

import json
import math
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adaptkit import AdaptkitError
from adaptkit.monitoring.journal import COLUMNS, Journal, close_journals, names_of, read_rows
from adaptkit.monitoring.log import LogWriter, read_log

ROW = {"time": "2027-01-31T12:00:00", "id": "a-0", "adapter": "intent", "input": '"hello"'}
DAY = "2027-01-31"


def while_it_runs(work, until):
    """Call `work` again and again in a thread while `until` runs."""
    ended, problems = threading.Event(), []

    def run():
        try:
            while not ended.is_set():
                work()
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until()
    finally:
        ended.set()
        thread.join()
    assert not problems


def test_no_row_is_lost_to_another_service_that_starts(tmp_path):
    """It could take a journal that had just been made for one that was left."""

    def write():
        for number in range(100):
            journal = Journal.begin(tmp_path, "answers", DAY)
            journal.append([ROW | {"id": str(number)}])
            journal.held.close()  # as if it were killed

    while_it_runs(lambda: close_journals(tmp_path), write)
    found = read_log(tmp_path, "answers")
    assert sorted(int(row["id"]) for row in found) == list(range(100))


def test_a_reader_sees_every_row_while_journals_become_parquet_files(tmp_path):
    written = []

    def read():
        least = len(written)
        found = read_log(tmp_path, "answers")
        assert least <= len({row["id"] for row in found}) == len(found)

    def write():
        for number in range(100):
            journal = Journal.begin(tmp_path, "answers", DAY)
            journal.append([ROW | {"id": str(number)}])
            written.append(number)
            journal.close()

    while_it_runs(read, write)
    assert len(names_of(tmp_path, "answers")) == 100


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[1, 2]",
        "[" * 100_000,
        '{"id": "a-0"}',
        json.dumps(ROW | {"confidence": "high"}),
        json.dumps(ROW | {"number": True}),
        json.dumps(ROW | {"state": 0.5}),
        json.dumps(ROW | {"state": ["a"]}),
        json.dumps(ROW | {"answer": {"label": "a"}}),
        json.dumps(ROW | {"id": "\ud800"}),
    ],
)
def test_a_damaged_line_stops_nothing_and_is_kept(tmp_path, capsys, line):
    journal = tmp_path / f"answers-{DAY}-aa.jsonl"
    good = json.dumps(ROW | {"number": 1, "state": [0.5, 2]})
    journal.write_text(f"{good}\n{line}\n{good}\n")
    assert len(read_log(tmp_path, "answers")) == 2
    LogWriter(tmp_path, plain=True).close()
    assert "1 lines of" in capsys.readouterr().out
    assert line in (tmp_path / f"{journal.name}.damaged").read_text()
    found = read_log(tmp_path, "answers")
    assert [(row["number"], row["state"]) for row in found] == [(1.0, [0.5, 2.0])] * 2


def test_parquet_files_that_others_wrote(tmp_path):
    """A program that takes rows out may change types; a file of something else is refused."""
    rows = [dict.fromkeys(COLUMNS) | ROW | {"confidence": 0.5, "state": [1.0]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"answers-{DAY}-aa.parquet")
    (row,) = read_rows(tmp_path, f"answers-{DAY}-aa")
    assert (row["id"], row["confidence"], row["state"]) == ("a-0", 0.5, [1.0])
    assert row["number"] is None or math.isnan(row["number"])
    other = pa.Table.from_pylist([{"time": "now", "id": "a"}])
    pq.write_table(other, tmp_path / f"answers-{DAY}-bb.parquet")
    with pytest.raises(AdaptkitError, match=r"bb.parquet is no file of a log: it has no column"):
        read_log(tmp_path, "answers")
