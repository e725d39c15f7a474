"""Distilling: the loss by hand, students of every kind trained and loaded again, unlabelled rows,
and what is refused.
"""

import json

import numpy as np
import pytest
import torch
from adaptkit.recipes import classify, distill
from torch.nn import functional as F

from adaptkit import AdaptkitError
from adaptkit.data.tables import Table
from adaptkit.distillation.distill import (
    UNLABELLED,
    Distilling,
    add_unlabelled,
    distilled,
    soft_loss,
)
from adaptkit.distillation.teacher import LOGITS, Teacher, name_of
from adaptkit.inference.predictor import Predictor
from adaptkit.models.tokenizer import load_tokenizer
from adaptkit.tasks.classify import Classify

GOOD, BAD = ["bright", "lovely", "warm", "kind"], ["dull", "cold", "rude", "broken"]
TASK = Classify(labels=["bad", "good"])


def rows(count, seed=0):
    random = np.random.default_rng(seed)
    found = []
    for index in range(count):
        label = ("good", "bad")[index % 2]
        words = random.choice(GOOD if label == "good" else BAD, 2)
        found.append({"text": f"a {words[0]} and {words[1]} day {index}", "label": label})
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distill")
    for name, given in (
        ("train", rows(60)),
        ("test", rows(20, 1)),
        ("more", [{"text": row["text"]} for row in rows(90, 2)]),
    ):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    files = [
        "--train_file",
        str(folder / "train.jsonl"),
        "--test_file",
        str(folder / "test.jsonl"),
        "--disable_tqdm",
        "true",
    ]
    classify.main(
        [
            *files,
            "--output_dir",
            str(folder / "teacher"),
            "--num_train_epochs",
            "3",
            "--learning_rate",
            "3e-3",
        ]
    )
    return folder, files


def student(data, name, *more, epochs="2"):
    folder, files = data
    out = folder / name
    teacher = ["--teacher", str(folder / "teacher")]
    distill.main(
        [
            *files,
            *teacher,
            "--output_dir",
            str(out),
            "--num_train_epochs",
            epochs,
            "--overwrite_output_dir",
            *more,
        ]
    )
    return json.loads((out / "all_results.json").read_text()), out


def test_the_loss_is_that_of_the_formula():
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 2), torch.tensor([0, 1, 0])
    said = torch.tensor([[0.3, -1.0], [2.0, 0.1], [-0.5, 0.4]])
    table = Table([{"text": t, "label": "bad"} for t in "abc"], "here")
    teacher = Teacher(
        ["bad", "good"],
        {name_of(TASK, row): s.numpy() for row, s in zip(table.rows, said, strict=True)},
    )
    task = distilled(TASK, teacher, Distilling(temperature=3.0, hard=0.25))
    batch = {"teacher": said, "labelled": torch.tensor([True, False, True])}
    p, q = (said / 3).softmax(-1), (logits / 3).log_softmax(-1)
    soft = 9 * (p * (p.log() - q)).sum()
    hard = F.cross_entropy(logits[[0, 2]], labels[[0, 2]], reduction="sum")
    outputs = type("Outputs", (), {"logits": logits})
    found = task.loss(outputs, batch, labels, torch.tensor(3))
    torch.testing.assert_close(found, (0.25 * hard + 0.75 * soft) / 3)
    plain = task.loss(outputs, {}, labels, torch.tensor(3))
    torch.testing.assert_close(plain, F.cross_entropy(logits, labels))
    assert soft_loss(said, said, 2.0) == 0


def test_with_several_labels_a_text_each_is_a_choice_of_its_own():
    torch.manual_seed(0)
    task = Classify(labels=["bad", "good", "long"], multi_label=True)
    logits, said = torch.randn(3, 3), torch.randn(3, 3)
    labels = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    taught = distilled(
        task, Teacher(task.labels, {}, multi_label=True), Distilling(temperature=3.0, hard=0.25)
    )
    batch = {"teacher": said, "labelled": torch.tensor([True, False, True])}
    p, q = (said / 3).sigmoid(), (logits / 3).sigmoid()
    soft = 9 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum()
    hard = F.binary_cross_entropy_with_logits(logits[[0, 2]], labels[[0, 2]], reduction="sum")
    outputs = type("Outputs", (), {"logits": logits})
    torch.testing.assert_close(
        taught.loss(outputs, batch, labels, torch.tensor(9)), (0.25 * hard + 0.75 * soft) / 9
    )
    torch.testing.assert_close(
        taught.loss(outputs, {}, labels, torch.tensor(9)),
        F.binary_cross_entropy_with_logits(logits, labels),
    )


