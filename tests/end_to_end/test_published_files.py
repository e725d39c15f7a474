"""The published files themselves, where they are at hand."""

import pytest

from adaptkit import Reading, Splits, load_splits
from adaptkit.data.readers.read import read
from adaptkit.recipe.data_checks import check_duplicates
from adaptkit.tasks.answer import Answer
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.tag import Tag
from tests.helpers.files import TEXT_LABEL

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
