"""Every recipe with its own default data: alone, and in two processes through accelerate launch."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from adaptkit import Predictor, pipeline, read_card
from adaptkit.tasks.registry import TASKS as RECIPES
from adaptkit.tasks.registry import find_task

ROOT = Path(__file__).parents[2]
FEW = [
    "--max_steps",
    "4",
    "--per_device_train_batch_size",
    "4",
    "--disable_tqdm",
    "true",
    "--eval_strategy",
    "steps",
]
FEW += ["--eval_steps", "2", "--save_steps", "2", "--bf16", "false"]
FEW += ["--max_train_samples", "64", "--max_eval_samples", "24", "--max_predict_samples", "24"]
SHORT = {
    "translate": ["--num_beams", "2", "--max_target_length", "12"],
    "summarize": ["--num_beams", "2", "--max_target_length", "12"],
}
SHORT["summarize"] += ["--model_name_or_path", "untrained"]
SHORT["embed"] = ["--max_seq_length", "32"]
SHORT["chat"] = ["--max_new_tokens", "8", "--num_generated", "8"]
SHORT["chat"] += ["--model_name_or_path", "untrained"]
SHORT["prefer"] = ["--model_name_or_path", "untrained"]
REPORTS = {"all_results.json", "README.md", "curves.png", "task.json"}
ASKED = {
    "answer": {"question": "What broke?", "context": "The lamp broke on Monday."},
    "relate": {"text": "The lamp cost $30.", "head": "lamp", "tail": "$30"},
    "chat": "Where is my lamp?",
    "pretrain": "the [MASK] broke",
}


def run(name: str, flags: list[str]) -> None:
    importlib.import_module(f"adaptkit.recipes.{name}").main(flags)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("recipes")


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_leaves_an_adapter_its_reports_and_a_pipeline(outputs, name):
    folder = outputs / name
    run(name, [*FEW, *SHORT.get(name, []), "--output_dir", str(folder)])
    files = {path.name for path in folder.iterdir() if path.is_file()}
    assert files >= REPORTS
    assert (
        name == "pretrain"
        or {"predictions_test.tsv", "adapter_model.safetensors", "adapter_config.json"} <= files
    )
    results = json.loads((folder / "all_results.json").read_text())
    task = find_task(name)
    for metric in task.reported[:1]:
        assert {f"test_{metric}", f"eval_{metric}"} & results.keys()
    assert f"test_{task.reported[0]}" in results
    assert results["adapter_bytes"] > 10_000
    card = read_card(folder)
    assert (card.task, card.metrics[f"test_{task.reported[0]}"]) == (
        name,
        results[f"test_{task.reported[0]}"],
    )
    answer = pipeline(folder)(ASKED.get(name, "The lamp broke on Monday."))
    assert answer is not None
    if name in ("classify", "score"):
        mine, theirs = (
            Predictor(folder)("The lamp broke on Monday.")[0],
            answer[0] if isinstance(answer, list) else answer,
        )
        assert theirs["score"] == pytest.approx(mine["score"], abs=1e-5)


@pytest.mark.slow
def test_every_recipe_runs_in_two_processes_and_talks_train_as_in_one(outputs, tmp_path):
    """All by one accelerate launch.

    Conversations, with twice the batch in one process, end with the same weights.
    """
    base = ["--model_name_or_path", str(outputs / "chat" / "base")]
    same = [
        "--max_steps",
        "6",
        "--bf16",
        "false",
        "--num_generated",
        "1",
        "--max_new_tokens",
        "2",
        "--disable_tqdm",
        "true",
    ]
    talks = [
        *same,
        *base,
        "--max_seq_length",
        "128",
        "--seed",
        "5",
        "--packing",
        "--learning_rate",
        "1e-2",
        "--max_grad_norm",
        "1",
    ]
    fewer = [*FEW, "--max_steps", "2", "--max_eval_samples", "8", "--max_predict_samples", "8"]
    jobs = [
        [name, [*fewer, *SHORT.get(name, []), "--output_dir", str(tmp_path / name)]]
        for name in RECIPES
    ]
    jobs.append(
        [
            "chat",
            [*talks, "--per_device_train_batch_size", "2", "--output_dir", str(tmp_path / "two")],
        ]
    )
    jobs.append(["classify", [*fewer, "--search", "2", "--output_dir", str(tmp_path / "searched")]])
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    launch = [
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
    ]
    launch += [
        "--dynamo_backend",
        "no",
        "--main_process_port",
        "29519",
        str(ROOT / "tests/launched.py"),
        str(tmp_path / "jobs.json"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launch], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in RECIPES:
        assert {path.name for path in (tmp_path / name).iterdir()} >= REPORTS, name
    assert len((tmp_path / "searched/search.tsv").read_text().splitlines()) == 3
    for batch, steps in ((4, 1), (1, 4)):
        flags = [
            *talks,
            "--per_device_train_batch_size",
            str(batch),
            "--gradient_accumulation_steps",
            str(steps),
        ]
        run("chat", [*flags, "--output_dir", str(tmp_path / f"one-{batch}")])
    two, *others = (
        load_file(tmp_path / folder / "adapter_model.safetensors")
        for folder in ("two", "one-4", "one-1")
    )
    for other in others:
        for key, tensor in two.items():
            torch.testing.assert_close(
                other[key], tensor, atol=1e-4, rtol=0, msg=lambda m, key=key: f"{key}: {m}"
            )
    assert max(tensor.abs().max() for key, tensor in two.items() if "lora_B" in key) > 1e-3


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.slow
def test_check_shows_what_carries_loss_and_keeps_nothing(outputs, name, capsys):
    folder = outputs / f"{name}-checked"
    flags = (
        ["--model_name_or_path", str(outputs / name / "base")]
        if (outputs / name / "base").is_dir()
        else []
    )
    few = ["--max_train_samples", "64", "--max_eval_samples", "24"]
    run(name, ["--check", *flags, *few, "--output_dir", str(folder)])
    said = capsys.readouterr().out
    assert "no row stands in two splits" in said or "rows stand in" in said
    assert (
        said.index("examples, as the model reads them")
        < said.index("estimate: ")
        < said.index("one training step took")
    )
    assert not folder.exists()
