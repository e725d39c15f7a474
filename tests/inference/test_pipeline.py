"""Pipelines take lists and batches."""

import pytest
from adaptkit.recipes import score

from adaptkit import AdaptkitError, pipeline
from adaptkit.models.scratch import make_model
from tests.helpers.rows import IN_FP32


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
        [pipe(text)["score"] for text in sixty_texts[:5]], abs=1e-5
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
