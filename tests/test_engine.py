"""The training engine: resuming after a kill, accumulation, several runs, search, and what changes
the loss. Real processes.
"""

import json
import random
import re
import signal
import time
from pathlib import Path

import pytest
import torch
from adaptkit.recipes import classify, score, tag
from safetensors.torch import load_file
from torch import nn

from adaptkit import AdaptkitError, Predictor, Table, adapt, load_base, load_tokenizer
from adaptkit.data.augmentation import Augmentation, augment, read_synonyms
from adaptkit.data.corpus import load_corpus
from adaptkit.data.splits import folds
from adaptkit.methods.grammar import parse_method
from adaptkit.models.scratch import make_model
from adaptkit.recipe.cross_validation import summarize
from adaptkit.recipe.search import _with_rank
from adaptkit.training.adversarial import on_embeddings
from adaptkit.training.checkpoints import last_whole_checkpoint
from adaptkit.training.fastest_attention import earlier_choice
from tests import processes

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A tiny BERT and a tiny Llama, and files with few rows."""
    root = tmp_path_factory.mktemp("small")
    rows = load_corpus("train")[:64]
    still = {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }  # batches of other sizes draw other numbers
    for kind, settings in (("bert", still), ("llama", {})):
        make_model(kind, [row["text"] for row in rows], root / kind, vocab_size=500, **settings)
    for name, part in (("train", rows[:48]), ("dev", rows[48:])):
        lines = [
            json.dumps({key: row[key] for key in ("text", "sentiment", "urgency", "reply")})
            for row in part
        ]
        (root / f"{name}.jsonl").write_text("\n".join(lines))
    return root


def flags(small: Path, out: Path, *more: str, kind: str = "bert") -> list[str]:
    given = [
        "--train_file",
        str(small / "train.jsonl"),
        "--validation_file",
        str(small / "dev.jsonl"),
    ]
    given += [
        "--model_name_or_path",
        str(small / kind),
        "--output_dir",
        str(out),
        "--disable_tqdm",
        "true",
        "--seed",
        "3",
    ]
    return [*given, *more]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


CLASSIFY = ["--label_column", "sentiment", "--learning_rate", "3e-3", "--max_seq_length", "64"]
CHAT = [
    "--prompt_column",
    "text",
    "--completion_column",
    "reply",
    "--num_generated",
    "1",
    "--max_new_tokens",
    "2",
]
OFTEN = [
    "--save_strategy",
    "steps",
    "--save_steps",
    "3",
    "--eval_strategy",
    "steps",
    "--eval_steps",
    "3",
    "--logging_steps",
    "1",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe, own, kind", [("classify", CLASSIFY, "bert"), ("chat", CHAT, "llama")]
)
def test_a_killed_run_resumes_to_the_same_weights(small, tmp_path, recipe, own, kind):
    """SIGKILL at a step nobody chose; the resumed run ends with the weights of one that ran
    through, bit by bit.
    """
    words = [
        *own,
        *OFTEN,
        "--num_train_epochs",
        "4",
        "--per_device_train_batch_size",
        "8",
        "--save_total_limit",
        "3",
    ]
    words += ["--method", "lora[dropout=0.1]"]

    def command(out: Path, *more: str) -> list[str]:
        return [str(ROOT / f"recipes/{recipe}.py"), *flags(small, out, *words, *more, kind=kind)]

    killed = processes.start(*command(tmp_path / "killed"))
    while not list((tmp_path / "killed").glob("checkpoint-*/trainer_state.json")):
        assert killed.process.is_alive(), killed.stderr[-2000:]
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.8))
    killed.kill()
    assert killed.wait().returncode == -signal.SIGKILL
    assert not (tmp_path / "killed/adapter_model.safetensors").exists()
    processes.run(*command(tmp_path / "killed", "--resume_from_checkpoint", "true"))
    # measured: another start may find another one faster
    attention = earlier_choice(tmp_path / "killed").name
    processes.run(*command(tmp_path / "whole", "--attn_implementation", attention))
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert one.keys() == two.keys()
    for key, tensor in one.items():
        assert torch.equal(two[key], tensor), key
    assert max(tensor.abs().max() for key, tensor in one.items() if "lora_B" in key) > 1e-3


def test_a_checkpoint_that_was_cut_short_is_passed_over(tmp_path):
    for step, state in ((5, "{}"), (10, "{}"), (20, '{"epoch": 1')):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-30").mkdir()
    assert last_whole_checkpoint(tmp_path).name == "checkpoint-10"
    assert last_whole_checkpoint(tmp_path / "checkpoint-30") is None


@pytest.mark.slow
@pytest.mark.parametrize("label", ["classify", "score", "weighted"])
def test_four_times_eight_is_thirty_two(small, tmp_path, label):
    """Accumulated batches of any size, the last one short: the same weights."""
    own = [*CLASSIFY, "--class_weights"] if label == "weighted" else CLASSIFY
    recipe = score if label == "score" else classify
    own = ["--score_column", "urgency", "--learning_rate", "3e-3"] if label == "score" else own
    same = [
        *own,
        "--max_steps",
        "5",
        "--bf16",
        "false",
        "--eval_strategy",
        "no",
        "--adversarial_epsilon",
        "0.5",
    ]
    for batch, steps in ((32, 1), (8, 4), (4, 8)):
        parts = [
            "--per_device_train_batch_size",
            str(batch),
            "--gradient_accumulation_steps",
            str(steps),
        ]
        recipe.main(flags(small, tmp_path / str(batch), *same, *parts))
    whole, *others = (weights(tmp_path / str(batch)) for batch in (32, 8, 4))
    for other in others:
        for key, tensor in whole.items():
            torch.testing.assert_close(
                other[key], tensor, atol=2e-5, rtol=0, msg=lambda m, key=key: f"{key}: {m}"
            )


@pytest.mark.slow
def test_what_is_asked_of_training_is_done(small, tmp_path):
    """Each flag trains, and to other weights than without it; checkpointing changes nothing but
    memory.
    """
    same = [
        *CLASSIFY,
        "--max_steps",
        "4",
        "--bf16",
        "false",
        "--eval_strategy",
        "no",
        "--per_device_train_batch_size",
        "8",
    ]
    same += [
        "--attn_implementation",
        "eager",
    ]  # measured at start-up, each run could choose another one
    (tmp_path / "synonyms.txt").write_text("kettle, pot\nplease, kindly\n")
    cases = {
        "plain": [],
        "checkpointing": ["--gradient_checkpointing", "true"],
        "smoothing": ["--label_smoothing_factor", "0.2"],
        "weights": ["--class_weights"],
        "fgm": ["--adversarial_epsilon", "1.0"],
        "augment": [
            "--augment_copies",
            "2",
            "--synonym_file",
            str(tmp_path / "synonyms.txt"),
            "--word_dropout",
            "0.3",
        ],
        "tensorboard": ["--report_to", "tensorboard", "--logging_steps", "1"],
    }
    for name, more in cases.items():
        classify.main(flags(small, tmp_path / name, *same, *more))
    plain = weights(tmp_path / "plain")
    for name in cases:
        far = max(
            (weights(tmp_path / name)[key] - tensor).abs().max().item()
            for key, tensor in plain.items()
        )
        assert far < 1e-6 if name in ("plain", "checkpointing", "tensorboard") else far > 1e-5, (
            name,
            far,
        )
    assert (
        json.loads((tmp_path / "augment/all_results.json").read_text())["train_samples"] == 3 * 48
    )
    assert list((tmp_path / "tensorboard").glob("**/events.out.tfevents.*"))


@pytest.mark.slow
def test_folds_and_seeds_have_a_mean_and_a_spread(small, tmp_path):
    same = [*CLASSIFY, "--max_steps", "3", "--per_device_train_batch_size", "8"]
    classify.main(flags(small, tmp_path / "folds", *same, "--folds", "3"))
    classify.main(flags(small, tmp_path / "seeds", *same, "--seeds", "1", "2"))
    for kind, names in (("folds", ["fold-1", "fold-2", "fold-3"]), ("seeds", ["seed-1", "seed-2"])):
        summary = json.loads((tmp_path / kind / "all_results.json").read_text())
        each = [
            json.loads((tmp_path / kind / name / "all_results.json").read_text()) for name in names
        ]
        assert summary["runs"] == names
        assert summary["eval_accuracy"] == pytest.approx(
            sum(run["eval_accuracy"] for run in each) / len(each)
        )
        assert (tmp_path / kind / names[1] / "adapter_model.safetensors").is_file()
    sizes = [
        run["eval_samples"]
        for run in (
            json.loads((tmp_path / f"folds/fold-{i}/all_results.json").read_text())
            for i in (1, 2, 3)
        )
    ]
    assert sum(sizes) == 64  # training and validation rows together
    for more, message in (
        (["--folds", "1"], "2 or more"),
        (["--folds", "2", "--seeds", "1"], "not both"),
        (["--search", "1"], "2 trials"),
    ):
        with pytest.raises(AdaptkitError, match=message):
            classify.main(flags(small, tmp_path / "no", *same, *more))


@pytest.mark.slow
def test_the_best_trial_is_what_is_trained_in_the_end(small, tmp_path):
    """Rank, rate and batch of the trials are really used: the final training scores what the best
    trial did.
    """
    words = [
        "--score_column",
        "urgency",
        "--learning_rate",
        "3e-3",
        "--bf16",
        "false",
        "--max_steps",
        "8",
        "--eval_strategy",
        "steps",
        "--metric_for_best_model",
        "mae",
    ]
    score.main(
        flags(
            small,
            tmp_path / "out",
            *words,
            "--eval_steps",
            "8",
            "--save_steps",
            "8",
            "--search",
            "4",
        )
    )
    head, *lines = [
        line.split("\t") for line in (tmp_path / "out/search.tsv").read_text().splitlines()
    ]
    trials = [dict(zip(head, line, strict=True)) for line in lines]
    best = min(trials, key=lambda trial: float(trial["mae"]))
    results = json.loads((tmp_path / "out/all_results.json").read_text())
    assert results["eval_mae"] == pytest.approx(float(best["mae"]), abs=1e-4)
    assert len({trial["rank"] for trial in trials}) > 1


@pytest.mark.slow
def test_search_tries_and_then_trains_with_the_best(small, tmp_path, capsys):
    same = [
        *CLASSIFY,
        "--max_steps",
        "6",
        "--eval_strategy",
        "steps",
        "--eval_steps",
        "3",
        "--save_steps",
        "3",
    ]
    classify.main(flags(small, tmp_path / "out", *same, "--search", "3"))
    said = capsys.readouterr().out
    assert "best of 3: " in said
    lines = (tmp_path / "out/search.tsv").read_text().splitlines()
    assert lines[0].split("\t") == [
        "trial",
        "accuracy",
        "learning_rate",
        "per_device_train_batch_size",
        "rank",
    ]
    assert len(lines) == 4
    card = json.loads((tmp_path / "out/task.json").read_text())
    rank = re.search(r"'rank': (\d+)", said)[1]
    assert f"r={rank}," in card["method"]


def test_a_rank_is_put_into_every_lora():
    assert _with_rank("lora", 4) == "lora[r=4]"
    assert parse_method(
        _with_rank("lora[sites=attn.q|attn.v,layers=last[2],r=8]+prefix[length=3]", 16)
    ) == parse_method("lora[r=16,sites=attn.q|attn.v,layers=last[2]]+prefix[length=3]")
    assert parse_method(_with_rank("lora[r=8,alpha=8]", 32))[0].scale == 1
    assert parse_method(_with_rank("lora[r=8,alpha=6,rslora=true]", 4))[0].alpha == 6
    assert "r=4" in _with_rank("unipelt", 4)
    assert _with_rank("bottleneck", 4) == "bottleneck"
    for other in ("peft:lora[r=2]", "full"):
        assert _with_rank(other, 4) == other


def test_the_mean_of_runs():
    assert summarize([{"a": 1.0, "b": "x"}, {"a": 3.0, "b": "y"}]) == {
        "a": 2.0,
        "a_std": pytest.approx(2**0.5),
    }


def test_folds_hold_every_row_once_and_keep_groups_together():
    table = Table([{"n": i} for i in range(50)], "x")
    parts = folds(table, [str(i // 4) for i in range(50)], 5, seed=1)
    held = [row["n"] for _, fold in parts for row in fold.rows]
    assert sorted(held) == list(range(50))
    assert all(
        {row["n"] // 4 for row in rest.rows}.isdisjoint(row["n"] // 4 for row in fold.rows)
        for rest, fold in parts
    )
    assert max(len(fold) for _, fold in parts) - min(len(fold) for _, fold in parts) <= 4
    with pytest.raises(AdaptkitError, match="5 folds need 5 different rows"):
        folds(table.take([0, 1]), ["a", "b"], 5, seed=1)


def test_copies_are_changed_and_labels_stay(tmp_path):
    table = Table(
        [
            {"text": "my kettle leaks a lot today", "label": "a"},
            {"text": "水壶漏水了", "label": "b"},
        ],
        "x",
    )
    how = Augmentation(copies=20, dropout=0.3, swap=0.3, synonyms={"kettle": ["pot"]})
    more = augment(table, ["text"], how, seed=1)
    assert more.rows[:2] == table.rows
    assert [row["label"] for row in more.rows] == ["a", "b"] * 21
    texts = [row["text"] for row in more.rows]
    assert len(set(texts)) > 20
    assert any("pot" in text for text in texts)
    assert all(set(text) <= set("水壶漏水了") for text in texts[1::2])
    assert augment(table, ["text"], how, seed=1).rows == more.rows
    with pytest.raises(AdaptkitError, match="tag needs its texts as they are"):
        tag.main(["--augment_copies", "1", "--output_dir", str(tmp_path / "out")])


def test_synonyms_are_found_beside_signs_and_in_scripts_without_blanks():
    always = Augmentation(
        dropout=0, swap=0, replace=1, synonyms={"good": ["fine"], "手机": ["电话"], "手": ["掌"]}
    )
    assert (
        always.text('It is good, really "Good".', random.Random(0)) == 'It is fine, really "Fine".'
    )
    assert always.text("我的手机坏了。手", random.Random(0)) == "我的电话坏了。掌"
    assert always.text("goods ... !", random.Random(0)) == "goods ... !"


def test_synonyms_are_read(tmp_path):
    (tmp_path / "s.txt").write_text("kettle, pot, boiler\nquick\tfast\n")
    assert read_synonyms(str(tmp_path / "s.txt"))["pot"] == ["kettle", "boiler"]
    (tmp_path / "s.txt").write_text("kettle, pot\nalone\n")
    with pytest.raises(AdaptkitError, match=r"s\.txt:2: expected two words"):
        read_synonyms(str(tmp_path / "s.txt"))
    with pytest.raises(AdaptkitError, match="there is no synonym file"):
        read_synonyms(str(tmp_path / "t.txt"))


def test_the_attack_moves_each_row_by_epsilon_against_the_loss():
    torch.manual_seed(1)
    embeddings, head = nn.Embedding(10, 4).requires_grad_(False), nn.Linear(4, 1)
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    with on_embeddings(embeddings, 0.3) as attack:
        clean = embeddings(ids)
        before = head(clean.tanh()).sum()
        before.backward()
        gradient = attack.outputs[0].grad
        attack.apply()
        moved = embeddings(ids)
    step = moved - embeddings(ids)
    torch.testing.assert_close(step.flatten(1).norm(dim=1), torch.full((2,), 0.3))
    torch.testing.assert_close(step, 0.3 * gradient / gradient.flatten(1).norm(dim=1).view(2, 1, 1))
    assert head(moved.tanh()).sum() > before
    torch.testing.assert_close(embeddings(ids), embeddings.weight[ids])  # the hook is gone


def test_early_stopping_stops(small, tmp_path):
    own = [
        *CLASSIFY[:2],
        "--learning_rate",
        "1e-9",
        "--max_seq_length",
        "64",
        "--eval_strategy",
        "steps",
        "--eval_steps",
        "1",
    ]
    more = ["--save_steps", "1", "--max_steps", "40", "--early_stopping_patience", "2"]
    classify.main(flags(small, tmp_path / "out", *own, *more))
    state = json.loads(
        last_whole_checkpoint(tmp_path / "out").joinpath("trainer_state.json").read_text()
    )
    assert state["global_step"] <= 4


def test_multi_label_rows_train_and_answer(tmp_path, small):
    rows = [
        {"text": row["text"], "kinds": sorted({entity["label"] for entity in row["entities"]})}
        for row in load_corpus("train")[:48]
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = [
        "--train_file",
        str(tmp_path / "rows.jsonl"),
        "--label_column",
        "kinds",
        "--multi_label",
        "--max_steps",
        "3",
    ]
    words += [
        "--model_name_or_path",
        str(small / "bert"),
        "--output_dir",
        str(tmp_path / "out"),
        "--disable_tqdm",
        "true",
    ]
    classify.main(words)
    results = json.loads((tmp_path / "out/all_results.json").read_text())
    assert {"eval_f1_micro", "eval_f1", "eval_accuracy"} <= results.keys()
    head, *lines = (tmp_path / "out/per_label.tsv").read_text().splitlines()
    assert head.split("\t") == ["label", "precision", "recall", "f1", "support"]
    assert len(lines) == len({kind for row in rows for kind in row["kinds"]})


def test_all_weights_train_and_come_back(small, tmp_path):
    words = [*CLASSIFY[:2], "--method", "full", "--max_steps", "3", "--max_seq_length", "64"]
    classify.main(flags(small, tmp_path / "out", *words))
    predictor = Predictor(tmp_path / "out")
    results = json.loads((tmp_path / "out/all_results.json").read_text())
    again = predictor.evaluate(
        Table([json.loads(line) for line in (small / "dev.jsonl").read_text().splitlines()], "x")
    )
    assert again["accuracy"] == pytest.approx(results["eval_accuracy"])
    base = load_base(str(small / "bert"), task="classify", labels=3)
    assert adapt(base, "lora")  # a whole model can be a base again
    assert load_tokenizer(str(tmp_path / "out")).vocab_size == 500
