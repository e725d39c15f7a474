"""Plain text: one text per line, after a label, or parallel to its translation; text folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaptkit.data.readers.decoding import decode, lines_of
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, nearest_beside

if TYPE_CHECKING:
    from adaptkit.data.readers.options import Reading


def read_lines(path: Path, reading: Reading) -> Table:
    """Rows of one column, `text` or the first column of the task; blank lines are skipped."""
    name = reading.wanted[0] if reading.wanted else "text"
    filled = [
        (number, line.strip())
        for number, line in lines_of(decode(path, reading.encoding))
        if line.strip()
    ]
    return Table([{name: line} for _, line in filled], str(path), [number for number, _ in filled])


def looks_label_first(lines: Sequence[str]) -> bool:
    """True if the first words are few and repeat, as in `1 a fine film`."""
    firsts = [line.split(" ", 1)[0] for line in lines if " " in line.strip()]
    return (
        len(firsts) == len(lines) >= 4
        and len(set(firsts)) <= max(2, len(lines) // 20)
        and all(re.fullmatch(r"[\w+-]{1,20}", first) for first in firsts)
    )


def read_label_first(path: Path, reading: Reading) -> Table:
    """Rows of `label` and `text` from lines such as `1 a fine film`."""
    rows, numbers = [], []
    for number, line in lines_of(decode(path, reading.encoding)):
        if not line.strip():
            continue
        label, _, text = line.strip().partition(" ")
        if not text.strip():
            raise AdaptkitError(
                f"{path}:{number}: expected a label, a blank and a text; it is {line!r}"
            )
        rows.append({"label": label, "text": text})
        numbers.append(number)
    return Table(rows, str(path), numbers)


def read_parallel(path: Path, reading: Reading) -> Table:
    """Rows of `source` and `target` from two parallel files; lines blank in both are skipped."""
    if reading.languages is None or path.suffix != f".{reading.languages[0]}":
        raise AdaptkitError(
            f"{path}: parallel files end in their languages: name them with --source_lang and "
            "--target_lang."
        )
    other = path.with_suffix(f".{reading.languages[1]}")
    if not other.is_file():
        raise AdaptkitError(f"there is no file {other} beside {path}.{nearest_beside(other)}")
    source, target = (_whole_lines(file, reading.encoding) for file in (path, other))
    if len(source) != len(target):
        raise AdaptkitError(
            f"{path} has {len(source)} lines and {other.name} {len(target)}: they are not parallel."
        )
    pairs = [
        (n, a.strip(), b.strip())
        for n, (a, b) in enumerate(zip(source, target, strict=True), 1)
        if a.strip() or b.strip()
    ]
    rows = [{"source": one, "target": two} for _, one, two in pairs]
    return Table(rows, str(path), [number for number, _, _ in pairs])


def _whole_lines(path: Path, encoding: str) -> list[str]:
    lines = [line for _, line in lines_of(decode(path, encoding))]
    return lines[:-1] if lines and not lines[-1] else lines


def read_folder(path: Path, reading: Reading) -> Table:
    """Rows of `text` and `label` from LABEL/*.txt."""
    files = sorted(path.glob("*/*.txt"))
    if not files:
        raise AdaptkitError(f"the folder {path} holds no LABEL/*.txt files.")
    rows = [
        {"text": decode(file, reading.encoding).strip(), "label": file.parent.name}
        for file in files
    ]
    return Table(rows, str(path), [f"{file.parent.name}/{file.name}" for file in files])
