"""Adapters that the recipes trained on a real base, in one batch: 12 adapters, 4 methods, 5 tasks;
and over a quantized base.
"""

import dataclasses
import importlib
import json

import pytest
import torch

from adaptkit import Host, Predictor, load_adapter, load_tokenizer
from adaptkit.data.corpus import load_corpus
from adaptkit.host.answers import Entities, Label, Score, Span, Vector
from tests.helpers.answers import close, said

FEW = [
    "--max_steps",
    "4",
    "--learning_rate",
    "2e-2",
    "--per_device_train_batch_size",
    "4",
    "--bf16",
    "false",
]
FEW += [
    "--max_seq_length",
    "64",
    "--disable_tqdm",
    "true",
    "--eval_strategy",
    "no",
    "--save_strategy",
    "no",
]
FEW += ["--max_train_samples", "64", "--max_eval_samples", "24", "--max_predict_samples", "16"]
LORA, HOULSBY, PREFIX, IA3 = "lora[r=4]", "bottleneck[reduction=8]", "prefix[length=6]", "ia3"
ADAPTERS = {
    "intent-lora": ("classify", LORA, ["--label_column", "intent"]),
    "mood-lora": ("classify", "lora[r=12,sites=attn.q|attn.v]", ["--label_column", "sentiment"]),
    "intent-houlsby": ("classify", HOULSBY, ["--label_column", "intent"]),
    "mood-prefix": ("classify", PREFIX, ["--label_column", "sentiment"]),
    "urgency-lora": ("score", LORA, []),
    "urgency-ia3": ("score", IA3, []),
    "names-lora": ("tag", LORA, []),
    "names-pfeiffer": ("tag", "bottleneck[placement=pfeiffer]", []),
    "reader-prefix": ("answer", PREFIX, []),
    "reader-ia3": ("answer", IA3, []),
    "search-lora": ("embed", LORA, []),
    "search-houlsby": ("embed", HOULSBY, []),
}
KINDS = {"classify": Label, "score": Score, "tag": Entities, "answer": Span, "embed": Vector}
MESSAGES = [row["text"] for row in load_corpus("test")[:3]]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with all of them, trained for a few steps."""
    root = tmp_path_factory.mktemp("store")
    rows = load_corpus("train")
    files = tmp_path_factory.mktemp("rows")
    for name, part in (("train", rows[:96]), ("dev", rows[96:112])):
        (files / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in part))
    columns = {
        "answer": ["--context_column", "text", "--answers_column", "answer"],
        "embed": ["--text_column", "summary", "--text_pair_column", "text"],
        "score": ["--score_column", "urgency"],
    }
    for name, (task, method, flags) in ADAPTERS.items():
        given = [
            "--train_file",
            str(files / "train.jsonl"),
            "--validation_file",
            str(files / "dev.jsonl"),
        ]
        given += [
            *FEW,
            *flags,
            *columns.get(task, []),
            "--method",
            method,
            "--output_dir",
            str(root / name),
        ]
        importlib.import_module(f"adaptkit.recipes.{task}").main(given)
    return root


def row_for(name: str, i: int):
    return (
        {"question": "What is it about?", "context": MESSAGES[i]}
        if name.startswith("reader")
        else MESSAGES[i]
    )


@pytest.mark.slow
def test_twelve_adapters_of_four_methods_and_five_tasks_in_one_batch(store):
    host = Host.from_store(store, slots=12)
    assert host.names() == sorted(ADAPTERS)
    names = [name for i in range(3) for name in ADAPTERS]
    answers = host([row_for(name, i // 12) for i, name in enumerate(names)], names, batch_size=64)
    assert host.stats()["batches"] == 1
    assert host.stats()["used"] == 12
    for name, (task, _, _) in ADAPTERS.items():
        predictor = Predictor(store / name)
        for i, (other, answer) in enumerate(zip(names, answers, strict=True)):
            if other == name:
                assert type(answer) is KINDS[task]
                expected = said(predictor, row_for(name, i // 12))
                close(
                    {
                        key: value
                        for key, value in dataclasses.asdict(answer).items()
                        if key in expected
                    },
                    expected,
                )


@pytest.mark.slow
def test_the_hidden_states_of_twelve_adapters_in_one_batch(store):
    host = Host.from_store(store, slots=12)
    tokenizer = load_tokenizer("all-MiniLM-L6-v2")
    batch = dict(tokenizer([MESSAGES[i % 3] for i in range(13)], padding=True, return_tensors="pt"))
    together, bare = host.hidden(batch, [*ADAPTERS, None]), host.hidden(batch)
    for i, name in enumerate(ADAPTERS):
        model = load_adapter(store / name).get_base_model()
        network = getattr(model, "bert", model)
        with torch.no_grad():
            expected = network(**{key: value[i : i + 1] for key, value in batch.items()})[0]
        seen = batch["attention_mask"][i].bool()
        torch.testing.assert_close(together[i][seen], expected[0][seen], atol=1e-5, rtol=1e-5)
        assert (together[i][seen] - bare[i][seen]).abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("quantize, tolerance", [("int8", 0.1), ("nf4", 0.02)])
def test_over_a_quantized_base(store, quantize, tolerance):
    """Mean difference to the adapter alone, in shares of the mean value.

    The bare base differs between a batch and its rows too: in int8 the batch decides which columns
    are outliers, and the kernel of nf4 computes in bf16. So each row must also be nearest to its
    own adapter.
    """
    names = ["intent-lora", "urgency-ia3", "mood-prefix", "intent-houlsby", "search-lora"]
    host = Host(
        "all-MiniLM-L6-v2", slots=5, slot_capacity=[LORA, HOULSBY, PREFIX], quantize=quantize
    )
    for name in names:
        host.load(name, store / name)
    batch = dict(load_tokenizer("all-MiniLM-L6-v2")([MESSAGES[0]] * 6, return_tensors="pt"))
    together = host.hidden(batch, [*names, None])
    single = {key: value[:1] for key, value in batch.items()}
    expected = {}
    for name in names:
        model = load_adapter(store / name, quantize=quantize).get_base_model()
        with torch.no_grad():
            expected[name] = getattr(model, "bert", model)(**single)[0][0]
    for name, states in zip(names, together, strict=False):
        off = {
            other: float((states - one).abs().mean() / one.abs().mean())
            for other, one in expected.items()
        }
        assert off[name] < tolerance, (name, off)
        assert min(off, key=off.get) == name, off
