"""Distilling taggers: what the teacher says of each word, whatever the pieces and windows; students
trained and loaded again.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from adaptkit.recipes import distill, tag
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
from adaptkit.distillation.teacher import Teacher, name_of, taught_by
from adaptkit.inference.predictor import Predictor
from adaptkit.models.tokenizer import load_tokenizer
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.tag import Tag

TASK = Tag(labels=["O", "B-place", "I-place"])
PLACES = ["Paris", "Oslo", "Lima", "Rome"]


def rows(count, seed=0):
    random = np.random.default_rng(seed)
    found = []
    for index in range(count):
        place = str(random.choice(PLACES))
        text = f"we went to {place} on day {index}"
        found.append(
            {"text": text, "entities": [{"start": 11, "end": 11 + len(place), "label": "place"}]}
        )
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    for name, given in (
        ("train", rows(60)),
        ("test", rows(20, 1)),
        ("more", [{"text": row["text"] + "!"} for row in rows(40, 2)]),
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
    tag.main(
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


def student(data, name, *more, teacher="teacher"):
    folder, files = data
    out = folder / name
    distill.main(
        [
            *files,
            "--teacher",
            str(folder / teacher),
            "--output_dir",
            str(out),
            "--overwrite_output_dir",
            *more,
        ]
    )
    return json.loads((out / "all_results.json").read_text()), out


def test_the_loss_is_that_of_the_formula():
    table = TASK.read(Table(rows(2), "here"))
    said = [torch.randn(len(row["units"]), 3) for row in table.rows]
    said[1][4] = float("nan")  # the teacher has no piece there
    names = [name_of(TASK, row) for row in table.rows]
    teacher = Teacher(
        TASK.labels, {name: one.numpy() for name, one in zip(names, said, strict=True)}, "tag"
    )
    task = distilled(TASK, teacher, Distilling(temperature=3.0, hard=0.25))
    table.rows[1][UNLABELLED] = True
    tokenizer = load_tokenizer("all-MiniLM-L6-v2")
    encoded = task.encode(table, tokenizer, 32, train=True)
    batch = task.collator(tokenizer)([encoded[0], encoded[1]])
    torch.manual_seed(0)
    logits, labels = torch.randn(*batch["labels"].shape, 3), batch["labels"]
    soft, hard = 0.0, 0.0
    for index, row in enumerate(said):
        for place, unit in enumerate(encoded[index]["_first"]):
            if unit >= 0 and not row[unit].isnan().any():
                p, q = (row[unit] / 3).softmax(-1), (logits[index, place] / 3).log_softmax(-1)
                soft = soft + 9 * (p * (p.log() - q)).sum()
            if unit >= 0 and index == 0:
                hard = hard + F.cross_entropy(logits[index, place], labels[index, place])
    items = (labels != -100).sum()
    outputs = type("Outputs", (), {"logits": logits})
    torch.testing.assert_close(
        task.loss(outputs, batch, labels, items), (0.25 * hard + 0.75 * soft) / items
    )


def test_a_teacher_says_the_same_of_a_word_in_any_window(data):
    folder, _ = data
    predictor = Predictor(folder / "teacher")
    text = " ".join(
        f"we went to {place} and" for place in PLACES * 9
    )  # some 180 pieces, in windows of 128
    table = predictor.task.read(Table([{"text": text}], "here"), labelled=False)
    said = Teacher.run(folder / "teacher", table).logits_of(predictor.task, table)[0]
    assert said.shape == (len(table.rows[0]["units"]), 3)
    each = [list(range(len(said)))]  # each word as a piece of its own
    encoded = {"_row": [0], "_first": each, "_last": each}
    answered = predictor.task.decode(said[None], encoded, table)
    assert answered[0]["entities"] == predictor(text)[0]["entities"]


def test_logits_are_saved_and_loaded(tmp_path, data):
    folder, _ = data
    table = TASK.read(Table(rows(3), "here"))
    teacher = Teacher.run(folder / "teacher", table)
    teacher.save(tmp_path / "logits.safetensors")
    again = Teacher.load(tmp_path / "logits.safetensors")
    assert (again.labels, again.task, taught_by(str(tmp_path / "logits.safetensors"))) == (
        teacher.labels,
        "tag",
        "tag",
    )
    for one, two in zip(teacher.logits_of(TASK, table), again.logits_of(TASK, table), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_word_without_a_piece_is_not_taught(data):
    folder, _ = data
    table = TASK.read(
        Table([{"tokens": ["we", "went", "to", "\u00ad", "Rome"], "tags": ["O"] * 5}], "here")
    )  # a soft hyphen is no piece
    said = Teacher.run(folder / "teacher", table).logits_of(TASK, table)[0]
    assert np.isnan(said).any(-1).tolist() == [False, False, False, True, False]


@pytest.mark.parametrize(
    "flags",
    [
        ["--student", "bilstm", "--learning_rate", "1e-2", "--num_train_epochs", "6"],
        ["--student_layers", "2", "--num_train_epochs", "6", "--unlabelled_file", "more.jsonl"],
    ],
)
def test_students_learn_and_answer(data, flags):
    folder, _ = data
    flags = [str(folder / word) if word.endswith(".jsonl") else word for word in flags]
    results, out = student(data, "student", *flags)
    assert results["test_f1"] >= 0.9
    assert (
        results["train_samples"] > 54
        if "--unlabelled_file" in flags
        else results["train_samples"] == 54
    )
    assert [one["text"] for one in Predictor(out)("we went to Lima on day 7")[0]["entities"]] == [
        "Lima"
    ]
    assert (out / "teacher_logits.safetensors").is_file()


def test_unlabelled_texts_have_no_entities_that_count():
    train = TASK.read(Table(rows(4), "train"))
    table, added = add_unlabelled(
        TASK, train, Table([{"text": "new one"}, {"text": train.rows[0]["text"]}], "more"), []
    )
    assert added == 1
    assert table.rows[4]["entities"] == []
    assert table.rows[4][UNLABELLED]


def test_other_tasks_and_networks_are_refused(data, tmp_path):
    folder, files = data
    with pytest.raises(AdaptkitError, match="trained for tag, the student is to learn classify"):
        distilled(Classify(labels=["a", "b"]), Teacher(["a", "b"], {}, "tag"))
    with pytest.raises(AdaptkitError, match="unknown student of tag 'cnn'"):
        student(data, "refused", "--student", "cnn")
    other = tmp_path / "score"
    shutil.copytree(folder / "teacher", other)
    (other / "task.json").write_text(
        (other / "task.json").read_text().replace('"task": "tag"', '"task": "score"')
    )
    with pytest.raises(
        AdaptkitError,
        match="was trained for score; a teacher is one of classify, tag, chat, pretrain",
    ):
        distill.main(
            [
                *files,
                "--teacher",
                str(other),
                "--student",
                "bilstm",
                "--output_dir",
                str(tmp_path / "none"),
            ]
        )


def test_nothing_is_learned_from_a_teacher_like_the_student():
    said = torch.randn(5, 3)
    assert soft_loss(said, said, 2.0) == 0


def test_a_configuration_file_names_the_teacher(data, tmp_path):
    folder, files = data
    (tmp_path / "flags.yaml").write_text(
        f"teacher: {folder / 'teacher'}\nstudent: cnn\noutput_dir: {tmp_path / 'out'}\n"
    )
    with pytest.raises(AdaptkitError, match="unknown student of tag 'cnn'"):
        distill.main([*files, "--config", str(tmp_path / "flags.yaml")])
