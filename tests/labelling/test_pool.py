"""Which rows of a file are proposed, with which guesses."""

import pytest

from adaptkit import AdaptkitError, Proposal, Table, adapt, load_base, propose_rows, save_adapter
from adaptkit.adapters.card import TaskCard
from adaptkit.labelling.pool import FEWEST_LABELLED
from tests.labelling.conftest import TEXTS, label_of


def _table(texts, name="rows.csv"):
    return Table([{"text": text} for text in texts], name)


def _labelled(texts):
    return Table([{"text": text, "label": label_of(text)} for text in texts], "labelled.csv")


def test_without_labels_one_row_of_each_kind(small):
    found = propose_rows(_table(TEXTS), 3, base=small)
    assert {label_of(TEXTS[one.row]) for one in found} == {"where", "money", "broken"}
    assert all(one == Proposal(one.row) for one in found)
    assert found == propose_rows(_table(TEXTS), 3, base=small)


def test_with_labels_the_probe_guesses_and_no_labelled_text_comes_again(small):
    shouted = [text.upper().replace(" ", "  ") for text in TEXTS[:12]]
    labelled = Table(
        [{"text": s, "label": label_of(t)} for s, t in zip(shouted, TEXTS, strict=False)], "l"
    )
    found = propose_rows(_table(TEXTS), 30, labelled=labelled, base=small)
    assert sorted(one.row for one in found) == list(range(12, 30))
    assert [one.guess for one in found] == [label_of(TEXTS[one.row]) for one in found]
    assert all(1 / 3 < one.probability <= 1 for one in found)


def test_a_kind_without_a_label_comes_first(small):
    """The probe knows two of three kinds and is least sure of rows of the third."""
    known = [text for text in TEXTS if label_of(text) != "broken"][:FEWEST_LABELLED]
    (found,) = propose_rows(_table(TEXTS), 1, labelled=_labelled(known), base=small)
    assert label_of(TEXTS[found.row]) == "broken"


def test_few_labels_make_no_probe(small):
    found = propose_rows(_table(TEXTS), 2, labelled=_labelled(TEXTS[:3]), base=small)
    assert [one.guess for one in found] == [None, None]


def test_empty_labelled_and_equal_rows_are_left_out(small):
    rows = [
        {"text": "where is my parcel one", "label": None},
        {"text": "", "label": None},
        {"text": None, "label": None},
        {"text": "Where is my  parcel one", "label": ""},
        {"text": "refund the money", "label": "money"},
        {"text": "REFUND the money", "label": None},
        {"text": "this lamp arrived broken"},
    ]
    found = propose_rows(Table(rows, "rows.csv"), 9, base=small)
    assert sorted(one.row for one in found) == [0, 6]


def test_both_texts_of_a_pair_are_read(small):
    rows = [{"a": "where is", "b": text} for text in TEXTS]
    columns = {"text": "a", "text_pair": "b"}
    found = propose_rows(Table(rows, "pairs.csv"), 3, base=small, columns=columns)
    assert {label_of(TEXTS[one.row]) for one in found} == {"where", "money", "broken"}


def test_an_adapter_guesses_with_its_own_labels(small, tmp_path):
    labels = ["broken", "money", "where"]
    model = adapt(load_base(small, task="classify", labels=labels), "lora[r=2]")
    card = TaskCard(task="classify", labels=labels, columns={"text": "text", "label": "label"})
    save_adapter(model, tmp_path / "adapter", card=card)
    found = propose_rows(_table(TEXTS), 4, adapter=str(tmp_path / "adapter"))
    assert len({one.row for one in found}) == 4
    assert {one.guess for one in found} <= {*labels}


def test_other_tasks_and_several_labels_are_refused(small, tmp_path):
    model = adapt(load_base(small, task="tag", labels=["O", "B-x"]), "lora[r=2]")
    save_adapter(model, tmp_path / "tags", card=TaskCard(task="tag", labels=["O", "B-x"]))
    with pytest.raises(AdaptkitError, match="for classify with one label.*is for tag"):
        propose_rows(_table(TEXTS), adapter=str(tmp_path / "tags"))
    model = adapt(load_base(small, task="classify", labels=["a", "b"]), "lora[r=2]")
    card = TaskCard(task="classify", labels=["a", "b"], settings={"multi_label": True})
    save_adapter(model, tmp_path / "several", card=card)
    with pytest.raises(AdaptkitError, match="classify with several labels a text"):
        propose_rows(_table(TEXTS), adapter=str(tmp_path / "several"))


def test_what_cannot_be_read_is_refused_before_a_model_is_loaded():
    with pytest.raises(AdaptkitError, match="has no column 'text'.*--text_column"):
        propose_rows(Table([{"review": "good"}], "rows.csv"), base="nowhere")
    with pytest.raises(AdaptkitError, match="no row to label: every row has a label"):
        propose_rows(_labelled(TEXTS), base="nowhere")
    with pytest.raises(AdaptkitError, match="no row to label: no row has a text"):
        propose_rows(_table(["", " "]), base="nowhere")
