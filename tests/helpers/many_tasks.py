"""Three tasks with few rows, and the recipe that learns them together."""

import json

import pytest
import yaml
from adaptkit.recipes import multitask
from safetensors.torch import load_file

BASE = "all-MiniLM-L6-v2"
METHOD = "lora[r=2,sites=attn.q]"
MOODS = ("a warm kind day", "a cold rude day")


def rows(count, names=("bad", "good")):
    return [{"text": f"{MOODS[i % 2]} {i}", "label": names[i % 2]} for i in range(count)]


@pytest.fixture
def tasks(tmp_path):
    """A file of two tasks, of one model kind, and one of another."""
    for name, found in (("mood", rows(24)), ("more", rows(12, ("no", "yes")))):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    words = "\n".join(f"Ada B-PER\nin O\nRome B-LOC\n{word} O\n" for word in "abcdefghijkl")
    (tmp_path / "names.txt").write_text(words)
    content = {
        "mood": {"recipe": "classify", "train_file": str(tmp_path / "mood.jsonl")},
        "more": {"recipe": "classify", "train_file": str(tmp_path / "more.jsonl")},
        "names": {"recipe": "tag", "train_file": str(tmp_path / "names.txt")},
    }
    file = tmp_path / "tasks.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


FEW = [
    "--method",
    METHOD,
    "--per_device_train_batch_size",
    "4",
    "--num_train_epochs",
    "2",
    "--bf16",
    "false",
]
FEW += ["--disable_tqdm", "true", "--attn_implementation", "sdpa", "--learning_rate", "5e-3"]


def run(file, out, *more):
    multitask.main(["--tasks", str(file), "--output_dir", str(out), *FEW, *more])
    return {
        name: load_file(out / name / "adapter_model.safetensors")
        for name in ("mood", "more", "names")
    }


def split(tensors):
    """The tensors of the adapter and those of the head."""
    adapter = {key: value for key, value in tensors.items() if "lora_" in key}
    return adapter, {key: value for key, value in tensors.items() if key not in adapter}
