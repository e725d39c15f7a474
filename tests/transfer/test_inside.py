"""Hidden states of a teacher: the loss by hand, with and without another width, the maps gone at the end, and what is refused."""

import json

import pytest
import torch
from adaptkit.recipes import classify, distill
from safetensors.torch import load_file
from transformers import AutoModel

from adaptkit import AdaptkitError
from adaptkit.base import load_tokenizer
from adaptkit.predict import Predictor
from adaptkit.transfer.inside import MAPS, Inside
from tests.tiny import tiny

MINILM = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inside")
    rows = [
        {"text": f"a {word} day {i}", "label": label} for i in range(12) for word, label in (("bright", "good"), ("dull", "bad"))
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = ["--train_file", str(folder / "rows.jsonl"), "--disable_tqdm", "true", "--num_train_epochs", "2"]
    classify.main([*files, "--output_dir", str(folder / "teacher"), "--learning_rate", "3e-3"])
    return folder, files


def student(data, name, *more):
    folder, files = data
    out = folder / name
    given = [*files, "--teacher", str(folder / "teacher"), "--output_dir", str(out), "--overwrite_output_dir", *more]
    distill.main(given)
    return json.loads((out / "all_results.json").read_text()), out


@torch.no_grad()
@pytest.mark.parametrize("width", [32, 48])
def test_the_loss_is_that_of_the_formula(width):
    torch.manual_seed(0)
    teacher, learner = tiny("bert", hidden_size=32).eval(), tiny("bert", hidden_size=width).eval()
    ids = torch.randint(5, 60, (3, 7))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    inside = Inside([1, 0], weight=1.0)
    wanted = teacher(**batch, output_hidden_states=True)
    inside.keep(wanted, batch)
    given = learner(**batch, output_hidden_states=True).hidden_states
    with inside.mapped(learner):
        maps = getattr(learner, MAPS)
        found = inside.loss(given, batch)
        assert {id(p) for p in maps.parameters()} <= {id(p) for p in learner.parameters()}
        by_hand = torch.zeros(3)
        for one, layer, own in zip(maps, (1, 0), given[1:], strict=True):
            told = wanted.hidden_states[layer + 1].bfloat16().float()
            for row in range(3):
                seen = mask[row].bool()
                by_hand[row] += (one(own[row]) - told[row])[seen].square().sum() / told[row][seen].square().sum() / 2
    torch.testing.assert_close(found, by_hand)
    assert not hasattr(learner, MAPS)


@torch.no_grad()
def test_the_teacher_is_at_no_distance_from_itself():
    model = AutoModel.from_pretrained(load_tokenizer(MINILM).name_or_path, dtype=torch.float32).eval()
    batch = dict(load_tokenizer(MINILM)(["one text", "another, longer one"], padding=True, return_tensors="pt"))
    inside = Inside(range(6), weight=1.0)
    outputs = model(**batch, output_hidden_states=True)
    inside.keep(outputs, batch)
    with inside.mapped(model):
        assert float(inside.loss(outputs.hidden_states, batch).max()) < 1e-4  # kept in bf16
        with pytest.raises(AdaptkitError, match="has not read these tokens"):
            inside.loss(outputs.hidden_states, {"input_ids": batch["input_ids"] + 1, "attention_mask": batch["attention_mask"]})


def test_students_come_nearer_and_keep_no_maps(data):
    folder, _ = data
    _, without = student(data, "without", "--student_layers", "2")
    _, drawn = student(data, "drawn", "--student_layers", "2", "--hidden_state_weight", "5")
    assert not any(MAPS in name for name in load_file(drawn / "model.safetensors"))
    assert load_file(drawn / "model.safetensors").keys() == load_file(without / "model.safetensors").keys()

    def distance(out):
        teacher, learner = Predictor(folder / "teacher"), Predictor(out)
        rows = teacher.tokenizer([f"a bright day {i}" for i in range(4)], return_tensors="pt", padding=True)
        inside = Inside([2, 5], 1.0)
        with torch.no_grad():
            inside.keep(teacher.model(**rows, output_hidden_states=True), dict(rows))
            with inside.mapped(learner.model):
                return float(inside.loss(learner.model(**rows, output_hidden_states=True).hidden_states, dict(rows)).mean())

    assert distance(drawn) < 0.9 * distance(without)


def test_a_run_that_was_stopped_ends_the_same(data):
    flags = ["--student_layers", "1", "--hidden_state_weight", "2", "--save_total_limit", "5"]
    _, whole = student(data, "whole", *flags)
    kept = load_file(whole / "model.safetensors")
    first = sorted(whole.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))[0]
    student(data, "whole", *flags, "--resume_from_checkpoint", str(first))
    again = load_file(whole / "model.safetensors")
    assert all(torch.equal(kept[name], again[name]) for name in kept)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--student", "cnn"], "a Transformer as student"),
        (["--student_layers", "2", "--method", "lora"], "own weights train"),
        (["--student_layers", "2", "--search", "2"], "no --search"),
    ],
)
def test_what_does_not_go_together_is_refused(data, flags, problem):
    with pytest.raises(AdaptkitError, match=problem):
        student(data, "refused", *flags, "--hidden_state_weight", "1")
