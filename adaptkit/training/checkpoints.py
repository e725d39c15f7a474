"""Find the checkpoint to resume from."""

from __future__ import annotations

import json
import re
from pathlib import Path


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint: Trainer writes its state last."""
    steps = sorted(
        (int(match[1]), path)
        for path in folder.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name))
    )
    for _, path in reversed(steps):
        try:
            json.loads((path / "trainer_state.json").read_text("utf-8"))
        except (OSError, ValueError):
            continue
        return path
    return None
