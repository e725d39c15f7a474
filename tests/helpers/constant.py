"""Classifiers whose answers are known: each gives one answer to every text."""

import torch

from adaptkit import TaskCard, adapt, load_base, save_adapter

MINILM = "all-MiniLM-L6-v2"


def always(folder, answer, labels=("no", "yes"), base=MINILM, method="ia3", **card):
    """Save an adapter that always answers so; returns its folder as a text."""
    model = adapt(load_base(str(base), task="classify", labels=list(labels)), method)
    head = model.get_submodule("base_model.model.classifier")
    head = getattr(head, "modules_to_save", {"default": head})["default"]
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([float(label == answer) for label in labels]))
    own = {"task": "classify", "labels": list(labels), "columns": {"text": "text"}} | card
    save_adapter(model, folder, card=TaskCard(max_length=16, **own))
    return str(folder)
