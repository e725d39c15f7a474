"""Every task scores drawn rows as it scores the rows themselves."""

from dataclasses import dataclass

import numpy as np
import pytest

from adaptkit import Table, Task
from adaptkit.tasks.answer import Answer
from adaptkit.tasks.chat import Chat
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.embed import Embed
from adaptkit.tasks.relate import Relate
from adaptkit.tasks.score import Score
from adaptkit.tasks.summarize import Summarize
from adaptkit.tasks.tag import Tag
from adaptkit.tasks.translate import Translate

AB, RELATIONS = ["a", "b"], ["A(e1,e2)", "A(e2,e1)", "B(e1,e2)", "Other"]
TEXT = "in Bern on Monday"
PLACE = {"start": 3, "end": 7, "label": "place"}
DAY = {"start": 11, "end": 17, "label": "day"}
SPANS = [[], [PLACE], [DAY], [PLACE, DAY]]
WORDS = ["a red house", "the red house", "a house", "nothing of this"]
FOUND = [[], [{"text": "red house"}], [{"text": "house"}], []]
# task -> each row's reference and its answer, by what a row can be
CASES = {
    "classify": (
        Classify(labels=AB),
        [{"label": x} for x in "abaa"],
        [{"label": x} for x in "aabb"],
    ),
    "many labels": (
        Classify(labels=AB, multi_label=True),
        [{"label": x} for x in ([], ["a"], ["b"], AB)],
        [{"labels": x} for x in (["b"], ["a"], AB, ["a"])],
    ),
    "relate": (
        Relate(labels=RELATIONS),
        [{"label": x} for x in RELATIONS],
        [{"label": RELATIONS[i]} for i in (0, 0, 2, 2)],
    ),
    "score": (
        Score(labels=["score"]),
        [{"score": x} for x in (1.0, 2.0, 2.0, 5.0)],
        [{"score": x} for x in (1.5, 1.0, 3.0, 4.0)],
    ),
    "pairs": (
        Embed(columns={"score": "score"}),
        [{"score": x} for x in (1.0, 2.0, 2.0, 5.0)],
        [{"similarity": x} for x in (0.1, 0.3, 0.2, 0.9)],
    ),
    "tag": (
        Tag(labels=["O", "B-day", "I-day", "B-place", "I-place"]),
        [{"text": TEXT, "entities": x} for x in SPANS],
        [{"entities": SPANS[i]} for i in (1, 1, 3, 2)],
    ),
    "answer": (
        Answer(unanswerable=True),
        [{"answers": x, "unplaced": []} for x in FOUND],
        [{"text": x} for x in ("", "a red house", "red", "red")],
    ),
    "translate": (
        Translate(),
        [{"references": [x, "red"], "target": x} for x in WORDS],
        [{"text": x} for x in WORDS[::-1]],
    ),
    "summarize": (
        Summarize(),
        [{"references": [x], "target": x} for x in WORDS],
        [{"text": x} for x in WORDS[::-1]],
    ),
    "chat": (
        Chat(),
        [{"messages": [{"role": "assistant", "content": x}]} for x in WORDS],
        [{"text": x} for x in (*WORDS[:2], *WORDS[:2])],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_drawn_rows_are_scored_as_the_rows_themselves(name):
    task, rows, answers = CASES[name]
    random = np.random.default_rng(0)
    kinds = random.integers(0, 4, 30)
    table = Table([rows[kind] for kind in kinds], "here")
    given = [answers[kind] for kind in random.permutation(kinds)]
    scores = task.row_scores(given, table)
    assert scores() == task.score(given, table)
    assert {*task.reported} & scores().keys()
    drawn = random.integers(0, 30, 30)
    wanted = task.score([given[i] for i in drawn], table.take(drawn))
    assert scores(drawn) == pytest.approx(wanted, rel=1e-12)
    own = np.arange(30)
    both = scores.and_rows(task.row_scores([answers[kind] for kind in kinds], table))
    mixed = [given[i] if i % 2 else answers[kinds[i]] for i in own]
    if name not in ("score", "pairs"):  # whose numbers are compared by their ranks
        assert both(np.where(own % 2, own, own + 30)) == pytest.approx(task.score(mixed, table))


@dataclass(frozen=True)
class ByScore(Task):
    """A task from outside, which says how answers are scored and no more."""

    name = "byscore"

    def score(self, answers, table):
        pairs = zip(answers, table.rows, strict=True)
        return {"accuracy": sum(a["label"] == row["label"] for a, row in pairs) / len(answers)}


def test_a_task_that_defines_score_alone_scores_drawn_rows():
    table = Table([{"label": x} for x in "aab"], "here")
    scores = ByScore().row_scores([{"label": x} for x in "aba"], table)
    assert scores()["accuracy"] == pytest.approx(1 / 3)
    assert scores(np.asarray([0, 0, 2]))["accuracy"] == pytest.approx(2 / 3)


def test_a_task_without_scores_says_so():
    for asked in (Task().score, Task().row_scores):
        with pytest.raises(NotImplementedError):
            asked([], Table([], "here"))
