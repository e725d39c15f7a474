"""The recipe and the command line, as a user runs them: real processes, a real base, real files."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from adaptkit.data.corpus import load_corpus
from tests.helpers.bases import without_dropout
from tests.processes import run

ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "recipes/classify.py")
QUICK = [
    "--max_steps",
    "2",
    "--per_device_train_batch_size",
    "8",
    "--max_seq_length",
    "24",
    "--eval_strategy",
    "steps",
]
QUICK += ["--save_strategy", "steps", "--eval_steps", "2", "--save_steps", "2"]


def python(*words, **environment) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return done


def cli(*words, **more):
    return run("-m", "adaptkit.cli", *words, **more)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """An adapter for sentiment, trained by the recipe on files."""
    root = tmp_path_factory.mktemp("trained")
    for split in ("train", "test"):
        rows = [json.dumps({"text": r["text"], "mood": r["sentiment"]}) for r in load_corpus(split)]
        (root / f"{split}.jsonl").write_text("\n".join(rows), "utf-8")
    flags = [
        "--train_file",
        str(root / "train.jsonl"),
        "--test_file",
        str(root / "test.jsonl"),
        "--label_column",
        "mood",
    ]
    flags += [
        "--method",
        "lora[sites=attn.q|attn.v]",
        "--learning_rate",
        "3e-3",
        "--num_train_epochs",
        "3",
        "--seed",
        "1",
    ]
    python(RECIPE, *flags, "--output_dir", str(root / "mood"), "--max_seq_length", "64")
    return root


@pytest.mark.slow
def test_a_run_leaves_an_adapter_and_every_report(trained):
    folder = trained / "mood"
    files = {path.name for path in folder.iterdir() if path.is_file()}
    assert files == {
        *(
            "adapter_model.safetensors",
            "adapter_config.json",
            "task.json",
            "all_results.json",
            "README.md",
        ),
        *("recipe.yaml", "reference.safetensors"),
        *(
            "predictions_test.tsv",
            "per_label.tsv",
            "curves.png",
            "confusion.png",
            "reliability.png",
            "confusions.tsv",
        ),
        *([] if torch.cuda.is_available() else ["attention.json"]),  # measured on a CPU
    }
    results = json.loads((folder / "all_results.json").read_text())
    assert results["test_accuracy"] > results["test_majority_baseline"] + 0.2
    assert {
        "train_runtime",
        "train_samples_per_second",
        "eval_accuracy",
        "test_f1",
        "test_matthews_correlation",
    } <= results.keys()
    card = json.loads((folder / "task.json").read_text())
    assert card["labels"] == ["negative", "neutral", "positive"]
    assert card["columns"] == {"text": "text", "label": "mood"}
    assert (folder / "adapter_model.safetensors").stat().st_size < 400_000
    lines = (folder / "predictions_test.tsv").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    gold = [row["sentiment"] for row in load_corpus("test")]
    assert lines[0] == "text\tgold\tpredicted\tscore"
    assert [row[1] for row in rows] == gold
    assert sum(row[1] == row[2] for row in rows) / len(rows) == pytest.approx(
        results["test_accuracy"]
    )
    assert f"{results['test_accuracy']:.4f}" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_predict_and_evaluate_repeat_what_the_run_said(trained):
    folder, test = str(trained / "mood"), str(trained / "test.jsonl")
    answers = [
        json.loads(line) for line in cli("predict", folder, "--file", test).stdout.splitlines()
    ]
    lines = (trained / "mood/predictions_test.tsv").read_text("utf-8").splitlines()[1:]
    assert [answer["label"] for answer in answers] == [line.split("\t")[2] for line in lines]
    said = json.loads((trained / "mood/all_results.json").read_text())
    scores = json.loads(cli("evaluate", folder, "--file", test).stdout)
    assert scores["accuracy"] == pytest.approx(said["test_accuracy"])
    two = cli(
        "predict", folder, "I love it, thank you so much!", "Terrible, broken again."
    ).stdout.splitlines()
    assert [json.loads(line)["label"] for line in two] == ["positive", "negative"]
    asked = [
        "What a lovely kettle",
        "What is broken again",
        "What took you so long",
        "What a fine day",
    ]  # no labels, though they look so
    (trained / "asked.txt").write_text("\n".join(asked))
    assert (
        cli("predict", folder, "--file", str(trained / "asked.txt")).stdout
        == cli("predict", folder, *asked).stdout
    )
    assert "mood" in cli("list", str(trained)).stdout
    assert (
        "sentence-transformers/all-MiniLM-L6-v2"
        in python("-m", "adaptkit.cli", "show", folder).stdout
    )


@pytest.mark.slow
def test_a_reader_that_has_gone_is_no_error(trained):
    """As in `adaptkit list runs | head`."""
    command = [sys.executable, "-m", "adaptkit.cli", "list", str(trained)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.slow
def test_what_a_user_gets_wrong_is_one_message_and_exit_code_2(trained, tmp_path):
    folder, train = str(trained / "mood"), str(trained / "train.jsonl")
    flags = ["--train_file", train, "--label_column", "mood"]
    out = ["--output_dir", str(tmp_path / "out")]
    (tmp_path / "conf.yaml").write_text("leraning_rate: 1\n")
    (tmp_path / "bad.csv").write_text("text,mood\nhello,furious\n")
    cases = [
        ((RECIPE, *flags, "--output_dir", folder), "is not empty"),
        ((RECIPE, "--train_file", train, *out), "no column 'label'; it has text, mood"),
        ((RECIPE, "--train_file", train + "x", *out), "Did you mean"),
        ((RECIPE, *flags, *out, "--method", "lroa"), "did you mean 'lora'"),
        ((RECIPE, *flags, *out, "--lerning_rate", "1"), "did you mean '--learning_rate'"),
        (
            (RECIPE, *flags, *out, "--config", str(tmp_path / "conf.yaml")),
            "did you mean 'learning_rate'",
        ),
        ((RECIPE, *flags, *out, "--model_name_or_path", "./nowhere"), "no model folder"),
        (("-m", "adaptkit.cli", "predict", str(trained / "moot"), "x"), "Did you mean"),
        (("-m", "adaptkit.cli", "predict", folder), "give texts, or - for standard input"),
        (("-m", "adaptkit.cli", "predict", folder, ""), "is empty"),
        (
            ("-m", "adaptkit.cli", "evaluate", folder, "--file", str(tmp_path / "bad.csv")),
            "bad.csv:2: the label 'furious'",
        ),
        (("-m", "adaptkit.cli", "train", "clasify", "--x"), "did you mean 'classify'"),
        (("-m", "adaptkit.cli", "list", str(tmp_path)), "holds no adapters"),
    ]
    for words, message in cases:
        done = run(*words, code=2)
        assert done.stderr.splitlines()[-1].startswith("error: "), done.stderr
        assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_check_judges_and_keeps_nothing(trained, tmp_path):
    out = tmp_path / "out"
    said = cli(
        "check",
        "classify",
        "--train_file",
        str(trained / "train.jsonl"),
        "--label_column",
        "mood",
        "--output_dir",
        str(out),
    )
    assert "3 labels in 2" in said.stdout
    assert "[CLS]" in said.stdout
    assert "one save and load gave the same weights" in said.stdout
    assert not out.exists()


@pytest.mark.slow
def test_pairs_config_quantization_and_a_union_in_one_run(tmp_path):
    rows = load_corpus("train")[:64]
    for name, part in (("train", rows[:48]), ("test", rows[48:])):
        body = "".join(f"{row['summary']}\t{row['reply']}\t{row['sentiment']}\n" for row in part)
        (tmp_path / f"{name}.tsv").write_text("one\ttwo\tlabel\n" + body, "utf-8")
    config = {
        "train_file": f"{tmp_path}/train.tsv",
        "text_column": "one",
        "text_pair_column": "two",
        "quantize": "int8",
    }
    (tmp_path / "c.yaml").write_text(
        "".join(f"{key}: {value}\n" for key, value in config.items())
        + "learning_rate: 1e-3\nseed: 9\n"
    )
    words = [
        "--config",
        str(tmp_path / "c.yaml"),
        "--method",
        "lora[r=2]+prefix[length=3]",
        "--seed",
        "4",
        *QUICK,
    ]
    run(RECIPE, *words, "--output_dir", str(tmp_path / "out"))
    assert "| seed | `4` |" in (tmp_path / "out/README.md").read_text()
    answers = cli(
        "predict", str(tmp_path / "out"), "--file", str(tmp_path / "test.tsv")
    ).stdout.splitlines()
    assert len(answers) == 16


@pytest.mark.slow
def test_two_processes_and_two_accumulated_batches_train_what_one_does_with_twice_the_batch(
    tmp_path,
):
    """The processes through accelerate launch; to 1e-4 on every weight.

    Adam's epsilon is above rounding, which it would make large where a gradient is almost zero, and
    no run chooses another attention, which rounds otherwise, because other work ran meanwhile.
    """
    rows = [
        json.dumps({"text": row["text"], "label": row["sentiment"]})
        for row in load_corpus("train")[:64]
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(rows[:48]), "utf-8")
    (tmp_path / "dev.jsonl").write_text("\n".join(rows[48:]), "utf-8")
    flags = [
        "--train_file",
        str(tmp_path / "train.jsonl"),
        "--validation_file",
        str(tmp_path / "dev.jsonl"),
        "--bf16",
        "false",
    ]
    flags += ["--num_train_epochs", "2", "--max_seq_length", "32", "--seed", "3"]
    flags += ["--adam_epsilon", "1e-5", "--attn_implementation", "eager"]
    flags += ["--model_name_or_path", str(without_dropout(tmp_path / "base"))]
    launch = [
        "-m",
        "accelerate.commands.launch",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
    ]
    launch += ["--dynamo_backend", "no", "--main_process_port", "29517"]
    both = [*flags, "--per_device_train_batch_size", "8", "--output_dir", str(tmp_path / "two")]
    said = python(*launch, "--cpu", RECIPE, *both, OMP_NUM_THREADS="1").stderr
    assert "starting all 2 with torchrun" in said
    run(
        RECIPE, *flags, "--per_device_train_batch_size", "16", "--output_dir", str(tmp_path / "one")
    )
    half = ["--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "2"]
    run(RECIPE, *flags, *half, "--output_dir", str(tmp_path / "accumulated"))
    one, *others = (
        load_file(tmp_path / name / "adapter_model.safetensors")
        for name in ("one", "two", "accumulated")
    )
    for other in others:
        assert one.keys() == other.keys()
        for key, tensor in one.items():
            torch.testing.assert_close(
                other[key], tensor, atol=1e-4, rtol=0, msg=lambda m, key=key: f"{key}: {m}"
            )
    assert any(tensor.abs().max() > 1e-3 for key, tensor in one.items() if "lora_B" in key)


@pytest.mark.slow
def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    flags = [RECIPE, "--output_dir", str(tmp_path / "out"), *QUICK]
    run(*flags)
    done = run(*flags, "--resume_from_checkpoint", "true", "--max_steps", "4")
    assert "saved to" in done.stdout
    assert "going on from" in done.stdout
    results = json.loads((tmp_path / "out/all_results.json").read_text())
    assert results["epoch"] == pytest.approx(4 / 30)  # of 30 steps an epoch


def test_help_and_import_are_quick():
    checks = [
        (
            "-c",
            "import sys, adaptkit; assert 'torch' not in sys.modules and 'transformers' not in "
            "sys.modules",
        ),
        ("-m", "adaptkit.cli", "--help"),
        ("-m", "adaptkit.cli", "train", "classify", "--help"),
        (RECIPE, "--help"),
    ]
    for words in checks:
        python(*words)
        times = []
        for _ in range(3):
            began = time.perf_counter()
            python(*words)
            times.append(time.perf_counter() - began)
        assert min(times) < (0.3 if words[0] == "-c" else 1.0)
