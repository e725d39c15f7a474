"""Tables of texts and labels, as spreadsheets, pandas and downloads leave them."""

import bz2
import gzip
import io
import lzma
import pickle
import sqlite3

import pyarrow
import pyarrow.feather
import pyarrow.parquet

from tests.data.layouts.layout import Layout, workbook, zipped

ROWS = [
    {"text": "a bright lamp", "label": "good"},
    {"text": "dull, and late", "label": "bad"},
    {"text": "it hums", "label": "bad"},
]
CSV = 'text,label\na bright lamp,good\n"dull, and late",bad\nit hums,bad\n'
SEMICOLONS = "text;label\na bright lamp;good\ndull, and late;bad\nit hums;bad\n"
WESTERN = "text,label\ncafé – “nice”,good\nnaïve,bad\nit hums,bad\n"
WESTERN_ROWS = [
    {"text": "café – “nice”", "label": "good"},
    {"text": "naïve", "label": "bad"},
    {"text": "it hums", "label": "bad"},
]
CHINESE = "text,label\n这盏灯很亮,好\n声音太大了,坏\n快递很慢,坏\n"
TWO_SHEETS = workbook(
    [("text", "label"), *(tuple(row.values()) for row in ROWS)], [("notes",), ("none",)]
)


def _arrow(kind: str) -> bytes:
    table = pyarrow.Table.from_pylist(ROWS)
    out = io.BytesIO()
    if kind == "parquet":
        pyarrow.parquet.write_table(table, out)
    elif kind == "feather":
        pyarrow.feather.write_feather(table, out)
    else:
        with pyarrow.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
    return out.getvalue()


def _sqlite() -> bytes:
    base = sqlite3.connect(":memory:")
    base.execute("create table rows (text, label)")
    return base.serialize()


