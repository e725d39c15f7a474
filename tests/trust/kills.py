"""Kills at random moments of training, saving, combining, mixing and exporting.

    python tests/trust/kills.py --kills 200

After each kill, every file that is not ours is as it was, the output folder holds the whole old
version or the whole new one, and the next run sweeps what is left. Half of the kills come at a
random time, by SIGKILL, SIGTERM or SIGINT; the others at a random operation on a file in the output
folder, by SIGKILL. Prints a line per kind of work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from adaptkit.recipes import classify
from safetensors.torch import load_file

from adaptkit import adapt, load_adapter, load_base, read_card, save_adapter
from adaptkit.adapters.combine import combine
from adaptkit.adapters.full import FULL, save_full
from adaptkit.cli import main as command_line
from adaptkit.data.corpus import load_corpus
from adaptkit.models.tokenizer import load_tokenizer
from adaptkit.models.untrained.scratch import make_model
from adaptkit.utils.atomic_files import read_together
from adaptkit.utils.output_folder import check_writable
from adaptkit.utils.terminal import guarded

FOREIGN = {"notes.txt": b"mine", "data/rows.csv": b"text,label\n", "data/deep/er/x": b"\0\1"}
ADAPTER = ("adapter_model.safetensors", "adapter_config.json", "task.json")
MODEL = ("model.safetensors", "config.json", "tokenizer.json")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
LABELS = ["a", "b", "c"]


@dataclass
class Work:
    """One kind of work: what it does, and the files of its version."""

    name: str
    run: Callable[[Path], None]
    files: tuple[str, ...]
    old: Path | None  # what lies in the output folder before; None: it has to be empty
    seconds: float = 0.0
    operations: int = 0
    new: str = ""  # the digest of what it writes


class Workshop:
    """A folder with small models, rows and adapters, and the kinds of work on them."""

    def __init__(self, root: Path):
        self.root = root
        rows = load_corpus("train")[:32]
        for kind in ("base", "other"):
            texts = [row["text"] for row in rows]
            make_model("bert", texts, root / kind, vocab_size=300, seed=len(kind))
        lines = [json.dumps({"text": r["text"], "label": r["sentiment"]}) for r in rows]
        (root / "rows.jsonl").write_text("\n".join(lines))
        for number, name in enumerate(("one", "two", "old")):
            save_adapter(self.model(number), root / name)
        self.full(root / "old-model", seed=5)
        self.works = [
            Work("train", self.train, ADAPTER, root / "old"),
            Work("save", self.save, ADAPTER, root / "old"),
            Work("combine", self.combine, ADAPTER, root / "old"),
            Work("save a model", self.full, MODEL, root / "old-model"),
            Work("mix", self.mix, MODEL, None),
            Work("export", self.export, MODEL, None),
        ]

    def model(self, seed: int):
        torch.manual_seed(seed)
        base = load_base(str(self.root / "base"), task="classify", labels=LABELS)
        model = adapt(base, "lora")
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.normal_(0, 0.1)
        return model

    def save(self, out: Path) -> None:
        save_adapter(self.model(7), out)

    def full(self, out: Path, seed: int = 8) -> None:
        base = self.root / "base"
        model = self.model(seed).merge_and_unload()
        save_full(model, load_tokenizer(str(base)), out, read_card_of(self.root / "one"))

    def combine(self, out: Path) -> None:
        combine([self.root / "one", self.root / "two"], out)

    def mix(self, out: Path) -> None:
        words = ["--target", str(self.root / "other"), "--output_dir", str(out)]
        command_line(["mix", str(self.root / "base"), *words])

    def export(self, out: Path) -> None:
        command_line(["export", str(self.root / "one"), "--output_dir", str(out)])

    def train(self, out: Path) -> None:
        flags = ["--train_file", str(self.root / "rows.jsonl"), "--output_dir", str(out)]
        flags += ["--model_name_or_path", str(self.root / "base"), "--overwrite_output_dir"]
        flags += ["--num_train_epochs", "2", "--per_device_train_batch_size", "8", "--seed", "1"]
        flags += ["--max_seq_length", "16", "--disable_tqdm", "true", "--logging_steps", "1"]
        classify.main([*flags, "--attn_implementation", "eager"])


def read_card_of(folder: Path):
    card = read_card(folder)
    assert card is not None
    return card


def prepared(work: Work, place: Path) -> Path:
    """The output folder with the old version and files of somebody else, before some work."""
    out = place / "out"
    for folder in (out, place) if work.old else (place,):
        for name, content in FOREIGN.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    if work.old:
        shutil.copytree(work.old, out, dirs_exist_ok=True)
    return out


def start(work: Work, out: Path, die_at: int | None = None, count: Path | None = None) -> int:
    """Do some work in another process: its number.

    Args:
        die_at: the number of the operation on a file in `out` at which it is killed.
        count: where to write how many there were.
    """
    sys.stdout.flush()
    # Python prints, and forgets, an interrupt that comes while it arranges itself after the fork.
    later = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS[1:])
    process = os.fork()
    if process:
        signal.pthread_sigmask(signal.SIG_SETMASK, later)
        return process
    code, seen = 1, [0]

    def on_event(name, args):
        if name.startswith(("os.", "open")) and args and str(out) in str(args[0]):
            if seen[0] == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            seen[0] += 1

    try:
        for signal_of_parent in (signal.SIGINT, signal.SIGTERM):
            default = signal.SIG_DFL
            if signal_of_parent == signal.SIGINT:
                default = signal.default_int_handler
            signal.signal(signal_of_parent, default)
        signal.pthread_sigmask(signal.SIG_SETMASK, later)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        torch.set_num_threads(1)
        torch.manual_seed(0)
        sys.addaudithook(on_event)
        guarded(lambda: work.run(out))
        if count:
            count.write_text(str(seen[0]))
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os._exit(code)


def measure(work: Work, root: Path) -> None:
    """How long some work takes, how many operations on files it has, and what it writes."""
    out, count = prepared(work, root / f"measure-{work.name}"), root / "count"
    began = time.perf_counter()
    code = os.waitstatus_to_exitcode(os.waitpid(start(work, out, count=count), 0)[1])
    assert code == 0, f"{work.name}: exit code {code}"
    work.seconds, work.operations = time.perf_counter() - began, int(count.read_text())
    work.new = version(work, out)


def version(work: Work, out: Path) -> str:
    """A digest of the weights that a reader finds in a folder; empty if there is no version."""
    found = read_together(out, work.files)
    if not found and work.old is None:
        return ""
    assert found.keys() == {*work.files}, f"{[*found]} are there alone"
    return hashlib.sha256(found[work.files[0]]).hexdigest()


def check(work: Work, out: Path) -> str:
    """What is left after a kill: "old", "new" or "stopped".

    Raises:
        AssertionError: something is lost, mixed or left over.
    """
    left = _which(work, out)
    for folder in (out, out.parent) if work.old else (out.parent,):
        for name, content in FOREIGN.items():
            assert (folder / name).read_bytes() == content, f"{folder / name} changed"
    check_writable(out)
    assert _which(work, out) == left
    over = [path for path in out.parent.rglob(".adaptkit*") if "checkpoint-" not in str(path)]
    assert not over, f"left over: {over}"
    if left != "nothing":
        _load(work, out)
    return left


def _which(work: Work, out: Path) -> str:
    digest = version(work, out)
    if work.files is ADAPTER:
        card = read_card_of(out)
        assert card.weights_sha256 == digest, "card and weights are of two versions"
        if card.stopped:
            return "stopped"
    known = {"": "nothing", work.new: "new"}
    if work.old:
        known |= {version(work, work.old): "old"}
    assert digest in known, "neither the old version nor the new one"
    return known[digest]


def _load(work: Work, out: Path) -> None:
    if work.files is ADAPTER:
        load_adapter(out)
    elif work.name != "mix":
        load_adapter(out)
        assert read_card_of(out).method == FULL
    else:
        load_base(str(out))
        load_file(out / MODEL[0])


def kill_one(work: Work, place: Path, draw: random.Random) -> str:
    """One kill at a moment that nobody chose."""
    out = prepared(work, place)
    if draw.random() < 0.5:
        process, what = start(work, out, die_at=draw.randrange(work.operations)), "operation"
    else:
        process, sent = start(work, out), draw.choice(SIGNALS)
        what = sent.name
        time.sleep(draw.uniform(0, work.seconds))
        os.kill(process, sent)
    os.waitpid(process, 0)
    left = check(work, out)
    shutil.rmtree(place)
    return f"{what}: {left}"


def main() -> None:
    """Kill, check and print; ends with an error at the first loss."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    torch.set_num_threads(1)
    draw, began = random.Random(given.seed), time.perf_counter()
    print(f"seed {given.seed}")
    with tempfile.TemporaryDirectory() as root:
        shop = Workshop(Path(root))
        for work in shop.works:
            measure(work, Path(root))
        found: dict[str, Counter[str]] = {work.name: Counter() for work in shop.works}
        for number in range(given.kills):
            work = shop.works[number % len(shop.works)]
            try:
                found[work.name][kill_one(work, Path(root) / f"kill-{number}", draw)] += 1
            except BaseException:
                print(f"kill {number} of {work.name}, seed {given.seed}")
                raise
    for name, counts in found.items():
        shown = ", ".join(f"{what} {count}" for what, count in sorted(counts.items()))
        print(f"{name}: {sum(counts.values())} kills; {shown}")
    print(f"{given.kills} kills, nothing lost, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
