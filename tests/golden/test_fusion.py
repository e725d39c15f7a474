"""Fusion against its golden tensors."""

import json

import torch
from safetensors.torch import load_file
from transformers import CONFIG_MAPPING, AutoModel

from adaptkit import adapt
from adaptkit.methods.fusion import Fusion


def test_golden(data_folder):
    tensors = load_file(data_folder / "golden/fusion@bert.safetensors")
    settings = json.loads((data_folder / "golden/fusion@bert.json").read_text())["model_config"]
    kind = settings.pop("model_type")
    settings.pop("transformers_version")
    base = AutoModel.from_config(CONFIG_MAPPING[kind](**settings), attn_implementation="eager")
    base.load_state_dict(
        {name[5:]: tensor for name, tensor in tensors.items() if name.startswith("base.")}
    )
    model = adapt(base, Fusion(2, 4)).eval()
    names = {"adapter_down.0": "down", "adapter_up": "up"}
    for layer, module in enumerate(base.encoder.layer):
        root = f"adapter.encoder.layer.{layer}.output."
        weights = module.output.LayerNorm.adaptkit_weights["default"]
        for theirs, ours in names.items():
            for kind, name in (("weight", ours), ("bias", f"{ours}_bias")):
                both = [tensors[f"{root}adapters.{one}.{theirs}.{kind}"] for one in ("one", "two")]
                weights[f"0_layer_{name}"].data = torch.stack(both)
        for ours in ("query.weight", "query.bias", "key.weight", "value.weight"):
            name = f"0_layer_{ours.removesuffix('.weight').replace('.', '_')}"
            weights[name].data = tensors[f"{root}adapter_fusion_layer.one,two.{ours}"]
    mask = tensors["input.attention_mask"]
    with torch.no_grad():
        out = model(input_ids=tensors["input.input_ids"], attention_mask=mask)[0]
    torch.testing.assert_close(out[mask.bool()], tensors["output"][mask.bool()], rtol=0, atol=1e-5)
