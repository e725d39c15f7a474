"""What recipes write about what they did."""

import numpy as np

from adaptkit.data.tables import Table
from adaptkit.recipe.report import write_predictions
from adaptkit.tasks.classify import Classify
from adaptkit.utils.plots import draw_confusion


def test_labels_that_look_like_formulas_are_drawn_and_written(tmp_path):
    labels = ["$", "$$", "a\tb", "日本|x"]
    assert draw_confusion(tmp_path / "c.png", np.eye(4, dtype=int), labels)
    rows = Table([{"text": "x\ny", "label": "a\tb"}], "x")
    write_predictions(tmp_path / "p.tsv", Classify(), rows, [{"label": "$$", "score": 0.5}])
    assert (tmp_path / "p.tsv").read_text() == "text\tgold\tpredicted\tscore\nx y\ta b\t$$\t0.5\n"
