"""Distilling models that write: the loss by hand, with all tokens and with the likeliest; students
of text and of answers.
"""

import json

import pytest
import torch
from adaptkit.recipes import chat, distill, pretrain, translate
from torch.nn import functional as F

from adaptkit import AdaptkitError
from adaptkit.distillation.next_tokens import NextTokens, taught, written_in
from adaptkit.inference.predictor import Predictor
from adaptkit.tasks.chat import Chat
from adaptkit.tasks.pretrain import Pretrain
from adaptkit.tasks.translate import Translate
from tests.tasks.outputs import token_outputs

STORY = "the cat sat on the mat and the dog ran to the red house near the old tree . "


def batch_of(rows=3, tokens=6):
    torch.manual_seed(0)
    ids = torch.randint(5, 30, (rows, tokens))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :2] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@pytest.mark.parametrize("most", [40, 7])
def test_the_loss_is_that_of_the_formula(most):
    batch = batch_of()
    teacher, student = torch.randn(3, 6, 40), torch.randn(3, 6, 40)
    said = NextTokens(temperature=3.0, most=most)
    texts, shape = written_in(batch, batch["labels"], causal=True), batch["labels"].shape
    teacher_outputs, outputs = (
        token_outputs(logits, batch["labels"], True) for logits in (teacher, student)
    )
    said.keep(teacher_outputs, texts, shape)
    by_hand = 0.0
    for row in range(3):
        for place in range(5):
            if batch["labels"][row, place + 1] == -100:
                continue
            p, q = (logits[row, place].double().div(3).softmax(-1) for logits in (teacher, student))
            order = p.argsort(descending=True)
            p, q = (torch.cat([x[order[:most]], x[order[most:]].sum()[None]]) for x in (p, q))
            by_hand += 9 * sum(float(a * (a / b).log()) for a, b in zip(p, q, strict=True) if a > 0)
    assert float(said.loss(outputs, texts)) == pytest.approx(by_hand, rel=1e-4)
    assert float(said.loss(teacher_outputs, texts)) == pytest.approx(0, abs=1e-3)
    task = taught(Chat(), said, hard=0.25)
    hard = F.cross_entropy(
        student[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum"
    )
    items = (batch["labels"] != -100).sum()
    found = task.loss(outputs, batch | {"taught": torch.ones(3)}, batch["labels"], items)
    assert float(found) == pytest.approx(
        (0.25 * float(hard) + 0.75 * by_hand) / int(items), rel=1e-4
    )
    torch.testing.assert_close(task.loss(outputs, batch, batch["labels"], items), hard / items)


def test_behind_an_encoder_the_tokens_are_those_of_the_target():
    """One source with two targets, and targets shorter than the batch: each has what its own
    teacher said.
    """
    torch.manual_seed(0)
    sources = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 8], [9, 6, 0, 0]])
    mask = (sources != 0).long()
    labels = torch.tensor([[11, 12, 1], [13, 1, -100], [11, 12, 1]])
    batch = {"input_ids": sources, "attention_mask": mask}
    teacher, student = torch.randn(3, 3, 40), torch.randn(3, 3, 40)
    said = NextTokens(temperature=2.0, most=40)
    said.keep(
        token_outputs(teacher, labels, False),
        written_in(batch, labels, causal=False),
        labels.shape,
    )
    p, q = teacher.div(2).log_softmax(-1), student.div(2).log_softmax(-1)
    each = 4 * (p.exp() * (p - q)).sum(-1)
    by_hand = float(each[labels != -100].sum())
    task = taught(Translate(), said, hard=0.5)
    found = task.loss(
        token_outputs(student, labels, False),
        batch | {"taught": torch.ones(3)},
        labels,
        torch.tensor(8),
    )
    hard = float(F.cross_entropy(student.flatten(0, 1), labels.flatten(), reduction="sum"))
    assert float(found) == pytest.approx((0.5 * hard + 0.5 * by_hand) / 8, rel=1e-4)
    wider = {
        "input_ids": F.pad(sources, (0, 2)),
        "attention_mask": F.pad(mask, (0, 2)),
    }  # other batches pad otherwise
    labels = F.pad(labels, (0, 1), value=-100)
    outputs = token_outputs(F.pad(student, (0, 0, 0, 1)), labels, False)
    texts = written_in(wider, labels, causal=False)
    assert float(said.loss(outputs, texts)) == pytest.approx(by_hand, rel=1e-4)


