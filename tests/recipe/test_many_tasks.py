"""Many tasks in one recipe: what is shared and saved, how losses weigh, going on, refusals."""

import json

import pytest
import torch
import yaml
from adaptkit.recipes import multitask
from safetensors.torch import load_file

from adaptkit import AdaptkitError, Predictor
from adaptkit.data.tables import Table
from adaptkit.host.answers import Entities
from adaptkit.host.api import Host
from tests.helpers.many_tasks import BASE, MOODS, run, split


def test_one_adapter_answers_for_all_tasks_and_each_folder_is_whole(tmp_path, tasks, capsys):
    saved = run(tasks, tmp_path / "out")
    adapters = {name: split(tensors)[0] for name, tensors in saved.items()}
    assert adapters["mood"].keys() == adapters["more"].keys() == adapters["names"].keys()
    for key, tensor in adapters["mood"].items():
        assert torch.equal(tensor, adapters["more"][key])
        assert torch.equal(tensor, adapters["names"][key])
    heads = [split(tensors)[1] for tensors in saved.values()]
    assert not any(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])
    card = (tmp_path / "out/README.md").read_text()
    assert all(f"|{name}|" in card for name in saved)
    results = json.loads((tmp_path / "out/all_results.json").read_text())
    assert (
        results["mood_eval_accuracy"]
        == json.loads((tmp_path / "out/mood/all_results.json").read_text())["eval_accuracy"]
    )
    with Host.from_store(tmp_path / "out", base=BASE, slots=3) as host:
        together = host([MOODS[0], "Ada in Rome"], ["mood", "names"])
    alone = Predictor(tmp_path / "out/mood").answer(Table([{"text": MOODS[0]}], "here"))
    assert together[0].label == alone[0]["label"]
    assert isinstance(together[1], Entities)
    assert "steps in an epoch" in capsys.readouterr().out


def test_a_task_without_validation_rows_trains_all_of_them_and_the_others_are_evaluated(
    tmp_path, tasks
):
    content = yaml.safe_load(tasks.read_text())
    content["mood"]["validation_split_percentage"] = 0  # the largest
    tasks.write_text(yaml.safe_dump(content))
    run(tasks, tmp_path / "out", "--logging_steps", "1")
    found = json.loads((tmp_path / "out/all_results.json").read_text())
    assert found["mood_train_samples"] == 24
    assert {"more_eval_accuracy", "names_eval_f1"} <= found.keys()
    assert "mood_eval_accuracy" not in found
    state = next((tmp_path / "out").glob("checkpoint-*/trainer_state.json"))
    judged = {
        key
        for entry in json.loads(state.read_text())["log_history"]
        for key in entry
        if key.endswith(("_accuracy", "_f1"))
    }
    assert "eval_more_accuracy" in judged
    assert not any(key.startswith("eval_mood") for key in judged)


def test_with_the_base_alone_in_common_each_task_has_its_adapter(tmp_path, tasks):
    saved = run(tasks, tmp_path / "out", "--share", "base")
    first, second = (split(saved[name])[0] for name in ("mood", "more"))
    assert not any(torch.equal(first[key], second[key]) for key in first)


def test_balanced_weights_follow_the_gradients(tmp_path, tasks):
    run(tasks, tmp_path / "out", "--task_weighting", "balanced")
    checkpoint = next((tmp_path / "out").glob("checkpoint-*"))
    lengths = load_file(checkpoint / "model.safetensors")["lengths"]
    assert (lengths > 0).all()
    assert len(set(lengths.tolist())) == 3


def test_going_on_ends_where_one_run_ends(tmp_path, tasks):
    whole = run(
        tasks, tmp_path / "whole", "--task_weighting", "uncertainty", "--save_total_limit", "5"
    )
    steps = sorted(
        int(path.name.rpartition("-")[2]) for path in (tmp_path / "whole").glob("checkpoint-*")
    )
    assert len(steps) == 2
    start = tmp_path / f"whole/checkpoint-{steps[0]}"
    again = run(
        tasks,
        tmp_path / "again",
        "--task_weighting",
        "uncertainty",
        "--resume_from_checkpoint",
        str(start),
    )
    for name, tensors in whole.items():
        assert all(torch.equal(tensor, again[name][key]) for key, tensor in tensors.items()), name


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        ({"a": {"recipe": "classify"}}, [], "two tasks or more"),
        ({"a": {"recipe": "clasify"}, "b": {"recipe": "tag"}}, [], "classify"),
        ({"a/b": {"recipe": "classify"}, "b": {"recipe": "tag"}}, [], "letters, digits"),
        ({"a": {"recipe": "classify", "task_weight": 0}, "b": {"recipe": "tag"}}, [], "above 0"),
        (
            {"a": {"recipe": "classify", "lable_column": "x"}, "b": {"recipe": "tag"}},
            [],
            "did you mean 'label_column'",
        ),
        (
            {"a": {"recipe": "classify"}, "b": {"recipe": "tag"}},
            ["--folds", "3"],
            "--folds does not go with many tasks",
        ),
        (
            {"a": {"recipe": "classify"}, "b": {"recipe": "tag"}},
            ["--train", "full"],
            "share adapters",
        ),
        ({"a": {"recipe": "classify"}, "b": {"recipe": "tag"}}, ["--share", "all"], "--share"),
        (
            {"a": {"recipe": "classify"}, "b": {"recipe": "tag"}},
            ["--task_weighting", "balance"],
            "balanced",
        ),
        (
            {"a": {"recipe": "classify"}, "b": {"recipe": "tag"}},
            ["--sampling_temperature", "0"],
            "more than 0",
        ),
    ],
)
def test_what_cannot_be_learned_together_is_refused(tmp_path, content, flags, message):
    file = tmp_path / "tasks.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(AdaptkitError, match=message):
        multitask.main(["--tasks", str(file), "--output_dir", str(tmp_path / "out"), *flags])


def test_tasks_without_a_shared_adapter_cannot_be_balanced(tmp_path, tasks):
    with pytest.raises(AdaptkitError, match="its own"):
        run(tasks, tmp_path / "out", "--share", "base", "--task_weighting", "balanced")
