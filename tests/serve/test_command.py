"""`adaptkit serve` as a process."""

import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.processes import run
from tests.serve.running import Running
from tests.serve.stores import TEXTS


def start(*words, **more):
    """The command, once it says where it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "adaptkit", "serve", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **more,
    )
    said = ""
    for line in process.stdout:
        said += line
        if found := re.search(r"http://\S+", line):
            return process, Running(found[0]), said
    raise AssertionError(said)


def test_the_command_serves_and_stops_without_losing_a_request(writers_store, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("first-key-1\n\nsecond-key-2\n")
    process, service, said = start(writers_store, "--port", 0, "--api_keys_file", keys)
    assert "2 adapters over base" in said
    assert service.get("/v1/models").status == 401
    service.key = "second-key-2"
    assert len(service.get("/v1/models").json["data"]) == 3
    body = {"model": "helper", "prompt": TEXTS[0], "max_tokens": 300, "min_tokens": 300}
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(service.post("/v1/completions", **body)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    while "adaptkit_batches 0.0" in service.get("/metrics").text:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)  # in the middle of writing
    for thread in threads:
        thread.join()
    assert [one.status for one in found] == [200] * 4
    assert found[0].json["usage"]["completion_tokens"] == 300
    rest = process.communicate(timeout=30)[0]
    assert process.returncode in (0, -signal.SIGTERM)
    assert TEXTS[0] not in said + rest  # no text of a request is logged
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    "words, problem",
    [
        (["nowhere"], "there is no folder nowhere"),
        (["{store}/intent"], "is one adapter; a folder of adapters is served"),
        (["{store}/intent/task.json"], "is a file"),
        (["{store}", "--adapter_folders", "/nope"], "there is no folder /nope"),
        (["{store}", "--adapters", "intnt"], "did you mean 'intent'?"),
        (["{store}", "--port", "99999"], "nothing can listen at 127.0.0.1:99999"),
        (["{store}", "--admin_key_file", "{store}"], "cannot be read as keys"),
        (["{store}", "--deadline", "0"], "deadline is in seconds"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(readers_store, words, problem):
    words = [word.format(store=readers_store) for word in words]
    done = run("-m", "adaptkit", "serve", *words, code=2)
    assert problem in done.stderr
