"""Health, metrics, documentation, and the schema."""

import re

from tests.serve.stores import TEXTS


def value(text: str, name: str) -> float:
    [line] = [line for line in text.splitlines() if line.startswith(name + " ")]
    return float(line.split()[-1])


def test_metrics_count_what_was_done(readers):
    before = readers.get("/metrics").text
    for _ in range(3):
        readers.post("/v1/answer", model="intent", input=TEXTS[:5])
    readers.post("/v1/answer", model="nobody", input="x")
    readers.get("/no/such/path")
    text = readers.get("/metrics").text
    rows = 'adaptkit_rows_total{adapter="intent"}'
    known = value(before, rows) if rows in before else 0
    assert value(text, rows) - known == 15
    assert value(text, 'adaptkit_requests_total{route="/v1/answer",status="404"}') >= 1
    assert value(text, 'adaptkit_requests_total{route="(none)",status="404"}') >= 1
    assert value(text, 'adaptkit_latency_seconds_count{adapter="intent"}') >= 15
    assert value(text, "adaptkit_slots") == 32
    assert value(text, "adaptkit_batches") <= value(text, "adaptkit_batch_rows")
    assert "nobody" not in text
    assert "/no/such/path" not in text


def test_it_says_that_it_is_there_and_what_it_takes(readers, writers):
    assert readers.get("/health").json == {"status": "ok"}
    assert readers.get("/ready").json["status"] == "ready"
    info = readers.get("/info").json
    assert (info["base"], info["writes"], info["limits"]["max_text"]) == ("base", False, 50_000)
    assert writers.get("/info").json["writes"]


def test_the_documentation_needs_no_other_machine(readers):
    page = readers.get("/docs").text
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//[^\"]*", page)
    for path in re.findall(r"(?:src|href)=\"([^\"]+)", page):
        assert readers.get(path).status == 200


def test_the_schema_names_every_route(readers):
    paths = readers.get("/openapi.json").json["paths"]
    for path in paths.values():
        for operation in path.values():
            assert "422" not in operation["responses"]
    assert {"/v1/answer", "/v1/decisions", "/v1/chat/completions", "/predict", "/rerank"} <= {
        *paths
    }
