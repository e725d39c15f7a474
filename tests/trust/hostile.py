"""Hostile folders and files, each by every way into the library, each in a process of its own.

    python -m tests.trust.hostile                 all of them, with a table
    python -m tests.trust.hostile --only parquet  those with this in their name

Each case is done, or refused by an AdaptkitError with a message that can be read: within 5 s of
processor time and 500 MB. A folder that loads answers as the sound one does. What it was given is
left as it was, and a sound adapter loads beside it afterwards.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from adaptkit import Host, Predictor, load_adapter, load_base, load_tokenizer
from adaptkit.cli import main as adaptkit
from adaptkit.models.scratch import make_model
from adaptkit.recipe.arguments import RecipeArguments
from adaptkit.recipe.data_checks import check_data
from adaptkit.recipe.encode import encode
from adaptkit.recipe.parser import parse_recipe
from adaptkit.recipe.prepare import prepare
from adaptkit.tasks.registry import find_task
from tests.host.store import LABELS, TEXTS, write
from tests.trust.bounded import Outcome, bounded
from tests.trust.files import File, files
from tests.trust.folders import Folder, folders

QUESTION = "my parcel has not arrived"


class World:
    """A tiny base and sound adapters over it, and what they answer."""

    def __init__(self, root: Path):
        self.root = root
        settings = {"hidden_size": 32, "intermediate_size": 48}
        make_model("bert", TEXTS, root / "base", vocab_size=300, **settings)
        for name, seed in (("sound", 1), ("beside", 2), ("bare", 1)):
            write(root, root / name, "lora[r=4]", seed=seed)
        (root / "bare" / "task.json").unlink()
        self.expected = self.logits(load_adapter(root / "sound"))

    def base(self):
        """A fresh base."""
        return load_base(str(self.root / "base"), task="classify", labels=LABELS)

    def logits(self, model) -> torch.Tensor:
        """What an adapter says to the question."""
        row = load_tokenizer(str(self.root / "base"))(QUESTION, return_tensors="pt")
        return model(**row).logits.detach()


@dataclass(frozen=True)
class Case:
    """One way to use one hostile thing."""

    name: str
    outcome: Outcome


def judge_folder(world: World, folder: Folder) -> list[Case]:
    """Every way to read an adapter, over one damaged copy."""
    place = Path(tempfile.mkdtemp(dir=world.root)) / "adapter"
    shutil.copytree(world.root / ("sound" if folder.card else "bare"), place)
    folder.damage(place)
    before = _listing(place)

    def load() -> None:
        logits = world.logits(load_adapter(place, world.base()))
        assert folder.valid or torch.allclose(logits, world.expected, atol=1e-5), "answers changed"

    def predict() -> None:
        Predictor(place)([QUESTION])

    def host() -> None:
        with Host(str(world.root / "base"), slot_capacity=["lora[r=8]"]) as host:
            host.load("beside", world.root / "beside")
            before = host([QUESTION], "beside")
            try:
                host.load("hostile", place)
                host([QUESTION], "hostile")
            finally:
                assert host([QUESTION], "beside") == before, "another adapter was hurt"

    ways = {
        "load_adapter": load,
        "Predictor": predict,
        "Host": host,
        "list": lambda: adaptkit(["list", str(place.parent)]),
        "show": lambda: adaptkit(["show", str(place)]),
    }
    cases = [Case(f"{folder.name} / {way}", bounded(call)) for way, call in ways.items()]
    if _listing(place) != before:
        cases.append(Case(f"{folder.name} / files", Outcome("raised", "the folder was changed")))
    shutil.rmtree(place.parent)
    return cases


def _listing(place: Path) -> list[tuple]:
    """Every file with its size and time of change."""
    found = sorted(place.rglob("*"))
    return [(path, path.lstat().st_size, path.lstat().st_mtime_ns) for path in found]


def judge_file(world: World, file: File) -> list[Case]:
    """All that happens to a file before training."""
    place = Path(tempfile.mkdtemp(dir=world.root)) / f"rows{file.ending}"
    file.write(place)
    words = ["--train_file", str(place), "--model_name_or_path", str(world.root / "base")]
    words += ["--output_dir", str(place.parent / "out"), *file.flags]

    def check() -> None:
        parsed = parse_recipe(find_task(file.task), words, "", RecipeArguments)
        encoded = encode(prepare(parsed))
        check_data(encoded)

    cases = [Case(f"{file.name} / check {file.task}", bounded(check))]
    shutil.rmtree(place.parent)
    return cases


def judge_all(world: World, only: str = "") -> Iterator[Case]:
    """All cases with `only` in their names."""
    for judge, things in ((judge_folder, folders()), (judge_file, files())):
        for thing in things:
            if only in thing.name:
                yield from judge(world, thing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="those with this in their name")
    parser.add_argument("--messages", action="store_true", help="print what each one answers")
    given = parser.parse_args()
    cases = []
    with tempfile.TemporaryDirectory() as root:
        for case in judge_all(World(Path(root)), given.only):
            cases.append(case)
            if case.outcome.problem:
                print(f"WRONG {case.name}: {case.outcome.problem}", flush=True)
            elif given.messages:
                print(f"{case.outcome.kind} {case.name}: {case.outcome.text}", flush=True)
    kinds = Counter(case.outcome.kind for case in cases)
    wrong = sum(case.outcome.problem is not None for case in cases)
    slowest = max(case.outcome.seconds for case in cases)
    largest = max(case.outcome.megabytes for case in cases)
    print(f"{len(cases)} cases: {dict(kinds)}; {wrong} wrong")
    print(f"at most {slowest:.1f} s and {largest:.0f} MB")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
