"""Many tasks at once: what would be silently wrong is refused, by the task's name, before anything
is trained or written.
"""

import json

import pytest
import yaml
from adaptkit.recipes import classify, multitask
from safetensors.torch import load_file

from adaptkit import AdaptkitError

FEW = [
    "--method",
    "lora[r=2,sites=attn.q]",
    "--per_device_train_batch_size",
    "4",
    "--bf16",
    "false",
    "--disable_tqdm",
    "true",
]
FEW += ["--attn_implementation", "sdpa"]


@pytest.fixture
def pair(tmp_path):
    """Settings of two tasks over the same rows; the second has the labels the other way round."""
    rows = [
        {"text": f"a {word} day {i}", "label": label}
        for i in range(8)
        for word, label in (("warm", "x"), ("cold", "y"))
    ]
    turned = [row | {"label": {"x": "y", "y": "x"}[row["label"]]} for row in rows]
    for name, found in (("one", rows), ("two", turned)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return {
        name: {"recipe": "classify", "train_file": str(tmp_path / f"{name}.jsonl")}
        for name in ("one", "two")
    }


def run(folder, content, *more, out="out"):
    file = folder / "tasks.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    multitask.main(
        [
            "--tasks",
            str(file),
            "--output_dir",
            str(folder / out),
            *FEW,
            "--num_train_epochs",
            "2",
            *more,
        ]
    )
    return json.loads((folder / out / "all_results.json").read_text())


def test_a_checkpoint_is_gone_on_from_by_the_same_tasks_alone(tmp_path, pair):
    found = run(
        tmp_path, pair, "--label_smoothing_factor", "0.1", "--task_weighting", "uncertainty"
    )
    assert found["one_train_samples"] == 14
    assert found["one_task_weight"] > 0
    before = load_file(tmp_path / "out/one/adapter_model.safetensors")
    turned = {name: pair[name] for name in ("two", "one")}
    with pytest.raises(AdaptkitError, match="of the tasks: .*one.*two.* then, .*two.*one"):
        run(tmp_path, turned, "--resume_from_checkpoint", "true")
    more = ["--task_weighting", "uncertainty", "--resume_from_checkpoint", "true"]
    with pytest.raises(AdaptkitError, match=r"--method: lora.*r=2.* then, lora.*r=1"):
        run(tmp_path, pair, *more, "--method", "lora[r=1,sites=attn.q]")
    with pytest.raises(AdaptkitError, match="is no whole checkpoint"):
        run(tmp_path, pair, "--resume_from_checkpoint", str(tmp_path / "out/one"))
    after = load_file(tmp_path / "out/one/adapter_model.safetensors")
    assert all((before[name] == after[name]).all() for name in before)


def test_a_folder_that_holds_something_is_not_written_to(tmp_path, pair):
    classify.main(
        [
            "--train_file",
            pair["one"]["train_file"],
            *FEW,
            "--max_steps",
            "1",
            "--output_dir",
            str(tmp_path / "out"),
        ]
    )
    card = (tmp_path / "out/README.md").read_text()
    with pytest.raises(AdaptkitError, match="is not empty"):
        run(tmp_path, pair)
    assert (tmp_path / "out/README.md").read_text() == card
    (tmp_path / "file").write_text("")
    with pytest.raises(AdaptkitError, match="is a file"):
        run(tmp_path, pair, out="file")


def test_a_loss_that_is_not_a_number_stops_training(tmp_path, pair):
    with pytest.raises(AdaptkitError, match=r"the training loss is (nan|inf)"):
        run(tmp_path, pair, "--learning_rate", "1e30", "--logging_steps", "1")
    assert not (tmp_path / "out/one/adapter_model.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"learning_rate": 1e-7}, "learning_rate of the task two holds for all tasks"),
        ({"method": "lora[r=2,sites=attn.v]"}, "method of the task two holds for all tasks"),
        ({"warm_start": "runs/x"}, "warm_start of the task two holds for all tasks"),
        ({"output_dir": "runs/x"}, "output_dir of the task two holds for all tasks"),
        ({"dtype": "bfloat16"}, "dtype of the task two holds for all tasks"),
        ({"lable_column": "x"}, "label_column"),
        ({"task_weight": float("nan")}, "above 0"),
        ({"task_weight": True}, "above 0"),
        ({"recipe": None}, "names no recipe"),
        (
            {"recipe": "translate", "train_file": "x"},
            "task two: translate has no model by itself: give --model_name_or_path",
        ),
        ({"train_file": "nosuch.csv"}, "task two: .*nosuch.csv"),
    ],
)
def test_a_task_has_flags_of_its_rows_alone(tmp_path, pair, change, problem):
    with pytest.raises(AdaptkitError, match=problem):
        run(tmp_path, pair | {"two": pair["two"] | change})


