"""What recipes write about what they did."""

import json

import numpy as np
import yaml

from adaptkit.data.tables import Table
from adaptkit.recipe.parser import parse_recipe
from adaptkit.recipe.prepare import prepare
from adaptkit.recipe.report import write_predictions, write_recipe
from adaptkit.tasks.classify import Classify
from adaptkit.utils.plots import draw_confusion


def test_labels_that_look_like_formulas_are_drawn_and_written(tmp_path):
    labels = ["$", "$$", "a\tb", "日本|x"]
    assert draw_confusion(tmp_path / "c.png", np.eye(4, dtype=int), labels)
    rows = Table([{"text": "x\ny", "label": "a\tb"}], "x")
    write_predictions(tmp_path / "p.tsv", Classify(), rows, [{"label": "$$", "score": 0.5}])
    assert (tmp_path / "p.tsv").read_text() == "text\tgold\tpredicted\tscore\nx y\ta b\t$$\t0.5\n"


def test_the_flags_of_a_training_repeat_it(tmp_path, monkeypatch):
    """Also those that Trainer has a setting of the same name for."""
    rows = [{"words": f"text {i}", "label": i % 2} for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    words = ["--train_file", "rows.jsonl", "--label_names", "no", "yes", "--text_column", "words"]
    words += ["--lr_scheduler_type", "cosine", "--learning_rate", "3e-4", "--bf16", "false"]
    prepared = prepare(parse_recipe(Classify, [*words, "--output_dir", "out"], ""))
    write_recipe(tmp_path, prepared)
    found = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert found == {
        "bf16": False,
        "label_names": ["no", "yes"],
        "learning_rate": 3e-4,
        "lr_scheduler_type": "cosine",
        "text_column": "words",
        "train_file": str(tmp_path / "rows.jsonl"),
    }
    config = ["--config", str(tmp_path / "recipe.yaml"), "--output_dir", "out"]
    again = prepare(parse_recipe(Classify, config, ""))
    assert (again.task, again.given - {"config"}) == (prepared.task, prepared.given)
    assert again.training.learning_rate == 3e-4
