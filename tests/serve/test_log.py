"""A service with a log: answers, feedback, a drift in its metrics; and new versions on the disk."""

import asyncio
import dataclasses
import json
import shutil
import time

import numpy as np
import pytest

from adaptkit import Host
from adaptkit.adapters.card import read_card
from adaptkit.monitoring.log import LogWriter, read_log
from adaptkit.monitoring.reference import Reference
from adaptkit.monitoring.replay import replay
from adaptkit.serve.recorder import Answered, Recorder
from adaptkit.tasks.classify import Classify
from tests.serve.running import running
from tests.serve.stores import LABELS, TEXTS


@pytest.fixture(scope="module")
def store(readers_store, tmp_path_factory):
    """A store of our own, whose adapter "intent" keeps a reference."""
    root = tmp_path_factory.mktemp("logged") / "store"
    shutil.copytree(readers_store, root)
    with Host.from_store(root) as host:
        rows = [{"text": f"{text} {number}"} for text in TEXTS for number in range(4)]
        answers = host([row["text"] for row in rows], "intent")
        task = Classify(labels=LABELS)
        Reference.make(task, rows, answers, host.mean_states).save(root / "intent")
    return root


@pytest.fixture(scope="module")
def service(store, tmp_path_factory):
    log = LogWriter(tmp_path_factory.mktemp("log"), plain=True)
    with running(Host.from_store(store), log, reload_every=0.1) as running_service:
        running_service.log = log.folder
        yield running_service


def rows_of(service, kind, count):
    """The rows of the log, once there are so many."""
    for _ in range(300):
        if len(rows := read_log(service.log, kind)) >= count:
            return rows
        time.sleep(0.02)
    raise AssertionError(f"{len(rows)} rows of {count}")


def test_every_answer_is_in_the_log_under_its_id(service):
    reply = service.post("/v1/answer", model=["intent", "stars"], input=TEXTS[0])
    ids = [one["id"] for one in reply.json["answers"]]
    assert ids == [f"{reply.headers['x-request-id']}-{number}" for number in range(2)]
    rows_of(service, "answers", 2)  # their states are computed while no request waits
    other = service.post("/classify", model="intent", input=[TEXTS[1], TEXTS[2]])
    rows = {row["id"]: row for row in rows_of(service, "answers", 4)}
    first, second = (rows[name] for name in ids)
    assert (first["adapter"], second["adapter"]) == ("intent", "stars")
    assert first["input"] == f'"{TEXTS[0]}"'
    assert first["confidence"] == reply.json["answers"][0]["score"]
    assert LABELS[int(first["number"])] == reply.json["answers"][0]["label"]
    assert len(first["state"]) == 32
    assert second["state"] is None  # it keeps no reference
    assert f"{other.headers['x-request-id']}-1" in rows
    before = len(rows)
    service.post("/v1/explain", model="intent", input="some more words")
    service.post("/v1/answer", model="intent", input="the last one")
    assert len(rows_of(service, "answers", before + 1)) == before + 1


def test_feedback_names_an_answer_or_a_text(service):
    reply = service.post("/v1/answer", model="intent", input=TEXTS[0])
    (answer,) = reply.json["answers"]
    two = service.post("/v1/answer", model="intent", input=TEXTS[1], top_k=2)
    (likeliest,) = two.json["answers"]
    for body in (
        {"id": answer["id"], "correct": "praise"},
        {"id": reply.headers["x-request-id"], "correct": "refund"},  # its only answer
        {"id": answer["id"], "correct": True},
        {"id": likeliest["id"], "correct": True},
        {"model": "intent", "input": "a new text", "correct": "question"},
        {"id": "0" * 32, "model": "intent", "correct": "question"},
    ):
        assert service.post("/v1/feedback", **body).status == 200, body
    rows = rows_of(service, "feedback", 6)
    assert [row["correct"] for row in rows] == [
        '"praise"',
        '"refund"',
        f'"{answer["label"]}"',
        f'"{likeliest["labels"][0]}"',
        '"question"',
        '"question"',
    ]
    assert {row["id"] for row in rows[:3]} == {answer["id"]}
    assert rows[4]["input"] == '"a new text"'


