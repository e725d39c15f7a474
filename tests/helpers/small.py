"""A tiny BERT, a tiny Llama and files with few rows, and the flags of recipes over them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from adaptkit.data.corpus import load_corpus
from adaptkit.models.untrained.scratch import make_model


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A tiny BERT and a tiny Llama, and files with few rows."""
    root = tmp_path_factory.mktemp("small")
    rows = load_corpus("train")[:64]
    still = {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }  # batches of other sizes draw other numbers
    for kind, settings in (("bert", still), ("llama", {})):
        make_model(kind, [row["text"] for row in rows], root / kind, vocab_size=500, **settings)
    for name, part in (("train", rows[:48]), ("dev", rows[48:])):
        lines = [
            json.dumps({key: row[key] for key in ("text", "sentiment", "urgency", "reply")})
            for row in part
        ]
        (root / f"{name}.jsonl").write_text("\n".join(lines))
    return root


def flags(small: Path, out: Path, *more: str, kind: str = "bert") -> list[str]:
    given = [
        "--train_file",
        str(small / "train.jsonl"),
        "--validation_file",
        str(small / "dev.jsonl"),
    ]
    given += [
        "--model_name_or_path",
        str(small / kind),
        "--output_dir",
        str(out),
        "--disable_tqdm",
        "true",
        "--seed",
        "3",
    ]
    return [*given, *more]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


CLASSIFY = ["--label_column", "sentiment", "--learning_rate", "3e-3", "--max_seq_length", "64"]
CHAT = [
    "--prompt_column",
    "text",
    "--completion_column",
    "reply",
    "--num_generated",
    "1",
    "--max_new_tokens",
    "2",
]
OFTEN = [
    "--save_strategy",
    "steps",
    "--save_steps",
    "3",
    "--eval_strategy",
    "steps",
    "--eval_steps",
    "3",
    "--logging_steps",
    "1",
]
