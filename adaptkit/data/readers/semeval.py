"""The blocks of SemEval-2010 task 8: a numbered text with two marked entities, and a relation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError

if TYPE_CHECKING:
    from adaptkit.data.readers.file import File
    from adaptkit.data.readers.options import Reading

_MARK = re.compile(r"</?e[12]>")
_FIRST = re.compile(r"\d+\t")


def looks_like_semeval(lines: Sequence[str]) -> bool:
    """True if one of the first lines is a numbered text with a marked entity."""
    return any(_FIRST.match(line) and "<e1>" in line and "</e1>" in line for line in lines[:8])


def read_semeval(file: File, reading: Reading) -> Table:
    """Rows of `text`, `head` and `tail` ({"start", "end"}; head is <e1>), and `label`.

    Quotes around the text are removed.
    """
    rows, numbers = [], []
    lines = [(number, line.strip()) for number, line in file.lines()]
    starts = [i for i, (_, line) in enumerate(lines) if _FIRST.match(line)]
    for i in starts:
        number, line = lines[i]
        text = line.split("\t", 1)[1].strip()
        text = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
        label = lines[i + 1][1] if i + 1 < len(lines) else ""
        plain, places = _unmark(text)
        if places.keys() != {"1", "2"} or not label or re.match(r"\d+\t|Comment", label):
            raise AdaptkitError(
                f"{file}:{number}: expected one <e1>..</e1>, one <e2>..</e2> and the relation on "
                "the next line."
            )
        rows.append({"text": plain, "head": places["1"], "tail": places["2"], "label": label})
        numbers.append(number)
    return Table(rows, str(file), numbers)


def _unmark(text: str) -> tuple[str, dict[str, dict[str, int]]]:
    """The text without its entity marks, and their positions.

    No positions unless there are two entities side by side.
    """
    marks = list(_MARK.finditer(text))
    names = [mark[0] for mark in marks]
    order = [name for name in names[:4] if not name.startswith("</")]
    if len(names) != 4 or names != [mark for one in order for mark in (one, f"</{one[1:]}")]:
        return text, {}
    plain, places, last = "", {}, 0
    for opening, closing in (marks[:2], marks[2:]):
        inside = text[opening.end() : closing.start()]
        plain += text[last : opening.start()]
        places[opening[0][2]] = {"start": len(plain), "end": len(plain) + len(inside)}
        plain += inside
        last = closing.end()
    return plain + text[last:], places
