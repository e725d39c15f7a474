"""A draw of hostile folders and files; `tests.trust.hostile` tries all of them."""

import random
import warnings

import pytest

from tests.trust.bounded import bounded
from tests.trust.files import files
from tests.trust.folders import folders
from tests.trust.hostile import World, judge_file, judge_folder

FOLDERS, FILES = list(folders()), list(files())
DRAWN_FOLDERS, DRAWN_FILES = 20, 25


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(autouse=True)
def _forks_beside_threads():
    """The forks run on one thread, as those of the parent hold no lock."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*multi-threaded.*fork.*")
        yield


def test_there_are_more_than_three_hundred():
    names = [thing.name for thing in FOLDERS] + [thing.name for thing in FILES]
    assert len(names) > 600
    assert len({*(thing.name for thing in FOLDERS)}) == len(FOLDERS)


def test_what_is_wrong_is_found():
    """The measuring tells what is within the limits from what is not."""

    def fail() -> None:
        raise KeyError("x")

    assert bounded(lambda: None).kind == "done"
    assert "KeyError" in (bounded(fail).problem or "")
    assert "hung" in (bounded(lambda: [None for _ in iter(int, 1)], patience=0.5).problem or "")
    assert "MB" in (bounded(lambda: len(bytearray(600 << 20))).problem or "")


@pytest.mark.parametrize(
    "folder", random.Random(3).sample(FOLDERS, DRAWN_FOLDERS), ids=lambda f: f.name
)
def test_hostile_things_are_read_or_refused(folder, world):
    cases = judge_folder(world, folder)
    assert not [(case.name, case.outcome.problem) for case in cases if case.outcome.problem]


@pytest.mark.parametrize("file", random.Random(3).sample(FILES, DRAWN_FILES), ids=lambda f: f.name)
def test_hostile_files_are_read_or_refused(file, world):
    cases = judge_file(world, file)
    assert not [(case.name, case.outcome.problem) for case in cases if case.outcome.problem]
