"""Embeddings and reranking, as several clients ask for them."""

import math

import pytest

from tests.helpers.answers import close
from tests.serve.stores import TEXTS


def test_embed_gives_vectors_of_length_one(readers):
    found = readers.post("/embed", inputs=TEXTS[:3]).json  # the only adapter that embeds
    close(found, [one.embedding for one in readers.host(TEXTS[:3], "search")])
    assert math.hypot(*found[0]) == pytest.approx(1, abs=1e-5)
    close(readers.post("/embed", inputs=TEXTS[0], model="search").json, found[:1])


def test_the_base_embeds_by_the_mean_of_its_hidden_states(readers):
    [found] = readers.post("/embed", inputs=TEXTS[0], model="base").json
    mean = readers.host(TEXTS[0])[0].states.mean(0)
    close(found, (mean / mean.norm()).tolist())


@pytest.mark.parametrize("model", ["search", "same"])
def test_texts_are_ranked_for_a_query(readers, model):
    query, texts = TEXTS[0], TEXTS[1:7]
    found = readers.post("/rerank", model=model, query=query, texts=texts, return_text=True).json
    if model == "search":
        first, *others = [one.embedding for one in readers.host([query, *texts], model)]
        scores = [sum(a * b for a, b in zip(first, one, strict=True)) for one in others]
    else:
        rows = [{"text": query, "text_pair": text} for text in texts]
        scores = [one.score for one in readers.host(rows, model)]
    for row in found:
        assert row["score"] == pytest.approx(scores[row["index"]], abs=1e-5)
        assert row["text"] == texts[row["index"]]
    assert [row["score"] for row in found] == sorted((r["score"] for r in found), reverse=True)
    best = readers.post("/v1/rerank", model=model, query=query, documents=texts, top_n=2).json
    assert [row["index"] for row in best["results"]] == [row["index"] for row in found[:2]]
    assert best["results"][0]["document"] == {"text": found[0]["text"]}


@pytest.mark.parametrize(
    "path, body, problem",
    [
        (
            "/rerank",
            {"query": "x", "texts": ["y"]},
            "those that compare texts: same, search",
        ),
        ("/rerank", {"query": "x", "model": "search"}, "give texts or documents"),
        (
            "/rerank",
            {"query": "x", "texts": ["y"], "model": "stars"},
            "adapter 'stars' (score) does not compare texts",
        ),
        ("/embed", {"inputs": "x", "normalize": False}, "normalize: Input should be True"),
        ("/embed", {"inputs": "x", "model": "intent"}, "those that do: search"),
        ("/v1/embeddings", {"input": "x", "model": "search", "dimensions": 8}, "32 dimensions"),
    ],
)
def test_what_cannot_be_compared_is_refused(readers, path, body, problem):
    reply = readers.post(path, **body)
    assert (reply.status, problem in reply.problem) == (400, True), reply.text
