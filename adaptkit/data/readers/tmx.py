"""TMX, the exchange format of translation memories. Source: gala-global.org/tmx-14b"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, listed, quoted

if TYPE_CHECKING:
    from adaptkit.data.readers.file import File
    from adaptkit.data.readers.options import Reading

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_CODES = ("bpt", "ept", "ph", "it", "ut")  # markup of the original document, and no text


def read_tmx(file: File, reading: Reading) -> Table:
    """Rows of `source` and `target`, in the languages of --source_lang and --target_lang.

    Without them, a memory of two languages has its own source language first.

    Raises:
        AdaptkitError: it is no TMX, declares entities (which may unfold to gigabytes), or has other
            languages.
    """
    units, first = _units(file)
    languages = list(dict.fromkeys(language for unit in units for language in unit))
    if reading.languages is None and len(languages) == 2:
        languages.sort(key=lambda language: not language.startswith(first))
        names: tuple[str, str] | None = (languages[0], languages[1])
    else:
        names = _chosen(languages, reading.languages)
    if names is None:
        asked = " and ".join(reading.languages) if reading.languages else "none is named"
        raise AdaptkitError(
            f"{file} holds the languages {listed(languages)}; asked for: {asked}. Name two of them "
            "with --source_lang and --target_lang."
        )
    one, two = names
    pairs = [(n, unit) for n, unit in enumerate(units, 1) if one in unit and two in unit]
    rows = [{"source": unit[one], "target": unit[two]} for _, unit in pairs]
    notes = [f"{file.path.name}: source is {one}, target is {two}"]
    if left := len(units) - len(pairs):
        notes.append(f"{file.path.name}: {left} units without one of them are left out")
    return Table(rows, str(file), [f"tu {number}" for number, _ in pairs], notes)


def _units(file: File) -> tuple[list[dict[str, str]], str]:
    """The segments of each unit by language, and the language that the header calls the source."""
    if "<!ENTITY" in file.text:
        raise AdaptkitError(f"{file} declares XML entities, which no TMX needs: take them out.")
    try:
        root = ElementTree.fromstring(file.text)
    except (ElementTree.ParseError, RecursionError) as problem:
        raise AdaptkitError(f"{file}: not valid XML: {quoted(str(problem))}") from None
    header = root.find("header")
    first = (header.get("srclang", "") if header is not None else "").lower()
    units = []
    for unit in root.iter("tu"):
        segments = {}
        for variant in unit.iter("tuv"):
            language = (variant.get(_LANGUAGE) or variant.get("lang") or "").lower()
            segment = variant.find("seg")
            if segment is not None:
                segments[language] = " ".join(_text(segment).split())
        units.append(segments)
    return units, first


def _text(element: ElementTree.Element) -> str:
    """The text of a segment without the codes of its document."""
    parts = [element.text or ""]
    for inner in element:
        parts += ["" if inner.tag in _CODES else _text(inner), inner.tail or ""]
    return "".join(parts)


def _chosen(languages: list[str], asked: tuple[str, str] | None) -> tuple[str, str] | None:
    """The languages of the memory that are asked for; `en` and `en_XX` are also `en-US`."""
    found = []
    for name in asked or ():
        plain = name.lower().replace("_", "-")
        close = [
            one
            for one in languages
            if one == plain or one.split("-")[0] == plain or plain.split("-")[0] == one
        ]
        found += close[:1]
    return (found[0], found[1]) if len(found) == 2 else None
