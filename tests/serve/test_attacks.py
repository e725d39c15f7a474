"""What strangers send: nothing leaks, nothing blocks, nothing is told that is not theirs."""

import asyncio
import json
import socket
import threading
import time

import pytest

from adaptkit import Host, load_base
from adaptkit.serve.protocol import PatientProtocol
from tests.serve.running import running
from tests.serve.stores import LABELS, TEXTS
from tests.serve.test_limits import answer_of, connection, head, wait_until
from tests.tiny import randomize

TALK = [{"role": "user", "content": TEXTS[0]}]


def test_a_row_that_is_cancelled_while_another_adapter_loads_leaves_no_user(readers_store):
    host = Host.from_store(readers_store, slots=4)
    host(TEXTS[:1], "stars")
    loading, goes_on, read = threading.Event(), threading.Event(), host.loader.read

    def slowly(*given, **more):
        loading.set()
        goes_on.wait(10)
        return read(*given, **more)

    async def cancel_meanwhile():
        rows = [asyncio.ensure_future(host.submit("x", name)) for name in ("stars", "intent")]
        await asyncio.to_thread(loading.wait, 10)
        rows[0].cancel()
        await asyncio.sleep(0)
        goes_on.set()
        return await rows[1]

    host.loader.read = slowly
    assert asyncio.run(cancel_meanwhile()).label in LABELS
    wait_until(lambda: not any(one.ref_count for one in host.slots.listed()))
    assert len(host.slots._free) + len(host.slots.listed()) == host.slots.count + 1


def test_clients_that_hang_up_leave_every_slot_usable(readers_store):
    host = Host.from_store(readers_store, slots=1)
    names = ["intent", "topics", "stars", "search"]
    data = json.dumps({"model": names, "input": TEXTS[0]}).encode()
    with running(host) as service:
        for number in range(30):
            with connection(service) as raw:
                raw.sendall(head("/v1/answer", len(data)) + data)
                time.sleep(number % 6 / 500)
        for name in names:
            assert service.post("/v1/answer", model=name, input=TEXTS[0]).status == 200
    assert not any(one.ref_count for one in host.slots.listed())


def test_rows_that_nobody_waits_for_make_room(writers_store):
    """While four texts are written, hundreds of rows are asked for and given up."""
    host = Host.from_store(writers_store, max_rows=4, max_queue=50)
    host.generate([TEXTS[0]], "helper", max_new_tokens=1)

    async def crowd():
        writing = [
            asyncio.ensure_future(
                anext(host.submit_stream(TEXTS[0], "helper", max_new_tokens=300, seed=i))
            )
            for i in range(4)
        ]
        await asyncio.gather(*writing)
        for _ in range(10):
            rows = [asyncio.ensure_future(host.submit("x", "mood")) for _ in range(40)]
            await asyncio.sleep(0)
            for row in rows:
                row.cancel()
            await asyncio.gather(*rows, return_exceptions=True)
            assert len(host._queue.batcher) <= 50

    asyncio.run(crowd())


@pytest.mark.parametrize(
    "path, body",
    [
        ("/v1/answer", {"model": "intent", "input": [1] * 200_000}),
        ("/v1/answer", {"model": ["intent"] * 200_000, "input": "x"}),
        ("/embed", {"inputs": ["x"] * 200_000}),
        ("/predict", {"inputs": [["x"] * 9] * 100_000}),
        ("/rerank", {"query": "x", "texts": ["x"] * 200_000}),
        ("/v1/completions", {"model": "base", "prompt": [1] * 400_000}),
        ("/v1/explain", {"model": "intent", "input": "word " * 300_000}),
    ],
)
def test_a_large_wrong_body_is_refused_at_once(readers, path, body):
    start = time.perf_counter()
    reply = readers.post(path, **body)
    assert reply.status in (400, 413), reply.text[:300]
    assert len(reply.text) < 3000
    assert time.perf_counter() - start < 2.5  # five seconds and more without a bound


def test_headers_that_never_end_and_requests_that_never_come(readers, monkeypatch):
    with connection(readers) as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\nX: ")
        with pytest.raises(
            OSError, match="reset|Broken"
        ):  # the service hangs up before ten megabytes have come
            raw.sendall(b"x" * 10_000_000)
    monkeypatch.setattr("adaptkit.serve.protocol.SECONDS", 0.2)
    for begin in (b"", b"GET /health HTTP/1.1\r\nHost: x\r\n"):
        with connection(readers) as raw:
            raw.sendall(begin)
            assert raw.recv(1000) in (b"", b"HTTP/1.1 400 Bad Request")
    assert PatientProtocol._late is None
    with connection(readers) as raw:  # one request after the other is well
        for _ in range(2):
            raw.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in raw.recv(10_000)


