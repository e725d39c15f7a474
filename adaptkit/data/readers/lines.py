"""Plain text: one text per line, after a label, or parallel to another file; text folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaptkit.data.readers.file import File
from adaptkit.data.tables import Table, between
from adaptkit.errors import AdaptkitError, nearest_beside, quoted

if TYPE_CHECKING:
    from adaptkit.data.readers.options import Reading

_FIRST = re.compile(r"[\w+-]{1,20}")
_COARSE_AND_FINE = re.compile(r"[A-Za-z]\w{0,20}:\w{1,20}")  # as DESC:manner in TREC


def read_lines(file: File, reading: Reading) -> Table:
    """Rows of one column, `text` or the first column of the task; blank lines are skipped."""
    name = reading.wanted[0] if reading.wanted else "text"
    filled = [(number, line.strip()) for number, line in file.lines() if line.strip()]
    numbers = [number for number, _ in filled]
    return Table([{name: line} for _, line in filled], str(file), numbers, blank=between(numbers))


def looks_label_first(lines: Sequence[str]) -> bool:
    """True if the first words are few and repeat, as in `1 a fine film`, or are all of two parts,
    as in `DESC:manner How does it work ?`.
    """
    firsts = [line.split(" ", 1)[0] for line in lines if " " in line.strip()]
    if len(firsts) != len(lines) or len(lines) < 4:
        return False
    if len(set(firsts)) < len(firsts) and all(map(_COARSE_AND_FINE.fullmatch, firsts)):
        return True
    return len(set(firsts)) <= max(2, len(lines) // 20) and all(map(_FIRST.fullmatch, firsts))


def read_label_first(file: File, reading: Reading) -> Table:
    """Rows of `label` and `text` from lines such as `1 a fine film`."""
    rows, numbers = [], []
    for number, line in file.lines():
        if not line.strip():
            continue
        label, _, text = line.strip().partition(" ")
        if not text.strip():
            raise AdaptkitError(
                f"{file}:{number}: expected a label, a blank and a text; it is {quoted(line)}"
            )
        rows.append({"label": label, "text": text})
        numbers.append(number)
    return Table(rows, str(file), numbers)


def read_parallel(file: File, reading: Reading) -> Table:
    """Rows of `source` and `target` from two parallel files; lines blank in both are skipped."""
    if reading.languages is None or file.path.suffix != f".{reading.languages[0]}":
        raise AdaptkitError(
            f"{file}: parallel files end in their languages: name them with --source_lang and "
            "--target_lang."
        )
    other = file.path.with_suffix(f".{reading.languages[1]}")
    pairs = [(n, a, b) for n, a, b in beside(file, other, reading) if a or b]
    rows = [{"source": one, "target": two} for _, one, two in pairs]
    return Table(rows, str(file), [number for number, _, _ in pairs])


def beside(file: File, other: Path, reading: Reading) -> list[tuple[int, str, str]]:
    """(number, line, line of the other file) of two files with equally many lines.

    Raises:
        AdaptkitError: the other file is not there, or has more lines or fewer.
    """
    if not other.is_file():
        raise AdaptkitError(f"there is no file {other} beside {file}.{nearest_beside(other)}")
    one, two = _whole_lines(file), _whole_lines(File(other, reading.encoding))
    if len(one) != len(two):
        raise AdaptkitError(
            f"{file} has {len(one)} lines and {other.name} {len(two)}: they are not parallel."
        )
    return [
        (number, a.strip(), b.strip())
        for number, (a, b) in enumerate(zip(one, two, strict=True), 1)
    ]


def _whole_lines(file: File) -> list[str]:
    lines = [line for _, line in file.lines()]
    return lines[:-1] if lines and not lines[-1] else lines


def read_words_beside(file: File, reading: Reading) -> Table:
    """Rows of `tokens`, `tags` and `text` from seq.in and seq.out, as ATIS and SNIPS have them.

    A file called label beside them gives the `label` of each line.
    """
    folder = file.path.parent
    out, labels = folder / "seq.out", folder / "label"
    rows: list[dict] = []
    numbers = []
    lines = beside(file, out, reading)
    names = [label for _, _, label in beside(file, labels, reading)] if labels.is_file() else None
    for index, (number, words, tags) in enumerate(lines):
        if not words:
            continue
        if len(words.split()) != len(tags.split()):
            raise AdaptkitError(
                f"{file}:{number}: {len(words.split())} words, and seq.out has "
                f"{len(tags.split())} tags there."
            )
        label = {"label": names[index]} if names else {}
        rows.append({"tokens": words.split(), "tags": tags.split(), "text": words, **label})
        numbers.append(number)
    note = f"tags are read from {out.name}" + (", labels from the file label" if names else "")
    return Table(rows, str(file), numbers, [note])


def read_folder(file: File, reading: Reading) -> Table:
    """Rows of `text` and `label` from LABEL/*.txt."""
    files = sorted(file.path.glob("*/*.txt"))
    if not files:
        raise AdaptkitError(
            f"the folder {file} holds no LABEL/*.txt files, nor .txt beside .ann; it has "
            f"{_content(file.path)}. Give one of its files."
        )
    rows = [
        {"text": File(one, reading.encoding).text.strip(), "label": one.parent.name}
        for one in files
    ]
    return Table(rows, str(file), [f"{one.parent.name}/{one.name}" for one in files])


def _content(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "") if names else "no files"
