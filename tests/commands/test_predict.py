"""`adaptkit predict`: texts, standard input, the most probable labels, thresholds, rows beside."""

import io
import json

import pytest
from adaptkit.recipes import pretrain

from adaptkit import AdaptkitError, Host, Predictor, TaskCard, adapt, load_base, save_adapter
from adaptkit.cli import main
from tests.helpers.rows import TWO_STEPS
from tests.tiny import randomize

LABELS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two random adapters: of one label a text, and of several."""
    root = tmp_path_factory.mktemp("adapters")
    for name, settings in (("one", {}), ("several", {"multi_label": True})):
        model = adapt(load_base("all-MiniLM-L6-v2", task="classify", labels=LABELS), "lora[r=2]")
        randomize(model)
        card = TaskCard(task="classify", labels=LABELS, settings=settings, max_length=32)
        save_adapter(model, root / name, card=card)
    return root


def answers(capsys, *words: str) -> list[dict]:
    capsys.readouterr()
    main(["predict", *map(str, words)])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_texts_come_from_standard_input(folders, capsys, monkeypatch):
    direct = answers(capsys, folders / "one", "It leaks.", "Where is it?")
    monkeypatch.setattr("sys.stdin", io.StringIO("It leaks.\n  Where is it?\n\n"))
    assert answers(capsys, folders / "one", "-") == direct
    monkeypatch.setattr("sys.stdin", io.StringIO("\n \n"))
    with pytest.raises(AdaptkitError, match="standard input holds no text"):
        main(["predict", str(folders / "one"), "-"])
    monkeypatch.setattr("sys.stdin", io.StringIO("It leaks.\n\nWhere is it?\n"))
    with pytest.raises(AdaptkitError, match="line 2 of standard input is empty"):
        main(["predict", str(folders / "one"), "-"])
    with pytest.raises(AdaptkitError, match="it stands alone"):
        main(["predict", str(folders / "one"), "-", "It leaks."])


def test_other_names_are_refused_with_what_there_is(folders):
    with pytest.raises(AdaptkitError, match="unknown input of classify 'top_k'.*text_pair"):
        Predictor(folders / "one")("It leaks.", top_k=2)
    with pytest.raises(AdaptkitError, match="list of names; it is empty"):
        Host.from_store(folders, adapters=[])
    with pytest.raises(AdaptkitError, match="one is an adapter; see it with: adaptkit show"):
        main(["list", str(folders / "one")])


def test_the_most_probable_labels(folders, capsys):
    (best,) = answers(capsys, folders / "one", "It leaks.")
    (three,) = answers(capsys, folders / "one", "It leaks.", "--top_k", "3")
    assert three["labels"][0] == best["label"]
    assert three["scores"][best["label"]] == best["score"]
    assert sum(three["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert list(three["scores"].values()) == sorted(three["scores"].values(), reverse=True)
    (two,) = answers(capsys, folders / "one", "It leaks.", "--top_k", "2")
    assert two["labels"] == three["labels"][:2]


def test_a_threshold_decides_which_labels_are_given(folders, capsys):
    (every,) = answers(capsys, folders / "several", "It leaks.", "--threshold", "0")
    (none,) = answers(capsys, folders / "several", "It leaks.", "--threshold", "1")
    assert (every["labels"], none["labels"]) == (LABELS, [])
    for words in (["one", "--threshold", "0.5"], ["several", "--threshold", "2"]):
        with pytest.raises(AdaptkitError, match="tasks with several labels a text, from 0 to 1"):
            main(["predict", str(folders / words[0]), "It leaks.", *words[1:]])


def test_rows_stand_beside_their_answers(folders, capsys, tmp_path):
    (tmp_path / "rows.csv").write_text("id,text\n7,It leaks.\n8,Where is it?\n")
    rows = answers(capsys, folders / "one", "--file", tmp_path / "rows.csv", "--with_input")
    assert [row["row"] for row in rows] == [0, 1]
    assert [row["input"] for row in rows] == [
        {"id": "7", "text": "It leaks."},
        {"id": "8", "text": "Where is it?"},
    ]
    assert all(row["label"] in LABELS for row in rows)


def test_flags_may_stand_before_the_text(folders, capsys):
    main(["predict", str(folders / "one"), "--batch_size", "2", "hi", "there"])
    assert len(capsys.readouterr().out.splitlines()) == 2
    for words in (["--batch_size", "0", "hi"], ["hi", "--bach_size", "1"]):
        with pytest.raises(
            AdaptkitError, match="--batch_size|'--bach_size'; did you mean '--batch"
        ):
            main(["predict", str(folders / "one"), *words])


@pytest.mark.slow
def test_a_language_has_no_answers_and_says_so(tmp_path, rows):
    pretrain.main(["--train_file", rows, *TWO_STEPS, "--output_dir", str(tmp_path / "out")])
    with pytest.raises(
        AdaptkitError, match="pretrain learns a language and has no answers; adaptkit.pipeline"
    ):
        main(["predict", str(tmp_path / "out"), "Hello [MASK]."])


@pytest.mark.parametrize(
    "name, content, line",
    [
        ("a.txt", "It leaks.\n\nWhere is it?\n", 2),
        ("a.csv", "text\nIt leaks.\n\nWhere is it?\n", 3),
        ("b.csv", "text,other\nIt leaks.,x\n\nWhere is it?,y\n", 3),
        ("a.tsv", "text\tother\nIt leaks.\tx\n\nWhere is it?\ty\n", 3),
        ("a.jsonl", '{"text": "It leaks."}\n\n{"text": "Where is it?"}\n', 2),
    ],
)
def test_an_empty_line_between_others_is_refused_and_one_at_the_end_is_not(
    folders, capsys, tmp_path, name, content, line
):
    """Its answer would be missing, and all that follow would be those of other lines."""
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(AdaptkitError, match=rf"{name}:{line}: the line is empty"):
        main(["predict", str(folders / "one"), "--file", str(file)])
    file.write_text(content.replace("\n\n", "\n") + "\n")
    assert len(answers(capsys, folders / "one", "--file", file)) == 2
