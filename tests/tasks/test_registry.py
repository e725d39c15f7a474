"""Registering tasks: in this process, by a package, under a taken name; flags from fields."""

import json
from dataclasses import dataclass

import pytest

from adaptkit import AdaptkitError, Predictor, Task
from adaptkit.cli import main
from adaptkit.recipe.parser import parse_recipe
from adaptkit.tasks import registry
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.flags import flag
from adaptkit.tasks.registry import find_task, register_task


@pytest.fixture
def shout(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))

    @register_task
    @dataclass(frozen=True)
    class Shout(Classify):
        """Classifies texts in capital letters."""

        marks: int = flag(1, "exclamation marks behind each text")

        name = "shout"

        def read(self, table, labelled=True):
            table = super().read(table, labelled)
            loud = [row | {"text": row["text"].upper() + "!" * self.marks} for row in table.rows]
            return table.with_rows(loud)

    return Shout


def test_its_flags_come_from_its_fields(shout):
    parsed = parse_recipe(find_task("shout"), ["--marks", "3", "--text_column", "body"], "")
    assert (parsed.settings["marks"], parsed.columns) == (3, {"text": "body"})


def test_it_trains_answers_and_is_stored(shout, tmp_path, capsys):
    rows = "".join(
        f"{'good' if i % 2 else 'bad'} {i}\t{'yes' if i % 2 else 'no'}\n" for i in range(40)
    )
    (tmp_path / "rows.tsv").write_text("text\tlabel\n" + rows)
    flags = ["--train_file", str(tmp_path / "rows.tsv"), "--marks", "2", "--max_steps", "20"]
    main(["train", "shout", *flags, "--output_dir", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out/task.json").read_text())["settings"]["marks"] == 2
    predictor = Predictor(tmp_path / "out")
    assert predictor.task == shout(
        columns={"text": "text", "label": "label"}, labels=["no", "yes"], marks=2, pooling="mean"
    )
    assert predictor("good 3")[0]["label"] in ("no", "yes")
    assert "[CLS] good 1!! [SEP]" in _checked(tmp_path, flags, capsys)


def _checked(tmp_path, flags, capsys) -> str:
    main(["check", "shout", *flags, "--output_dir", str(tmp_path / "again")])
    return capsys.readouterr().out


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(AdaptkitError, match="'classify' is the name of a task of adaptkit's"):
        register_task(dataclass(frozen=True)(type("Mine", (Classify,), {"name": "classify"})))
    with pytest.raises(AdaptkitError, match="'distill' is the name of a recipe of adaptkit's"):
        register_task(dataclass(frozen=True)(type("Mine", (Classify,), {"name": "distill"})))
    with pytest.raises(AdaptkitError, match="a task's name is lower case"):
        register_task(dataclass(frozen=True)(type("Mine", (Classify,), {"name": "My Task"})))
    with pytest.raises(AdaptkitError, match="unknown task 'clasify'; did you mean 'classify'"):
        find_task("clasify")


def test_labels_that_are_numbers_get_names(tmp_path):
    from adaptkit.data.tables import Table

    task = Classify(label_names=["bad", "good"])
    read = task.read(Table([{"text": "a", "label": 1}, {"text": "b", "label": "bad"}], "rows"))
    assert [row["label"] for row in read.rows] == ["good", "bad"]
    with pytest.raises(
        AdaptkitError, match="rows row 0: the label is '2': --label_names has 2 names"
    ):
        task.read(Table([{"text": "a", "label": 2}], "rows"))
    for names in ("bad", ["bad", "bad"], [1, 2]):
        with pytest.raises(AdaptkitError, match="label_names are different names"):
            Classify(label_names=names)


def test_what_is_no_task_is_refused():
    with pytest.raises(AdaptkitError, match="derived from adaptkit.Task; it got <class 'dict'>"):
        register_task(dict)
    with pytest.raises(AdaptkitError, match=r"dataclass\(frozen=True\)"):
        register_task(type("Bare", (Classify,), {"name": "bare"}))
    shared = {"name": "mine", "parts": {"text": "text"}, "best_metric": "f1", "reported": ("f1",)}
    for changed, problem in (
        ({"auto_class": None}, "the transformers Auto class of its head; auto_class is None"),
        ({"parts": ["text"]}, "a dict of what a row has"),
        ({"reported": "f1"}, "a tuple with the names of the metrics"),
        ({}, "the task Mine needs its own read, features"),
    ):
        own = shared | {"auto_class": "AutoModelForSequenceClassification"} | changed
        with pytest.raises(AdaptkitError, match=problem):
            register_task(dataclass(frozen=True)(type("Mine", (Task,), own)))
