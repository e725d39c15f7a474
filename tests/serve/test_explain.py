"""`/v1/explain`: leaving words out."""

import math

import numpy as np
import pytest

from adaptkit.host.answers import Labels
from adaptkit.serve.routes.explain import _logit
from adaptkit.tasks.classify import Classify

TEXT = "My lamp broke, 我的灯"


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def test_a_words_share_is_what_the_logit_loses_without_it(readers):
    found = readers.post("/v1/explain", model="intent", input=TEXT).json
    label = readers.host(TEXT, "intent")[0].label
    assert (found["label"], found["text"]) == (label, TEXT)
    assert [word["text"] for word in found["words"]] == ["My", "lamp", "broke", "我", "的", "灯"]
    whole = readers.host(TEXT, "intent", top_k=3)[0].scores[label]
    for word in found["words"]:
        assert TEXT[word["start"] : word["end"]] == word["text"]
        without = TEXT[: word["start"]] + TEXT[word["end"] :]
        share = readers.host(without, "intent", top_k=3)[0].scores[label]
        assert word["share"] == pytest.approx(logit(whole) - logit(share), abs=1e-3)
    other = readers.post("/v1/explain", model="intent", input="lamp", label="praise").json
    assert other["label"] == "praise"
    assert other["words"][0]["share"] == 0  # nothing is left without it


@pytest.mark.parametrize(
    "body, status, problem",
    [
        ({"model": "stars", "input": "x"}, 400, "does not give labels"),
        ({"model": "intent", "input": "x", "label": "refnd"}, 400, "did you mean 'refund'"),
        ({"model": "intent", "input": "a " * 300}, 413, "the text has 300 words; at most 255"),
    ],
)
def test_what_cannot_be_explained_is_refused(readers, body, status, problem):
    reply = readers.post("/v1/explain", **body)
    assert (reply.status, problem in reply.problem) == (status, True), reply.text


def test_a_sure_answer_has_shares_too():
    """Every word of a text with a probability of 1.0 had the share 0."""
    task = Classify(labels=["a", "b", "c"], top_k=3)
    logits = np.array([[30.0, 0.0, 3.0], [25.0, 0.0, 3.0]], np.float32)
    whole, without = (Labels(**one) for one in task.decode(logits, None, None))
    assert whole.scores["a"] == without.scores["a"] == 1.0
    assert _logit(whole, "a", False) - _logit(without, "a", False) == pytest.approx(5, abs=1e-3)
    assert _logit(Labels(["a"], {"a": 1.0}), "a", True) == pytest.approx(math.log(1e6))
