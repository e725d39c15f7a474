"""Files that are known and not read: what they are, and how to make one that is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from adaptkit.errors import AdaptkitError

if TYPE_CHECKING:
    from adaptkit.data.readers.file import File

_SPACY = """it is spaCy's binary DocBin. Write its rows as .jsonl:
  import json, spacy
  from spacy.tokens import DocBin
  docs = DocBin().from_disk("{path}").get_docs(spacy.blank("en").vocab)
  with open("rows.jsonl", "w") as out:
      for doc in docs:
          found = [[e.start_char, e.end_char, e.label_] for e in doc.ents]
          print(json.dumps({{"text": doc.text, "entities": found}}), file=out)"""
_PANDAS = "python -c \"import pandas; pandas.{call}.to_csv('rows.csv', index=False)\""

# What a file is and what to do, by its first bytes. {path} is its path.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (
        b"\xd0\xcf\x11\xe0",
        "it is an old Office file. An .xls is saved as .xlsx or .csv (UTF-8) in Excel, or with "
        + _PANDAS.format(call="read_excel('{path}')")
        + " (pip install pandas xlrd).",
    ),
    (b"%PDF", "it is a PDF, which has no rows. Copy its text to a .txt or .csv file."),
    (b"SQLite format 3\0", 'it is an SQLite database: sqlite3 -header -csv {path} "SELECT * FROM '
     'TABLE" > rows.csv'),
    (b"\x28\xb5\x2f\xfd", "it is compressed with Zstandard: zstd -d {path}"),
    (b"\x04\x22\x4d\x18", "it is compressed with LZ4: lz4 -d {path}"),
    (b"Rar!", "it is an archive: unrar x {path}"),
    (b"7z\xbc\xaf\x27\x1c", "it is an archive: 7z x {path}"),
    (b"\x89HDF", "it is HDF5: " + _PANDAS.format(call="read_hdf('{path}')")),
    (b"\x93NUMPY", "it is an array of NumPy. Write texts and labels to a .csv or .jsonl file."),
    (b"FEA1", "it is Feather of version 1: " + _PANDAS.format(call="read_feather('{path}')")),
    (b"\xff\xd8\xff", "it is a picture; texts are read here."),
    (b"\x89PNG", "it is a picture; texts are read here."),
)  # fmt: skip
_PICKLE = re.compile(rb"\x80[\x02-\x05]")  # the protocols that are in use
_ARCHIVED = {
    "mimetype": "it is an OpenDocument file. Save the sheet as .xlsx or .csv (UTF-8).",
    "word/document.xml": "it is a Word document, which has no rows. Save its text as .txt.",
}
_TAR, _TAR_AT = b"ustar", 257
_TEXTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"version https://git-lfs\.github\.com/"),
        "it is the pointer of a file in Git LFS and not the file: git lfs pull",
    ),
    (
        re.compile(r"\s*<(!doctype html|html)\b", re.I),
        "it is a web page, as comes where a download needs a login. Open the address in a browser, "
        "and save the file itself.",
    ),
    (
        re.compile(r"\s*<\?xml(?![^\0]*<tmx)"),
        "it is XML, of which only TMX is read. Tables: "
        + _PANDAS.format(call="read_xml('{path}')"),
    ),
)


def refuse_binary(file: File) -> None:
    """Raise for a file that is known by its bytes to be none that readers read."""
    raw = file.raw
    for magic, what in _MAGIC:
        if raw.startswith(magic):
            raise _refused(file, what)
    if _PICKLE.match(raw) and raw.rstrip().endswith(b"."):
        raise _refused(
            file,
            "it is a pickle, which runs code when it is opened. If you trust it: "
            + _PANDAS.format(call="read_pickle('{path}')"),
        )
    if raw[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR:
        raise _refused(file, "it is an archive: tar -xf {path}, then name one of its files.")
    if file.path.suffix.lower() == ".spacy":
        raise _refused(file, _SPACY)
    if raw.startswith(b"PK\x03\x04"):
        kind = next((_ARCHIVED[name] for name in _ARCHIVED if name.encode() in raw), None)
        raise _refused(file, kind or "it is an archive in an archive: unpack it.")
    if raw.startswith(b"\x1f\x8b"):
        raise _refused(file, "it is compressed twice: gunzip {path}")


def refuse_text(file: File) -> None:
    """Raise for a text that is known to hold no rows."""
    start = file.text[:1000]
    for pattern, what in _TEXTS:
        if pattern.match(start):
            raise _refused(file, what)


def _refused(file: File, what: str) -> AdaptkitError:
    return AdaptkitError(f"{file} cannot be read: {what.format(path=file.path)}")
