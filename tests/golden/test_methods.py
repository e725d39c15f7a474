"""Tensors of another library's forms, met to 1e-5, on models with random norms and biases."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import CONFIG_MAPPING, AutoModel
from transformers.models.t5.modeling_t5 import T5Attention

from adaptkit import adapt
from tests.tiny import first

_BOTTLENECK = {
    "adapter_down.0.weight": "down",
    "adapter_down.0.bias": "down_bias",
    "adapter_up.weight": "up",
    "adapter_up.bias": "up_bias",
}
_MAP_SITES = {"query": "attn_q", "key": "attn_k", "value": "attn_v", "dense": "ffn_in"}


def _lora(name):
    path, _, rest = name.partition(".loras.one.lora_")
    return [(path, f"0_{_MAP_SITES[path.rpartition('.')[2]]}_{rest}", lambda t: t)]


def _ia3(name):
    path = name.partition(".loras.one.")[0]
    return [(path, f"0_{_MAP_SITES[path.rpartition('.')[2]]}_scale", lambda t: t[:, 0])]


def _bottleneck(place):
    def read(name):
        path, _, rest = name.partition(".adapters.one.")
        module, site = place(path)
        return [(module, f"0_{site}_{_BOTTLENECK[rest]}", lambda t: t)]

    return read


def _prefix(place):
    def read(name):
        which = name.partition(".one.")[2].partition(".")[0]
        found = []
        for layer in range(2):
            module, site = place(which, layer)
            for offset, kind in enumerate(("keys", "values")):
                column = 2 * layer + offset
                found.append(
                    (
                        module,
                        f"0_{site}_{kind}",
                        lambda t, c=column: t.view(5, 4, 4, 8)[:, c].reshape(5, 32),
                    )
                )
        return found

    return read


def _two(attention: str, ffn: str):
    return lambda path: (attention, "attn_out") if "attention" in path else (ffn, "ffn_out")


def _in_layer(make):
    return lambda path: make(path.split(".")[1])(path)


_T5_PREFIX = {
    "encoder_prefix": ("encoder.block.{}.layer.0.SelfAttention.q", "attn"),
    "self_prefix": ("decoder.block.{}.layer.0.SelfAttention.q", "attn"),
    "cross_prefix": ("decoder.block.{}.layer.1.EncDecAttention.q", "cross"),
}
_BERT_Q, _GPT2_Q = "encoder.layer.{}.attention.self.query", "h.{}.attn.c_attn"
CASES = {
    "lora@bert": ("lora[r=4,alpha=12,sites=attn.q|attn.k|attn.v]", _lora),
    "ia3@bert": ("ia3", _ia3),
    "seq_bn@bert": (
        "bottleneck[placement=pfeiffer,reduction=4]",
        _bottleneck(lambda p: (p + ".LayerNorm", "layer")),
    ),
    "seq_bn@gpt2": (
        "bottleneck[placement=pfeiffer,reduction=4]",
        _bottleneck(lambda p: (p.replace("output_adapters", "mlp.c_proj"), "layer")),
    ),
    "par_bn@bert": (
        "bottleneck[placement=parallel,reduction=4]",
        _bottleneck(lambda p: (p + ".dense", "ffn")),
    ),
    "par_bn@gpt2": (
        "bottleneck[placement=parallel,reduction=4]",
        _bottleneck(lambda p: (p.replace("output_adapters", "mlp.c_proj"), "ffn")),
    ),
    "par_bn@llama": (
        "bottleneck[placement=parallel,reduction=4]",
        _bottleneck(lambda p: (p.replace("output_adapters", "mlp.down_proj"), "ffn")),
    ),
    "double_seq_bn@bert": (
        "bottleneck[reduction=4]",
        _bottleneck(lambda p: (p + ".dense", "attn_out" if "attention" in p else "ffn_out")),
    ),
    "double_seq_bn@gpt2": (
        "bottleneck[reduction=4]",
        _bottleneck(_in_layer(lambda i: _two(f"h.{i}.attn.c_proj", f"h.{i}.mlp.c_proj"))),
    ),
    "double_seq_bn@llama": (
        "bottleneck[reduction=4]",
        _bottleneck(
            _in_layer(lambda i: _two(f"layers.{i}.self_attn.o_proj", f"layers.{i}.mlp.down_proj"))
        ),
    ),
    "double_seq_bn@t5": (
        "bottleneck[reduction=4]",
        _bottleneck(
            lambda p: (
                (p + ".SelfAttention.o", "attn_out")
                if p.endswith("layer.0")
                else (p + ".DenseReluDense.wo", "ffn_out")
            )
        ),
    ),
    "prefix@bert": ("prefix[length=5]", _prefix(lambda _, i: (_BERT_Q.format(i), "attn"))),
    "prefix@gpt2": ("prefix[length=5]", _prefix(lambda _, i: (_GPT2_Q.format(i), "attn"))),
    "prefix@t5": (
        "prefix[length=5]",
        _prefix(lambda which, i: (_T5_PREFIX[which][0].format(i), _T5_PREFIX[which][1])),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_golden(case, data_folder, monkeypatch):
    method, place = CASES[case]
    tensors = load_file(data_folder / "golden" / f"{case}.safetensors")
    config = json.loads((data_folder / "golden" / f"{case}.json").read_text())["model_config"]
    kind = config.pop("model_type")
    config.pop("transformers_version")
    base = AutoModel.from_config(CONFIG_MAPPING[kind](**config), attn_implementation="eager")
    base.load_state_dict(_part(tensors, "base."), strict=False)
    model = adapt(base, method).eval()
    filled = set()
    for name, tensor in _part(tensors, "adapter.").items():
        for module, weight, read in place(name):
            target = base.get_submodule(module).adaptkit_weights["default"][weight]
            assert target.shape == read(tensor).shape
            target.data.copy_(read(tensor))
            filled.add(target)
    assert filled == {p for p in model.parameters() if p.requires_grad}
    if case == "prefix@t5":
        _shift_relative_positions(monkeypatch, 5)
    with torch.no_grad():
        torch.testing.assert_close(
            first(model(**_part(tensors, "input."))), tensors["output"], atol=1e-5, rtol=0
        )


def _part(tensors, start: str):
    return {
        key.removeprefix(start): tensor for key, tensor in tensors.items() if key.startswith(start)
    }


def _shift_relative_positions(monkeypatch, length: int) -> None:
    """The library that made prefix@t5 counts a prefix as positions, which moves every token
    `length` places away from itself.

    Ours does not (see test_prefix_does_not_move_the_positions_of_t5), so here the base is made to:
    its bias of token i to token j becomes that of a distance j + length - i, and that of prefix
    column c the one of a distance c - i. All else must then agree.
    """
    from adaptkit.adapters import attention

    own, pad = T5Attention.compute_bias, attention.F.pad

    def with_prefix(self, queries, keys, device=None, past_seen_tokens=0):
        whole = own(self, queries, keys + length, device=device, past_seen_tokens=0)
        self.config.owner.prefix_bias = whole[..., :length]
        return whole[..., length:]

    def upcast_emulated(tensor, amount, **more):
        for bias in biases():
            if (
                not more
                and tensor.ndim == 4
                and tensor.shape[:3] == bias.shape[:3]
                and tensor.any()
            ):
                return torch.cat([bias, tensor], -1)
        return pad(tensor, amount, **more)

    def biases():
        return [bias for bias in seen if bias is not None]

    seen = []

    def remember(self, *args, **kwargs):
        result = with_prefix(self, *args, **kwargs)
        seen[:] = [self.config.owner.prefix_bias]
        return result

    monkeypatch.setattr(T5Attention, "compute_bias", remember)
    monkeypatch.setattr(attention.F, "pad", upcast_emulated)
