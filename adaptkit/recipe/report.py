"""Write the reports of a run: results, predictions, plots and a model card, each atomically."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adaptkit.data.tables import Table
from adaptkit.tasks.base import Task
from adaptkit.utils.atomic_files import new_file


def write_results(folder: Path, metrics: dict[str, Any]) -> None:
    """Write `all_results.json` with Trainer's names."""
    with new_file(folder / "all_results.json") as path:
        path.write_text(json.dumps(dict(sorted(metrics.items())), indent=2) + "\n", "utf-8")


def write_predictions(path: Path, task: Task, table: Table, answers: list[dict[str, Any]]) -> None:
    """Write a TSV of text, reference, prediction, score; white space in texts becomes a blank."""
    lines = ["text\tgold\tpredicted\tscore"]
    for row, answer in zip(table.rows, answers, strict=True):
        fields = (
            task.text(row),
            task.reference_text(row),
            task.answer_text(answer),
            task.score_text(answer),
        )
        lines.append("\t".join(" ".join(field.split()) for field in fields))
    write_lines(path, lines)


def write_details(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a TSV of scores, one line per label; white space in texts becomes a blank."""
    lines = ["\t".join(rows[0])]
    for row in rows:
        fields = (
            f"{value:.6g}" if isinstance(value, float) else str(value) for value in row.values()
        )
        lines.append("\t".join(" ".join(field.split()) for field in fields))
    write_lines(path, lines)


def write_lines(path: Path, lines: list[str]) -> None:
    with new_file(path) as new:
        new.write_text("\n".join(lines) + "\n", "utf-8")


def closing_table(rows: list[tuple[str, str]]) -> str:
    """A plain-text table of two columns."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name.ljust(width)}  {value}" for name, value in rows)
