"""Files that are damaged at random places are read or refused, and never end in another exception.

More cases: python -m tests.data.layouts.test_mutations SEED SECONDS
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
import time
from pathlib import Path

from adaptkit import AdaptkitError, Reading
from adaptkit.data.readers.read import read
from adaptkit.tasks.registry import find_task
from tests.data.layouts.layout import Layout
from tests.data.layouts.test_layouts import LAYOUTS

CASES = 250
PIECES = (
    b"\n",
    b"\t",
    b'"',
    b"{",
    b"[",
    b"null",
    b"NaN",
    b"\0",
    b"-1",
    b"1e999",
    b"<",
    b"\xff\xfe",
)
VALUES = (b"null", b"[]", b"{}", b'"x"', b"3", b"true", b"[1]", b'{"a":1}', b'""')
VALUE = re.compile(rb'"[^"]*"|\d+|\[[^\[\]]*\]|\{[^{}]*\}')


def damaged(content: bytes, generator: random.Random) -> bytes:
    """The content with one to four changes: bytes lost, doubled, cut, put in, values replaced."""
    changed = bytearray(content)
    for _ in range(generator.randint(1, 4)):
        place = generator.randrange(len(changed)) if changed else 0
        end = place + generator.randint(1, 8)
        values = [found.span() for found in VALUE.finditer(changed)]
        match generator.randrange(5):
            case 0:
                changed[place:end] = generator.randbytes(end - place)
            case 1:
                del changed[place:end]
            case 2:
                del changed[place:]
            case 3:
                changed[place:place] = generator.choice(PIECES)
            case 4 if values:
                start, end = generator.choice(values)
                changed[start:end] = generator.choice(VALUES)
    return bytes(changed)


def try_once(layout: Layout, folder: Path, generator: random.Random) -> None:
    """Damage one file of a layout and read the rows for its task."""
    path = layout.write(folder)
    victim = generator.choice(sorted(file for file in folder.rglob("*") if file.is_file()))
    victim.write_bytes(damaged(victim.read_bytes(), generator))
    task, labelled = find_task(layout.task)(), generator.random() < 0.8
    try:
        table = task.read(read(path, Reading(wanted=task.wanted(), labelled=labelled)), labelled)
        if labelled:
            task.fit_labels(table)
    except AdaptkitError as refusal:
        if len(str(refusal)) > 1500:
            raise AssertionError(f"a message of {len(str(refusal))} characters") from refusal


def test_damaged_files_are_read_or_refused(tmp_path):
    generator = random.Random(1)
    for case in range(CASES):
        try_once(generator.choice(LAYOUTS), tmp_path / str(case), generator)


def main(seed: int, seconds: float) -> None:
    generator, cases, ends = random.Random(seed), 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        layout = generator.choice(LAYOUTS)
        with tempfile.TemporaryDirectory() as folder:
            try:
                try_once(layout, Path(folder), generator)
            except Exception as problem:
                print(f"{layout.name}: {type(problem).__name__}: {str(problem)[:200]}")
        cases += 1
    print(f"{cases} cases")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