LAYOUTS = [
    Layout("Excel: csv with sep=; on top", "classify", {"a.csv": "sep=;\n" + SEMICOLONS}, ROWS),
    Layout("Excel: csv by semicolons, commas in the header", "classify", {
        "a.csv": 'id, old;text;label\n1;a bright lamp;good\n2;dull, and late;bad\n3;it hums;bad\n',
    }, ROWS),
    Layout("blanks after the commas", "classify", {
        "a.csv": 'text, label\na bright lamp, good\n"dull, and late", "bad"\nit hums, bad\n',
    }, ROWS),
    Layout("Excel: two empty columns without a name", "classify", {
        "a.csv": 'text,label,,\na bright lamp,good,,\n"dull, and late",bad,,\nit hums,bad,,\n',
    }, ROWS, note="2 empty columns without a name are left out"),
    Layout("Excel: commas behind the rows only", "classify", {
        "a.csv": 'text,label\na bright lamp,good,\n"dull, and late",bad,\nit hums,bad,\n',
    }, ROWS),
    Layout("pandas: the index in a column without a name", "classify", {
        "a.csv": ',text,label\n0,a bright lamp,good\n1,"dull, and late",bad\n2,it hums,bad\n',
    }, ROWS),
    Layout("Excel: Unicode text (UTF-16 with a mark)", "classify", {
        "a.txt": CSV.replace('"dull, and late"', "dull; and late").replace(",", "\t")
        .replace(";", ",").encode("utf-16"),
    }, ROWS, note="is read as UTF-16"),
    Layout("PowerShell: UTF-16 without a mark", "classify", {
        "a.csv": CSV.encode("utf-16-le"),
    }, message=("every other byte is zero", "--encoding utf-16-le")),
    Layout("Windows: cp1252", "classify", {"a.csv": WESTERN.encode("cp1252")},
           message=(r"a\.csv:2: byte 0xe9 at column 4", "--encoding cp1252: 'café – “nice")),
    Layout("Windows: cp1252, as the message says", "classify",
           {"a.csv": WESTERN.encode("cp1252")}, WESTERN_ROWS, flags=("--encoding", "cp1252")),
    Layout("UTF-8 that is called latin-1", "classify", {"a.csv": WESTERN}, note="it is valid UTF-8",
           flags=("--encoding", "latin-1"), rows=[]),
    Layout("Windows in China: GB 18030", "classify", {"a.csv": CHINESE.encode("gb18030")},
           message=("--encoding gb18030: '这盏灯很亮,好'",)),
    Layout("UTF-8 with a byte that was lost", "classify", {
        "a.csv": (CHINESE * 3).encode().replace("声".encode(), "声".encode()[:2], 1),
    }, message=(r"a\.csv:3: byte 0xe5", "damaged or cut", "iconv -c")),
    Layout("a name that is no encoding", "classify", {"a.csv": CSV}, flags=("--encoding", "utf-9"),
           message=("--encoding utf-9 is not known", "did you mean utf")),
    Layout("a header that --column_names repeats", "classify", {
        "a.csv": CSV.replace("text,label", "Text, Label"),
    }, ROWS, flags=("--column_names", "text", "label"), note="names the columns as"),
    Layout("a header that --column_names contradicts", "classify", {"a.csv": CSV},
           flags=("--column_names", "label", "text"),
           message=(r"a\.csv:1: .*names the columns \(text, label\)", "Leave --column_names out")),
    Layout("a header of other words under --column_names", "classify", {
        "a.csv": CSV.replace("text,label", "review,verdict"),
    }, flags=("--column_names", "text", "label"), note=r"a\.csv:1 may name the columns", rows=[
        {"text": "review", "label": "verdict"}, *ROWS]),
    Layout("csv in a .txt", "classify", {"a.txt": CSV}, ROWS, note="is read as csv"),
    Layout("csv in a .tsv", "classify", {"a.tsv": CSV}, ROWS, note="is read as csv"),
    Layout("gzip", "classify", {"a.csv.gz": gzip.compress(CSV.encode())}, ROWS),
    Layout("bzip2", "classify", {"a.csv.bz2": bz2.compress(CSV.encode())}, ROWS),
    Layout("xz", "classify", {"a.csv.xz": lzma.compress(CSV.encode())}, ROWS),
    Layout("gzip under another name", "classify", {"a.csv": gzip.compress(CSV.encode())}, ROWS),
    Layout("gzip that was cut", "classify", {"a.csv.gz": gzip.compress(CSV.encode())[:-9]},
           message=("a .gz file that is damaged or ends early",)),
    Layout("Kaggle: a csv in a zip", "classify", {
        "a.zip": zipped("train.csv", "__MACOSX/train.csv", content=CSV)}, ROWS),
    Layout("Kaggle: several in a zip", "classify", {
        "a.zip": zipped("train.csv", "test.csv", content=CSV),
    }, message=(r"2 files \(train\.csv, test\.csv\)", "python -m zipfile -e")),
    Layout("Excel: .xlsx", "classify", {"a.xlsx": TWO_SHEETS}, ROWS,
           note=r"first sheet, 'Sheet1'; not read: Sheet2"),
    Layout("Excel: .xlsx called .csv", "classify", {"a.csv": TWO_SHEETS}, ROWS),
    Layout("Excel: whole numbers as labels", "classify", {
        "a.xlsx": workbook([("text", "label"), ("warm", 1.0), ("cold", 0), ("mild", 1)]),
    }, [{"text": "warm", "label": "1"}, {"text": "cold", "label": "0"},
        {"text": "mild", "label": "1"}]),
    Layout("Excel: .xls", "classify", {"a.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99)},
           message=("old Office file", "pandas xlrd")),
    Layout("pandas: parquet", "classify", {"a.parquet": _arrow("parquet")}, ROWS),
    Layout("parquet that was cut", "classify", {"a.parquet": _arrow("parquet")[:-20]},
           message=("not a whole parquet file", "Download or write it again")),
    Layout("pandas: feather", "classify", {"a.feather": _arrow("feather")}, ROWS),
    Layout("datasets: save_to_disk", "classify", {
        "data-00000-of-00001.arrow": _arrow("stream")}, ROWS),
    Layout("pandas: pickle", "classify", {"a.pkl": pickle.dumps(ROWS)},
           message=("runs code when it is opened", "pandas.read_pickle")),
    Layout("SQLite", "classify", {"a.db": _sqlite()}, message=("sqlite3 -header -csv",)),
    Layout("Git LFS: the pointer of a file", "classify", {
        "a.csv": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    }, message=("pointer of a file in Git LFS", "git lfs pull")),
    Layout("a web page in place of the download", "classify", {
        "a.csv": "<!DOCTYPE html>\n<html><body>Sign in, please</body></html>\n",
    }, message=("it is a web page", "save the file itself")),
    Layout("YAML", "classify", {
        "a.yaml": "- text: a bright lamp\n  label: yes\n- text: it hums\n  label: no\n",
    }, [{"text": "a bright lamp", "label": "yes"}, {"text": "it hums", "label": "no"}]),
]  # fmt: skip
