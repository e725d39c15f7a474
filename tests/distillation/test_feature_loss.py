"""Students that learn hidden states and attention maps in a recipe; refusals."""

import json

import pytest
import torch
from adaptkit.recipes import classify, distill
from safetensors.torch import load_file

from adaptkit import AdaptkitError, cli
from adaptkit.distillation.attention_maps import AttentionMapLoss
from adaptkit.distillation.hidden_states import MAPS, HiddenStateLoss
from adaptkit.inference.predictor import Predictor
from adaptkit.models.backbone import bare_model
from adaptkit.models.untrained.scratch import make_model

MINILM = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inside")
    rows = [
        {"text": f"a {word} day {i}", "label": label}
        for i in range(12)
        for word, label in (("bright", "good"), ("dull", "bad"))
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [
        "--train_file",
        str(folder / "rows.jsonl"),
        "--disable_tqdm",
        "true",
        "--num_train_epochs",
        "2",
    ]
    classify.main([*files, "--output_dir", str(folder / "teacher"), "--learning_rate", "3e-3"])
    return folder, files


def student(data, name, *more):
    folder, files = data
    out = folder / name
    given = [
        *files,
        "--teacher",
        str(folder / "teacher"),
        "--output_dir",
        str(out),
        "--overwrite_output_dir",
        *more,
    ]
    distill.main(given)
    return json.loads((out / "all_results.json").read_text()), out


@torch.no_grad()
def distance(data, out, kind) -> float:
    """How far a student of two layers is from its teacher."""
    teacher, learner = Predictor(data[0] / "teacher"), Predictor(out)
    rows = dict(
        teacher.tokenizer(
            [f"a bright day {i}" for i in range(4)], return_tensors="pt", padding=True
        )
    )
    feature_loss = kind([2, 5], 1.0)
    with feature_loss.teaching(bare_model(teacher.model)):
        feature_loss.keep(teacher.model(**rows, **feature_loss.extra_outputs), rows)
    with feature_loss.learning(bare_model(learner.model)):
        return float(
            feature_loss.loss(learner.model(**rows, **feature_loss.extra_outputs), rows).mean()
        )


def test_students_learn_where_to_look(data):
    _, without = student(data, "plain-maps", "--student_layers", "2")
    _, drawn = student(data, "drawn-maps", "--student_layers", "2", "--attention_map_weight", "20")
    assert (
        load_file(drawn / "model.safetensors").keys()
        == load_file(without / "model.safetensors").keys()
    )

    assert distance(data, drawn, AttentionMapLoss) < 0.9 * distance(data, without, AttentionMapLoss)


def test_students_come_nearer_and_keep_no_maps(data):
    _, without = student(data, "without", "--student_layers", "2")
    _, drawn = student(data, "drawn", "--student_layers", "2", "--hidden_state_weight", "5")
    assert not any(MAPS in name for name in load_file(drawn / "model.safetensors"))
    assert (
        load_file(drawn / "model.safetensors").keys()
        == load_file(without / "model.safetensors").keys()
    )

    assert distance(data, drawn, HiddenStateLoss) < 0.9 * distance(data, without, HiddenStateLoss)


def test_a_run_that_was_stopped_ends_the_same(data):
    flags = ["--student_layers", "1", "--hidden_state_weight", "2", "--save_total_limit", "5"]
    _, whole = student(data, "whole", *flags)
    cache = load_file(whole / "model.safetensors")
    first = sorted(whole.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))[0]
    student(data, "whole", *flags, "--resume_from_checkpoint", str(first))
    again = load_file(whole / "model.safetensors")
    assert all(torch.equal(cache[name], again[name]) for name in cache)


def test_the_layers_are_the_teachers_whoever_gives_the_students(data, tmp_path):
    """--teacher_base of another depth: the layers of the student come from there, the layers that
    pull are the teacher's.
    """
    cli.main(
        [
            "mix",
            MINILM,
            "--num_hidden_layers",
            "9",
            "--beta",
            "1",
            "--output_dir",
            str(tmp_path / "nine"),
        ]
    )
    flags = [
        "--teacher_base",
        str(tmp_path / "nine"),
        "--student_layers",
        "1",
        "--hidden_state_weight",
        "1",
    ]
    found, _ = student(data, "from-nine", *flags, "--max_steps", "2")
    assert found["train_loss"] > 0


def test_an_encoder_with_a_decoder_has_no_one_stack_to_pull(data, tmp_path):
    folder, files = data
    texts = [json.loads(line)["text"] for line in (folder / "rows.jsonl").read_text().splitlines()]
    make_model("t5", texts, tmp_path / "base", vocab_size=100)
    teacher = [
        "--model_name_or_path",
        str(tmp_path / "base"),
        "--output_dir",
        str(tmp_path / "teacher"),
        "--max_steps",
        "1",
    ]
    classify.main([*files, *teacher])
    given = [
        *files,
        "--teacher",
        str(tmp_path / "teacher"),
        "--student_layers",
        "1",
        "--layer_map",
        "first",
        "--max_steps",
        "1",
    ]
    distill.main(
        [*given, "--output_dir", str(tmp_path / "student")]
    )  # from its logits it learns like any other
    with pytest.raises(AdaptkitError, match="need one stack of layers"):
        distill.main(
            [*given, "--output_dir", str(tmp_path / "refused"), "--hidden_state_weight", "1"]
        )


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--student", "cnn"], "a Transformer as student"),
        (["--student_layers", "2", "--method", "lora"], "own weights all train"),
        (["--student_layers", "2", "--train", "last[1]"], "own weights all train"),
        (["--student_layers", "2", "--hidden_state_weight", "nan"], "from 0 on, not nan"),
        (["--student_layers", "2", "--search", "2"], "no --search"),
    ],
)
def test_what_does_not_go_together_is_refused(data, flags, problem):
    with pytest.raises(AdaptkitError, match=problem):
        student(
            data, "refused", "--hidden_state_weight", "1", "--attention_map_weight", "1", *flags
        )
