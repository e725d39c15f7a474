"""BRAT's standoff: a folder of texts with their annotations beside them. Source: brat.nlplab.org

T1<TAB>person 0 4<TAB>Mira
R1<TAB>buys Arg1:T1 Arg2:T2
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptkit.data.readers.file import File
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, quoted

if TYPE_CHECKING:
    from adaptkit.data.readers.options import Reading


def looks_like_brat(folder: Path) -> bool:
    """True if a folder has .ann files."""
    return any(folder.glob("*.ann"))


def read_brat(file: File, reading: Reading) -> Table:
    """Rows of `text`, `entities` and `relations`, one a document.

    Entities of several parts are left out with their relations, and counted in a note.
    """
    texts = sorted(file.path.glob("*.txt"))
    if not texts:
        raise AdaptkitError(f"the folder {file} has .ann files and no .txt beside them.")
    rows, parted = [], 0
    for path in texts:
        row: dict[str, Any] = {"text": File(path, reading.encoding).text}
        annotations = path.with_suffix(".ann")
        if annotations.is_file():
            found, left = _annotations(File(annotations, reading.encoding), row["text"])
            row |= found
            parted += left
        elif reading.labelled:
            raise AdaptkitError(
                f"{path} has no {annotations.name} beside it; an empty one says that it holds "
                "nothing."
            )
        rows.append(row)
    notes = [f"{file} is in BRAT's format: {len(rows)} texts"]
    if parted:
        notes.append(f"{parted} entities of several parts are left out")
    return Table(rows, str(file), [path.name for path in texts], notes)


def _annotations(file: File, text: str) -> tuple[dict[str, Any], int]:
    """`entities` and `relations` of a document, and the number of entities left out.

    BRAT writes the blank of an entity for a line end in it.
    """
    entities: list[dict[str, Any]] = []
    numbers: dict[str, int | None] = {}
    arguments = []
    for line_number, line in file.lines():
        try:
            name, _, rest = line.partition("\t")
            if name.startswith("T"):
                place, _, surface = rest.partition("\t")
                label, *ends = place.replace(";", " ").split()
                numbers[name] = len(entities) if len(ends) == 2 else None
                if len(ends) == 2:
                    start, end = map(int, ends)
                    inside = text[start:end]
                    surface = inside if " ".join(inside.split("\n")) == surface else surface
                    entities.append({"start": start, "end": end, "label": label, "text": surface})
            elif name.startswith("R"):
                label, *ends = rest.split()
                one, two = (end.partition(":")[2] for end in ends)
                arguments.append((label, one, two))
        except ValueError:
            raise AdaptkitError(
                f"{file}:{line_number}: expected an annotation such as T1<TAB>person 0 4<TAB>Mira; "
                f"it is {quoted(line)}."
            ) from None
    relations = _relations(file, arguments, numbers)
    return (
        {"entities": entities, "relations": relations},
        sum(number is None for number in numbers.values()),
    )


def _relations(
    file: File, arguments: list[tuple[str, str, str]], numbers: dict[str, int | None]
) -> list[dict[str, Any]]:
    found = []
    for label, *names in arguments:
        if missing := [name for name in names if name not in numbers]:
            raise AdaptkitError(f"{file}: a relation names {missing[0]!r}, which is not there.")
        one, two = (numbers[name] for name in names)
        if one is not None and two is not None:
            found.append({"head": one, "tail": two, "label": label})
    return found
