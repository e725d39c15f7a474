"""Explanations: shares of integrated gradients add up, occlusion is what leaving a word out does,
words are whole words.
"""

import json

import pytest
import torch
from adaptkit.recipes import classify, distill

from adaptkit import AdaptkitError, cli
from adaptkit.inference.explain import as_html, colored, explain
from adaptkit.inference.predictor import Predictor
from tests.helpers.minilm import make

TEXT = "an unbelievably warm & friendly <place>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    words = (("warm", "good"), ("friendly", "good"), ("cold", "bad"), ("rude", "bad"))
    rows = [
        {"text": f"a {word} place {i}", "label": label} for i in range(12) for word, label in words
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = [
        "--train_file",
        str(folder / "rows.jsonl"),
        "--num_train_epochs",
        "4",
        "--learning_rate",
        "5e-3",
    ]
    classify.main(
        [
            *flags,
            "--method",
            "lora[r=4]+prefix[length=3]",
            "--disable_tqdm",
            "true",
            "--output_dir",
            str(folder / "out"),
        ]
    )
    return folder / "out"


@pytest.fixture(scope="module")
def predictor(folder):
    return Predictor(folder)


def logit(predictor, ids, label):
    with torch.no_grad():
        return float(
            predictor.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, label]
        )


@pytest.mark.parametrize("label", [None, "bad"])
def test_the_shares_add_up_to_one_percent(predictor, label):
    found = explain(predictor, TEXT, label=label)
    assert found.label == (label or "good")
    assert found.words == ["an", "unbelievably", "warm", "&", "friendly", "<", "place", ">"]
    ids = predictor.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    blank = torch.full_like(ids, predictor.tokenizer.pad_token_id)
    blank[:, [0, -1]] = ids[:, [0, -1]]
    target = predictor.task.labels.index(found.label)
    difference = logit(predictor, ids, target) - logit(predictor, blank, target)
    assert found.difference == pytest.approx(difference, rel=1e-4)
    assert sum(found.shares) == pytest.approx(difference, rel=0.01)
    assert found.missed == pytest.approx(difference - sum(found.shares), abs=1e-4)


def test_what_the_adapter_learned_stands_out(predictor):
    found = explain(predictor, "a warm place")
    assert found.words[max(range(3), key=lambda i: found.shares[i])] == "warm"
    assert explain(predictor, "a warm place", label="bad").shares[1] < 0


def test_occlusion_is_what_leaving_a_word_out_does(predictor):
    found = explain(predictor, TEXT, "occlusion")
    encoded = predictor.tokenizer(TEXT, return_tensors="pt")
    ids, target = encoded["input_ids"], predictor.task.labels.index(found.label)
    for number, share in enumerate(found.shares):
        without = ids.clone()
        without[0, [place for place, word in enumerate(encoded.word_ids(0)) if word == number]] = (
            predictor.tokenizer.pad_token_id
        )
        assert share == pytest.approx(
            logit(predictor, ids, target) - logit(predictor, without, target), abs=1e-4
        )


def test_the_command_prints_and_writes_a_page(folder, tmp_path, capsys):
    cli.main(["explain", str(folder), TEXT, "a cold place", "--html", str(tmp_path / "why.html")])
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith("good ")
    assert "warm +" in out
    page = (tmp_path / "why.html").read_text()
    assert page.count("<p>") == 2
    assert "&lt;" in page
    assert "<place>" not in page


def test_colours_follow_signs(predictor):
    found = explain(predictor, "a warm place", label="bad")
    assert colored(found).count("\x1b[0m") == 3
    assert "210,0,0" in as_html([found])


def test_what_makes_no_sense_is_refused(predictor):
    with pytest.raises(AdaptkitError, match="gradients"):
        explain(predictor, TEXT, "gradient")
    with pytest.raises(AdaptkitError, match="good"):
        explain(predictor, TEXT, label="goood")


def test_small_students_are_explained(warm_rows):
    folder, files = warm_rows
    teacher = make(folder, "teacher2", labels=("bad", "good"))
    for kind in ("bilstm", "cnn"):
        out = folder / kind
        distill.main(
            [*files, "--teacher", str(teacher), "--student", kind, "--output_dir", str(out)]
        )
        for how in ("gradients", "occlusion"):
            found = explain(Predictor(out), "a warm place", how)
            assert found.words == ["a", "warm", "place"]
            assert how == "occlusion" or sum(found.shares) == pytest.approx(
                found.difference, rel=0.01
            )
