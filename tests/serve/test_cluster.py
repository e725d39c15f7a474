"""`adaptkit serve --ray`: two replicas in processes of their own, one cluster for all tests."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import threading
import time
import urllib.request
from types import SimpleNamespace

import psutil
import pytest

from adaptkit import Host
from tests.serve.stores import TEXTS
from tests.serve.test_command import start

ADMIN = "admin-key-1"


@pytest.fixture(scope="module")
def store(writers_store, tmp_path_factory):
    root = tmp_path_factory.mktemp("cluster")
    shutil.copytree(writers_store, root / "store")
    for version, source in (("v1", "mood"), ("v2", "helper")):
        shutil.copytree(writers_store / source, root / "new" / version)
    return root / "store"


@pytest.fixture(scope="module")
def service(store):
    words = (store, "--port", 0, "--ray", "--replicas", 2, "--max_new_tokens", 64)
    folders = ("--adapter_folders", store.parent / "new")
    process, service, said = start(*words, *folders, env=os.environ | {"ADAPTKIT_ADMIN_KEY": ADMIN})
    service.process = process
    yield service
    body = {"model": "helper", "prompt": TEXTS[0], "min_tokens": 60, "max_tokens": 60}
    request = urllib.request.Request(
        service.url + "/v1/completions",
        json.dumps(body | {"stream": True}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        events = [reply.readline()]  # it is accepted
        process.send_signal(signal.SIGTERM)
        events += reply.read().split(b"\n\n")
    assert b"data: [DONE]" in events
    assert b'"finish_reason": "length"' in events[-3]
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 0, rest
    assert "Traceback" not in said + rest


@pytest.fixture(scope="module")
def host(store):
    with Host.from_store(store) as host:
        yield host


def replicas(service):
    """The processes of the replicas."""
    found = []
    for one in psutil.Process(service.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # one that has just ended
            if "Replica:adaptkit:Replica" in " ".join(one.cmdline()):
                found.append(one)
    return found


def scores(service, names, texts=TEXTS):
    answers = service.post("/v1/answer", model=names, input=list(texts)).json["answers"]
    return [one["score"] for one in answers]


def test_replicas_answer_as_one_host_does(service, host):
    assert len(replicas(service)) == 2
    expected = host(TEXTS, "mood")
    assert scores(service, "mood") == pytest.approx([one.score for one in expected], abs=1e-5)
    body = {"model": "helper", "prompt": TEXTS[0], "max_tokens": 12, "temperature": 0}
    written = service.post("/v1/completions", **body)
    (own,) = host.generate([TEXTS[0]], "helper", max_new_tokens=12, details=True, do_sample=False)
    assert written.json["choices"][0]["text"] == own.text.strip()
    events = service.post("/v1/completions", **body, stream=True).text.split("\n\n")
    pieces = [json.loads(one[6:]) for one in events if one.startswith("data: {")]
    assert "".join(one["choices"][0]["text"] for one in pieces) == own.text.strip()
    several = {"prompt": TEXTS[0], "max_tokens": 12, "temperature": 1, "model": "helper"}
    together = service.post("/v1/completions", **several, seed=5, n=3).json["choices"]
    alone = [service.post("/v1/completions", **several, seed=seed) for seed in (5, 6, 7)]
    assert [one["text"] for one in together] == [one.json["choices"][0]["text"] for one in alone]
    models = service.get("/v1/models").json["data"]
    assert [one["id"] for one in models] == ["helper", "mood", "base"]


def test_errors_are_those_of_one_host(service):
    reply = service.post("/v1/answer", model="mod", input="a")
    assert reply.status == 404
    assert "did you mean 'mood'" in reply.problem
    reply = service.post("/v1/answer", model="mood", input=" ")
    assert reply.status == 400
    assert "ray" not in reply.problem.lower()
    assert service.get("/ready").status == 200
    until = time.monotonic() + 10
    while "adaptkit_slots 64.0" not in service.get("/metrics").text:  # of both
        assert time.monotonic() < until
        time.sleep(0.2)


def test_loads_replacements_and_unloads_reach_every_replica(service, host):
    body = {"lora_name": "extra", "lora_path": "v1"}
    assert service.post("/v1/load_lora_adapter", key=ADMIN, **body).status == 200
    expected = [one.score for one in host(TEXTS, "mood")]
    for _ in range(4):
        assert scores(service, "extra") == pytest.approx(expected, abs=1e-5)
    assert service.post("/v1/load_lora_adapter", key=ADMIN, **body).status == 409
    body |= {"lora_path": "v2", "load_inplace": True}
    assert service.post("/v1/load_lora_adapter", key=ADMIN, **body).json["task"] == "chat"
    reply = service.post("/v1/answer", model=["extra"] * 8, input=TEXTS[:8])
    assert {one["task"] for one in reply.json["answers"]} == {"chat"}
    unloaded = service.post("/v1/unload_lora_adapter", key=ADMIN, lora_name="extra")
    assert unloaded.status == 200
    for _ in range(4):
        assert service.post("/v1/answer", model="extra", input="a").status == 404
    missing = service.post(
        "/v1/load_lora_adapter", key=ADMIN, lora_name="extra", lora_path="nowhere"
    )
    assert missing.status == 400
    assert service.post("/v1/answer", model="extra", input="a").status == 404


def test_a_replica_that_is_killed_costs_no_request(service, host):
    body = {"lora_name": "kept", "lora_path": "v1"}
    assert service.post("/v1/load_lora_adapter", key=ADMIN, **body).status == 200
    expected = pytest.approx([one.score for one in host(TEXTS, "mood")], abs=1e-5)
    found, ended = [], threading.Event()

    def ask(name):
        while not ended.is_set():
            found.append(service.post("/v1/answer", model=name, input=TEXTS))

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("mood", "kept") * 3]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    first = replicas(service)
    first[0].kill()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        now = [one.pid for one in replicas(service)]
        if len(now) == 2 and first[0].pid not in now:
            break
        time.sleep(0.2)
    else:
        raise AssertionError("no new replica")
    time.sleep(1)
    ended.set()
    for thread in threads:
        thread.join()
    assert len(found) > 20
    for reply in found:
        assert reply.status == 200, reply.text
        assert [one["score"] for one in reply.json["answers"]] == expected


def test_homes_of_an_adapter_move_little():
    from adaptkit.serve.cluster.router import HOMES, homes

    ids = [f"replica-{number}" for number in range(10)]
    chosen = {name: homes(name, ids)[:HOMES] for name in map(str, range(500))}
    loads = [sum(one in pair for pair in chosen.values()) for one in ids]
    assert min(loads) > 60  # 100 each
    without = {name: homes(name, ids[1:])[:HOMES] for name in chosen}
    assert all(without[name] == pair for name, pair in chosen.items() if ids[0] not in pair)


def test_the_shorter_queue_of_two_homes_answers():
    from ray.serve._private.common import RequestMetadata
    from ray.serve.request_router import PendingRequest

    from adaptkit.serve.cluster.router import TwoHomes, homes

    ids = [f"replica-{number}" for number in range(4)]
    replicas = [SimpleNamespace(replica_id=SimpleNamespace(unique_id=one)) for one in ids]
    metadata = RequestMetadata("id", "internal", session_id="mood")

    async def choose():  # a request holds a future of its loop
        asked = PendingRequest(args=[], kwargs={}, metadata=metadata)
        return asked, await TwoHomes.choose_replicas(None, replicas, asked)

    asked, ranks = asyncio.run(choose())
    first, *others = homes("mood", ids)
    found = [[one.replica_id.unique_id for one in rank] for rank in ranks]
    assert found == [[first, others[0]], [others[1]], [others[2]]]
    assert asked.routing_context.should_backoff


@pytest.mark.parametrize(
    "words, problem",
    [
        (["--replicas", "2"], "go with --ray"),
        (["--ray", "--replicas", "3", "--max_replicas", "2"], "less than --replicas 3"),
        (["--log_texts", "plain"], "goes with --log"),
    ],
)
def test_flags_that_do_not_go_together(store, words, problem):
    from adaptkit import AdaptkitError
    from adaptkit.cli import main

    with pytest.raises(AdaptkitError, match=problem):
        main(["serve", str(store), *words])
