"""One layout: its files, the task they are for, and the rows or the message that come of it."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptkit.recipe.arguments import RecipeArguments
from adaptkit.recipe.parser import parse_recipe
from adaptkit.recipe.prepare import prepare
from adaptkit.recipe.steps import Prepared
from adaptkit.tasks.registry import find_task
from tests.helpers.files import write


@dataclass(frozen=True)
class Layout:
    """name: of the shape. files: by path; the first is given to the command, or `given` is.

    rows: expected training rows, of which only the named keys are compared; or `message`: patterns
        that the refusal matches, all of them. note: a pattern of what is printed.
    """

    name: str
    task: str
    files: dict[str, str | bytes]
    rows: list[dict[str, Any]] | None = None
    message: tuple[str, ...] = ()
    note: str | None = None
    flags: tuple[str, ...] = ()
    given: str | None = None

    def write(self, folder: Path) -> Path:
        """Write the files; the path for --train_file."""
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write(folder / name, content)
        return folder / (self.given or next(iter(self.files)))


def checked(layout: Layout, path: Path) -> Prepared:
    """What `adaptkit check` does with the rows, before it loads a model."""
    flags = ["--train_file", str(path), "--check", "--validation_split_percentage", "0"]
    arguments = [*flags, "--num_train_epochs", "1", *layout.flags]
    return prepare(parse_recipe(find_task(layout.task), arguments, "", RecipeArguments))


def zipped(*names: str, content: str) -> bytes:
    """A zip archive of files that all hold this."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return packed.getvalue()


def workbook(*sheets: list[tuple]) -> bytes:
    """A workbook of these sheets, each a list of rows."""
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, rows in enumerate(sheets, 1):
        sheet = book.create_sheet(f"Sheet{number}")
        for row in rows:
            sheet.append(row)
    packed = io.BytesIO()
    book.save(packed)
    return packed.getvalue()