def test_the_best_epoch_of_many_tasks_is_not_chosen_by_a_metric_of_one(tmp_path, pair):
    with pytest.raises(AdaptkitError, match="the highest mean of their own metrics"):
        run(tmp_path, pair, "--metric-for-best-model=f1")


def test_a_task_may_use_fewer_of_its_rows(tmp_path, pair):
    found = run(tmp_path, {"one": pair["one"] | {"max_train_samples": 5}, "two": pair["two"]})
    assert (found["one_train_samples"], found["two_train_samples"]) == (5, 14)


def test_tasks_with_an_adapter_each_may_have_a_method_each(tmp_path, pair):
    run(
        tmp_path,
        pair | {"two": pair["two"] | {"method": "bottleneck[reduction=64]"}},
        "--share",
        "base",
    )
    cards = [
        json.loads((tmp_path / f"out/{name}/task.json").read_text())["method"]
        for name in ("one", "two")
    ]
    assert cards[0].startswith("lora")
    assert cards[1].startswith("bottleneck")


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--sampling_temperature", "nan"], "more than 0, not nan"),
        (["--gradient_checkpointing"], "--gradient_checkpointing does not go"),
        (["--neftune_noise_alpha", "5"], "--neftune_noise_alpha does not go"),
        (["--task_weightin", "fixed"], "did you mean '--task_weighting'"),
    ],
)
def test_flags_that_do_not_go_are_refused_before_a_model_is_loaded(
    tmp_path, pair, flags, problem, capsys
):
    with pytest.raises(AdaptkitError, match=problem):
        run(tmp_path, pair, *flags)
    assert "=== one ===" not in capsys.readouterr().out


def test_a_configuration_file_gives_flags_of_this_recipe_and_of_all(tmp_path, pair):
    given = {
        "task_weighting": "balanced",
        "sampling_temperature": 2.5,
        "max_seq_length": 9,
        "num_train_epochs": 7,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(given))
    found = run(tmp_path, pair, "--config", str(tmp_path / "run.yaml"), "--max_seq_length", "8")
    assert (
        "sampling temperature 2.5, task weights balanced"
        in (tmp_path / "out/README.md").read_text()
    )
    assert json.loads((tmp_path / "out/one/task.json").read_text())["max_length"] == 8
    assert found["one_epoch"] == 2
    (tmp_path / "run.yaml").write_text("sampling_temperatur: 2\n")
    with pytest.raises(AdaptkitError, match="did you mean '--sampling_temperature'"):
        run(tmp_path, pair, "--config", str(tmp_path / "run.yaml"), out="other")


def test_a_perplexity_counts_as_its_inverse(tmp_path, pair):
    (tmp_path / "text.txt").write_text("the warm day and the cold day came and went\n" * 40)
    tasks = pair | {
        "two": {
            "recipe": "pretrain",
            "train_file": str(tmp_path / "text.txt"),
            "max_seq_length": 32,
        }
    }
    flags = ["--learning_rate", "1e-3", "--load_best_model_at_end", "true"]
    found = run(tmp_path, tasks, "--model_name_or_path", "all-MiniLM-L6-v2", *flags)
    states = sorted((tmp_path / "out").glob("checkpoint-*/trainer_state.json"))
    best = json.loads(states[0].read_text())["best_metric"]
    entries = [
        one for one in json.loads(states[-1].read_text())["log_history"] if "eval_score" in one
    ]
    for one in entries:
        assert one["eval_score"] == pytest.approx(
            (one["eval_one_accuracy"] + 1 / one["eval_two_perplexity"]) / 2
        )
    assert best == max(one["eval_score"] for one in entries)
    assert found["two_eval_perplexity"] > 1
