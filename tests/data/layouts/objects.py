"""JSON of many kinds, and plain lines with labels."""

import json

from tests.data.layouts.layout import Layout
from tests.data.layouts.tables import CSV, ROWS

LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
ARTICLES = [{
    "title": "灯",
    "paragraphs": [{
        "id": "1", "context": "这盏灯在桌上。灯是红的。",
        "qas": [
            {"id": "1-1", "question": "灯在哪里？", "answers": [
                {"text": "桌上", "answer_start": 4}, {"text": "桌子上", "answer_start": -1},
            ]},
            {"id": "1-2", "question": "什么颜色？", "answers": [{"text": "红的"}]},
        ],
    }],
}]  # fmt: skip
ANSWERS = [
    {"answers": [{"text": "桌上", "start": 4}], "unplaced": ["桌子上"]},
    {"answers": [{"text": "红的", "start": 9}], "unplaced": []},
]

LAYOUTS = [
    Layout("ndjson", "classify", {"a.ndjson": LINES}, ROWS),
    Layout("JSON lines in a .json", "classify", {"a.json": LINES}, ROWS),
    Layout("JSON lines in a .txt", "classify", {"a.txt": LINES}, ROWS, note="is read as jsonl"),
    Layout("JSON lines in a .csv", "classify", {"a.csv": LINES}, ROWS, note="is read as jsonl"),
    Layout("a JSON list in a .jsonl", "classify", {"a.jsonl": json.dumps(ROWS, indent=1)}, ROWS,
           note="is read as json"),
    Layout("csv in a .json", "classify", {"a.json": CSV}, ROWS, note="is read as csv"),
    Layout("a JSON list under data", "classify", {
        "a.json": json.dumps({"version": 2, "data": ROWS})}, ROWS, note="the rows are its list"),
    Layout("JSON by columns, as pandas writes", "classify", {
        "a.json": json.dumps({"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}}),
    }, message=("expected a list of objects", "an object with text, label")),
    Layout("a number of 5,000 digits", "classify", {
        "a.jsonl": LINES + '{"text": "x", "label": %s}\n' % ("9" * 5000),
    }, message=(r"a\.jsonl:4: a number has thousands of digits",)),
    Layout("lists 5,000 deep", "classify", {
        "a.jsonl": LINES + '{"text": "x", "label": %s}\n' % ("[" * 5000 + "]" * 5000),
    }, message=(r"a\.jsonl:4: lists or objects are nested more than 50 deep",)),
    Layout("lists 60 deep in a .json", "classify", {
        "a.json": '[{"text": "x", "label": %s}]' % ("[" * 60 + "]" * 60),
    }, message=(r"a\.json: lists or objects are nested more than 50 deep",)),
    Layout("fastText", "classify", {
        "a.train": "__label__good a bright lamp\n__label__bad dull, and late\n__label__bad it hums",
    }, ROWS, note="is read as fasttext"),
    Layout("fastText: several labels", "classify", {
        "a.txt": "__label__good __label__cheap a bright lamp\n__label__bad it hums\n",
    }, [{"text": "a bright lamp", "label": ["cheap", "good"]},
        {"text": "it hums", "label": ["bad"]}], flags=("--multi_label", "true")),
    Layout("fastText: several labels, one asked for", "classify", {
        "a.txt": "__label__good __label__cheap a bright lamp\n__label__bad it hums\n",
    }, message=("--multi_label",)),
    Layout("TREC: label first, coarse and fine", "classify", {
        "train_5500.label": "DESC:manner How does it work ?\nENTY:cremat What is it ?\n"
        "DESC:manner How is it made ?\nHUM:ind Who was it ?\n",
    }, [{"text": "How does it work ?", "label": "DESC:manner"},
        {"text": "What is it ?", "label": "ENTY:cremat"},
        {"text": "How is it made ?", "label": "DESC:manner"},
        {"text": "Who was it ?", "label": "HUM:ind"}]),
    Layout("lines without labels", "classify", {"a.txt": "a bright lamp\nit hums\n"},
           message=("no column 'label'", "read as lines of text")),
    Layout("CMRC: references without a place", "answer", {
        "cmrc.json": json.dumps({"version": "v1.0", "data": ARTICLES}, ensure_ascii=False),
    }, ANSWERS),
    Layout("SQuAD's articles without data around them", "answer", {
        "cmrc.json": json.dumps(ARTICLES)}, ANSWERS),
    Layout("SQuAD: a question without answers", "answer", {
        "a.json": json.dumps({"data": [{"paragraphs": [{"context": "It hums.", "qas": [
            {"id": "6", "question": "Who sings?", "answers": [], "is_impossible": True},
            {"id": "7", "question": "What does it do?"}]}]}]}),
    }, message=(r"a\.json:7: the row has no 'answers'; write \[\]",)),
    Layout("TMX", "translate", {
        "a.tmx": '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n'
        '<tmx version="1.4"><header srclang="en-US"/><body><tu>'
        '<tuv xml:lang="de-DE"><seg>Die <hi>Lampe</hi></seg></tuv>'
        '<tuv xml:lang="en-US"><seg>The <bpt i="1">&lt;b></bpt>lamp</seg></tuv></tu>'
        '<tu><tuv xml:lang="en-US"><seg>late</seg></tuv></tu></body></tmx>',
    }, [{"source": "The lamp", "target": "Die Lampe"}], note="1 units without one of them"),
    Layout("TMX of three languages", "translate", {
        "a.tmx": "<tmx><body><tu>" + "".join(
            f'<tuv xml:lang="{one}"><seg>{one} 1</seg></tuv>' for one in ("en", "de", "fr")
        ) + "</tu></body></tmx>",
    }, [{"source": "fr 1", "target": "en 1"}], flags=(
        "--source_lang", "fr", "--target_lang", "en_XX")),
    Layout("XML that is no TMX", "classify", {"a.xml": '<?xml version="1.0"?>\n<rows/>'},
           message=("of which only TMX is read", "pandas.read_xml")),
]  # fmt: skip
