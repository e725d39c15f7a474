"""Adapters over tiny models, written to disk, and what each of them says alone through its own
model.
"""

from pathlib import Path

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from adaptkit import Host, adapt, load_adapter, save_adapter
from adaptkit.models.backbone import backbone_of
from tests.tiny import inputs, randomize, tiny

METHODS = (
    "lora[r=4,alpha=12]",
    "lora[r=3,rslora=true,gate=true]",
    "lora[r=9,sites=attn.q|attn.v]",
    "lora[r=2]+ia3",
    "bottleneck[reduction=4]",
    "bottleneck[placement=pfeiffer,reduction=4,scale=learned]",
    "bottleneck[placement=parallel,reduction=4,gate=true]",
    "prefix[length=5]",
    "prefix[length=3,mlp=8,gate=true]",
    "ia3",
    "bias",
    "reft[r=3]",
    "miss[r=5]+bias",
    "vera[r=6]",
    "bottleneck[placement=pfeiffer,reduction=8]+reft[r=2]+bottleneck[placement=pfeiffer]",
    "mam",
    "unipelt",
)
PREFIXES = ("prefix", "mam", "unipelt")
DECODERS, BOTH = ("gpt2", "llama", "phi3"), ("t5", "bart")


def auto_of(name: str):
    """The class that a host loads an architecture with."""
    return (
        AutoModelForCausalLM
        if name in DECODERS
        else AutoModelForSeq2SeqLM
        if name in BOTH
        else AutoModel
    )


def methods_for(name: str) -> list[str]:
    """DeBERTa-v2 takes no prefixes."""
    return [m for m in METHODS if not (name == "deberta-v2" and m.startswith(PREFIXES))]


def write_adapters(name: str, folder: Path, **settings) -> dict[str, str]:
    """An adapter of every method with random weights in `folder`; its name -> its method."""
    written = {}
    for i, method in enumerate(methods_for(name)):
        model = adapt(tiny(name, auto_of(name), **settings), method, head=[])
        randomize(model, seed=i, std=0.1)
        save_adapter(model, folder / f"a{i}")
        written[f"a{i}"] = method
    return written


def host_for(name: str, folder: Path, adapters: dict[str, str], **settings) -> Host:
    host = Host(
        tiny(name, auto_of(name), **settings),
        slots=len(adapters),
        slot_capacity=list(adapters.values()),
    )
    for adapter in adapters:
        host.load(adapter, folder / adapter)
    return host


def alone(name: str, folder: Path, adapter: str | None, **settings):
    """The whole model with one adapter, through PEFT."""
    base = tiny(name, auto_of(name), **settings)
    return base if adapter is None else load_adapter(folder / adapter, base).get_base_model()


def hidden_alone(name: str, model, batch: dict) -> torch.Tensor:
    with torch.no_grad():
        if name == "t5":
            return model(**batch, output_hidden_states=True).decoder_hidden_states[-1]
        return (model if auto_of(name) is AutoModel else backbone_of(model)[0])(**batch)[0]


def batch_for(name: str, rows: int, seed: int = 1) -> dict[str, torch.Tensor]:
    """A batch in which every third row is shorter."""
    batch = inputs(name, rows=rows, seed=seed)
    batch["attention_mask"][::3, -3:] = 0
    return batch


def seen(batch: dict) -> torch.Tensor:
    """Which of the hidden states mean something."""
    if "decoder_input_ids" in batch:
        return torch.ones_like(batch["decoder_input_ids"], dtype=torch.bool)
    return batch["attention_mask"].bool()
