"""Entities in texts: columns of words, and the exports of annotation tools."""

import json

from tests.data.layouts.layout import Layout

TOKENS = [
    {"tokens": ["Mira", "left", "Bern"], "entities": [
        {"start": 0, "end": 4, "label": "PER"}, {"start": 10, "end": 14, "label": "LOC"}]},
    {"tokens": ["It", "hums"], "entities": []},
]  # fmt: skip
SPANS = [
    {"text": "Mira left Bern", "entities": TOKENS[0]["entities"]},
    {"text": "It hums", "entities": []},
]
COLUMNS = "Mira B-PER\nleft O\nBern B-LOC\n\nIt O\nhums O\n"
TEXTS = [row["text"] for row in SPANS]


def _spans(**names: str) -> list[dict]:
    return [
        {names.get(key, key): value for key, value in entity.items()}
        for entity in TOKENS[0]["entities"]
    ]


def _lines(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _prodigy(text: str, spans: list, answer: str = "accept") -> dict:
    tokens = [{"text": word, "start": 0, "end": 1, "id": 0} for word in text.split()]
    about = {"_input_hash": 1, "_task_hash": 2, "_view_id": "ner_manual", "answer": answer}
    return {"text": text, "tokens": tokens, "spans": spans, **about}


def _task(text: str, result: list, **more) -> dict:
    done = {"id": 1, "was_cancelled": False, "result": result, **more}
    return {"id": 1, "data": {"review": text}, "annotations": [done], "predictions": []}


def _region(entity: dict, number: int) -> dict:
    value = {"start": entity["start"], "end": entity["end"], "labels": [entity["label"]]}
    value["text"] = TEXTS[0][entity["start"] : entity["end"]]
    about = {"id": f"r{number}", "from_name": "label", "to_name": "text", "type": "labels"}
    return {**about, "value": value}


def _choice(name: str) -> dict:
    return {"type": "choices", "from_name": "mood", "to_name": "text", "value": {"choices": [name]}}


REGIONS = [_region(entity, number) for number, entity in enumerate(TOKENS[0]["entities"])]
RELATION = {"type": "relation", "from_id": "r0", "to_id": "r1", "labels": ["left"]}
RELATED = [{"label": "left(e1,e2)", "head": {"start": 0, "end": 4}}]
UNIVERSAL = """# sent_id = 1
# text = They don't.
1\tThey\tthey\tPRON\tPRP\t_\t2\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\t_
3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t_\t_

"""

LAYOUTS = [
    Layout("CoNLL in a .tsv", "tag", {"a.tsv": COLUMNS.replace(" ", "\t")}, TOKENS,
           note="is read as conll"),
    Layout("CoNLL in a .tsv with a bad line", "tag", {
        "a.tsv": COLUMNS.replace(" ", "\t") * 9 + "Bern\tB-LOC\tx\n",
    }, message=("3 columns where the first line has 2", "Words and tags are in columns")),
    Layout("MultiCoNER: comments before the sentences", "tag", {
        "a.conll": "# id 5239\tdomain=train\nMira _ _ B-PER\nleft _ _ O\nBern _ _ B-LOC\n\n"
        "# id 5240\tdomain=train\nIt _ _ O\nhums _ _ O\n"}, TOKENS),
    Layout("GermEval: numbered words", "tag", {
        "a.tsv": "#\thttp://example.org\n1\tMira\tB-PER\tO\n2\tleft\tO\tO\n3\tBern\tB-LOC\tO\n\n"
        "#\thttp://example.org\n1\tIt\tO\tO\n2\thums\tO\tO\n",
    }, TOKENS, flags=("--tag_column", "3"), note="words from column 2"),
    Layout("Few-NERD: types without B- and I-", "tag", {
        "a.txt": COLUMNS.replace("B-", "").replace(" ", "\t"),
    }, message=("--tag_column 2",), flags=("--format", "conll")),
    Layout("Few-NERD, as the message says", "tag", {
        "a.txt": COLUMNS.replace("B-", "").replace(" ", "\t"),
    }, TOKENS, flags=("--format", "conll", "--tag_column", "2"), note="neighbours of one type"),
    Layout("CoNLL-U", "tag", {"a.conllu": UNIVERSAL}, [{
        "tokens": ["They", "do", "n't"],
        "entities": [{"start": 0, "end": 4, "label": "PRON"},
                     {"start": 5, "end": 7, "label": "AUX"},
                     {"start": 8, "end": 11, "label": "PART"}]}], note="parts of speech"),
    Layout("Kaggle: a word a row", "tag", {
        "ner_dataset.csv": "Sentence #,Word,POS,Tag\nSentence: 1,Mira,NN,B-PER\n,left,VB,O\n"
        ",Bern,NN,B-LOC\nSentence: 2,It,PR,O\n,hums,VB,O\n"}, TOKENS, note="a word a row"),
    Layout("a word a row, sentences not told apart", "tag", {
        "a.csv": "word,tag\nMira,B-PER\nleft,O\n",
    }, message=("no column that tells sentences apart", "sentence_id")),
    Layout("ATIS: seq.in and seq.out", "tag", {
        "train/seq.in": "Mira left Bern\nIt hums\n", "train/seq.out": "B-PER O B-LOC\nO O\n",
        "train/label": "leave\nnoise\n"}, TOKENS, note="tags are read from seq.out"),
    Layout("ATIS: the intents", "classify", {
        "train/seq.in": "Mira left Bern\nIt hums\n", "train/seq.out": "B-PER O B-LOC\nO O\n",
        "train/label": "leave\nnoise\n"},
        [{"text": "Mira left Bern", "label": "leave"}, {"text": "It hums", "label": "noise"}]),
    Layout("ATIS: words and tags of other lengths", "tag", {
        "train/seq.in": "Mira left\n", "train/seq.out": "B-PER\n",
    }, message=(r"seq\.in:1: 2 words, and seq\.out has 1 tags",)),
    Layout("Prodigy: ner.manual", "tag", {
        "a.jsonl": _lines(_prodigy(TEXTS[0], _spans()), _prodigy(TEXTS[1], []),
                          _prodigy("Who knows", [], "reject"), _prodigy("Well", [], "ignore"))},
        SPANS, note=r"2 rows that were not accepted are left out \(1 reject, 1 ignore\)"),
    Layout("Prodigy: choice", "classify", {
        "a.jsonl": _lines(*({"text": text, "options": [{"id": "good"}, {"id": "bad"}],
                             "accept": [name], "answer": "accept"}
                            for text, name in zip(TEXTS, ("good", "bad"), strict=True)))},
        [{"text": TEXTS[0], "label": "good"}, {"text": TEXTS[1], "label": "bad"}]),
    Layout("doccano: sequence labelling", "tag", {
        "a.jsonl": _lines({"id": 1, "text": TEXTS[0], "label": [[0, 4, "PER"], [10, 14, "LOC"]]},
                          {"id": 2, "text": TEXTS[1], "label": []})}, SPANS),
    Layout("doccano: relations", "relate", {
        "a.jsonl": _lines(*({
            "id": 1, "text": f"{TEXTS[0]} {number}",
            "entities": [{"id": 9 + i, **one} for i, one in enumerate(
                _spans(start="start_offset", end="end_offset"))],
            "relations": [{"id": 1, "from_id": 9 - number + 1, "to_id": 10 + number - 1,
                           "type": name}]} for number, name in ((1, "left"), (0, "is"))))},
        [{"label": "left(e1,e2)"}, {"label": "is(e2,e1)"}]),
    Layout("Label Studio: JSON", "tag", {
        "a.json": json.dumps([_task(TEXTS[0], REGIONS), _task(TEXTS[1], []),
                              _task("skipped", [], was_cancelled=True)])},
        [SPANS[0], SPANS[1]], note="1 tasks without an annotation are left out"),
    Layout("Label Studio: choices", "classify", {
        "a.json": json.dumps([_task(TEXTS[0], [_choice("good")]),
                              _task(TEXTS[1], [_choice("bad")])])},
        [{"text": TEXTS[0], "label": "good"}, {"text": TEXTS[1], "label": "bad"}]),
    Layout("Label Studio: relations", "relate", {
        "a.json": json.dumps([
            _task(TEXTS[0], [*REGIONS, RELATION]),
            _task(TEXTS[0], [*REGIONS, {**RELATION, "from_id": "r1", "to_id": "r0"}])])},
        [{"label": "left(e1,e2)"}, {"label": "left(e2,e1)"}]),
    Layout("Label Studio: JSON-MIN", "tag", {
        "a.json": json.dumps([
            {"text": TEXTS[0], "label": [region["value"] for region in REGIONS], "id": 1,
             "annotator": 1, "annotation_id": 1, "lead_time": 2.5},
            {"text": TEXTS[1], "label": [], "id": 2, "annotator": 1, "annotation_id": 2,
             "lead_time": 1.5}])}, SPANS),
    Layout("spaCy 3: tuples", "tag", {
        "a.json": json.dumps([[TEXTS[0], {"entities": [[0, 4, "PER"], [10, 14, "LOC"]]}],
                              [TEXTS[1], {"entities": []}]])}, SPANS),
    Layout("an annotator with spaCy's tuples", "tag", {
        "a.json": json.dumps({"classes": ["PER", "LOC"], "annotations": [
            [TEXTS[0], {"entities": [[0, 4, "PER"], [10, 14, "LOC"]]}], None,
            [TEXTS[1], {"entities": []}]]})}, SPANS),
    Layout("spaCy 3: categories", "classify", {
        "a.json": json.dumps([[TEXTS[0], {"cats": {"good": 1.0, "bad": 0.0}}],
                              [TEXTS[1], {"cats": {"good": 0.0, "bad": 1.0}}]])},
        [{"text": TEXTS[0], "label": "good"}, {"text": TEXTS[1], "label": "bad"}]),
    Layout("spaCy 2: documents", "tag", {
        "a.json": json.dumps([{"id": 0, "paragraphs": [{"raw": "", "sentences": [
            {"tokens": [{"orth": "Mira", "ner": "U-PER"}, {"orth": "left", "ner": "O"},
                        {"orth": "Bern", "ner": "U-LOC"}]},
            {"tokens": [{"orth": "It", "ner": "O"}, {"orth": "hums", "ner": "O"}]}]}]}])}, TOKENS),
    Layout("spaCy: DocBin", "tag", {"a.spacy": b"x\x9c\x03\x00\x00\x00\x00\x01"},
           message=("DocBin", r"json\.dumps\(\{.text")),
    Layout("BRAT", "tag", {
        "a.txt": TEXTS[0], "a.ann": "T1\tPER 0 4\tMira\nT2\tLOC 10 14\tBern\n"
        "R1\tleft Arg1:T1 Arg2:T2\n"
        "T3\tPER 0 2;5 7\tMi le\n#1\tAnnotatorNotes T1\tx\n", "b.txt": TEXTS[1], "b.ann": "",
    }, SPANS, given=".", note="1 entities of several parts are left out"),
    Layout("BRAT: relations", "relate", {
        "a.txt": TEXTS[0],
        "a.ann": "T1\tPER 0 4\tMira\nT2\tLOC 10 14\tBern\nR1\tleft Arg1:T1 Arg2:T2\n"
        "R2\tis Arg1:T2 Arg2:T1\n",
    }, [{"label": "left(e1,e2)"}, {"label": "is(e2,e1)"}], given="."),
    Layout("BRAT: an annotation file is missing", "tag", {"a.txt": "x", "b.ann": ""}, given=".",
           message=(r"a\.txt has no a\.ann beside it",)),
    Layout("rows without entities", "tag", {"a.jsonl": _lines(SPANS[0], {"text": TEXTS[1]})},
           message=(r"a\.jsonl:2: the row has no 'entities'; write \[\]",)),
]  # fmt: skip