def test_one_label_and_several_are_not_mixed():
    several = Classify(labels=["bad", "good"], multi_label=True)
    with pytest.raises(
        AdaptkitError,
        match="gives a text one label, the student is to give it any number of labels: leave out",
    ):
        distilled(several, Teacher(["bad", "good"], {}))
    with pytest.raises(
        AdaptkitError, match="gives a text any number of labels.*: add --multi_label"
    ):
        distilled(TASK, Teacher(["bad", "good"], {}, multi_label=True))


def test_a_student_gives_several_labels(tmp_path):
    """Colours and sizes, told apart by words; what the teacher alone sees is learned, too."""
    words = {"red": "crimson", "blue": "navy", "big": "huge"}

    def several(count, seed):
        chosen = np.random.default_rng(seed).random((count, 3)) < 0.5
        sets = [[label for label, taken in zip(words, row, strict=True) if taken] for row in chosen]
        return [
            {"text": f"a {' '.join(words[one] for one in row)} thing {i}", "label": row}
            for i, row in enumerate(sets)
        ]

    for name, found in (
        ("train", several(60, 0)),
        ("test", several(30, 1)),
        ("more", several(90, 2)),
    ):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    files = [
        "--train_file",
        str(tmp_path / "train.jsonl"),
        "--test_file",
        str(tmp_path / "test.jsonl"),
    ]
    flags = [*files, "--multi_label", "--disable_tqdm", "true"]
    rate = ["--num_train_epochs", "6", "--learning_rate", "3e-3"]
    classify.main([*flags, "--output_dir", str(tmp_path / "teacher"), *rate])
    teacher = [
        "--teacher",
        str(tmp_path / "teacher"),
        "--unlabelled_file",
        str(tmp_path / "more.jsonl"),
    ]
    small = ["--student", "cnn", "--num_train_epochs", "12", "--learning_rate", "3e-3"]
    distill.main(
        [
            *flags,
            *teacher,
            *small,
            "--hard_label_share",
            "0",
            "--output_dir",
            str(tmp_path / "student"),
        ]
    )
    found = json.loads((tmp_path / "student" / "all_results.json").read_text())
    assert Teacher.load(tmp_path / "student" / LOGITS).multi_label
    assert found["test_f1_micro"] > 0.9, found
    answers = Predictor(tmp_path / "student")("a crimson huge thing 7")
    assert sorted(answers[0]["labels"]) == ["big", "red"]


def test_labels_come_in_the_teachers_order():
    teacher = Teacher(["good", "bad"], {})
    assert distilled(TASK, teacher).labels == ["good", "bad"]
    assert distilled(TASK, teacher).settings() == TASK.settings()
    with pytest.raises(AdaptkitError, match="same labels: bad, so-so"):
        distilled(TASK, Teacher(["good", "so-so"], {}))


def test_unlabelled_texts_are_new_and_each_once():
    train, test = Table(rows(4), "train"), Table([{"text": "Seen there", "label": "bad"}], "test")
    more = Table(
        [{"text": t} for t in ("new one", "New one", "seen there", train.rows[0]["text"], "other")],
        "more",
    )
    table, added = add_unlabelled(TASK, train, more, [test])
    assert added == 2
    assert [row["text"] for row in table.rows[4:]] == ["new one", "other"]
    assert all(row[UNLABELLED] for row in table.rows[4:])


def test_logits_are_saved_and_loaded(tmp_path):
    table = Table([{"text": 'é"\n', "label": "bad"}], "here")
    teacher = Teacher(
        ["bad", "good"], {name_of(TASK, table.rows[0]): np.array([0.5, -0.25], np.float32)}
    )
    teacher.save(tmp_path / "logits.safetensors")
    again = Teacher.load(tmp_path / "logits.safetensors")
    assert again.labels == ["bad", "good"]
    np.testing.assert_array_equal(again.logits_of(TASK, table), [[0.5, -0.25]])
    with pytest.raises(AdaptkitError, match="here row 0.*do not hold this text"):
        again.logits_of(TASK, Table([{"text": "other", "label": "bad"}], "here"))
    (tmp_path / "broken").write_bytes(b"no")
    with pytest.raises(AdaptkitError, match="holds no logits"):
        Teacher.load(tmp_path / "broken")


