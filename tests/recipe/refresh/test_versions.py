import json
import subprocess
import sys

import pytest

from adaptkit import AdaptkitError
from adaptkit.recipe.refresh.versions import history, note, one_at_a_time, promote, roll_back

FILES = ("adapter_config.json", "adapter_model.safetensors", "task.json")


def version(folder, sign, *more):
    folder.mkdir(exist_ok=True)
    for name in (*FILES, *more):
        (folder / name).write_text(sign)
    return folder


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_a_promoted_version_takes_the_place_and_can_be_taken_back(tmp_path):
    run = version(tmp_path / "run", "1", "curves.png")
    (run / "checkpoint-5").mkdir()
    assert promote(run, version(tmp_path / "second", "2")) == 1
    assert contents(run) == dict.fromkeys(FILES, "2")
    assert promote(run, version(tmp_path / "third", "3")) == 2
    assert contents(run / "versions" / "2") == dict.fromkeys(FILES, "2")
    assert roll_back(run) == 2
    assert contents(run) == dict.fromkeys(FILES, "2")
    assert roll_back(run) == 1
    assert contents(run) == dict.fromkeys((*FILES, "curves.png"), "1")
    assert contents(run / "versions/2-taken-back") == dict.fromkeys(FILES, "2")
    with pytest.raises(AdaptkitError, match="no earlier version"):
        roll_back(run)
    assert (run / "checkpoint-5").is_dir()


KILLED_WHILE_PROMOTING = """
import os, sys
from pathlib import Path
from adaptkit.recipe.refresh.versions import promote
left = int(sys.argv[3])
def die(event, given):
    global left
    if event == "os.rename":
        left -= 1
        if left < 0:
            os._exit(9)
sys.addaudithook(die)
promote(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("renames", range(0, 9, 2))
def test_a_killed_promotion_leaves_the_old_version_or_the_new_one(tmp_path, renames):
    from adaptkit.utils.atomic_files import read_together

    run, new = version(tmp_path / "run", "1"), version(tmp_path / "new", "2")
    words = [sys.executable, "-c", KILLED_WHILE_PROMOTING, run, new, str(renames)]
    subprocess.run(words, check=False)
    assert len(set(read_together(run, FILES).values())) == 1
    number = promote(run, version(tmp_path / "last", "3"))
    assert contents(run) == dict.fromkeys(FILES, "3")
    assert roll_back(run) == number
    assert len(set(contents(run).values())) == 1


def test_one_refresh_at_a_time(tmp_path):
    words = (
        "import sys; from pathlib import Path; from adaptkit.recipe.refresh.versions import "
        "one_at_a_time\nwith one_at_a_time(Path(sys.argv[1])): pass"
    )
    (tmp_path / "versions/.new-killed/new").mkdir(parents=True)  # of one that was killed
    with one_at_a_time(tmp_path):
        assert not (tmp_path / "versions/.new-killed").exists()
        done = subprocess.run(
            [sys.executable, "-c", words, tmp_path], capture_output=True, text=True, check=False
        )
    assert "is being refreshed already" in done.stderr


def test_what_was_decided_is_kept(tmp_path):
    assert history(tmp_path) == []
    note(tmp_path, promoted=True, why="größer")
    note(tmp_path, rolled_back_to=1)
    first, second = history(tmp_path)
    assert (first["promoted"], first["why"], second["rolled_back_to"]) == (True, "größer", 1)
    assert first["time"] <= second["time"]
    assert json.loads((tmp_path / "versions/history.jsonl").read_text().split("\n")[0]) == first


def test_a_line_of_the_history_that_was_cut_is_left_out(tmp_path):
    note(tmp_path, promoted=True)
    with open(tmp_path / "versions" / "history.jsonl", "a") as file:
        file.write('{"time": "2026-12')
    assert [row["promoted"] for row in history(tmp_path)] == [True]
    note(tmp_path, rolled_back_to=1)
    assert [row.get("rolled_back_to") for row in history(tmp_path)] == [None, 1]


def test_a_history_that_cannot_be_written_is_said_before_anything_is_done(tmp_path):
    (tmp_path / "versions/history.jsonl").mkdir(parents=True)
    problem = pytest.raises(AdaptkitError, match=r"history.jsonl cannot be written")
    with problem, one_at_a_time(tmp_path):
        raise AssertionError