def test_only_its_own_names_reach_a_service_of_one_machine(readers_store):
    names = ("localhost", "127.0.0.1", "[::1]")
    with running(Host.from_store(readers_store), allowed_hosts=names) as service:
        for host, status in (
            ("localhost:1", 200),
            ("127.0.0.1", 200),
            ("[::1]:80", 200),
            ("evil.example", 421),
            ("127.0.0.1.evil.example:80", 421),
            ("", 421),
        ):
            with connection(service) as raw:
                raw.sendall(f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\n".encode())
                raw.sendall(b"Connection: close\r\n\r\n")
                assert answer_of(raw)[0] == status, host


def test_a_stream_past_its_deadline_says_so(writers_store):
    host = Host.from_store(writers_store)
    host.generate(TALK, "helper", max_new_tokens=1)
    body = {"model": "helper", "messages": TALK, "max_tokens": 400, "min_tokens": 400}
    with running(host, deadline=0.3) as service:
        text = service.post("/v1/chat/completions", **body, stream=True).text
        *pieces, last, done = text.strip().split("\n\n")
        assert (done, len(pieces) > 1) == ("data: [DONE]", True)
        error = json.loads(last.removeprefix("data: "))["error"]
        assert (error["code"], "longer than the deadline" in error["message"]) == (504, True)
        start = time.perf_counter()  # one deadline for all prompts of a request
        many = {"model": "helper", "prompt": TEXTS[:12], "max_tokens": 400, "min_tokens": 400}
        assert "504" in service.post("/v1/completions", **many, stream=True).text
        assert time.perf_counter() - start < 2
        wait_until(lambda: not host.stats()["adapters"]["helper"]["users"])


def test_a_bad_prompt_ends_the_others_of_its_request(writers):
    body = {"model": "helper", "max_tokens": 64, "min_tokens": 64}
    reply = writers.post("/v1/completions", **body, prompt=[*TEXTS[:8], ""])
    assert reply.status == 400
    wait_until(lambda: not any(one.ref_count for one in writers.host.slots.listed()))


def test_a_context_without_a_readable_token_has_no_answer(readers):
    for context in ("\u200b", "\ufeff"):
        reply = readers.post(
            "/v1/answer", model="reader", input={"question": "Who?", "context": context}
        )
        assert reply.status in (200, 400), reply.text


def test_half_a_character_comes_back_as_it_came(readers):
    body = {"model": "broken", "input": "x", "questions": [{"type": "predicate", "name": "\ud800"}]}
    reply = readers.post("/v1/decisions", **body)
    assert (reply.status, reply.json["answers"][0]["name"]) == (200, "\ud800")


def test_what_is_refused_before_a_route_is_counted(readers_store):
    with running(Host.from_store(readers_store), max_body=1000) as service:
        with connection(service) as raw:
            raw.sendall(head("/v1/answer", 2000) + b"x" * 1500)
            assert answer_of(raw)[0] == 413
        assert 'adaptkit_refusals_total{status="413"}' in service.get("/metrics").text


def test_a_broken_adapter_is_refused_without_its_path(readers_store, tmp_path):
    import shutil

    shutil.copytree(readers_store, tmp_path / "store")
    weights = tmp_path / "store/intent/adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    (tmp_path / "store/stars/task.json").write_text("{")
    with running(Host.from_store(tmp_path / "store")) as service:
        for name in ("intent", "stars"):
            reply = service.post("/v1/answer", model=name, input="x")
            assert (reply.status, str(tmp_path) in reply.text) == (400, False), reply.text
            assert name in reply.problem


def test_what_peft_saved_has_a_task_before_it_is_loaded(writers_store, tmp_path):
    import shutil

    from peft import LoraConfig, get_peft_model

    folder = str(writers_store.parent / "base")
    base = load_base(folder, task="classify", labels=["no", "yes"])
    model = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj"]))
    randomize(model, std=0.3)
    shutil.copytree(writers_store / "mood", tmp_path / "mood")
    model.save_pretrained(tmp_path / "foreign")
    with running(Host.from_store(tmp_path, folder)) as service:
        reply = service.get("/v1/models/foreign")
        assert reply.json.get("task") == "classify", reply.text
        found = service.post("/classify", model="foreign", input=TEXTS[0])
        assert found.json["data"][0]["label"] in ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize("levels", [["-inf", "inf"], ["nan", "1"], ["1", "1"]])
def test_levels_are_numbers_that_grow(readers, levels):
    question = {"type": "score", "levels": [{"label": name} for name in levels]}
    reply = readers.post("/v1/decisions", model="stars", input="x", questions=[question])
    assert (reply.status, "from low to high" in reply.problem) == (400, True)


def test_settings_of_sampling_are_not_ignored(writers):
    """The base's own settings take the likeliest token; whoever asks for more gets draws."""
    body = {"model": "helper", "messages": TALK, "max_tokens": 20, "seed": 1}
    texts = lambda **more: [  # noqa: E731
        one["message"]["content"]
        for one in writers.post("/v1/chat/completions", **body, **more).json["choices"]
    ]
    assert len({*texts(n=3)}) == 3
    assert texts(top_p=0.9) != texts()
    assert texts(temperature=0, n=2) == texts() * 2


def test_a_client_that_does_not_read_is_left(readers_store):
    with running(Host.from_store(readers_store), send_timeout=0.5) as service:
        data = json.dumps({"model": "search", "input": TEXTS[:1] * 250}).encode()
        address, port = service.url.removeprefix("http://").split(":")
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect((address, int(port)))
        for _ in range(40):
            raw.sendall(head("/v1/embeddings", len(data)) + data)
        start = time.perf_counter()
    assert time.perf_counter() - start < 15
    raw.close()
