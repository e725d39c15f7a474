"""Weights that are no numbers to compute with are refused by every road."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from adaptkit import (
    AdaptkitError,
    Host,
    Predictor,
    TaskCard,
    adapt,
    load_adapter,
    load_base,
    save_adapter,
)
from adaptkit.adapters.combine import combine
from adaptkit.adapters.export import export
from adaptkit.adapters.stack import stack_adapters
from adaptkit.adapters.warm_start import warm_start
from tests.host.store import edit, weights, write
from tests.tiny import randomize

A = "layer.0.attention.self.query.lora_A"


def changed(change):
    """Change the A of one map."""

    def damage(folder):
        weights(folder, lambda t: t.update({k: change(v) for k, v in t.items() if A in k}))

    return damage


def other_header(folder):
    """The same bytes, called whole numbers."""
    path = folder / "adapter_model.safetensors"
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    key = next(key for key in header if A in key)
    header[key]["dtype"] = "I32"
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])
    edit(folder, "task.json", weights_sha256=None)


DAMAGE = {
    "int32": (changed(lambda t: (t * 9).int()), "torch.int32; weights are numbers with a fraction"),
    "bool": (changed(lambda t: t > 0), "torch.bool; weights are numbers with a fraction"),
    "header": (other_header, "torch.int32; weights are numbers with a fraction"),
    "nan": (changed(lambda t: t * float("nan")), "not finite"),
    "1e308": (changed(lambda t: t.double() * 1e308), "not finite in fp32"),
    "alpha": (lambda f: edit(f, "task.json", method="lora[alpha=nan,r=4]"), "alpha is a number"),
    "large": (lambda f: edit(f, "task.json", method="lora[alpha=1e308,r=4]"), "alpha is a number"),
    "settings": (
        lambda f: edit(f, "adapter_config.json", lora_alpha=float("inf")),
        "'lora_alpha': it is inf, which is no number to compute with",
    ),
}


@pytest.fixture(params=DAMAGE)
def damaged(request, root, tmp_path):
    write(root, tmp_path / "one", "lora[r=4]", seed=0)
    damage, message = DAMAGE[request.param]
    damage(tmp_path / "one")
    return tmp_path / "one", message


def test_every_road_refuses_them(damaged, root, tmp_path):
    folder, message = damaged
    good = root / "store/a0"
    base = load_base(str(root / "base"), task="classify", labels=["a", "b", "c"])
    host = Host(str(root / "base"), slots=1)
    roads = [
        lambda: load_adapter(folder),
        lambda: Predictor(folder),
        lambda: host.load("one", folder),
        lambda: Host.from_store(folder.parent, base=host.backbone)("x", "one"),
        lambda: combine([good, folder], tmp_path / "out"),
        lambda: stack_adapters([folder, good], tmp_path / "out"),
        lambda: warm_start(adapt(base, "lora[r=4]"), folder),
        lambda: export(folder, tmp_path / "out"),
    ]
    for road in roads:
        with pytest.raises(AdaptkitError, match=message):
            road()
    assert not (tmp_path / "out").exists()
    assert host.names() == []


def test_an_adapter_of_pefts_own_is_refused_too(root, tmp_path):
    base = load_base(str(root / "base"))
    model = adapt(base, "peft:LORA[r=2,target_modules=query]")
    randomize(model)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, **{k: (v * 9).int() for k, v in tensors.items() if A in k}}, path)
    host = Host(str(root / "base"), slots=1)
    for load in (lambda: load_adapter(tmp_path, base), lambda: host.load("one", tmp_path)):
        with pytest.raises(AdaptkitError, match=r"torch.int32; weights are numbers with"):
            load()


def test_a_merge_that_overflows_is_not_written(root, tmp_path):
    """Finite factors whose product is infinite."""
    base = load_base(str(root / "base"), task="classify", labels=["a", "b", "c"])
    model = adapt(base, "lora[r=2]")
    with torch.no_grad():
        for parameter in (one for one in model.parameters() if one.requires_grad):
            parameter.fill_(1e30)
    save_adapter(model, tmp_path / "one", card=TaskCard(task="classify", labels=["a", "b", "c"]))
    with pytest.raises(AdaptkitError, match="cannot be merged: .* not finite in torch.float32"):
        export(tmp_path / "one", tmp_path / "out")
    assert not (tmp_path / "out").exists()
