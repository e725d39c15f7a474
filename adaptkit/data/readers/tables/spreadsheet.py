"""Excel's workbooks (.xlsx): the first sheet, whose first row names the columns."""

from __future__ import annotations

import datetime
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adaptkit.data.readers.compressed import check_zip
from adaptkit.data.readers.tables.header import Record, table_of
from adaptkit.data.readers.tables.word_table import sentences_of
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, listed, quoted

if TYPE_CHECKING:
    from adaptkit.data.readers.file import File
    from adaptkit.data.readers.options import Reading


def read_xlsx(file: File, reading: Reading) -> Table:
    """Rows of the first sheet, every cell as the text that Excel would write to a .csv.

    Raises:
        AdaptkitError: openpyxl is not installed, or the workbook is damaged.
    """
    try:
        import openpyxl
    except ImportError:
        raise AdaptkitError(
            f"{file} is an Excel workbook, and openpyxl, which reads them, is not installed: "
            'pip install "adaptkit[files]". Or save the sheet as .csv (UTF-8).'
        ) from None
    check_zip(file.raw, file.path)
    try:
        book = openpyxl.load_workbook(io.BytesIO(file.raw), read_only=True, data_only=True)
        sheet, *others = book.worksheets
        sheet.reset_dimensions()  # what the file says of its size may be wrong
        rows = enumerate(sheet.iter_rows(values_only=True), 1)
        records: list[Record] = [(number, _texts(row)) for number, row in rows]
    except Exception as problem:  # openpyxl raises whatever zip, XML and numbers do
        raise AdaptkitError(
            f"{file} is not a whole workbook: {quoted(str(problem))}. Save it again, or as .csv."
        ) from None
    width = next((len(texts) for _, texts in records if texts), 0)
    for _, texts in records:
        texts += [""] * (width - len(texts)) if texts else []
    table = sentences_of(table_of(file, reading, records), reading)
    if others:
        table.notes.append(
            f"{file.path.name}: read is the first sheet, {sheet.title!r}; not read: "
            f"{listed([other.title for other in others], 6)}"
        )
    return table


def _texts(row: Sequence[Any]) -> list[str]:
    """The cells of a row up to the last that is not empty."""
    texts = [_text(cell) for cell in row]
    while texts and not texts[-1].strip():
        texts.pop()
    return texts


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, (datetime.date, datetime.time)):
        return cell.isoformat()
    return str(cell)