def test_an_answer_that_was_right_is_what_it_said(service):
    """Of a question with an answer its score was taken, of several labels all that were listed."""
    asked = {"question": "Who?", "context": TEXTS[0]}
    (span,) = service.post("/v1/answer", model="reader", input=asked).json["answers"]
    reply = service.post("/v1/feedback", id=span["id"], correct=True)
    assert reply.json["correct"] == span["text"], reply.text
    (topics,) = service.post("/v1/answer", model="topics", input=TEXTS[0]).json["answers"]
    for path, more in (("/v1/answer", {"top_k": 4}), ("/v1/answer", {}), ("/classify", {})):
        answer = service.post(path, model="topics", input=TEXTS[0], **more)
        reply = service.post("/v1/feedback", id=answer.headers["x-request-id"], correct=True)
        assert reply.json["correct"] == topics["labels"]
    assert 0 < len(topics["labels"]) < 4
    answer = service.post("/v1/answer", model="topics", input=TEXTS[0], top_k=1)
    reply = service.post("/v1/feedback", id=answer.headers["x-request-id"], correct=True)
    assert reply.status == 400
    assert "name those that are right" in reply.problem


@pytest.mark.parametrize(
    "body, status, problem",
    [
        ({"id": "f" * 32, "correct": "praise"}, 404, "give its model, too"),
        ({"model": "intent", "correct": "praise"}, 400, "by its id, or a model and an input"),
        ({"model": "intnt", "input": "a", "correct": "praise"}, 404, "did you mean 'intent'"),
        ({"model": "intent", "input": "a", "correct": "prase"}, 400, "did you mean 'praise'"),
        ({"model": "intent", "input": "a", "correct": True}, 400, "not among the last ones"),
        ({"model": "intent", "input": "a", "correct": False}, 400, "instead of false"),
        ({"model": "base", "input": "a", "correct": "praise"}, 400, "the base itself"),
        ({"model": "names", "input": "a", "correct": "praise"}, 400, "tag does not learn"),
        ({"model": "intent", "input": " ", "correct": "praise"}, 400, "empty"),
        ({"model": "intent", "input": {"txt": "a"}, "correct": "praise"}, 400, "asks for text"),
        ({"model": "intent", "id": "a secret", "correct": "praise"}, 400, "no id of an answer"),
        ({"model": "stars", "input": "a", "correct": 1e308}, 400, "far from every number"),
        (
            {"model": "reader", "input": {"question": "a", "context": "b"}, "correct": "\ud800"},
            400,
            "half a character",
        ),
        (
            {"model": "reader", "input": {"question": "a", "context": "b"}, "correct": "c"},
            400,
            "does not stand in its context",
        ),
        ({"model": "topics", "input": "a", "correct": ["a", "a"]}, 400, "named twice"),
        ({"model": "intent", "input": "a" * 60_000, "correct": "praise"}, 413, "characters"),
    ],
)
def test_feedback_that_is_refused(service, body, status, problem):
    reply = service.post("/v1/feedback", **body)
    assert reply.status == status
    assert problem in reply.problem


def test_feedback_of_another_adapters_answer_is_refused(service):
    (answer,) = service.post("/v1/answer", model="intent", input=TEXTS[0]).json["answers"]
    reply = service.post("/v1/feedback", id=answer["id"], model="stars", correct=2.0)
    assert reply.status == 400
    assert "that answer was given by intent" in reply.problem


def test_feedback_fits_the_input_of_its_answer(service):
    asked = {"question": "Who?", "context": TEXTS[0]}
    (span,) = service.post("/v1/answer", model="reader", input=asked).json["answers"]
    reply = service.post("/v1/feedback", id=span["id"], correct="nowhere to be found")
    assert (reply.status, "does not stand in its context" in reply.problem) == (400, True)
    other = asked | {"context": TEXTS[1]}
    reply = service.post("/v1/feedback", id=span["id"], input=other, correct=TEXTS[1])
    assert (reply.status, "about another input" in reply.problem) == (400, True)
    same = dict(reversed(asked.items()))
    reply = service.post("/v1/feedback", id=span["id"], input=same, correct=TEXTS[0])
    assert (reply.status, "note" in reply.json) == (200, False), reply.text
    reply = service.post("/v1/feedback", id="0" * 32, model="intent", correct="praise")
    assert "the log has to have it" in reply.json["note"]


def test_a_service_without_a_log_says_how_to_start_one(readers):
    reply = readers.post("/v1/feedback", model="intent", input="a", correct="praise")
    assert reply.status == 409
    assert "--log FOLDER" in reply.problem
    assert "id" not in readers.post("/v1/answer", model="intent", input="a").json["answers"][0]


def test_a_drift_is_in_the_metrics_and_in_the_log(service, store):
    assert 'adaptkit_drift_alarm{adapter="intent"} 0.0' in service.get("/metrics").text
    known = len(rows_of(service, "answers", 1))
    numbers = [" ".join(map(str, np.arange(i, i + 20))) for i in range(120)]
    for start in range(0, 120, 40):
        service.post("/v1/answer", model="intent", input=numbers[start : start + 40])
    rows_of(service, "answers", known + 120)
    text = service.get("/metrics").text
    assert 'adaptkit_drift_alarm{adapter="intent"} 1.0' in text
    assert "adaptkit_log_dropped 0.0" in text
    found = replay(store / "intent", service.log)
    for drift in found.drifts:  # the log holds what the service has seen
        line = f'adaptkit_drift_p_value{{adapter="intent",test="{drift.test}"}}'
        (value,) = (one.split()[-1] for one in text.splitlines() if one.startswith(line))
        assert float(value) == pytest.approx(drift.p_value, rel=0.05)
    assert found.first_alarm is not None
    assert found.verdict.startswith("drift: seen by ")


