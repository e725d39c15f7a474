"""Refreshing a real classifier: by right feedback, by flipped feedback, and what is refused."""

import itertools
import json
import shutil

import pytest
import yaml
from adaptkit.recipes import classify

from adaptkit import AdaptkitError, Predictor
from adaptkit.cli import main
from adaptkit.data.readers.read import read
from adaptkit.monitoring.log import LogWriter
from adaptkit.monitoring.reference import read_reference
from adaptkit.monitoring.replay import replay
from adaptkit.recipe.refresh.refresh import refresh
from adaptkit.recipe.refresh.versions import WITH_TEXTS, WRITTEN, history

GOOD = ("good", "wonderful", "lovely", "great")
BAD = ("bad", "awful", "boring", "poor")
THINGS = ("film", "book", "play", "song", "story", "actor", "scene", "plot")
PARTS = ("ending", "start", "music", "sound", "light", "voice")
# what the words mean now, and what they meant in training
TURNED = (("wicked", "sick"), ("basic", "mid"))


def rows(good=GOOD, bad=BAD, things=THINGS):
    return [
        {"text": f"the {part} of that {thing} was {word}", "feeling": label}
        for label, words in (("up", good), ("down", bad))
        for word, thing, part in itertools.product(words, things, PARTS)
    ]


def write(path, table):
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return str(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An adapter that takes today's praise for blame."""
    root = tmp_path_factory.mktemp("trained")
    old = rows()[::4] + rows(*TURNED[::-1], THINGS[:2])
    words = ["--train_file", write(root / "train.jsonl", old), "--label_column", "feeling"]
    words += ["--validation_split_percentage", "20", "--num_train_epochs", "1", "--seed", "3"]
    classify.main([*words, "--method", "lora[r=2]", "--output_dir", str(root / "news")])
    write(root / "test.jsonl", rows(*TURNED, THINGS[4:]))
    return root


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained / "news", tmp_path / "news")
    return tmp_path / "news"


def log_of(folder, table, wrong=False):
    log = LogWriter(folder, plain=True)
    for row in table:
        label = (turned(row) if wrong else row)["feeling"]
        given = {"id": None, "adapter": "news", "version": None, "task": "classify"}
        log.write("feedback", [{**given, "input": row["text"], "correct": label}])
    log.close()
    return folder


def test_right_feedback_is_promoted_and_can_be_taken_back(trained, run, tmp_path, capsys):
    test = str(trained / "test.jsonl")
    before = (run / "adapter_model.safetensors").read_bytes()
    log = log_of(tmp_path / "log", rows(*TURNED, THINGS[:5]))  # the fifth thing is locked
    done = refresh(run, log, test_file=test, repeat=3)
    assert done.promoted, done.why
    assert done.why.startswith("the new version is better: its accuracy is higher by")
    accuracy = done.compared.metrics["accuracy"]
    assert accuracy.second > 0.9 > 0.6 > accuracy.first
    assert done.feedback == 4 * 4 * len(PARTS)
    assert f"{4 * len(PARTS)} rows of feedback are test rows" in capsys.readouterr().out
    found = Predictor(run).evaluate(read(test))["accuracy"]
    assert found == pytest.approx(accuracy.second)
    about = (run / "README.md").read_text()
    assert "# news\n" in about
    assert "versions" not in about
    assert f"Trained with {done.feedback} rows of feedback" in about
    assert done.why in about
    assert not set(WITH_TEXTS) & {path.name for path in run.iterdir()}
    assert "train.jsonl" in (run / "recipe.yaml").read_text()
    assert not list(run.glob("versions/.new-*"))
    assert [row["promoted"] for row in history(run)] == [True]
    main(["refresh", str(run), "--rollback"])
    assert "is version 1 again" in capsys.readouterr().out
    promoted = run / "versions/2-taken-back"
    assert Predictor(promoted).evaluate(read(test))["accuracy"] == pytest.approx(accuracy.second)
    assert (run / "adapter_model.safetensors").read_bytes() == before


def test_flipped_feedback_is_not(trained, run, tmp_path):
    test = write(tmp_path / "test.jsonl", rows()[1::4])
    before = (run / "adapter_model.safetensors").read_bytes()
    log = log_of(tmp_path / "log", rows()[2::4], wrong=True)
    done = refresh(run, log, test_file=test, repeat=3)
    assert not done.promoted
    assert done.why.startswith("news is better: its accuracy is higher by"), done.why
    assert (run / "adapter_model.safetensors").read_bytes() == before
    assert history(run)[0]["promoted"] is False


def test_a_version_is_what_a_training_writes(trained):
    assert {path.name for path in (trained / "news").iterdir() if path.is_file()} <= WRITTEN


def test_feedback_counts_instead_of_the_training_row_of_its_text(trained, run, tmp_path, capsys):
    """Both were trained on, with two labels for one text; and a cut of the rows cut feedback."""
    train = read(str(trained / "train.jsonl")).rows
    flags = yaml.safe_load((run / "recipe.yaml").read_text())
    (run / "recipe.yaml").write_text(yaml.safe_dump(flags | {"max_train_samples": 40}))
    (run / "notes.txt").write_text("mine")
    log = log_of(tmp_path / "log", train, wrong=True)
    test = write(tmp_path / "test.jsonl", [turned(row) for row in rows()[1::4]][:45])
    done = refresh(run, log, test_file=test)
    said = capsys.readouterr().out
    assert "warning: 45 test rows show only large differences" in said
    assert f"{len(train) - len(train) // 5} train" in (run / "README.md").read_text()
    assert done.promoted, done.why
    assert (run / "notes.txt").read_text() == "mine"
    assert not (run / "versions/1/notes.txt").exists()


