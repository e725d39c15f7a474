"""A tiny base and a store of classifiers over it, and ways to damage them."""

import json
import time
from pathlib import Path

from safetensors.torch import load_file, save_file

from adaptkit import Host, TaskCard, adapt, load_base, save_adapter
from adaptkit.data.corpus import load_corpus
from adaptkit.models.untrained.scratch import make_model
from tests.tiny import randomize

TEXTS = [row["text"] for row in load_corpus("train")[:40]]
LABELS = ["a", "b", "c"]


METHODS = (
    "lora[r=4]",
    "lora[r=2]",
    "bottleneck[reduction=4]",
    "prefix[length=3]",
    "ia3",
    "lora[r=4]",
)


def make_store(root: Path) -> None:
    """A tiny BERT in `root/base`, and a store of six classifiers over it, of four methods."""
    make_model("bert", TEXTS, root / "base", vocab_size=300, hidden_size=32, intermediate_size=48)
    for number, method in enumerate(METHODS):
        write(root, root / "store" / f"a{number}", method, seed=number)


def write(root: Path, folder: Path, method: str, seed: int, base: str = "base") -> None:
    model = adapt(load_base(str(root / base), task="classify", labels=LABELS), method)
    randomize(model, seed=seed, std=0.4)
    save_adapter(model, folder, card=TaskCard(task="classify", labels=LABELS, max_length=32))


def quiet(host: Host) -> bool:
    """Nobody uses anything, and every slot is either free or has a name; a batch lets go a moment
    after it has answered.
    """
    slots = host.slots
    return any(_quiet(slots) or time.sleep(0.02) for _ in range(100))


def _quiet(slots) -> bool:
    return (
        all(not one.ref_count for one in slots.loaded_adapters.values())
        and len(slots._free) + len(slots.loaded_adapters) == slots.count + 1
        and slots._promised == 0
    )


def weights(folder: Path, change, checksum: bool = False) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    if not checksum:
        edit(folder, "task.json", weights_sha256=None)


def edit(folder: Path, file: str, **values) -> None:
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | values))
