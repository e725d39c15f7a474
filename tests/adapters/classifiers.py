"""Tiny classifiers for adapters, and ways to damage what is saved of them."""

import json
from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from tests.tiny import tiny

HEAD = ["classifier"]


def classifier(seed: int = 0, **more):
    return tiny("bert", AutoModelForSequenceClassification, seed=seed, num_labels=3, **more)


def edit_weights(folder: Path, change, keep_checksum: bool = False) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    if not keep_checksum:
        card = json.loads((folder / "task.json").read_text())
        card["weights_sha256"] = None
        (folder / "task.json").write_text(json.dumps(card))


def rename(tensors):
    tensors["nobody"] = tensors.pop(sorted(tensors)[0])


def poison(tensors):
    tensors[sorted(tensors)[3]].view(-1)[0] = float("nan")


def shorten(tensors):
    tensors[sorted(tensors)[3]] = tensors[sorted(tensors)[3]][:-1].clone()


def classifier_with(labels=("LABEL_0", "LABEL_1")):
    model = tiny("bert", AutoModelForSequenceClassification)
    model.config.id2label = dict(enumerate(labels))
    return model
