"""Make `tests/data/adapterhub`: adapters of AdapterHub's library, and what they answer.

    python -m venv /tmp/adapterhub
    /tmp/adapterhub/bin/pip install torch==2.13.0 adapters==1.3.0
    /tmp/adapterhub/bin/python tests/golden/make_adapterhub.py tests/data/adapterhub

Every weight is random, those of bases, norms and biases too. Each case is a folder as that library
saves it, for one of the tiny bases beside it; `expected.safetensors` holds the answers to `IDS`.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import adapters
import torch
from adapters import (
    AutoAdapterModel,
    BnConfig,
    ConfigUnion,
    DoubleSeqBnConfig,
    IA3Config,
    LoRAConfig,
    ParBnConfig,
    PrefixTuningConfig,
    SeqBnConfig,
)
from safetensors.torch import save_file
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForSequenceClassification

IDS = torch.tensor([[5, 9, 3, 17, 8, 11], [4, 4, 20, 7, 13, 2]])

_ENCODER = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 24,
    "max_position_embeddings": 12,
}
_BOTH = {"d_model": 16, "vocab_size": 24, "max_position_embeddings": 12}
for _side, _depth in (("encoder", 2), ("decoder", 1)):
    _BOTH |= {f"{_side}_layers": _depth, f"{_side}_attention_heads": 2, f"{_side}_ffn_dim": 16}
BASES = {
    "bert": _ENCODER,
    "roberta": _ENCODER,
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 24, "n_positions": 12},
    "bart": _BOTH | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
}
_LORA = {"r": 3, "alpha": 7}
CASES = {
    "seq_bn": ("bert", SeqBnConfig(reduction_factor=4)),
    "seq_bn_leave_out": ("bert", SeqBnConfig(reduction_factor=4, leave_out=[0], scaling=0.5)),
    "seq_bn_by_layer": ("bert", SeqBnConfig(reduction_factor={"1": 8, "default": 2})),
    "seq_bn_gpt2": ("gpt2", SeqBnConfig(reduction_factor=4, non_linearity="leakyrelu")),
    "double_seq_bn": ("bert", DoubleSeqBnConfig(reduction_factor=4)),
    "double_seq_bn_bart": ("bart", DoubleSeqBnConfig(reduction_factor=4, cross_adapter=True)),
    "two_widths": (
        "bert",
        ConfigUnion(
            BnConfig(True, False, 8, "gelu"),
            BnConfig(False, True, 4, "tanh"),
        ),
    ),
    "par_bn": ("roberta", ParBnConfig(reduction_factor=4)),
    "par_bn_learned": ("gpt2", ParBnConfig(reduction_factor=4, scaling="learned")),
    "par_bn_channel": ("bert", ParBnConfig(reduction_factor=4, scaling="channel")),
    "wide": ("bert", ParBnConfig(reduction_factor=0.5, scaling=1.0, leave_out=[1])),
    "lora": ("roberta", LoRAConfig(**_LORA, intermediate_lora=True, output_lora=True)),
    "lora_gpt2": ("gpt2", LoRAConfig(**_LORA, attn_matrices=["q", "v"], intermediate_lora=True)),
    "lora_bart": ("bart", LoRAConfig(**_LORA, attn_matrices=["k"])),
    "ia3": ("bert", IA3Config(alpha=2)),
    "ia3_gpt2": ("gpt2", IA3Config()),
    "prefix_flat": ("bert", PrefixTuningConfig(flat=True, prefix_length=3)),
    "prefix_flat_leave_out": (
        "gpt2",
        PrefixTuningConfig(flat=True, prefix_length=3, leave_out=[0]),
    ),
    "prefix_mlp": ("roberta", PrefixTuningConfig(prefix_length=2, bottleneck_size=3)),
    "prefix_bart": ("bart", PrefixTuningConfig(flat=True, prefix_length=2)),
    "mam": (
        "bert",
        ConfigUnion(
            PrefixTuningConfig(flat=True, prefix_length=2), ParBnConfig(reduction_factor=4)
        ),
    ),
}
LABELS = {0: "no", 1: "yes", 2: "maybe"}
HEADS = {
    "head_two_layers": ("roberta", "classification", {"num_labels": 3}),
    "head_pooler": ("bert", "classification", {"num_labels": 3, "layers": 1, "use_pooler": True}),
    "head_no_pooler": ("bert", "classification", {"num_labels": 3}),
    "head_multilabel": ("roberta", "classification", {"num_labels": 3, "multilabel": True}),
    "head_tagging": ("bert", "tagging", {"num_labels": 3}),
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)  # so that the configurations name the bases by relative paths
    for kind, settings in BASES.items():
        torch.manual_seed(0)
        base = AutoModel.from_config(CONFIG_MAPPING[kind](**settings))
        randomize(base.named_parameters(), 0.3)
        base.save_pretrained(kind)
    expected = {}
    for name, (kind, config) in CASES.items():
        pickled = name.startswith(("prefix", "mam"))  # that library cannot write them otherwise
        expected[name] = make(name, kind, config, safetensors=not pickled)
    for name, (kind, head, settings) in HEADS.items():
        expected[name] = make(name, kind, SeqBnConfig(reduction_factor=8), (head, settings))
    expected["head_of_transformers"] = make_static("head_of_transformers")
    make("state_dict", "bert", SeqBnConfig(reduction_factor=4), safetensors=False)
    save_file(expected | {"ids": IDS}, "expected.safetensors")


def make(name, kind, config, head=None, safetensors=True) -> torch.Tensor:
    """Save one adapter and its head; returns the hidden states, or the logits of the head."""
    torch.manual_seed(1)
    # Eager: with SDPA and no padding, decoders of that library do not see all of their prefix.
    model = AutoAdapterModel.from_pretrained(kind, attn_implementation="eager")
    model.add_adapter("task", config=config)
    if head:
        getattr(model, f"add_{head[0]}_head")("task", id2label=LABELS, **head[1])
    model.set_active_adapters("task")
    randomize(added(model), 0.4)
    model.save_adapter(name, "task", use_safetensors=safetensors)
    if head:
        model.save_head(name, "task", use_safetensors=safetensors)
    with torch.no_grad():
        return model.eval()(input_ids=IDS)[0].contiguous()


def make_static(name) -> torch.Tensor:
    """An adapter in a class of transformers with its own head."""
    model = AutoModelForSequenceClassification.from_pretrained(
        "roberta", id2label=LABELS, label2id={label: index for index, label in LABELS.items()}
    )
    adapters.init(model)
    model.add_adapter("task", config=SeqBnConfig(reduction_factor=8))
    model.set_active_adapters("task")
    randomize(added(model), 0.4)
    model.save_adapter(name, "task", with_head=True)
    with torch.no_grad():
        return model.eval()(input_ids=IDS)[0].contiguous()


def added(model) -> Iterable[tuple[str, torch.nn.Parameter]]:
    """The parameters of the adapter and of the head."""
    for name, parameter in model.named_parameters():
        if ".task." in name or "heads." in name or name.startswith("classifier."):
            yield name, parameter


def randomize(parameters, std: float) -> None:
    with torch.no_grad():
        for _, parameter in parameters:
            parameter.add_(torch.randn_like(parameter) * std)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
