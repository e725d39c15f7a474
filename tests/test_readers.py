"""Files as the world publishes them: every trap is read right, or refused with file and line."""

import json

import pytest

from adaptkit import AdaptkitError, Reading, Splits, load_splits, read_table
from adaptkit.data.readers.read import detect, read
from adaptkit.recipe.data_checks import check_duplicates
from adaptkit.tasks.answer import Answer
from adaptkit.tasks.chat import Chat
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.relate import Relate
from adaptkit.tasks.score import Score
from adaptkit.tasks.summarize import Summarize
from adaptkit.tasks.tag import Tag
from adaptkit.tasks.translate import Translate

TEXT_LABEL = ("text", "label")


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path, message, **how):
    with pytest.raises(AdaptkitError, match=message):
        read(path, Reading(**how))


# Tables


def test_a_tsv_without_a_header_is_seen_and_its_columns_are_named_or_guessed(tmp_path):
    body = 'a film, they say\tgood\nrain\tbad\n"hm" he said\tgood\n'
    table = read(write(tmp_path / "a.tsv", body), Reading(wanted=TEXT_LABEL))
    assert table.rows[2] == {"text": '"hm" he said', "label": "good"}
    assert "no header line" in table.notes[0]
    named = read(tmp_path / "a.tsv", Reading(column_names=("x", "y")))
    assert named.rows[0] == {"x": "a film, they say", "y": "good"}
    swapped = read(
        write(tmp_path / "b.tsv", "1\tone thing\n0\tanother\n1\ta third\n"),
        Reading(wanted=TEXT_LABEL),
    )
    assert swapped.rows[0] == {"text": "one thing", "label": "1"}
    refused(
        write(tmp_path / "c.tsv", "1\tx\t2.5\n2\ty\t3.5\n"),
        r"c\.tsv:1: the first line looks like a row.*--column_names",
        wanted=TEXT_LABEL,
    )


def test_names_given_for_the_columns_skip_a_header_that_says_the_same(tmp_path):
    names = ("one", "score")
    with_header = read(
        write(tmp_path / "a.tsv", "one\tscore\nx\t5.0\n"), Reading(column_names=names)
    )
    without = read(write(tmp_path / "b.tsv", "x\t5.0\n"), Reading(column_names=names))
    assert with_header.rows == without.rows == [{"one": "x", "score": "5.0"}]
    assert with_header.where(0).endswith("a.tsv:2")
    refused(tmp_path / "b.tsv", "2 fields|--column_names gives 3", column_names=("a", "b", "c"))


def test_only_line_feeds_end_a_line(tmp_path):
    body = "text\tlabel\nodd\u2028one\x85two\x0bthree\tyes\nplain\tno\r\n"
    assert [row["label"] for row in read_table(write(tmp_path / "a.tsv", body)).rows] == [
        "yes",
        "no",
    ]
    lines = read(write(tmp_path / "a.txt", "one\u2028still one\ntwo\r\n"), Reading(format="lines"))
    assert [row["text"] for row in lines.rows] == ["one\u2028still one", "two"]


def test_an_encoding_is_named_and_a_byte_that_does_not_fit_is_placed(tmp_path):
    path = write(tmp_path / "a.txt", b"1 fine\n0 caf\xe9 noir\n1 yes\n0 no\n1 so\n")
    refused(path, r"a\.txt:2: byte 0xe9 at column 6 is not UTF-8; .*--encoding latin-1")
    assert read(path, Reading(encoding="latin-1")).rows[1] == {"label": "0", "text": "café noir"}
    refused(path, "--encoding klingon", encoding="klingon")


def test_parts_of_one_json_file(tmp_path):
    content = {
        "train": [["a", "x"], ["b", "y"]],
        "val": [["c", "x"]],
        "test": [["d", "y"]],
        "oos_train": [["e", "oos"]],
    }
    path = write(tmp_path / "all.json", json.dumps(content))
    splits = load_splits(str(path), reading=Reading(wanted=TEXT_LABEL))
    assert [len(table) for _, table in splits.items()] == [2, 1, 1]
    assert "left out: oos_train" in splits.notes[0]
    assert (
        "all.json has several splits: read is 'train' (all.json#test reads another)"
        in read(path, Reading(wanted=TEXT_LABEL)).notes
    )
    both = load_splits(f"{path}#train+oos_train", reading=Reading(wanted=TEXT_LABEL))
    assert both.train.rows[2] == {"text": "e", "label": "oos"}
    assert both.train.where(2).endswith("all.json:oos_train[0]")
    refused(f"{path}#trian", "no list 'trian'.*Did you mean 'train'", wanted=TEXT_LABEL)
    refused(f"{path}#train", "list of 1 fields", wanted=("text",))


