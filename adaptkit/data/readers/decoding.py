"""Decode bytes, and say what a file that does not decode may be."""

from __future__ import annotations

import codecs
import encodings.aliases
import re

from adaptkit.errors import AdaptkitError, nearest

# The longest mark first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Encodings that are tried for bytes that are not UTF-8: Western European, Chinese (simplified,
# traditional), Japanese, Korean, Russian.
_WESTERN = ("cp1252", "latin-1")
_OTHERS = ("gb18030", "big5", "shift_jis", "euc_kr", "cp1251")
_WIDE = ("utf-16", "utf-32")
_ONE_BYTE = re.compile(r"(iso-?8859|latin|cp125|windows-125|mac|koi8)", re.I)
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")


def decode_bytes(raw: bytes, encoding: str, where: str) -> tuple[str, str | None]:
    """The text of a file without its byte order mark, and a note on its encoding, if any.

    A byte order mark counts more than the default: what begins with that of UTF-16 is UTF-16.

    Raises:
        AdaptkitError: a byte does not decode, Python does not know the encoding, or a byte order
            mark says another.
    """
    known = codec_name(encoding)
    mark, marked = next(((m, name) for m, name in _MARKS if raw.startswith(m)), (b"", None))
    if marked and known not in (marked, "utf-8") and not known.startswith(marked):
        raise AdaptkitError(
            f"{where} begins with the mark of {marked.upper()} and is no {encoding}: leave "
            "--encoding out."
        )
    note = None
    if marked and marked != known == "utf-8":
        encoding, note = marked, f"is read as {marked.upper()}, as its first bytes say"
    elif not mark and _ONE_BYTE.match(known) and _is_utf8(raw):
        note = (
            f"is read as {encoding}, as --encoding says; but it is valid UTF-8, which other texts "
            "hardly ever are: without --encoding its accents may come out right"
        )
    if not mark and known == "utf-8" and (wide := _wide(raw)):
        raise AdaptkitError(
            f"{where}: every other byte is zero: it is {wide.upper()} without a mark. Give "
            f"--encoding {wide}."
        )
    if raw[:4096].count(0) > len(raw[:4096]) // 100 and not (marked or known).startswith(_WIDE):
        raise AdaptkitError(f"{where} is no text: zeros are among its first bytes.")
    try:
        return raw.decode(encoding).removeprefix("\ufeff"), note
    except UnicodeDecodeError as problem:
        raise _not_decoded(raw, encoding, problem, where) from None
    except ValueError as problem:  # punycode, idna and others that are no encodings of files
        raise AdaptkitError(f"{where} is not in --encoding {encoding}: {problem}.") from None


def codec_name(encoding: str) -> str:
    """Python's name of an encoding.

    Raises:
        AdaptkitError: Python does not know it (with the closest name), or it is no text.
    """
    try:
        found = codecs.lookup(encoding)
        if getattr(found, "_is_text_encoding", True):
            return found.name
    except (LookupError, ValueError):
        pass
    close = nearest(encoding, {*encodings.aliases.aliases, *encodings.aliases.aliases.values()})
    guess = f"; did you mean {close}?" if close else ""
    raise AdaptkitError(
        f"--encoding {encoding[:40]} is not known to Python{guess} Common ones: utf-8, utf-16, "
        "cp1252, gb18030."
    )


def _not_decoded(
    raw: bytes, encoding: str, problem: UnicodeDecodeError, where: str
) -> AdaptkitError:
    start, line, column = _place(raw, problem.start)
    found = f"0x{raw[problem.start]:02x}" if problem.start < len(raw) else "the end"
    place = f"{where}:{line}: byte {found} at column {column} is not {encoding.upper()}"
    if codec_name(encoding) != "utf-8":
        hint = "; it is UTF-8: leave --encoding out." if _is_utf8(raw) else _suggest(raw, start)
        return AdaptkitError(place + hint)
    if bad := _broken_places(raw):
        return AdaptkitError(
            f"{place}. All but {bad} bytes of the file are: it is UTF-8 that was damaged or cut. "
            f"Mend line {line}, or drop such bytes: iconv -c -f utf-8 -t utf-8 {where} > mended"
        )
    return AdaptkitError(place + _suggest(raw, start))


def _place(raw: bytes, start: int) -> tuple[int, int, int]:
    """Where the line of a byte begins, its number, and the byte's column."""
    begin = raw.rfind(b"\n", 0, start) + 1
    return begin, raw.count(b"\n", 0, start) + 1, start - begin + 1


def _suggest(raw: bytes, begin: int) -> str:
    """The encodings in which the whole file decodes, the likely one first, and how they look."""
    found = [(name, text) for name in _ordered(raw) if (text := _decoded(raw, name)) is not None]
    line = raw[begin : begin + 300].split(b"\n")[0]
    if not found:
        return (
            ", and the file is in no encoding that is tried. Is it a text? Save it as UTF-8 where "
            "it comes from."
        )
    shown = [f"--encoding {name}: {_around(line, name)}" for name, _ in found[:3]]
    return (
        "; the whole file decodes with " + "; or ".join(shown) + ". Take the one that reads well."
    )


def _ordered(raw: bytes) -> tuple[str, ...]:
    """Western encodings first if most letters beyond ASCII stand alone, as in café."""
    runs = [len(run) for run in _BEYOND_ASCII.findall(raw, 0, 10**6)]
    alone = sum(length == 1 for length in runs) > len(runs) / 2
    western = _WESTERN[:1] if _decoded(raw, _WESTERN[0]) is not None else _WESTERN[1:]
    return (*western, *_OTHERS) if alone else (*_OTHERS, *western)


def _around(line: bytes, name: str) -> str:
    """The words around the first byte beyond ASCII of a line, in this encoding."""
    text = line.decode(name, "replace")
    first = next((i for i, one in enumerate(text) if not one.isascii()), 0)
    return repr(text[max(0, first - 12) : first + 16])


def _decoded(raw: bytes, name: str) -> str | None:
    try:
        return raw.decode(name)
    except UnicodeDecodeError:
        return None


def _is_utf8(raw: bytes) -> bool:
    """True if bytes beyond ASCII are there and all are UTF-8."""
    return not raw.isascii() and _decoded(raw, "utf-8") is not None


def _broken_places(raw: bytes) -> int:
    """How many bytes of a file in UTF-8 are damaged; 0 if it is hardly in UTF-8."""
    text = raw.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = sum(not one.isascii() for one in text[: 10**6]) - text.count("\ufffd", 0, 10**6)
    return bad if good > 2 * bad else 0


def _wide(raw: bytes) -> str | None:
    """UTF-16 without a byte order mark: zeros at every other place of ASCII."""
    head = raw[:4096]
    half = len(head) // 2
    if half < 2 or not head.count(0):
        return None
    for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        if zeros.count(0) > 0.6 * half:
            return name
    return None


def is_number(text: str) -> bool:
    """True if a text is a number in Python's notation."""
    try:
        float(text)
    except ValueError:
        return False
    return True
