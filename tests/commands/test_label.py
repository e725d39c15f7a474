"""adaptkit label: propose, fill in, propose again, train."""

import json
import os
import sys

import pytest
from adaptkit.recipes import classify

from adaptkit import AdaptkitError, cli
from tests.helpers.rows import TWO_STEPS

WORDS = ("red", "crimson", "blue", "navy")
TEXTS = [f"a {word} thing number {number}" for number in range(8) for word in WORDS]


def _kind(text):
    return "warm" if text.split()[1] in ("red", "crimson") else "cold"


def _read(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def pool(tmp_path):
    path = tmp_path / "pool.txt"
    path.write_text("\n".join(TEXTS) + "\n")
    return str(path)


def test_label_train_and_label_again(pool, bert, tmp_path, capsys):
    out = tmp_path / "labelled.jsonl"
    flags = ["label", pool, "--output_file", str(out), "--model_name_or_path", bert]
    cli.main([*flags, "--rows", "12"])
    assert "0 rows with a label and 12 to label" in capsys.readouterr().out
    rows = _read(out)
    assert [list(row) for row in rows] == [["text", "label"]] * 12
    assert {row["label"] for row in rows} == {""}
    out.write_text("".join(json.dumps(r | {"label": _kind(r["text"])}) + "\n" for r in rows[:-1]))

    cli.main([*flags, "--rows", "4"])
    assert "11 rows with a label and 4 to label" in capsys.readouterr().out
    again = _read(out)
    assert again[:11] == [row | {"label": _kind(row["text"])} for row in rows[:-1]]
    assert {row["guess"] for row in again[11:]} <= {"warm", "cold"}
    assert not {row["text"] for row in again[:11]} & {row["text"] for row in again[11:]}

    out.write_text("".join(json.dumps(r | {"label": _kind(r["text"])}) + "\n" for r in again))
    run = str(tmp_path / "run")
    recipe = ["--train_file", str(out), "--model_name_or_path", bert, "--method", "lora[r=2]"]
    classify.main([*recipe, "--output_dir", run, *TWO_STEPS])
    more = str(tmp_path / "more.csv")
    with_adapter = ["--labelled_file", str(out), "--adapter", run]
    cli.main(["label", pool, "--output_file", more, *with_adapter, "--rows", "3"])
    head, *lines = (tmp_path / "more.csv").read_text("utf-8").splitlines()
    assert head == "text,label,guess"
    known = {row["text"] for row in again}
    for line in lines:
        text, label, guess = line.split(",")
        assert text in {*TEXTS} - known
        assert (label, guess in ("warm", "cold")) == ("", True)
    assert len(lines) == 3


def test_the_same_command_proposes_the_same(pool, bert, tmp_path):
    found = []
    for name in ("a.jsonl", "b.jsonl", "b.jsonl"):
        out = tmp_path / name
        cli.main(["label", pool, "--output_file", str(out), "--model_name_or_path", bert])
        found.append(out.read_text())
    assert len(set(found)) == 1


def test_answers_on_a_terminal(pool, bert, tmp_path, monkeypatch, capsys):
    out = tmp_path / "labelled.jsonl"
    ours, theirs = os.openpty()
    with open(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        os.write(ours, b"warm\ncold\n1\n/q\n")
        cli.main(["label", pool, "--output_file", str(out), "--model_name_or_path", bert, "--ask"])
    os.close(ours)
    assert [row["label"] for row in _read(out)] == ["warm", "cold", "warm"]
    assert f"3 rows with a label are in {out}" in capsys.readouterr().out


def test_what_makes_no_sense_is_refused(pool, tmp_path, monkeypatch):
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(AdaptkitError, match="--ask needs a terminal"):
            cli.main(["label", pool, "--output_file", str(tmp_path / "a.csv"), "--ask"])
    with pytest.raises(AdaptkitError, match=r"ends in \.jsonl or \.csv"):
        cli.main(["label", pool, "--output_file", str(tmp_path / "a.xlsx")])
    os.link(pool, tmp_path / "pool.csv")
    with pytest.raises(AdaptkitError, match="the file of the texts"):
        cli.main(["label", pool, "--output_file", str(tmp_path / "pool.csv")])
