"""Checkpoints: find the one to resume from, write whole ones."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adaptkit.errors import AdaptkitError
from adaptkit.training.run_record import started
from adaptkit.utils.writing import writing

STATE = "trainer_state.json"  # Trainer writes it last


def is_whole(checkpoint: Path) -> bool:
    """True if a checkpoint was written to its end."""
    try:
        json.loads((checkpoint / STATE).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return True


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint: that of the last run, of its last step."""
    steps = sorted(
        (started(path), int(match[1]), path)
        for path in folder.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and is_whole(path)
    )
    return steps[-1][-1] if steps else None


@contextmanager
def new_checkpoint(folder: Path, main: bool) -> Iterator[None]:
    """Write a checkpoint in the block; one that cannot be written is removed.

    Args:
        main: this process writes its state.

    Raises:
        AdaptkitError: the disk does not take it.
    """
    new = main and not folder.exists()
    if main:  # an earlier run's is not whole from here on
        (folder / STATE).unlink(missing_ok=True)
    try:
        with writing(folder):
            yield
    except AdaptkitError:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        raise
