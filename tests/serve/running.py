"""A service on a real socket, and requests to it."""

import contextlib
import json
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from adaptkit import Host
from adaptkit.serve.app import make_app
from adaptkit.serve.server import make_server
from adaptkit.serve.settings import ServeSettings
from adaptkit.serve.sockets import listen


@dataclass
class Reply:
    status: int
    headers: dict
    text: str

    @property
    def json(self):
        return json.loads(self.text)

    @property
    def problem(self) -> str:
        """The message of an error, in OpenAI's form."""
        error = self.json["error"]
        assert error["code"] == self.status
        return error["message"]


@dataclass
class Running:
    """A service at an address."""

    url: str
    host: Host | None = None
    key: str | None = None
    log: Path | None = None

    def get(self, path: str, key: str | None = None) -> Reply:
        return self._send(path, None, key)

    def post(self, path: str, key: str | None = None, **body) -> Reply:
        return self._send(path, json.dumps(body).encode(), key)

    def _send(self, path: str, body: bytes | None, key: str | None) -> Reply:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if key or self.key:
            headers["Authorization"] = f"Bearer {key or self.key}"
        request = urllib.request.Request(self.url + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return Reply(
                    reply.status, dict(reply.headers), reply.read().decode(errors="replace")
                )
        except urllib.error.HTTPError as problem:
            return Reply(problem.code, dict(problem.headers), problem.read().decode())


@contextlib.contextmanager
def running(host: Host, log=None, **settings):
    """A service over a host, on a free port of this machine, until the block ends."""
    socket, started = listen("127.0.0.1", 0), threading.Event()
    limits = ServeSettings(**settings)
    server = make_server(make_app(host, limits, log), limits, started.set)
    thread = threading.Thread(target=server.run, args=([socket],))
    thread.start()
    assert started.wait(30)
    try:
        yield Running(f"http://127.0.0.1:{socket.getsockname()[1]}", host)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