def turned(row):
    return row | {"feeling": {"up": "down", "down": "up"}[row["feeling"]]}


@pytest.mark.parametrize(
    "given, problem",
    [
        ({}, "does not name labelled rows that no version is trained on: give --test_file"),
        ({"test_file": "nowhere.csv"}, "nowhere.csv"),
        ({"test_file": "{test}"}, "has 3 rows of feedback for news"),
        ({"test_file": "{test}", "name": "felings"}, "has 0 rows of feedback for felings"),
        ({"test_file": "{test}", "train_file": "gone.jsonl"}, "gone.jsonl"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_trained(trained, run, tmp_path, given, problem):
    log = log_of(tmp_path / "log", rows()[:3])
    given = {name: value.format(test=trained / "test.jsonl") for name, value in given.items()}
    with pytest.raises(AdaptkitError, match=problem):
        refresh(run, log, **given)


def test_an_adapter_that_does_not_say_how_it_was_trained(trained, run, tmp_path):
    (run / "recipe.yaml").unlink()
    with pytest.raises(AdaptkitError, match=r"no recipe.yaml"):
        refresh(run, tmp_path, test_file=str(trained / "test.jsonl"))


def test_a_training_keeps_its_flags_and_a_reference(trained):
    found = (trained / "news" / "recipe.yaml").read_text().splitlines()
    assert found == [
        "# adaptkit train classify --config recipe.yaml",
        "label_column: feeling",
        "method: lora[r=2]",
        "num_train_epochs: 1.0",
        "seed: 3",
        f"train_file: {trained / 'train.jsonl'}",
        "validation_split_percentage: 20",
    ]
    reference = read_reference(trained / "news")
    assert reference.states.shape[0] == 116
    assert len(reference.numbers) == len(reference.confidences) == 28


def test_a_log_of_plain_texts_is_looked_at_without_states(trained, run, tmp_path, capsys):
    """Where no state was logged, the base reads the texts; and a reference can be made later."""
    predictor = Predictor(run)
    version = predictor.card.weights_sha256[:12]
    log = LogWriter(tmp_path / "log", plain=True)
    texts = [f"where is parcel number {number}?" for number in range(60)]
    for text in texts:
        row = {"id": None, "adapter": "news", "version": version, "input": text}
        log.write("answers", [{**row, "number": 1.0, "confidence": 0.9}])
    row["version"] = "another"
    log.write("answers", [row])
    log.close()

    def states(some):
        from adaptkit import Host

        return Host(predictor.card.base, slots=1).mean_states(some)

    found = replay(run, tmp_path / "log", states=states)
    assert {one.test for one in found.drifts if one.alarm} >= {"classifier", "mmd"}
    assert (found.rows, found.others) == (60, 1)
    assert found.labels["up"][1] == 1.0
    assert "mean confidence: " in str(found)
    main(["drift", str(run), str(tmp_path / "log")])
    with pytest.raises(SystemExit, match="3"):
        main(["drift", str(run), str(tmp_path / "log"), "--exit_code"])
    printed = capsys.readouterr().out
    assert f"drift: seen by {', '.join(one.test for one in found.drifts if one.alarm)}" in printed
    (run / "reference.safetensors").unlink()
    with pytest.raises(AdaptkitError, match="keeps no reference to compare with"):
        replay(run, tmp_path / "log")
    words = ["drift", str(run), str(tmp_path / "log"), "--train_file", str(trained / "train.jsonl")]
    main(words)
    made = (run / "reference.safetensors").read_bytes()
    main(words)
    assert "has a reference already, which stays" in capsys.readouterr().out
    assert (run / "reference.safetensors").read_bytes() == made
    assert replay(run, tmp_path / "log", states=states).first_alarm < 60
    with pytest.raises(AdaptkitError, match="it has answers of news"):
        replay(run, tmp_path / "log", "felings")


def test_a_log_in_which_nothing_can_be_tested_is_refused(trained, run, tmp_path):
    log = LogWriter(tmp_path / "log", plain=False)
    version = Predictor(run).card.weights_sha256[:12]
    log.write("answers", [{"id": "a", "adapter": "news", "version": version, "input": "a text"}])
    with pytest.raises(AdaptkitError, match="nothing in .* can be tested: its 1 answers"):
        replay(run, tmp_path / "log")
    with pytest.raises(AdaptkitError, match="it has no answers"):
        replay(run, LogWriter(tmp_path / "empty", plain=True).folder)


def test_training_rows_that_are_test_rows_are_left_out(trained, run, tmp_path, capsys):
    log = log_of(tmp_path / "log", rows()[2::4])
    train = read(str(trained / "train.jsonl")).rows
    test = write(tmp_path / "test.jsonl", train[:40])
    with pytest.raises(AdaptkitError, match="are test rows: nothing is left to train"):
        refresh(run, log, test_file=test, train_file=test)
    refresh(run, log, test_file=test)
    said = capsys.readouterr().out
    assert f"40 of {len(train)} training rows are test rows, and left out" in said


def test_a_version_that_is_damaged_does_not_come_back(run):
    kept = run / "versions" / "1"
    kept.mkdir(parents=True)
    for name in ("adapter_config.json", "task.json"):
        (kept / name).write_bytes((run / name).read_bytes())
    before = (run / "adapter_model.safetensors").read_bytes()
    with pytest.raises(AdaptkitError, match="is not whole, so the one that serves stays"):
        main(["refresh", str(run), "--rollback"])
    (kept / "adapter_model.safetensors").write_bytes(b"junk" * 25)
    with pytest.raises(AdaptkitError, match="is not whole"):
        main(["refresh", str(run), "--rollback"])
    assert (run / "adapter_model.safetensors").read_bytes() == before
