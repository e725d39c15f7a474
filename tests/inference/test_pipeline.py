"""Pipelines take lists and batches."""

import json
import shutil

import pytest
from adaptkit.recipes import classify, score, tag

from adaptkit import AdaptkitError, Predictor, pipeline
from adaptkit.inference.explain import explain
from adaptkit.models.untrained.scratch import make_model
from tests.helpers.rows import IN_FP32, TWO_STEPS
from tests.helpers.tokenizers import slow


def test_pipelines_of_ours_take_lists_and_batches(tmp_path, sixty_texts, sixty_rows):
    bert = make_model("bert", sixty_texts, tmp_path / "bert", vocab_size=500)[0]
    flags = [
        "--train_file",
        sixty_rows,
        "--model_name_or_path",
        bert,
        "--max_steps",
        "2",
        *IN_FP32,
        "--eval_strategy",
        "no",
    ]
    score.main([*flags, "--output_dir", str(tmp_path / "out")])
    pipe = pipeline(tmp_path / "out")
    together = pipe(sixty_texts[:5], batch_size=2)
    assert [answer["score"] for answer in together] == pytest.approx(
        [pipe(text)["score"] for text in sixty_texts[:5]], rel=1e-5
    )
    assert pipe([]) == []
    with pytest.raises(AdaptkitError, match="takes no top_k"):
        pipe(sixty_texts[:2], top_k=3)
    for words, message in (
        (["--resume_from_checkpoint", "false"], "is not empty"),
        (["--resume_from_checkpoint", str(tmp_path / "none")], "there is no such folder"),
    ):
        with pytest.raises(AdaptkitError, match=message):
            score.main([*flags, "--output_dir", str(tmp_path / "out"), *words])


@pytest.fixture(scope="module")
def japanese(tmp_path_factory):
    """A tiny BERT whose tokenizer is written in Python, and rows for it."""
    folder = tmp_path_factory.mktemp("japanese")
    made = make_model("bert", ["私は東京に行きました。"], folder / "made", vocab_size=200)[0]
    shutil.copytree(made, folder / "bert", ignore=shutil.ignore_patterns("*token*", "vocab*"))
    slow("japanese").save_pretrained(folder / "bert")
    rows = [{"text": "私は東京に 行きました。", "entities": [[2, 4, "place"]], "label": "go"}] * 4
    rows += [{"text": "日本語", "entities": [], "label": "stay"}] * 4
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = ["--model_name_or_path", str(folder / "bert"), *TWO_STEPS, "--bf16", "false"]
    files = ["--train_file", "--validation_file", "--test_file"]
    return folder, [*base, *(one for flag in files for one in (flag, str(folder / "rows.jsonl")))]


def test_a_tokenizer_written_in_python_tags(japanese):
    folder, flags = japanese
    tag.main(
        [
            *flags,
            "--learning_rate",
            "2e-2",
            "--max_steps",
            "12",
            "--output_dir",
            str(folder / "tag"),
        ]
    )
    predictor, pipe = Predictor(folder / "tag"), pipeline(folder / "tag")
    assert not predictor.tokenizer.is_fast
    text = "私は東京に 行きました。"
    wanted = {"entities": [{"start": 2, "end": 4, "label": "place", "text": "東京"}]}
    assert predictor(text)[0] == wanted
    assert pipe(text) == wanted


def test_a_tokenizer_written_in_python_is_explained(japanese):
    folder, flags = japanese
    classify.main([*flags, "--output_dir", str(folder / "classify")])
    explanation = explain(Predictor(folder / "classify"), "私は東京に 行きました。")
    assert explanation.words == ["私は東京に", "行きました。"]
    assert len(explanation.shares) == 2
