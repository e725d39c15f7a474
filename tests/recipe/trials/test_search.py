"""Trials, and the final training with the best of them."""

import json
import re

import pytest
from adaptkit.recipes import classify, score

from adaptkit.methods.grammar import parse_method
from adaptkit.recipe.trials.search import _with_rank
from tests.helpers.small import CLASSIFY, flags


@pytest.mark.slow
def test_the_best_trial_is_what_is_trained_in_the_end(small, tmp_path):
    """Rank, rate and batch of the trials are really used: the final training scores what the best
    trial did.
    """
    words = [
        "--score_column",
        "urgency",
        "--learning_rate",
        "3e-3",
        "--bf16",
        "false",
        "--max_steps",
        "8",
        "--eval_strategy",
        "steps",
        "--metric_for_best_model",
        "mae",
    ]
    score.main(
        flags(
            small,
            tmp_path / "out",
            *words,
            "--eval_steps",
            "8",
            "--save_steps",
            "8",
            "--search",
            "4",
        )
    )
    head, *lines = [
        line.split("\t") for line in (tmp_path / "out/search.tsv").read_text().splitlines()
    ]
    trials = [dict(zip(head, line, strict=True)) for line in lines]
    best = min(trials, key=lambda trial: float(trial["mae"]))
    results = json.loads((tmp_path / "out/all_results.json").read_text())
    assert results["eval_mae"] == pytest.approx(float(best["mae"]), abs=1e-4)
    assert len({trial["rank"] for trial in trials}) > 1


@pytest.mark.slow
def test_search_tries_and_then_trains_with_the_best(small, tmp_path, capsys):
    same = [
        *CLASSIFY,
        "--max_steps",
        "6",
        "--eval_strategy",
        "steps",
        "--eval_steps",
        "3",
        "--save_steps",
        "3",
    ]
    classify.main(flags(small, tmp_path / "out", *same, "--search", "3"))
    said = capsys.readouterr().out
    assert "best of 3: " in said
    lines = (tmp_path / "out/search.tsv").read_text().splitlines()
    assert lines[0].split("\t") == [
        "trial",
        "accuracy",
        "learning_rate",
        "per_device_train_batch_size",
        "rank",
    ]
    assert len(lines) == 4
    card = json.loads((tmp_path / "out/task.json").read_text())
    rank = re.search(r"'rank': (\d+)", said)[1]
    assert f"r={rank}," in card["method"]


def test_a_rank_is_put_into_every_lora():
    assert _with_rank("lora", 4) == "lora[r=4]"
    assert parse_method(
        _with_rank("lora[sites=attn.q|attn.v,layers=last[2],r=8]+prefix[length=3]", 16)
    ) == parse_method("lora[r=16,sites=attn.q|attn.v,layers=last[2]]+prefix[length=3]")
    assert parse_method(_with_rank("lora[r=8,alpha=8]", 32))[0].scale == 1
    assert parse_method(_with_rank("lora[r=8,alpha=6,rslora=true]", 4))[0].alpha == 6
    assert "r=4" in _with_rank("unipelt", 4)
    assert _with_rank("bottleneck", 4) == "bottleneck"
    for other in ("peft:lora[r=2]", "full"):
        assert _with_rank(other, 4) == other