def test_a_text_that_the_teacher_has_not_read_is_refused():
    batch = batch_of()
    said, labels = NextTokens(), batch["labels"]
    outputs = token_outputs(torch.randn(3, 6, 40), labels, True)
    said.keep(outputs, written_in(batch, labels, causal=True), labels.shape)
    other = batch | {"input_ids": batch["input_ids"] + 1}
    with pytest.raises(AdaptkitError, match="has not read these tokens"):
        said.loss(outputs, written_in(other, labels, causal=True))
    more = labels.clone()
    more[:, 1] = batch["input_ids"][:, 1]  # the same texts, with a label more
    with pytest.raises(AdaptkitError, match="has not read these tokens"):
        said.loss(outputs, written_in(batch, more, causal=True))


def test_a_smaller_vocabulary_than_the_teachers_is_refused():
    batch = batch_of()
    labels = batch["labels"]
    said, texts = NextTokens(), written_in(batch, labels, causal=True)
    said.keep(token_outputs(torch.randn(3, 6, 40), labels, True), texts, labels.shape)
    with pytest.raises(AdaptkitError, match="the student's vocabulary has 35"):
        said.loss(token_outputs(torch.randn(3, 6, 35), labels, True), texts)


@pytest.mark.parametrize("task", [Chat(packing=True), Pretrain(objective="mlm")])
def test_what_a_teacher_cannot_read_is_refused(task):
    with pytest.raises(AdaptkitError, match="no --packing, no --objective mlm"):
        taught(task, NextTokens())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("writers")
    (folder / "text.txt").write_text(f"{STORY}\n" * 60)
    talks = [
        {"prompt": f"what is {n} and {n}", "completion": f"it is {n + n} ."} for n in range(24)
    ]
    (folder / "talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in talks))
    tell = ["--disable_tqdm", "true", "--learning_rate", "3e-3"]
    model = [
        "--model_type",
        "llama",
        "--config_overrides",
        "hidden_size=64,num_hidden_layers=4",
        "--vocab_size",
        "300",
    ]
    text = ["--train_file", str(folder / "text.txt"), "--max_seq_length", "64"]
    pretrain.main(
        [*text, *tell, *model, "--num_train_epochs", "12", "--output_dir", str(folder / "text")]
    )
    talk = ["--train_file", str(folder / "talks.jsonl"), "--num_generated", "2"]
    chat.main(
        [
            *talk,
            *tell,
            "--model_name_or_path",
            str(folder / "text"),
            "--method",
            "lora",
            "--output_dir",
            str(folder / "talk"),
        ]
    )
    return folder, {"text": text, "talk": talk}


@pytest.mark.parametrize("kind", ["text", "talk"])
def test_students_learn_and_answer(data, kind):
    folder, files = data
    out = folder / f"student-{kind}"
    flags = [
        "--teacher",
        str(folder / kind),
        "--student_layers",
        "2",
        "--disable_tqdm",
        "true",
        "--num_train_epochs",
        "6",
    ]
    distill.main([*files[kind], *flags, "--learning_rate", "1e-3", "--output_dir", str(out)])
    results = json.loads((out / "all_results.json").read_text())
    predictor = Predictor(out)
    assert predictor.model.config.num_hidden_layers == 2
    assert predictor.card.task == {"text": "pretrain", "talk": "chat"}[kind]
    teachers = json.loads((folder / kind / "all_results.json").read_text())["eval_perplexity"]
    assert results["eval_perplexity"] < 3 * teachers
    if kind == "talk":
        assert predictor("what is 3 and 3")[0]["text"]


def test_nothing_but_the_labels_is_plain_training(data):
    folder, files = data
    shared = [
        *files["text"],
        "--disable_tqdm",
        "true",
        "--num_train_epochs",
        "2",
        "--learning_rate",
        "1e-3",
        "--attn_implementation",
        "eager",
    ]
    hard = folder / "hard"
    flags = ["--teacher", str(folder / "text"), "--student_layers", "2", "--hard_label_share", "1"]
    distill.main([*shared, *flags, "--output_dir", str(hard)])
    plain = ["--model_name_or_path", str(hard / "base"), "--method", "full", "--objective", "clm"]
    pretrain.main([*shared, *plain, "--output_dir", str(folder / "plain")])
    losses = [
        json.loads((folder / name / "all_results.json").read_text())["train_loss"]
        for name in ("hard", "plain")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--student", "bilstm", "--teacher", "text"], "unknown student of pretrain"),
        (
            ["--student_layers", "2", "--unlabelled_file", "x", "--teacher", "talk"],
            "put the texts of --unlabelled_file",
        ),
        (
            ["--student_layers", "2", "--hidden_state_weight", "1", "--teacher", "text"],
            "classify or tag",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(data, flags, problem, tmp_path):
    folder, files = data
    kind = flags[-1]
    with pytest.raises(AdaptkitError, match=problem):
        distill.main(
            [*files[kind], *flags[:-1], str(folder / kind), "--output_dir", str(tmp_path / "none")]
        )


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A T5 that has learned to say numbers as words."""
    folder = tmp_path_factory.mktemp("rewriters")
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven"]
    numbers = [(a, b, c) for a in range(8) for b in range(8) for c in (1, 6)]
    rows = [
        {"source": " ".join(map(str, row)), "target": " ".join(words[n] for n in row)}
        for row in numbers
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [
        "--train_file",
        str(folder / "pairs.jsonl"),
        "--num_beams",
        "1",
        "--disable_tqdm",
        "true",
    ]
    files += ["--learning_rate", "3e-3", "--max_target_length", "16"]
    translate.main(
        [
            *files,
            "--method",
            "full",
            "--num_train_epochs",
            "12",
            "--output_dir",
            str(folder / "teacher"),
        ]
    )
    return folder, files


def test_a_student_with_fewer_layers_rewrites_texts(pairs, capsys):
    folder, files = pairs
    teacher = Predictor(folder / "teacher")
    depths = teacher.model.config.num_layers, teacher.model.config.num_decoder_layers
    assert min(depths) >= 2
    flags = [
        "--teacher",
        str(folder / "teacher"),
        "--student_layers",
        str(depths[0]),
        "--student_decoder_layers",
        "1",
    ]
    distill.main(
        [*files, *flags, "--num_train_epochs", "8", "--output_dir", str(folder / "student")]
    )
    student = Predictor(folder / "student")
    assert (student.model.config.num_layers, student.model.config.num_decoder_layers) == (
        depths[0],
        1,
    )
    found = [
        json.loads((folder / name / "all_results.json").read_text())["eval_perplexity"]
        for name in ("teacher", "student")
    ]
    assert found[1] < 2 * found[0]
    assert student("3 5 6")[0]["text"]


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (
            ["--student_layers", "1", "--student_decoder_layers", "9", "--layer_map", "first"],
            "fewer than the 9 of the target",
        ),
        (
            ["--student_decoder_layers", "1", "--model_name_or_path", "x"],
            "goes with --student_layers",
        ),
        (["--student_layers", "2", "--student_decoder_layers", "-1"], "numbers from 1 on"),
        (
            ["--student_layers", "2", "--student_decoder_layers", "1", "--layer_map", "0,1"],
            "an encoder and a decoder of one depth",
        ),
        (
            ["--student_layers", "2", "--source_prefix", "say: "],
            "trained with --source_prefix '', the student is to read with 'say: '",
        ),
        (["--student", "bilstm"], "unknown student of translate"),
    ],
)
def test_depths_that_a_rewriter_cannot_have_are_refused(pairs, flags, problem, tmp_path):
    folder, files = pairs
    with pytest.raises(AdaptkitError, match=problem):
        distill.main(
            [
                *files,
                *flags,
                "--teacher",
                str(folder / "teacher"),
                "--output_dir",
                str(tmp_path / "none"),
            ]
        )


def test_decoder_layers_want_a_decoder_behind_an_encoder(data, tmp_path):
    folder, files = data
    flags = [
        "--student_layers",
        "2",
        "--student_decoder_layers",
        "1",
        "--teacher",
        str(folder / "text"),
    ]
    with pytest.raises(AdaptkitError, match="has no decoder behind an encoder"):
        distill.main([*files["text"], *flags, "--output_dir", str(tmp_path / "none")])
