"""TEI's `/predict` and vLLM's `/classify`."""

import pytest

from tests.helpers.answers import close
from tests.serve.stores import LABELS, TEXTS


def test_predict_gives_all_labels_the_likeliest_first(readers):
    one = readers.post("/predict", model="intent", inputs=TEXTS[0]).json
    several = readers.post("/predict", model="intent", inputs=[[TEXTS[0]], [TEXTS[1]]]).json
    alone = readers.host(TEXTS[:2], "intent", top_k=3)
    close(several, [[{"label": n, "score": row.scores[n]} for n in row.labels] for row in alone])
    close(one, several[0])
    assert [row["score"] for row in one] == sorted((row["score"] for row in one), reverse=True)


def test_predict_takes_pairs_and_scores(readers):
    [pair] = readers.post("/predict", model="same", inputs=[TEXTS[0], TEXTS[1]]).json
    row = {"text": TEXTS[0], "text_pair": TEXTS[1]}
    assert pair == {"label": "score", "score": pytest.approx(readers.host(row, "same")[0].score)}


def test_several_labels_a_text_have_probabilities_of_their_own(readers):
    found = readers.post("/predict", model="topics", inputs=TEXTS[0]).json
    alone = readers.host(TEXTS[0], "topics")[0].scores
    close({one["label"]: one["score"] for one in found}, alone)


def test_classify_gives_probabilities_in_the_order_of_the_labels(readers):
    reply = readers.post("/classify", model="intent", input=TEXTS[:2]).json
    assert readers.get("/v1/models/intent").json["labels"] == LABELS
    for index, (row, alone) in enumerate(
        zip(reply["data"], readers.host(TEXTS[:2], "intent", top_k=3), strict=True)
    ):
        close(row["probs"], [alone.scores[label] for label in LABELS])
        assert (row["index"], row["label"], row["num_classes"]) == (index, alone.labels[0], 3)
    assert reply["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize(
    "path, body, problem",
    [
        ("/predict", {"inputs": "x"}, "model names the adapter; those that give labels or scores"),
        ("/predict", {"inputs": ["a", "b", "c"], "model": "intent"}, "[['one'], ['two']]"),
        (
            "/predict",
            {"inputs": "x", "model": "intent", "raw_scores": True},
            "raw_scores: Input should be False",
        ),
        ("/predict", {"inputs": "x", "model": "search"}, "adapter 'search' (embed) does not"),
        ("/classify", {"input": "x", "model": "base"}, "the base does not give labels"),
        ("/classify", {"input": "x", "model": "stars"}, "those that do: broken, intent, topics"),
    ],
)
def test_what_gives_no_labels_is_refused(readers, path, body, problem):
    reply = readers.post(path, **body)
    assert (reply.status, problem in reply.problem) == (400, True), reply.text
