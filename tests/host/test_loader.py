"""Adapters that are replaced while they are read."""

import threading
import time

from adaptkit import AdaptkitError, TaskCard, adapt, load_base, save_adapter
from tests.host.store import LABELS, TEXTS, quiet
from tests.tiny import randomize


def test_a_folder_that_is_replaced_while_it_is_loaded_is_one_version_or_the_other(
    host, root, tmp_path
):
    """Both versions answer differently; nothing in between ever does."""
    versions = [host(TEXTS[:1], name)[0] for name in ("a0", "a1")]
    stop = threading.Event()

    def replace():
        models = [
            adapt(load_base(str(root / "base"), task="classify", labels=LABELS), m)
            for m in ("lora[r=4]", "lora[r=2]")
        ]
        for i, model in enumerate(models):
            randomize(model, seed=i, std=0.4)
        while not stop.is_set():
            for model in models:
                save_adapter(
                    model,
                    tmp_path / "live",
                    card=TaskCard(task="classify", labels=LABELS, max_length=32),
                )

    thread = threading.Thread(target=replace)
    thread.start()
    while not (tmp_path / "live/task.json").exists():
        time.sleep(0.01)
    seen, refused = [], []
    try:
        for _ in range(60):
            try:
                host.load("live", tmp_path / "live")
            except AdaptkitError as problem:
                refused.append(str(problem))
                continue
            seen.append(host(TEXTS[:1], "live")[0])
    finally:
        stop.set()
        thread.join()
    assert {answer.label for answer in seen} <= {answer.label for answer in versions}
    for answer in seen:
        assert (
            min(
                abs(answer.score - version.score)
                for version in versions
                if version.label == answer.label
            )
            < 1e-5
        )
    assert len(seen) > 20
    assert all("was replaced or deleted while it was read" in problem for problem in refused)
    assert quiet(host)