def test_a_long_text_is_no_mistake(tmp_path):
    (tmp_path / "long.csv").write_text("text,label\n" + "word " * 40_000 + ",a\n")
    assert len(read(tmp_path / "long.csv", Reading()).rows[0]["text"]) == 200_000


# Blocks


def test_columns_of_words_and_tags(tmp_path):
    body = "-DOCSTART- O O\n\nEU B-ORG 0\nsays O 0\n\n\nBern\u00a0 B-LOC 0\n\u3000 O 0\n"
    path = write(tmp_path / "a.txt", body)
    table = read(path)
    assert table.rows == [
        {"tokens": ["EU", "says"], "tags": ["B-ORG", "O"]},
        {"tokens": ["Bern\u00a0", "\u3000"], "tags": ["B-LOC", "O"]},
    ]
    assert table.where(1).endswith("a.txt:7")
    assert "column 2 of 3" in " ".join(table.notes)
    refused(
        write(tmp_path / "b.txt", "EU B-ORG 0\nsays O\n\nx O 0\n"),
        r"b\.txt:2: 2 columns where the first line has 3",
        format="conll",
    )
    refused(
        write(tmp_path / "c.txt", "EU B-ORG\nsays 0\n\nx O\n"),
        r"c\.txt:2: no column holds only tags.*'0'",
        format="conll",
    )
    refused(path, "--tag_column 9", format="conll", tag_column=9)


def test_blocks_with_marked_entities(tmp_path):
    good = (
        '1\t"The <e1>cat</e1> sat on the <e2>mat</e2>."\nEntity-Destination(e1,e2)\nComment: '
        "none\n\n"
    )
    good += '2\t"<e2>Oil</e2> from <e1>seed</e1>"\nOther\nComment:\n'
    table = read(write(tmp_path / "a.TXT", good))
    first, second = Relate().read(table).rows
    assert first["text"] == "The @ cat @ sat on the # mat #."
    assert second["text"] == "# Oil # from @ seed @"  # the marks say which is which, not the order
    assert (first["label"], table.where(1)[-7:]) == ("Entity-Destination(e1,e2)", "a.TXT:5")
    refused(write(tmp_path / "b.txt", good.replace("</e2>", "", 1)), r"b\.txt:1: expected one <e1>")
    refused(
        write(tmp_path / "c.txt", '1\t"<e1>a</e1> <e2>b</e2>"\nComment: no relation here\n'),
        r"c\.txt:1: .*the relation on the next line",
    )


def test_parallel_files(tmp_path):
    write(tmp_path / "t.en", "one\u2028two\n\nthree\n")
    write(tmp_path / "t.de", "eins zwei\n\ndrei\n")
    table = read(tmp_path / "t.en", Reading(languages=("en", "de")))
    assert table.rows[1] == {"source": "three", "target": "drei"}
    assert table.where(1).endswith("t.en:3")
    write(tmp_path / "t.fr", "un deux\n\n")
    refused(tmp_path / "t.en", "3 lines and t.fr 2: they are not parallel", languages=("en", "fr"))
    refused(tmp_path / "t.en", "there is no file .*t.es", languages=("en", "es"))
    write(tmp_path / "t.it", "uno due\n\n \n")
    with pytest.raises(AdaptkitError, match=r"t\.en:3: the text in column 'target' is empty"):
        Translate().read(read(tmp_path / "t.en", Reading(languages=("en", "it"))))


