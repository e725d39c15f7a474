"""Keys, and who loads and unloads adapters."""

import shutil
import threading

import pytest

from adaptkit import AdaptkitError, Host
from adaptkit.serve.service import Service
from adaptkit.serve.settings import ServeSettings
from tests.serve.running import running
from tests.serve.stores import TEXTS

USER, ADMIN = "user-key-1", "admin-key-1"


@pytest.fixture(scope="module")
def folders(readers_store, tmp_path_factory):
    """A store, and a folder beside it with two versions of an adapter."""
    root = tmp_path_factory.mktemp("admin")
    shutil.copytree(readers_store, root / "store")
    for version, source in (("v1", "intent"), ("v2", "broken")):
        shutil.copytree(readers_store / source, root / "new" / version)
    shutil.copytree(readers_store / "stars", root / "outside")
    return root


@pytest.fixture
def guarded(folders):
    settings = {"api_keys": ("other-key", USER), "admin_key": ADMIN}
    with running(
        Host.from_store(folders / "store"), adapter_folders=(folders / "new",), **settings
    ) as service:
        yield service


@pytest.mark.parametrize(
    "key, status", [(None, 401), ("user-key-", 401), (USER, 200), (ADMIN, 200)]
)
def test_requests_need_a_key(guarded, key, status):
    for reply in (
        guarded.get("/v1/models", key),
        guarded.get("/metrics", key),
        guarded.get("/info", key),
        guarded.post("/v1/answer", key, model="intent", input="x"),
        guarded.post("/predict", key, model="intent", inputs="x"),
    ):
        assert reply.status == status
        if status == 401:
            assert reply.headers["www-authenticate"] == "Bearer"
    assert guarded.get("/health").status == guarded.get("/ready").status == 200


def test_only_the_administrator_loads_and_unloads(guarded):
    for key, status in ((None, 401), (USER, 403), (ADMIN, 200)):
        reply = guarded.post("/v1/load_lora_adapter", key, lora_name="fresh", lora_path="v1")
        assert reply.status == status
    first = guarded.post("/v1/answer", USER, model="fresh", input=TEXTS[0]).json["answers"][0]
    assert first["label"] == guarded.host(TEXTS[0], "intent")[0].label
    second = {"lora_name": "fresh", "lora_path": "v2"}
    reply = guarded.post("/v1/load_lora_adapter", ADMIN, **second)
    assert (reply.status, "is loaded" in reply.problem) == (409, True)
    guarded.post("/v1/load_lora_adapter", ADMIN, **second, load_inplace=True)
    again = guarded.post("/v1/answer", USER, model="fresh", input=TEXTS[0]).json["answers"][0]
    assert again["label"] in ("yes", "no")
    assert guarded.post("/v1/unload_lora_adapter", USER, lora_name="fresh").status == 403
    assert guarded.post("/v1/unload_lora_adapter", ADMIN, lora_name="fresh").status == 200
    assert guarded.post("/v1/answer", USER, model="fresh", input="x").status == 404
    assert guarded.post("/v1/unload_lora_adapter", ADMIN, lora_name="fresh").status == 404


@pytest.mark.parametrize(
    "path", ["../outside", "..", ".", "", "/etc", "v1/../../outside", "v1\0", "link", "~"]
)
def test_nothing_is_loaded_from_elsewhere(guarded, folders, path):
    link = folders / "new" / "link"
    if not link.exists():
        link.symlink_to(folders / "outside")
    reply = guarded.post("/v1/load_lora_adapter", ADMIN, lora_name="evil", lora_path=path)
    assert reply.status == (400 if path == "~" else 403), (
        reply.text
    )  # ~ is a folder that is missing
    assert "evil" not in guarded.host.names()


@pytest.mark.parametrize("name", ["", "a/b", "..", ".x", "a\nb"])
def test_names_are_names(guarded, name):
    reply = guarded.post("/v1/load_lora_adapter", ADMIN, lora_name=name, lora_path="v1")
    assert (reply.status, "cannot be a name" in reply.problem) == (400, True)


def test_without_an_admin_key_nobody_administers(readers):
    for key in (None, "anything"):
        reply = readers.post("/v1/load_lora_adapter", key, lora_name="x", lora_path="y")
        assert (reply.status, "no admin key" in reply.problem) == (403, True)


def test_replacing_under_load_answers_every_row_by_one_version(guarded, folders):
    guarded.post("/v1/load_lora_adapter", ADMIN, lora_name="swap", lora_path="v1")
    labels = {"refund", "praise", "question", "yes", "no"}
    found, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            found.append(guarded.post("/v1/answer", USER, model="swap", input=TEXTS[:4]))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(12):
        swap = {"lora_name": "swap", "lora_path": f"v{2 - turn % 2}", "load_inplace": True}
        assert guarded.post("/v1/load_lora_adapter", ADMIN, **swap).status == 200
    stop.set()
    for thread in threads:
        thread.join()
    assert {one.status for one in found} == {200}
    assert {answer["label"] for one in found for answer in one.json["answers"]} <= labels


@pytest.mark.parametrize("key", ["short", "with blank ", "zwölf-zeichen", "line\nbreak-key"])
def test_keys_that_cannot_be_sent_are_refused(key):
    with pytest.raises(AdaptkitError, match="8 printable ASCII characters"):
        ServeSettings(api_keys=(key,))


def test_settings_show_no_keys():
    assert USER not in repr(ServeSettings(api_keys=(USER,), admin_key=ADMIN))


def test_no_adapter_takes_the_name_of_the_base(guarded, readers_store, tmp_path):
    reply = guarded.post("/v1/load_lora_adapter", ADMIN, lora_name="base", lora_path="v1")
    assert (reply.status, "'base' is the base" in reply.problem) == (400, True)
    shutil.copytree(readers_store / "intent", tmp_path / "base")
    with pytest.raises(AdaptkitError, match="an adapter and the base are both named 'base'"):
        Service(Host.from_store(tmp_path), ServeSettings())
