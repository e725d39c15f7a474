"""The attention that is measured and chosen."""

import re

import pytest
import torch

from adaptkit.training.fastest_attention import (
    AttentionChoice,
    Shape,
    earlier_choice,
    fastest_attention,
    keep_choice,
    measure,
)
from tests.tiny import tiny
from tests.training.three_layers import run


def test_the_attention_is_measured():
    times = measure(Shape(4, 16, 2, 8, 2), torch.float32)
    assert times.keys() == {"eager", "sdpa"}
    assert all(0 < value < 1000 for value in times.values())
    choice = fastest_attention(Shape(4, 16, 2, 8, 2), torch.float32)
    assert choice.name in times
    assert "4 rows of 16 tokens" in choice.why


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="attention is measured on CPUs, and this machine has a GPU"
)
def test_a_run_that_goes_on_takes_the_attention_it_began_with(three_layers, tmp_path, capsys):
    run(three_layers, tmp_path / "out", "--max_steps", "4", "--method", "lora[r=2]")
    assert "attention: " in capsys.readouterr().out
    assert earlier_choice(tmp_path / "out").name in ("eager", "sdpa")
    keep_choice(tmp_path / "out", AttentionChoice("sdpa", "said before"))
    run(
        three_layers,
        tmp_path / "out",
        "--max_steps",
        "8",
        "--method",
        "lora[r=2]",
        "--resume_from_checkpoint",
        "true",
    )
    assert "attention: sdpa (said before)" in capsys.readouterr().out
    assert earlier_choice(tmp_path / "elsewhere") is None


def test_scores_that_would_fill_the_memory_are_not_kept():
    choice = fastest_attention(Shape(64, 1024, 16, 64, 24), torch.bfloat16)
    assert choice.name == "sdpa"
    assert re.search(r"51\.5 GB", choice.why)


@pytest.mark.parametrize(
    "kind", ["bert", "gpt2", "llama", "qwen3", "bart", "t5", "modernbert", "deberta-v2"]
)
def test_the_shape_of_every_kind_is_read(kind):
    config = tiny(kind).config
    shape = Shape.of(config, 8, 16)
    assert (shape.heads, shape.layers) == (4, 2)
    assert shape.width == {"qwen3": 8, "t5": 6}.get(kind, 8)