@pytest.mark.parametrize("name, body, format", [
    ("a.txt", "1 fine film\n0 dull film\n1 good\n0 bad\n", "label_first"),
    ("a.txt", "A tale.\nIt goes on.\nAnd on.\nAnd ends.\n", "lines"),
    ("a.txt", " = Title = \n \n = = Part = = \nThe text .\n", "lines"),
    ("a.txt", "one\ttwo\nthree\tfour\n", "tsv"),
    ("a.conll", "x O\ny B-a\n\nz O\n", "conll"),
    ("a.json", '{"data": [{"paragraphs": []}]}', "squad"),
    ("a.json", "[]", "json"),
    ("a.json", '{"text": "a"}\n{"text": "b"}\n', "jsonl"),
    ("a.json", '{\n"train": []}', "json"),
])  # fmt: skip
def test_formats_are_told_apart(tmp_path, name, body, format):
    assert detect(write(tmp_path / name, body), Reading()) == format


def test_what_is_to_be_answered_is_not_searched_for_answers(tmp_path):
    asked = write(tmp_path / "a.txt", "1 fine film\n0 dull film\n1 good\n0 bad\n")
    assert read(asked, Reading(labelled=False)).rows[0] == {"text": "1 fine film"}
    source = write(tmp_path / "t.en", "one\ntwo\n")  # without t.de
    assert read(source, Reading(labelled=False, languages=("en", "de"), wanted=("source",))).rows[
        1
    ] == {"source": "two"}


# Rows


def test_spans_with_either_end(tmp_path):
    text = "温格战胜曼联"
    inclusive = {"text": text, "label": {"name": {"温格": [[0, 1]]}, "team": {"曼联": [[4, 5]]}}}
    exclusive = {
        "text": text,
        "entities": [{"start": 0, "end": 2, "label": "name"}, [4, 6, "team"]],
    }
    wanted = [{"start": 0, "end": 2, "label": "name"}, {"start": 4, "end": 6, "label": "team"}]
    for number, row in enumerate((inclusive, exclusive)):
        path = write(tmp_path / f"{number}.jsonl", json.dumps(row))
        assert Tag().read(read_table(path)).rows[0]["entities"] == wanted
    bare = write(
        tmp_path / "b.jsonl",
        json.dumps({"text": text, "entities": [[0, 1, "name"], [4, 5, "team"]]}),
    )
    assert Tag(span_end="inclusive").read(read_table(bare)).rows[0]["entities"] == wanted


@pytest.mark.parametrize("row, message", [
    ({"text": "abc", "entities": [[1, 1, "x"]]}, r":1: an entity reaches from 1 to 1.*--span_end inclusive"),
    ({"text": "abc", "entities": [[1, 9, "x"]]}, r":1: an entity reaches from 1 to 9, the text has 3 characters"),
    ({"text": "abc", "entities": [{"start": 0, "end": 2, "label": "x", "text": "bc"}]}, "'bc' is not at 0: the text there is 'ab'"),
    ({"text": "abc", "entities": ["x"]}, "entities should be"),
    ({"tokens": ["a", "b"], "tags": ["O"]}, ":1: 2 words and 1 tags"),
    ({"tokens": ["a"], "tags": ["X-y"]}, "'X-y' is not a tag"),
    ({"tokens": "a b", "tags": ["O"]}, "not a list of words"),
])  # fmt: skip
def test_bad_entities_are_placed(tmp_path, row, message):
    with pytest.raises(AdaptkitError, match=message):
        Tag().read(read_table(write(tmp_path / "a.jsonl", json.dumps(row))))


def squad(**question):
    paragraph = {
        "context": "\ufeffThe café is in Bern.",
        "qas": [{"id": "q7", "question": "Where?", **question}],
    }
    return json.dumps({"data": [{"paragraphs": [paragraph]}], "version": "1.1"}, ensure_ascii=False)


def test_questions_of_squad(tmp_path):
    path = write(tmp_path / "a.json", squad(answers=[{"text": "Bern", "answer_start": 16}]))
    row = Answer().read(read_table(path)).rows[0]
    assert row["context"][16:20] == "Bern"  # the byte order mark inside is a character of the text
    none = read_table(write(tmp_path / "n.json", squad(is_impossible=True, answers=[])))
    assert Answer().read(none).rows[0]["answers"] == []
    wrong = read_table(
        write(tmp_path / "w.json", squad(answers=[{"text": "Bern", "answer_start": 15}]))
    )
    with pytest.raises(
        AdaptkitError,
        match=r"w\.json:q7: the answer 'Bern' is not at character 15: there is ' Ber'\. It is at 16",
    ):
        Answer().read(wrong)
    refused(
        write(tmp_path / "x.json", '{"data": [{"paragraphs": [{"qas": [{"id": 1}]}]}]}'),
        "not as SQuAD writes it",
    )


