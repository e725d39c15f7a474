"""Hostile folders of adapters: every file damaged in every way that we know of."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from adaptkit import TaskCard

CARD, CONFIG, WEIGHTS = "task.json", "adapter_config.json", "adapter_model.safetensors"
BACKTRACKS = "(([a-z])+.)+[A-Z]([a-z])+$"
WRONG = {
    "null": None,
    "number": 5,
    "float": 1e308,
    "text": "x",
    "empty": "",
    "list": [],
    "numbers": [1, 2, 3],
    "object": {"a": 1},
    "true": True,
    "controls": "\x00\x1b[31m\u202e",
    "long": "lora+" * 40_000,
    "nested": [[[[{"a": [[]]}]]]],
}
METHODS = (
    "lora[r=0]",
    "lora[r=-1]",
    "lora[r=100000000]",
    "lora[r=4,alpha=nan]",
    "lora[r=4,alpha=inf]",
    "lora[r=4,alpha=1e308]",
    "lora[r=" + "9" * 5000 + "]",
    "lora[layers=0-999999999]",
    "lora[layers=" + ",".join(map(str, range(20_000))) + "]",
    "lora[" * 5000,
    "bottleneck[reduction=0]",
    "bottleneck[scale=inf]",
    "prefix[length=100000000]",
    "+".join(["lora"] * 3000),
    "[" * 150_000,
    "=" * 150_000,
    "lora[r=4]" + "+" * 150_000,
    "lora[sites=" + "|".join(["attn.q"] * 20_000) + "]",
    "peft:",
    "peft:LORA",
    "full",
    "lora[r=４]",  # a digit of another script
)


@dataclass(frozen=True)
class Folder:
    """A damaged adapter: `damage` changes the files of a sound one.

    `valid`: the result is another sound adapter, whose answers may differ.
    """

    name: str
    damage: Callable[[Path], object]
    card: bool = True  # False: as PEFT writes it, without a card
    valid: bool = False


def folders() -> Iterator[Folder]:
    """All of them."""
    yield Folder("sound", lambda folder: None)
    yield Folder("sound without a card", lambda folder: None, card=False)
    for name in (CARD, CONFIG, WEIGHTS):
        yield from _bytes(name)
    for field in fields(TaskCard):
        for kind, value in WRONG.items():
            yield Folder(f"card: {field.name} is {kind}", _edit(CARD, field.name, value))
    for method in METHODS:
        yield Folder(f"card: method {method[:40]}", _edit(CARD, "method", method))
    yield from _configs()
    yield from _weights()


def _bytes(name: str) -> Iterator[Folder]:
    """What can happen to any file."""
    damages = {
        "is missing": lambda path: path.unlink(),
        "is empty": lambda path: path.write_bytes(b""),
        "is half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        "lacks a byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
        "has one more": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        "is noise": lambda path: path.write_bytes(bytes(range(256)) * 50),
        "is zeros": lambda path: path.write_bytes(bytes(5000)),
        "is null": lambda path: path.write_bytes(b"null"),
        "is a list": lambda path: path.write_bytes(b"[1, 2]"),
        "is nested": lambda path: path.write_bytes(b'{"a":' * 100_000),
        "is a long number": lambda path: path.write_bytes(b'{"max_length": ' + b"9" * 6000 + b"}"),
        "is UTF-16": lambda path: path.write_bytes(
            path.read_bytes().decode("latin-1").encode("utf-16")
        ),
        "is a folder": lambda path: (path.unlink(), path.mkdir()),
        "is a link to itself": lambda path: (path.unlink(), path.symlink_to(path)),
        "is a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
        "is a device": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
        "is a sparse terabyte": lambda path: os.truncate(path, 1 << 40),
    }
    for kind, damage in damages.items():
        yield Folder(f"{name} {kind}", lambda folder, change=damage: change(folder / name))


def _edit(file: str, key: str, value: object) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        path = folder / file
        content = json.loads(path.read_text())
        if file == CARD and key != "weights_sha256":
            content["weights_sha256"] = None
        path.write_text(json.dumps(content | {key: value}))

    return damage


def _configs() -> Iterator[Folder]:
    keys = ("peft_type", "r", "lora_alpha", "target_modules", "modules_to_save", "rank_pattern")
    keys += ("alpha_pattern", "layers_to_transform", "layers_pattern", "base_model_name_or_path")
    keys += ("exclude_modules", "bias", "use_rslora", "init_lora_weights", "task_type")
    for key in keys:
        for kind, value in WRONG.items():
            valid = key in ("lora_alpha", "use_rslora")
            damage = _edit(CONFIG, key, value)
            yield Folder(f"settings: {key} is {kind}", damage, card=False, valid=valid)
    for key in ("target_modules", "exclude_modules", "layers_pattern", "modules_to_save"):
        for value in (BACKTRACKS, "(" * 2000, ["(a+)+$"] * 100):
            name = f"settings: {key} is the pattern {str(value)[:20]}"
            yield Folder(name, _edit(CONFIG, key, value), card=False)
    for key in ("rank_pattern", "alpha_pattern"):
        name = f"settings: {key} backtracks"
        yield Folder(name, _edit(CONFIG, key, {BACKTRACKS: 4}), card=False)
    for value in (-1, 0, 10**8, 10**30, 2.5, "4"):
        yield Folder(f"settings: r is {value!r}", _edit(CONFIG, "r", value), card=False)


def _weights() -> Iterator[Folder]:
    def tensors(change) -> Callable[[Path], None]:
        def damage(folder: Path) -> None:
            found = load_file(folder / WEIGHTS)
            change(found)
            save_file(found, folder / WEIGHTS, metadata={"format": "pt"})
            if (folder / CARD).exists():
                _edit(CARD, "versions", {})(folder)

        return damage

    def first(make) -> Callable[[dict], None]:
        def change(found: dict) -> None:
            name = sorted(found)[0]
            found[name] = make(found[name])

        return change

    changes = {
        "int32": first(lambda one: one.int()),
        "int64": first(lambda one: torch.ones_like(one).long()),
        "bool": first(lambda one: one.bool()),
        "float8": first(lambda one: one.to(torch.float8_e4m3fn)),
        "complex": first(lambda one: one.to(torch.complex64)),
        "empty": first(lambda one: one[:0].clone()),
        "a scalar": first(lambda one: one.sum()),
        "transposed": first(lambda one: one.T.contiguous()),
        "with one row more": first(lambda one: torch.cat([one, one[:1]])),
        "of four dimensions": first(lambda one: one[None, None].clone()),
        "NaN": first(lambda one: one * float("nan")),
        "infinite": first(lambda one: one / 0),
        "missing": lambda found: found.pop(sorted(found)[0]),
        "renamed": lambda found: found.update(x=found.pop(sorted(found)[0])),
        "in excess": lambda found: found.update(
            {"base_model.model.x.lora_A.weight": torch.ones(4, 4)}
        ),
        "all missing": lambda found: found.clear(),
        "ten thousand more": lambda found: found.update(
            {f"x{i}": torch.ones(1) for i in range(10**4)}
        ),
    }
    for card in (True, False):
        for kind, change in changes.items():
            yield Folder(f"weights: {kind}, {'a' if card else 'no'} card", tensors(change), card)
        for kind, change in _headers().items():
            yield Folder(f"weights' header: {kind}, {'a' if card else 'no'} card", change, card)


def _headers() -> dict[str, Callable[[Path], None]]:
    """The weights' file with another header over the same bytes."""

    def with_header(change) -> Callable[[Path], None]:
        def damage(folder: Path) -> None:
            content = (folder / WEIGHTS).read_bytes()
            (size,) = struct.unpack("<Q", content[:8])
            header = json.loads(content[8 : 8 + size])
            name = next(key for key in sorted(header) if key != "__metadata__")
            text = change(header, name)
            text = json.dumps(header).encode() if text is None else text
            (folder / WEIGHTS).write_bytes(
                struct.pack("<Q", len(text)) + text + content[8 + size :]
            )
            if (folder / CARD).exists():
                _edit(CARD, "versions", {})(folder)

        return damage

    return {
        "int for float": with_header(lambda header, name: header[name].update(dtype="I32")),
        "unknown type": with_header(lambda header, name: header[name].update(dtype="F7")),
        "negative shape": with_header(lambda header, name: header[name].update(shape=[-4, 8])),
        "huge shape": with_header(lambda header, name: header[name].update(shape=[1 << 62, 8])),
        "outside": with_header(lambda header, name: header[name].update(data_offsets=[0, 1 << 40])),
        "backwards": with_header(lambda header, name: header[name].update(data_offsets=[64, 0])),
        "text": with_header(lambda header, name: b"x" * 500),
        "nested": with_header(lambda header, name: b'{"a":' * 20_000),
        "megabytes": with_header(lambda header, name: b" " * (1 << 22)),
    }
