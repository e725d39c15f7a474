"""Hostile files of rows: as they come from other programs, broken copies, and bad will."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow
from pyarrow import parquet

ROWS = [(f"this is the text number {i} of them all", "ab"[i % 2]) for i in range(12)]
CSV = "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS)
JSONL = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS)
CONLL = "\n".join("Ada B-PER\nwrote O\n" for _ in range(8))
SEMEVAL = "".join(
    f'{i}\t"The <e1>cup</e1> holds <e2>tea</e2> {i}."\nHolds(e1,e2)\nComment:\n\n' for i in range(8)
)
SQUAD = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": f"Ada lived in Paris, house {i}.",
                    "qas": [
                        {
                            "id": str(i),
                            "question": "Where?",
                            "answers": [{"text": "Paris", "answer_start": 13}],
                        }
                    ],
                }
            ]
        }
        for i in range(8)
    ]
}


@dataclass(frozen=True)
class File:
    """A file to train on: `write` makes it at a path with this ending."""

    name: str
    ending: str
    write: Callable[[Path], object]
    task: str = "classify"
    flags: tuple[str, ...] = ()


def files() -> Iterator[File]:
    """All of them."""
    yield from _encodings()
    yield from _tables()
    yield from _objects()
    yield from _binary()
    yield from _blocks()
    yield from _places()


def _text(name: str, ending: str, content: str | bytes, *more) -> File:
    data = content if isinstance(content, bytes) else content.encode()
    return File(name, ending, lambda path: path.write_bytes(data), *more)


def _encodings() -> Iterator[File]:
    accents = CSV.replace("text number", "tëxt nümber – “quoted”")
    for encoding in ("utf-16", "utf-16-be", "utf-32", "cp1252", "utf-8-sig", "utf-7"):
        yield _text(f"csv in {encoding}", ".csv", accents.encode(encoding, "replace"))
        lines = JSONL.replace("number", "nümber").encode(encoding, "replace")
        yield _text(f"jsonl in {encoding}", ".jsonl", lines)
    chinese = CSV.replace("this is the text", "这是一段文字")
    for encoding in ("gb18030", "big5", "shift_jis"):
        yield _text(f"csv in {encoding}", ".csv", chinese.encode(encoding, "replace"))
    yield _text("csv with a broken byte", ".csv", CSV.encode() + b"caf\xe9,a\n")
    yield _text("csv with NULs", ".csv", CSV.replace("text number", "text\0number"))
    yield _text("csv with surrogates", ".csv", CSV.encode() + b"\xed\xa0\x80,a\n")
    yield _text("csv of NULs", ".csv", bytes(10_000))
    yield _text("csv with escapes", ".csv", CSV + "\x1b[31mred\x1b[0m,\x1b[2J\n")
    yield _text("csv with old Mac lines", ".csv", CSV.replace("\n", "\r"))
    yield _text("csv with many kinds of lines", ".csv", CSV.replace("\n", "\r\n\u2028\x0b", 3))


def _tables() -> Iterator[File]:
    contents = {
        "empty": "",
        "of one line": "text,label\n",
        "of blank lines": "\n" * 1000,
        "of commas": "," * 100_000 + "\n" + "," * 100_000 + "\n",
        "with an open quote": CSV.replace("this is", '"this is', 1),
        "of quotes": '"' * 200_000,
        "with a wide header": ",".join(f"c{i}" for i in range(30_000)) + "\n" + CSV,
        "with one name many times": ",".join(["text"] * 5_000) + ",label\nx,a\n",
        "with a nameless header": ",,,\n1,2,3,4\n" * 10,
        "with a long cell": CSV + "x" * 20_000_000 + ",a\n",
        "with short rows": CSV + "only a text\n",
        "with long rows": CSV + "a,b,c,d,e\n",
        "with one label": CSV.replace(",b\n", ",a\n"),
        "with a label each": "text,label\n" + "".join(f"t{i},l{i}\n" for i in range(3000)),
        "with long labels": CSV.replace(",b\n", "," + "b" * 100_000 + "\n"),
        "with numbers as labels": CSV.replace(",b\n", "," + "1" * 5000 + "\n"),
        "with empty labels": CSV.replace(",b\n", ",\n"),
        "with sep=": "sep=;\n" + CSV.replace(",", ";"),
        "with formulas": CSV + "=HYPERLINK(1),=1+1\n",
        "of one column": "text\n" + "hello\n" * 20,
        "of HTML": "<html><body><table><tr><td>a</td></tr></table></body></html>\n" * 10,
        "of JSON": JSONL,
        "with twins of names": CSV.replace("text,label", "text,text,label"),
        "with a hundred thousand rows of nothing": "text,label\n" + "\n" * 100_000,
    }
    for name, content in contents.items():
        yield _text(f"csv {name}", ".csv", content)
        yield _text(f"tsv {name}", ".tsv", content.replace(",", "\t"))


def _objects() -> Iterator[File]:
    deep = "[" * 5000 + "]" * 5000
    values = {
        "null": "null",
        "a number": "5",
        "a text": '"x"',
        "an empty list": "[]",
        "an empty object": "{}",
        "numbers": "[1, 2, 3]",
        "lists": "[[1], [2]]",
        "deep": deep,
        "deeper": '{"a":' * 200_000,
        "a long number": '[{"text": "a", "label": ' + "9" * 5000 + "}]",
        "not a number": '[{"text": "a", "label": NaN}]',
        "infinite": '[{"text": "a", "label": 1e999}]',
        "twice the same key": '[{"text": "a", "text": "b", "label": "a"}]',
        "a deep cell": '[{"text": "a", "label": ' + deep + "}]",
        "an object as text": '[{"text": {"a": 1}, "label": "a"}]',
        "a list as text": '[{"text": ["a", "b"], "label": "a"}]',
        "a number as text": '[{"text": 5, "label": "a"}]',
        "a missing key": '[{"text": "a", "label": "a"}, {"text": "b"}]',
        "cut": '[{"text": "a", "label": "a"}, {"text": "b',
        "many keys": json.dumps([{f"k{i}": i for i in range(50_000)}]),
        "half a surrogate": '[{"text": "\\ud800", "label": "a"}]',
        "columns": json.dumps({"text": ["a"] * 9, "label": ["a", "b", "c"] * 3}),
        "columns of two lengths": json.dumps({"text": ["a"] * 9, "label": ["a"]}),
    }
    for name, content in values.items():
        yield _text(f"json: {name}", ".json", content)
        if content.startswith("[{"):
            yield _text(f"jsonl: {name}", ".jsonl", content[1:-1] + "\n" + JSONL)
    for name in ("null", "a number", "deep", "deeper"):
        yield _text(f"jsonl: {name}", ".jsonl", JSONL + values[name] + "\n")
    yield _text("json lines in json", ".json", JSONL)
    yield _text("a list in jsonl", ".jsonl", json.dumps([{"text": t, "label": n} for t, n in ROWS]))


def _binary() -> Iterator[File]:
    def table(path: Path, columns: dict, **options) -> None:
        parquet.write_table(pyarrow.table(columns), path, **options)

    texts, labels = (list(column) for column in zip(*ROWS, strict=True))
    good = {"text": texts, "label": labels}

    def half(path: Path) -> None:
        table(path, good)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def noisy(path: Path) -> None:
        table(path, good)
        content = bytearray(path.read_bytes())
        content[20:120] = os.urandom(100)
        path.write_bytes(bytes(content))

    def bomb(path: Path) -> None:  # some kB that are 3 GB of one text
        long = pyarrow.array(["x" * 1_000_000], pyarrow.string())
        indexes = pyarrow.array([0] * 3000, pyarrow.int32())
        table(path, {"text": pyarrow.DictionaryArray.from_arrays(indexes, long), "label": indexes})

    yield File("parquet", ".parquet", lambda path: table(path, good))
    yield File("half a parquet", ".parquet", half)
    yield File("noisy parquet", ".parquet", noisy)
    yield File("parquet bomb", ".parquet", bomb)
    yield _text("parquet that is csv", ".parquet", CSV)
    yield _text("parquet of its mark", ".parquet", b"PAR1" * 5)
    nested = {"text": [[t] for t in texts], "label": [{"a": n} for n in labels]}
    yield File("parquet with lists", ".parquet", lambda path: table(path, nested))
    nulls = {"text": [None] * 12, "label": [None] * 12}
    yield File("parquet of nulls", ".parquet", lambda path: table(path, nulls))
    for ending in (".csv", ".csv.gz", ".jsonl", ".json", ".txt", ".xlsx", ".zip", ".arrow"):
        yield _text(f"gzip as {ending}", ending, gzip.compress(CSV.encode()))
        yield _text(f"noise as {ending}", ending, bytes(range(256)) * 40)
    yield File("gzip bomb", ".csv.gz", _gzip_bomb)
    yield _text("pickle", ".pkl", b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    yield _text("pickle as csv", ".csv", b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")


def _gzip_bomb(path: Path) -> None:
    """Four MB that are four GB of zeros."""
    with gzip.open(path, "wb") as file:
        for _ in range(4096):
            file.write(bytes(1 << 20))


def _blocks() -> Iterator[File]:
    conll = {
        "": CONLL,
        " of one column": "Ada\nwrote\n\n" * 8,
        " with ragged columns": CONLL + "\nAda x y B-PER\n",
        " with a long sentence": "word O\n" * 20_000,
        " with odd tags": CONLL.replace("B-PER", "Q-PER"),
        " that begins inside": CONLL.replace("B-PER", "I-PER"),
        " of DOCSTART": "-DOCSTART- -X- O O\n\n" * 50,
        " with invisible words": "\u200b B-PER\nAda O\n\n" * 8,
        " with one column more": CONLL.replace(" O", " O O O O O"),
    }
    for name, content in conll.items():
        yield _text(f"conll{name}", ".conll", content, "tag")
        yield _text(f"conll{name} as tsv", ".tsv", content.replace(" ", "\t"), "tag")
    marks = {
        "": SEMEVAL,
        " with many marks": SEMEVAL.replace("cup", "<e1>" * 30_000, 1),
        " with open marks": SEMEVAL.replace("</e1>", "", 3),
        " with crossed marks": SEMEVAL.replace("</e1> holds <e2>", " holds <e2></e1>"),
        " without a relation": SEMEVAL.replace("Holds(e1,e2)\n", ""),
        " of numbers": "1\n" * 1000,
    }
    for name, content in marks.items():
        yield _text(f"semeval{name}", ".txt", content, "relate", ("--format", "semeval"))
    whole = json.dumps(SQUAD)
    questions = {
        "": whole,
        " with a wrong place": whole.replace("13", "3"),
        " with a place outside": whole.replace("13", "300000"),
        " with a negative place": whole.replace("13", "-1"),
        " with a place as text": whole.replace("13", '"13"'),
        " without answers": whole.replace('"answers"', '"replies"'),
        " with an object as answer": whole.replace('[{"text": "Paris", "answer_start": 13}]', "{}"),
        " without questions": whole.replace('"Where?"', "null"),
        " with a long context": whole.replace("house 1", "house " * 50_000),
    }
    for name, content in questions.items():
        yield _text(f"squad{name}", ".json", content, "answer")


def _places() -> Iterator[File]:
    yield File("folder", ".csv", lambda path: path.mkdir())
    yield File("pipe", ".csv", lambda path: os.mkfifo(path))
    yield File("zeros of a device", ".csv", lambda path: path.symlink_to("/dev/zero"))
    yield File("noise of a device", ".jsonl", lambda path: path.symlink_to("/dev/urandom"))
    yield File("a link to itself", ".csv", lambda path: path.symlink_to(path))
    yield File("a link to nothing", ".csv", lambda path: path.symlink_to("nothing"))
    yield File("a sparse terabyte", ".csv", lambda path: (path.touch(), os.truncate(path, 1 << 40)))
    yield File("memory of a process", ".csv", lambda path: path.symlink_to("/proc/self/mem"))
