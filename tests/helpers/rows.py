"""Rows and small bases for recipes that run inside the tests."""

import json

import pytest
from datasets import Dataset

from adaptkit import load_tokenizer
from adaptkit.data.corpus import load_corpus
from adaptkit.models.untrained.scratch import make_model

TWO_STEPS = [
    "--max_steps",
    "2",
    "--per_device_train_batch_size",
    "4",
    "--disable_tqdm",
    "true",
    "--eval_strategy",
    "no",
]


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    texts = [row["text"] for row in load_corpus("train")[:40]]
    return make_model("bert", texts, tmp_path_factory.mktemp("bert"), vocab_size=400)[0]


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "\n".join(
            json.dumps({"text": row["text"], "label": row["sentiment"]})
            for row in load_corpus("train")[:40]
        )
    )
    return str(path)


IN_FP32 = ["--per_device_train_batch_size", "8", "--disable_tqdm", "true", "--bf16", "false"]


@pytest.fixture(scope="session")
def sixty_texts():
    return [row["text"] for row in load_corpus("train")[:60]]


@pytest.fixture
def sixty_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    found = [
        {"text": row["text"], "label": row["sentiment"], "score": row["urgency"]}
        for row in load_corpus("train")[:60]
    ]
    path.write_text("\n".join(map(json.dumps, found)))
    return str(path)


@pytest.fixture(scope="module")
def warm_rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacks")
    rows = [
        {"text": f"{word} {i}", "label": label}
        for i in range(16)
        for word, label in (("warm", "good"), ("cold", "bad"))
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder, [
        "--train_file",
        str(folder / "rows.jsonl"),
        "--num_train_epochs",
        "2",
        "--disable_tqdm",
        "true",
    ]


@pytest.fixture(scope="module")
def warm_rows_in_fp32(tmp_path_factory):
    folder = tmp_path_factory.mktemp("what")
    rows = [
        {"text": f"{word} {i}", "label": label}
        for i in range(16)
        for word, label in (("warm", "good"), ("cold", "bad"))
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder, [
        "--train_file",
        str(folder / "rows.jsonl"),
        "--num_train_epochs",
        "2",
        "--disable_tqdm",
        "true",
        "--bf16",
        "false",
    ]


@pytest.fixture(scope="session")
def good_and_bad():
    tokenizer = load_tokenizer("all-MiniLM-L6-v2")
    texts = ["good " * (1 + i % 7) if i % 2 else "bad " * (1 + i % 5) for i in range(24)]
    encoded = dict(tokenizer(texts)) | {"labels": [i % 2 for i in range(24)]}
    encoded["length"] = [len(ids) for ids in encoded["input_ids"]]
    return tokenizer, Dataset.from_dict(encoded)
