"""What one request may take, and what becomes of it when its client goes away."""

import concurrent.futures
import contextlib
import json
import socket
import time

import pytest

from adaptkit import Host
from adaptkit.adapters.store import Store
from tests.serve.running import running
from tests.serve.stores import TEXTS


@contextlib.contextmanager
def connection(service):
    """A socket to a service; the answer to what was sent."""
    address, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((address, int(port)), timeout=20) as raw:
        yield raw


def head(path: str, length: int) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def answer_of(raw: socket.socket) -> tuple[int, bytes]:
    """The status, and all until the service hangs up."""
    found = b""
    while part := raw.recv(65536):
        found += part
    return int(found.split()[1]), found


@pytest.fixture(scope="module")
def small(readers_store):
    """A service with small limits."""
    limits = {"max_body": 2000, "body_timeout": 0.5, "max_client_batch_size": 3, "max_text": 100}
    with running(Host.from_store(readers_store), **limits) as service:
        yield service


def test_a_large_body_is_refused_before_it_has_come(small):
    with connection(small) as raw:
        raw.sendall(head("/v1/answer", 10**9) + b"x" * 3000)
        status, text = answer_of(raw)
    assert (status, b"at most 2,000 bytes" in text) == (413, True)


def test_a_body_that_comes_too_slowly_is_given_up(small):
    with connection(small) as raw:
        raw.sendall(head("/v1/answer", 100) + b"{")
        start = time.monotonic()
        status, text = answer_of(raw)
    assert (status, b"did not arrive within 0.5 s" in text) == (408, True)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "body, problem",
    [
        ({"model": "intent", "input": ["x"] * 4}, "at most 3 inputs"),
        ({"model": ["intent"] * 4, "input": "x"}, "at most 3 inputs"),
        ({"model": "intent", "input": ["x", "y" * 101]}, "item 1 has 101 characters"),
        ({"model": "names", "input": {"tokens": ["y" * 60, "z" * 60]}}, "has 120 characters"),
    ],
)
def test_many_or_long_rows_are_refused(small, body, problem):
    reply = small.post("/v1/answer", **body)
    assert (reply.status, problem in reply.problem) == (413, True), reply.text


def test_a_full_queue_says_when_to_come_again(readers_store):
    host = Host.from_store(readers_store, max_queue=8, max_rows=1)
    with running(host) as service, concurrent.futures.ThreadPoolExecutor(6) as pool:
        asked = [
            pool.submit(service.post, "/v1/answer", model="intent", input=TEXTS[:8])
            for _ in range(6)
        ]
        found = [one.result() for one in asked]
    assert {one.status for one in found} == {200, 429}
    full = next(one for one in found if one.status == 429)
    assert full.headers["retry-after"] == "1"
    assert "rows are waiting already" in full.problem


def test_a_request_past_its_deadline_is_given_up_and_lets_go(writers_store):
    host = Host.from_store(writers_store)
    talk = [{"role": "user", "content": TEXTS[0]}]
    with running(host, deadline=0.1) as service:
        slow = {"model": "helper", "messages": talk, "max_tokens": 400, "min_tokens": 400}
        host.generate(talk, "helper", max_new_tokens=1)  # loaded
        reply = service.post("/v1/chat/completions", temperature=0, **slow)
        assert (reply.status, "longer than the deadline" in reply.problem) == (504, True)
        wait_until(lambda: not host.stats()["adapters"]["helper"]["users"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_leaves_no_row_behind(writers_store, stream):
    host = Host.from_store(writers_store)
    body = {"model": "helper", "max_tokens": 400, "min_tokens": 400, "stream": stream}
    body["messages"] = [{"role": "user", "content": TEXTS[0]}]
    data = json.dumps(body).encode()
    with running(host) as service:
        with connection(service) as raw:
            raw.sendall(head("/v1/chat/completions", len(data)) + data)
            wait_until(lambda: host.stats()["batches"] > 5)
        before = host.stats()["batches"]
        wait_until(lambda: not host.stats()["adapters"]["helper"]["users"])
        assert host.stats()["batches"] - before < 350  # of 400


def wait_until(true) -> None:
    for _ in range(400):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it has not come")


def test_markup_stays_text(readers):
    evil = "<script>alert(1)</script>\u202e"
    reply = readers.post("/v1/answer", model=evil, input="x")
    assert reply.status == 404
    assert reply.headers["content-type"] == "application/json"
    [answer] = readers.post(
        "/v1/answer", model="reader", input={"question": "?", "context": evil}
    ).json["answers"]
    assert answer["text"] in evil


def test_a_mistake_of_the_service_tells_nothing_of_its_inside(readers_store, monkeypatch):
    host = Host.from_store(Store(readers_store).folder)
    with running(host) as service:
        monkeypatch.setattr(host, "describe", lambda name: 1 / 0)
        reply = service.get("/v1/models/intent")
        assert reply.status == 500
        assert "ZeroDivision" not in reply.text
        monkeypatch.undo()
        assert service.get("/v1/models/intent").status == 200