@pytest.mark.parametrize(
    "flags",
    [
        ["--student", "bilstm", "--learning_rate", "1e-2"],
        ["--student", "cnn", "--learning_rate", "1e-2"],
        ["--student_layers", "2"],
        [
            "--student_layers",
            "1",
            "--layer_map",
            "last",
            "--method",
            "lora",
            "--learning_rate",
            "3e-3",
        ],
        ["--model_name_or_path", "all-MiniLM-L6-v2", "--method", "lora[layers=last[1]]"],
    ],
)
def test_students_learn_and_answer(data, flags):
    results, out = student(data, "student", *flags, epochs="5")
    assert results["test_accuracy"] >= 0.9
    answers = Predictor(out)("a bright and kind day", "a rude and broken day")
    assert [answer["label"] for answer in answers] == ["good", "bad"]
    assert (out / "teacher_logits.safetensors").is_file()


def test_a_teacher_of_logits_gives_the_same_student(data):
    first, out = student(data, "one", "--student", "cnn")
    second, _ = student(
        data,
        "two",
        "--student",
        "cnn",
        "--teacher",
        str(out / "teacher_logits.safetensors"),
        "--teacher_base",
        "all-MiniLM-L6-v2",
    )
    assert (
        first["eval_loss" if "eval_loss" in first else "eval_accuracy"]
        == second["eval_loss" if "eval_loss" in second else "eval_accuracy"]
    )
    assert first["train_loss"] == second["train_loss"]
    assert first["eval_accuracy"] == second["eval_accuracy"]


def test_unlabelled_rows_train_the_student(data):
    folder, _ = data
    without, _ = student(data, "without", "--student", "cnn")
    results, _ = student(
        data, "with", "--student", "cnn", "--unlabelled_file", str(folder / "more.jsonl")
    )
    assert results["train_samples"] > without["train_samples"]
    assert results["train_loss"] != without["train_loss"]


def test_all_of_the_labels_and_none_of_the_teacher_is_plain_training(data):
    folder, files = data
    base = folder / "plain-base"
    # attention is measured by default, and rounded otherwise; a student's head is random
    same = ["--attn_implementation", "eager", "--head_start", "random"]
    flags = ["--student_layers", "1", "--hard_label_share", "1", *same]
    results, out = student(data, "hard", *flags)
    (out / "base").rename(base)
    flags = [
        *files,
        "--method",
        "full",
        "--model_name_or_path",
        str(base),
        "--num_train_epochs",
        "2",
        "--learning_rate",
        "1e-4",
        *same,
    ]
    classify.main([*flags, "--output_dir", str(folder / "plain"), "--overwrite_output_dir"])
    plain = json.loads((folder / "plain" / "all_results.json").read_text())
    assert plain["train_loss"] == pytest.approx(results["train_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ([], "give one student"),
        (["--student", "gru"], "bilstm"),
        (["--student", "cnn", "--student_layers", "2"], "give one student"),
        (["--student", "cnn", "--temperature", "0"], "temperature is above 0"),
        (["--student", "cnn", "--augment_copies", "1"], "does not support --augment_copies"),
        (["--student_layers", "9", "--layer_map", "first"], "fewer than the 9"),
        (["--student", "cnn", "--multi_label"], "leave out --multi_label"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_teacher_runs(data, flags, problem):
    with pytest.raises(AdaptkitError, match=problem):
        student(data, "refused", *flags)
    assert not (data[0] / "refused" / LOGITS).exists()


def test_no_teacher_is_refused(data):
    folder, files = data
    with pytest.raises(AdaptkitError, match="--teacher is the folder"):
        distill.main([*files, "--output_dir", str(folder / "none"), "--student", "cnn"])


def test_the_tokenizer_of_the_teachers_base_is_the_students(data):
    _, out = student(data, "tokens", "--student", "bilstm")
    assert load_tokenizer(str(out)).get_vocab() == load_tokenizer("all-MiniLM-L6-v2").get_vocab()


def test_weights_of_labels_and_the_baseline_follow_the_teacher():
    task = Classify(labels=["a", "b"], class_weights=True, weights=[2.0, 0.5])
    student = distilled(task, Teacher(["b", "a"], {}))
    assert student.weights == [0.5, 2.0]
    train = Table(
        [
            {"text": "1", "label": "b"},
            *({"text": str(i), "label": "a", UNLABELLED: True} for i in range(9)),
        ],
        "here",
    )
    assert student.baseline(train, Table([{"text": "x", "label": "b"}], "there")) == {
        "majority_baseline": 1.0
    }
