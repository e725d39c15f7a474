import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from adaptkit import AdaptkitError
from adaptkit.monitoring.log import KEY, LogWriter, read_log

DAY = datetime(2027, 1, 31, 23, 59, tzinfo=UTC)
NEXT = datetime(2027, 2, 1, 0, 1, tzinfo=UTC)


def row(text="hello", **more):
    return {"id": "a-0", "adapter": "intent", "input": text, "state": [0.5, -1.0], **more}


def names(folder):
    return sorted(path.name.rsplit("-", 1)[0] + path.suffix for path in folder.glob("*-*"))


def test_a_day_becomes_a_parquet_file_that_others_read(tmp_path):
    log = LogWriter(tmp_path / "log", plain=True)
    log.write("answers", [row(number=2.0), row("größer", confidence=0.25)], DAY)
    assert names(tmp_path / "log") == ["answers-2027-01-31.jsonl"]
    log.write("answers", [row("later")], NEXT)
    log.close()
    assert names(tmp_path / "log") == [f"answers-2027-{day}.parquet" for day in ("01-31", "02-01")]
    first, _ = sorted((tmp_path / "log").glob("*.parquet"))
    table = pq.read_table(first)
    assert table.column("input").to_pylist() == ['"hello"', '"größer"']
    assert table.column("confidence").to_pylist() == [None, 0.25]
    assert table.column("state").to_pylist()[0] == [0.5, -1.0]
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    read = read_log(tmp_path / "log", "answers")
    assert [json.loads(one["input"]) for one in read] == ["hello", "größer", "later"]
    assert read[0]["time"] == "2027-01-31T23:59:00.000+00:00"
    assert read_log(tmp_path / "log", "feedback") == []
    assert read_log(tmp_path / "log", "answers", "other") == []


def test_hashed_texts_are_nowhere_in_the_folder(tmp_path):
    log = LogWriter(tmp_path, plain=False)
    answer = {"entities": [{"label": "place", "start": 2, "text": "secret"}]}
    log.write("answers", [row("a secret", answer=answer), row("a secret"), row("another")])
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"secret" not in content
    log.close()
    one, two, three = read_log(tmp_path, "answers")
    assert one["input"] is None
    assert one["answer"] == '{"entities": [{"label": "place", "start": 2}]}'
    assert one["digest"] == two["digest"] != three["digest"]
    assert stat.S_IMODE((tmp_path / KEY).stat().st_mode) == 0o600
    again = LogWriter(tmp_path, plain=False)  # the same key: digests of weeks compare
    again.write("answers", [row("another")])
    assert read_log(tmp_path, "answers")[-1]["digest"] == three["digest"]


def test_half_a_surrogate_pair_breaks_no_file(tmp_path):
    log = LogWriter(tmp_path, plain=True)
    log.write("answers", [row("broken \ud800", answer={"text": "\udfff"})])
    log.close()
    (found,) = read_log(tmp_path, "answers")
    assert json.loads(found["input"]) == "broken \ud800"
    assert json.loads(found["answer"]) == {"text": "\udfff"}


def test_feedback_without_an_input_has_no_digest(tmp_path):
    log = LogWriter(tmp_path, plain=True)
    log.write("feedback", [row(None, correct="praise")])
    (found,) = read_log(tmp_path, "feedback")
    assert found["input"] is None
    assert found["digest"] is None


def test_the_order_of_names_does_not_change_a_digest(tmp_path):
    log = LogWriter(tmp_path, plain=False)
    asked = {"question": "Who?", "context": "Bob."}
    log.write("answers", [row(asked), row(dict(reversed(asked.items())))])
    one, two = read_log(tmp_path, "answers")
    assert one["digest"] == two["digest"]


WRITE_AND_WAIT = """
import sys, time
from adaptkit.monitoring.log import LogWriter
log = LogWriter(sys.argv[1], plain=True)
log.write("answers", [{"id": "a-0", "adapter": "intent", "input": "hello"}])
print("written", flush=True)
time.sleep(60)
"""


def test_what_a_killed_service_wrote_is_kept(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_AND_WAIT, tmp_path], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"written\n"
    other = LogWriter(tmp_path, plain=True)  # a second service, while the first one lives
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    (journal,) = tmp_path.glob("*.jsonl")
    with open(journal, "a") as file:
        file.write('{"time": "2027-')  # the last line was cut
    assert [one["input"] for one in read_log(tmp_path, "answers")] == ['"hello"']
    other.close()
    LogWriter(tmp_path, plain=True).close()
    assert not list(tmp_path.glob("*.jsonl"))
    assert [one["input"] for one in read_log(tmp_path, "answers")] == ['"hello"']


def test_a_journal_beside_its_parquet_file_counts_once(tmp_path):
    log = LogWriter(tmp_path, plain=True)
    log.write("answers", [row()])
    (journal,) = tmp_path.glob("*.jsonl")
    content = journal.read_bytes()
    log.close()
    journal.write_bytes(content)
    assert len(read_log(tmp_path, "answers")) == 1


def test_a_folder_that_is_no_log(tmp_path):
    with pytest.raises(AdaptkitError, match="there is no folder"):
        read_log(tmp_path / "none", "answers")
    (tmp_path / "answers-2027-01-31-aa.parquet").write_bytes(b"no parquet")
    with pytest.raises(AdaptkitError, match=r"answers-2027-01-31-aa.parquet cannot be read"):
        read_log(tmp_path, "answers")
    (tmp_path / "file").write_text("")
    with pytest.raises(AdaptkitError, match="cannot be written"):
        LogWriter(tmp_path / "file", plain=True)
    with pytest.raises(AdaptkitError, match=r"file is a file; a log is the folder"):
        read_log(tmp_path / "file", "answers")
    assert os.listdir(tmp_path)


def test_a_row_that_is_not_written_whole_is_not_written(tmp_path):
    """A full disk cut a line, the next row was glued to it, and both were lost."""
    import resource

    log = LogWriter(tmp_path / "log", plain=True)
    log.write("answers", [row("first")])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        with pytest.raises(AdaptkitError):
            log.write("answers", [row("much too long " * 20)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    log.write("answers", [row("last")])
    assert [one["input"] for one in read_log(tmp_path / "log", "answers")] == ['"first"', '"last"']
    log.close()


def test_a_folder_that_is_deleted_is_made_again(tmp_path):
    log = LogWriter(tmp_path / "log", plain=True)
    log.write("answers", [row("gone")])
    shutil.rmtree(tmp_path / "log")
    log.write("answers", [row("kept")])
    log.close()
    assert [one["input"] for one in read_log(tmp_path / "log", "answers")] == ['"kept"']
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700


def test_an_empty_key_is_refused(tmp_path):
    (tmp_path / KEY).touch()
    with pytest.raises(AdaptkitError, match="is no key of a log"):
        LogWriter(tmp_path, plain=False)
