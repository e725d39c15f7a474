"""Any task by `/v1/answer`: the answers are those of the host."""

import concurrent.futures

import pytest

from tests.helpers.answers import close
from tests.serve.stores import TEXTS

PAIR = {"question": "Who?", "context": "Anna bought a lamp."}
ASKED = {
    "intent": TEXTS[0],
    "topics": TEXTS[1],
    "same": {"text": TEXTS[0], "text_pair": TEXTS[1]},
    "stars": TEXTS[2],
    "names": {"tokens": ["Anna", "bought", "a", "lamp"]},
    "reader": PAIR,
    "search": "Где мой заказ? 我的包裹在哪里",
}


def test_every_task_in_one_request_answers_as_the_host(readers):
    reply = readers.post("/v1/answer", model=list(ASKED), input=list(ASKED.values())).json
    alone = readers.host(list(ASKED.values()), list(ASKED))
    for answer, expected, name in zip(reply["answers"], alone, ASKED, strict=True):
        assert answer.pop("model") == name
        assert answer.pop("task") == readers.host.describe(name).task.name
        close(answer, expected.to_dict())
    assert reply["usage"]["prompt_tokens"] == sum(one.tokens for one in alone) > 40


def test_one_input_goes_to_several_adapters_and_several_to_one(readers):
    reply = readers.post("/v1/answer", model=["intent", "stars"], input=TEXTS[0]).json
    assert [one["model"] for one in reply["answers"]] == ["intent", "stars"]
    reply = readers.post("/v1/answer", model="intent", input=TEXTS[:3], top_k=3).json
    alone = readers.host(TEXTS[:3], "intent", top_k=3)
    assert [one["labels"] for one in reply["answers"]] == [one.labels for one in alone]
    assert sum(reply["answers"][0]["scores"].values()) == pytest.approx(1, abs=1e-5)


def test_the_base_is_asked_by_its_own_name_only(readers, writers):
    reply = writers.post("/v1/answer", model="base", input="hello").json
    assert reply["answers"][0]["text"] == writers.host(["hello"])[0].text
    bare = readers.post("/v1/answer", model="base", input="hello")
    assert (bare.status, "/v1/embeddings" in bare.problem) == (400, True)
    wrong = readers.post("/v1/answer", model="bse", input="hello")
    assert wrong.status == 404
    assert "unknown adapter 'bse'" in wrong.problem
    assert "The base itself is 'base'" in wrong.problem


@pytest.mark.parametrize(
    "body, status, problem",
    [
        ({"model": "intnet", "input": "x"}, 404, "did you mean 'intent'?"),
        ({"model": ["intent", "nobody"], "input": "x"}, 404, "unknown adapter 'nobody'"),
        ({"model": "intent", "input": ["fine", ""]}, 400, "item 1: adapter 'intent'"),
        ({"model": "reader", "input": "Who?"}, 400, "context is missing"),
        ({"model": "intent", "input": {"text": "x", "txt": "y"}}, 400, "not txt"),
        ({"model": ["intent"] * 2, "input": ["x"] * 3}, 400, "3 inputs and 2 models"),
        ({"model": "intent", "input": []}, 400, "there is no input"),
        ({"model": "intent"}, 400, "input: Field required"),
        ({"modle": "intent", "input": "x"}, 400, "modle: Extra inputs are not permitted"),
        ({"model": "stars", "input": "x", "top_k": 2}, 400, "'stars' has none"),
        ({"model": "intent", "input": ["x"] * 257}, 413, "at most 256 inputs; it has 257"),
        ({"model": "../readers", "input": "x"}, 404, "unknown adapter '../readers'"),
        ({"model": "intent", "input": "x" * 50_001}, 413, "50,001 characters"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(readers, body, status, problem):
    reply = readers.post("/v1/answer", **body)
    assert (reply.status, problem in reply.problem) == (status, True), reply.text
    assert str(readers.host.backbone.name) not in reply.text  # no path of the machine


def test_rows_of_many_callers_share_batches(readers):
    names = ["intent", "topics", "stars", "search"] * 16
    rows = [TEXTS[i % len(TEXTS)] for i in range(64)]
    expected = [one.to_dict() for one in readers.host(rows, names)]
    before = readers.host.stats()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        asked = pool.map(
            lambda pair: readers.post("/v1/answer", model=pair[0], input=pair[1]),
            zip(names, rows, strict=True),
        )
        for reply, alone in zip(asked, expected, strict=True):
            answer = reply.json["answers"][0]
            close({key: answer[key] for key in alone}, alone)
    after = readers.host.stats()
    assert after["batches"] - before["batches"] < after["rows"] - before["rows"] == 64


def test_one_bad_row_leaves_the_requests_of_others_alone(readers):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        rows = [TEXTS[0], " ", TEXTS[1], ""] * 4
        found = list(
            pool.map(lambda row: readers.post("/v1/answer", model="intent", input=row), rows)
        )
    assert [one.status for one in found] == [200, 400] * 8