def test_an_answer_that_validation_lacks_is_refused(tmp_path):
    train = write(tmp_path / "a.json", squad(answers=[{"text": "Bern", "answer_start": 16}]))
    other = write(tmp_path / "b.json", squad(answers=[]))
    with pytest.raises(AdaptkitError, match=r"b\.json:q7: the question has no answer"):
        Answer().prepare(load_splits(str(train), str(other)), seed=1)


def test_scores_are_numbers(tmp_path):
    table = read_table(write(tmp_path / "a.csv", "text,score\na,1\nb,high\n"))
    with pytest.raises(
        AdaptkitError, match=r"a\.csv:3: column 'score' holds 'high', which is not a number"
    ):
        Score().read(table)


def test_several_references(tmp_path):
    rows = [
        {"dialogue": "x y", "summary1": "one", "summary2": "two"},
        {"dialogue": "z", "summary1": "three", "summary2": "four"},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    read_rows = Summarize(columns={"text": "dialogue"}).read(read_table(path)).rows
    assert [row["references"] for row in read_rows] == [["one", "two"], ["three", "four"]]
    path = write(tmp_path / "b.jsonl", json.dumps({"text": "x", "summary": ["p", "q"]}))
    assert Summarize().read(read_table(path)).rows[0] == {
        "source": "x",
        "references": ["p", "q"],
        "target": "p",
    }


@pytest.mark.parametrize("row, message", [
    ({"messages": [{"role": "user", "content": "x"}]}, ":1: the last message is of 'user'"),
    ({"messages": [{"from": "user", "value": "x"}]}, 'a message should be {"role"'),
    ({"messages": []}, "messages should be"),
    ({"prompt": "x", "completion": " "}, "'completion' is empty"),
    ({"prompt": "x", "reply": "y"}, "no column 'completion'"),
])  # fmt: skip
def test_bad_conversations(tmp_path, row, message):
    with pytest.raises(AdaptkitError, match=message):
        Chat().read(read_table(write(tmp_path / "a.jsonl", json.dumps(row))))


def test_one_text_never_stands_on_both_sides_of_a_cut(tmp_path):
    body = "".join(f"Hi {i // 3}.\thallo {i}\n" for i in range(60))
    splits = load_splits(
        str(write(tmp_path / "a.tsv", body)), reading=Reading(wanted=("source", "target"))
    )
    splits, _ = Translate().prepare(splits, seed=1, test=0.2)
    sides = [{row["source"] for row in table.rows} for _, table in splits.items()]
    assert [len(side) for side in sides] == [14, 2, 4]
    assert len(set.union(*sides)) == 20


# The published files themselves, where they are at hand

STSB = (
    "index",
    "genre",
    "filename",
    "year",
    "old_index",
    "source1",
    "source2",
    "sentence1",
    "sentence2",
    "score",
)
PUBLISHED = [
    ("sst2/stsa.binary.train", {"encoding": "latin-1"}, 6920, "label"),
    ("sst2/stsa.binary.test", {"encoding": "latin-1"}, 1821, "label"),
    ("sst2_phrases/train.tsv", {}, 60614, "label"),
    ("agnews/test.tsv", {"wanted": TEXT_LABEL}, 7600, "label"),
    ("clinc150/data_full.json", {"wanted": TEXT_LABEL}, 15000, "label"),
    ("clinc150/data_full.json#oos_test", {"wanted": TEXT_LABEL}, 1000, "label"),
    ("stsb/train.tsv", {"column_names": STSB}, 4249, "score"),
    ("stsb/dev.tsv", {"column_names": STSB}, 1500, "score"),
    ("stsb/test.tsv", {"column_names": STSB}, 1500, "score"),
    ("conll2003/train.txt", {}, 14041, "tags"),
    ("conll2003/test.txt", {}, 3453, "tags"),
    ("cluener2020/train.jsonl", {}, 10748, "label"),
    ("semeval2010_task8/TRAIN_FILE.TXT", {}, 8000, "label"),
    ("semeval2010_task8/TEST_FILE_FULL.TXT", {}, 2717, "label"),
    ("xquad/xquad.zh.json", {}, 1190, "answers"),
    ("multi30k/train.en", {"languages": ("en", "de")}, 29000, "target"),
    ("tatoeba_en_zh/cmn.txt", {"wanted": ("source", "target")}, 21116, "target"),
    ("dialogsum/dialogsum.test.jsonl", {}, 500, "summary3"),
    ("chnsenticorp/train.txt", {"wanted": TEXT_LABEL}, 9600, "label"),
    ("wikitext2/valid.txt", {}, 2461, "text"),
]  # fmt: skip


@pytest.mark.parametrize(
    "name, how, count, column", PUBLISHED, ids=[name for name, *_ in PUBLISHED]
)
def test_published_files_are_read_whole(data_folder, name, how, count, column):
    table = read(f"{data_folder}/data/{name}", Reading(**how))
    assert len(table) == count
    assert column in table.columns


def test_what_the_published_files_hide(data_folder):
    data = data_folder / "data"
    labels = {
        row["label"]
        for row in read(data / "chnsenticorp/train.txt", Reading(wanted=TEXT_LABEL)).rows
    }
    assert labels == {"0", "1"}
    assert all(
        "\ufeff" not in row["text"]
        for row in read(data / "chnsenticorp/train.txt", Reading(wanted=TEXT_LABEL)).rows
    )
    entities = Tag().read(read(data / "cluener2020/train.jsonl")).rows[0]
    assert {entities["text"][e["start"] : e["end"]] for e in entities["entities"]} == {
        "叶老桂",
        "浙商银行",
    }
    assert len({row["label"] for row in read(data / "semeval2010_task8/TRAIN_FILE.TXT").rows}) == 19
    for language in ("en", "zh", "de", "es"):
        rows = (
            Answer().read(read(data / f"xquad/xquad.{language}.json")).rows
        )  # every answer is where it is said to be
        assert len({row["group"] for row in rows}) == 48
    news = load_splits(
        *(str(data / f"agnews/{name}.tsv") for name in ("dev", "test")),
        reading=Reading(wanted=TEXT_LABEL),
    )
    overlap = [
        str(finding) for finding in check_duplicates(Classify(), news) if finding.severity == "warn"
    ]
    assert any("9 validation rows stand in train too" in text for text in overlap), overlap
    phrases = Classify(columns={"text": "sentence"}).read(read(data / "sst2_phrases/train.tsv"))
    films = Classify().read(read(data / "sst2/stsa.binary.test", Reading(encoding="latin-1")))
    both = [
        str(finding)
        for finding in check_duplicates(Classify(), Splits(phrases, test=films))
        if "stand in train" in finding.text
    ]
    assert len(both) == 1
    assert "  1 test rows stand in train too" in both[0]
    kinds = {tag for row in read(data / "conll2003/valid.txt").rows for tag in row["tags"]}
    assert kinds == {
        "O",
        *(f"{mark}-{kind}" for mark in "BI" for kind in ("PER", "ORG", "LOC", "MISC")),
    }


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_csv_may_part_its_fields_by_other_marks(tmp_path, mark):
    lines = [
        mark.join(fields)
        for fields in (("text", "label"), (f'"a, b{mark} ""c"""', "x"), ("d, e", "y"))
    ]
    (tmp_path / "a.csv").write_text("\ufeff" + "\r\n".join(lines), "utf-8")
    table = read(tmp_path / "a.csv", Reading(wanted=("text", "label")))
    assert table.rows == [{"text": f'a, b{mark} "c"', "label": "x"}, {"text": "d, e", "label": "y"}]
    assert table.notes == [f"a.csv parts its fields by {mark!r}"]


def test_a_comma_in_the_first_line_parts(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na; b,x\n")
    table = read(tmp_path / "a.csv", Reading(wanted=("text", "label")))
    assert (table.rows, table.notes) == ([{"text": "a; b", "label": "x"}], [])
