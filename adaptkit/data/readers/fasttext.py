"""fastText's lines: `__label__pos a fine film`, with any number of labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, quoted

if TYPE_CHECKING:
    from adaptkit.data.readers.file import File
    from adaptkit.data.readers.options import Reading

PREFIX = "__label__"


def looks_like_fasttext(lines: Sequence[str]) -> bool:
    """True if every line begins with a label of fastText."""
    return bool(lines) and all(line.lstrip().startswith(PREFIX) for line in lines)


def read_fasttext(file: File, reading: Reading) -> Table:
    """Rows of `text` and `label`: the label's name, or a list of names if any line has several.

    Words with the prefix are labels wherever they stand, as in fastText.
    """
    rows, numbers = [], []
    for number, line in file.lines():
        if not line.strip():
            continue
        words = line.split(" ")
        labels = [word.strip() for word in words if word.strip().startswith(PREFIX)]
        text = " ".join(word for word in words if not word.strip().startswith(PREFIX)).strip()
        if not text or not labels:
            raise AdaptkitError(
                f"{file}:{number}: expected {PREFIX}NAME and a text; it is {quoted(line)}"
            )
        names = [label.removeprefix(PREFIX) for label in labels]
        rows.append({"text": text, "label": names})
        numbers.append(number)
    if all(len(row["label"]) == 1 for row in rows):
        return Table([{**row, "label": row["label"][0]} for row in rows], str(file), numbers)
    return Table(rows, str(file), numbers)