def test_a_new_version_on_the_disk_is_taken_while_it_is_asked(service, store, readers_store):
    name, other = store / "stars", readers_store / "stars"
    before = service.post("/v1/answer", model="stars", input=TEXTS[0]).json["answers"][0]["score"]
    shutil.rmtree(name)
    shutil.copytree(readers_store / "broken", name)  # another task under the same name
    for _ in range(100):
        found = service.post("/v1/answer", model="stars", input=TEXTS[0])
        assert found.status == 200
        if "label" in found.json["answers"][0]:
            break
        assert found.json["answers"][0]["score"] == before
        time.sleep(0.05)
    expected = service.post("/v1/answer", model="broken", input=TEXTS[0]).json["answers"][0]
    assert found.json["answers"][0]["score"] == expected["score"]
    (name / "adapter_model.safetensors").write_bytes(b"damaged")
    time.sleep(0.3)  # the old version answers on
    again = service.post("/v1/answer", model="stars", input=TEXTS[0]).json["answers"][0]
    assert again["score"] == expected["score"]
    shutil.rmtree(name)
    shutil.copytree(other, name)


def test_ids_of_texts_are_in_the_order_of_the_inputs(writers_store, tmp_path):
    """They were in the order in which the texts ended."""
    log = LogWriter(tmp_path / "log", plain=True)
    prompts = [TEXTS[0] * 3, "b", "c hello"]
    with running(Host.from_store(writers_store), log) as service:
        service.log = log.folder
        lengths = {"max_tokens": 8, "temperature": 0, "stop": ["e", "a"]}
        reply = service.post("/v1/completions", model="helper", prompt=prompts, **lengths)
        several = service.post("/v1/completions", model="helper", prompt="b", n=3, **lengths)
        rows = {row["id"]: row for row in rows_of(service, "answers", 6)}
    for asked, given in ((reply, prompts), (several, ["b"] * 3)):
        for number, prompt in enumerate(given):
            row = rows[f"{asked.headers['x-request-id']}-{number}"]
            assert json.loads(row["input"]) == prompt
            said = asked.json["choices"][number]["text"]
            assert json.loads(row["answer"])["text"].strip() == said.strip()


def test_what_the_old_version_has_answered_is_not_the_new_ones(store, tmp_path):
    """Answers that waited to be logged got the version of that moment."""
    old = Host.from_store(store)
    with old:
        answer = asyncio.run(old.submit(TEXTS[0], "intent"))
        before = read_card(store / "intent").weights_sha256
        assert answer.weights == before
        recorder = Recorder(old, LogWriter(tmp_path / "other", plain=True))
        replaced = dataclasses.replace(answer, id="a-0", weights="f" * 64)
        recorder.answered(Answered("intent", TEXTS[0], replaced))
        recorder.answered(Answered("intent", TEXTS[0], dataclasses.replace(answer, id="a-1")))
        recorder.close()
        first, second = read_log(tmp_path / "other", "answers")
        assert (first["version"], first["state"]) == ("f" * 12, None)
        assert second["version"] == before[:12]
        assert {one.rows for one in recorder.drifts()["intent"]} <= {0, 1}


def test_a_reference_of_another_base_stops_no_other_log(store, tmp_path, capsys):
    shutil.copytree(store, tmp_path / "store")
    with Host.from_store(tmp_path / "store") as host:
        narrow = Reference.make(
            Classify(labels=LABELS), [{"text": t} for t in TEXTS], [], half(host)
        )
        narrow.save(tmp_path / "store" / "broken")
        recorder = Recorder(host, LogWriter(tmp_path / "log", plain=True))
        for number, name in enumerate(("broken", "intent") * 3):
            (answer,) = host([TEXTS[number]], name)
            answer = dataclasses.replace(answer, id=f"a-{number}")
            recorder.answered(Answered(name, TEXTS[number], answer))
        recorder.close()
    rows = read_log(tmp_path / "log", "answers")
    assert [row["adapter"] for row in rows] == ["broken", "intent"] * 3
    assert recorder.dropped == 0
    assert (
        "broken is not watched: its reference has states of 16 numbers" in capsys.readouterr().out
    )


def half(host):
    """What a base half as wide makes of texts."""
    return lambda texts: host.mean_states(texts)[:, :16]
