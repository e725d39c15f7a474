"""Write the reports of a run: results, predictions, plots and a model card, each atomically."""

from __future__ import annotations

import enum
import json
import re
from pathlib import Path
from typing import Any

import yaml

from adaptkit.data.tables import Table
from adaptkit.errors import escaped
from adaptkit.recipe.steps import Prepared
from adaptkit.tasks.base import Task
from adaptkit.utils.atomic_files import new_file

# Quotes before it do not help: spreadsheets take them away.
_FORMULA = re.compile("['\"]*[=+\\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


RECIPE = "recipe.yaml"
# Flags that say where a run writes, and not what it does.
_OWN_PLACES = {"config", "output_dir", "overwrite_output_dir", "resume_from_checkpoint", "check"}

# What a run writes beside its adapter, of which another task or split may write only some.
REPORTS = (
    *("predictions_train.tsv", "predictions_validation.tsv", "predictions_test.tsv"),
    *("per_label.tsv", "confusions.tsv", "confusion.png", "reliability.png", "curves.png"),
)


def remove_reports(folder: Path) -> None:
    """Remove the reports of an earlier run in the same folder."""
    for name in REPORTS:
        (folder / name).unlink(missing_ok=True)


def write_results(folder: Path, metrics: dict[str, Any]) -> None:
    """Write `all_results.json` with Trainer's names."""
    with new_file(folder / "all_results.json") as path:
        path.write_text(json.dumps(dict(sorted(metrics.items())), indent=2) + "\n", "utf-8")


def write_recipe(folder: Path, prepared: Prepared) -> None:
    """Write the flags that the user gave, for `--config`, with whole paths of files."""
    task = prepared.task
    flags: dict[str, Any] = {}
    for name in sorted(prepared.given - _OWN_PLACES):
        part = name.removesuffix("_column")
        if name != part and part in task.parts:
            flags[name] = task.column(part)
            continue
        for holder in (prepared.arguments, task, prepared.training):
            if hasattr(holder, name):
                flags[name] = _plain(getattr(holder, name))
                break
        if name.endswith("_file") and (file := flags.get(name)):
            flags[name] = str(Path(file).absolute())
    command = f"# adaptkit train {prepared.arguments.recipe or task.name} --config {RECIPE}"
    with new_file(folder / RECIPE) as path:
        text = yaml.safe_dump(flags, allow_unicode=True) if flags else ""
        path.write_text(f"{command}\n{text}", "utf-8")


def _plain(value: Any) -> Any:
    """A flag's value as YAML has it."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, str) and "/" in value and Path(value).exists():
        return str(Path(value).absolute())
    known = value is None or isinstance(value, (bool, int, float, str, dict))
    return value if known else str(value)


def write_predictions(path: Path, task: Task, table: Table, answers: list[dict[str, Any]]) -> None:
    """Write a TSV of text, reference, prediction, score; see `text_cell` for the texts."""
    lines = ["text\tgold\tpredicted\tscore"]
    for row, answer in zip(table.rows, answers, strict=True):
        texts = (task.text(row), task.reference_text(row), task.answer_text(answer))
        lines.append("\t".join([*map(text_cell, texts), text_cell(task.score_text(answer))]))
    write_lines(path, lines)


def write_details(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a TSV of scores, one line per label; see `text_cell` for the texts."""
    lines = ["\t".join(rows[0])]
    for row in rows:
        fields = (
            f"{value:.6g}" if isinstance(value, float) else text_cell(str(value))
            for value in row.values()
        )
        lines.append("\t".join(fields))
    write_lines(path, lines)


def text_cell(text: str) -> str:
    """A text in one cell: blanks for white space, control characters escaped, never a formula.

    What a spreadsheet would compute gets an apostrophe in front, which spreadsheets do not show;
    `cell_text` takes it away. A number is no formula.

    >>> text_cell("=1+1"), text_cell("-1"), text_cell("it's")
    ("'=1+1", '-1', "it's")
    """
    cell = escaped(" ".join(text.split()))
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def cell_text(cell: str) -> str:
    """The text of a cell that `text_cell` wrote."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def write_lines(path: Path, lines: list[str]) -> None:
    with new_file(path) as new:
        new.write_text("\n".join(lines) + "\n", "utf-8")


def closing_table(rows: list[tuple[str, str]]) -> str:
    """A plain-text table of two columns."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name.ljust(width)}  {value}" for name, value in rows)
