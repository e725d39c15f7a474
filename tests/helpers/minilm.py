"""Classifiers over the packaged MiniLM, with random weights, and what they answer."""

import pytest
import torch

from adaptkit import TaskCard, adapt, load_adapter, load_base, save_adapter
from tests.tiny import randomize

BASE = "all-MiniLM-L6-v2"
LORA = "lora[r=4,sites=attn.q|attn.v]"


def make(folder, name, method=LORA, seed=0, labels=("no", "yes")):
    torch.manual_seed(seed)
    model = adapt(load_base(BASE, task="classify", labels=list(labels)), method)
    randomize(model)
    save_adapter(
        model,
        folder / name,
        card=TaskCard(
            task="classify", labels=list(labels), columns={"text": "text"}, max_length=64
        ),
    )
    return folder / name


def states(folder):
    """Hidden states and logits of an adapter."""
    model = load_adapter(folder)
    ids = torch.arange(1000, 1012).view(2, 6)
    with torch.no_grad():
        out = model(input_ids=ids, output_hidden_states=True)
    return torch.cat([out.hidden_states[-1].flatten(), out.logits.flatten()])


PFEIFFER = "bottleneck[placement=pfeiffer]"
COLUMNS = {"text": "text", "label": "label"}


@pytest.fixture
def folders(tmp_path):
    for name, columns in (("one", COLUMNS), ("pair", {**COLUMNS, "text_pair": "other"})):
        model = adapt(load_base("all-MiniLM-L6-v2", task="classify", labels=["a", "b"]), "ia3")
        save_adapter(
            model,
            tmp_path / name,
            card=TaskCard(task="classify", labels=["a", "b"], columns=columns, max_length=32),
        )
    return tmp_path


HEAD = {"classifier.weight", "classifier.bias"}


@pytest.fixture(scope="module")
def base():
    return load_base(BASE, task="classify", labels=2)
