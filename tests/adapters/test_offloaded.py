"""Bases whose weights Accelerate keeps on disk and fetches for each call."""

import pytest
import torch
from accelerate import cpu_offload
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from adaptkit import AdaptkitError, adapt, load_adapter, save_adapter
from adaptkit.models.untrained.scratch import make_model
from tests.tiny import randomize

METHODS = [
    *(
        "lora",
        "lora[sites=attn.q|ffn.in]",
        "bottleneck",
        "bottleneck[placement=pfeiffer]",
        "prefix",
    ),
    *("ia3", "bias", "reft", "miss", "vera", "unipelt", "mam", "lora+prefix"),
]
IDS = torch.arange(10, 18)[None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_model("llama", ["one two three"] * 40, tmp_path_factory.mktemp("offloaded"))[0]


def loaded(folder, tmp_path, kind=AutoModelForCausalLM, **device_map):
    """A base: as it is, or with its layers on disk."""
    if not device_map:
        return kind.from_pretrained(folder, dtype=torch.float32)
    return kind.from_pretrained(
        folder, dtype=torch.float32, device_map=device_map, offload_folder=str(tmp_path / "disk")
    )


ON_DISK = {
    "model.embed_tokens": "cpu",
    "model.layers": "disk",
    "model.norm": "cpu",
    "model.rotary_emb": "cpu",
    "lm_head": "cpu",
}


@pytest.mark.parametrize("method", METHODS)
def test_each_method_trains_and_loads_over_layers_on_disk(folder, tmp_path, method):
    plain = adapt(loaded(folder, tmp_path), method)
    offloaded = adapt(loaded(folder, tmp_path, **ON_DISK), method)
    assert any(weight.is_meta for weight in offloaded.parameters())
    found = []
    for model in (plain, offloaded):
        randomize(model)
        outputs = model(input_ids=IDS, labels=IDS)
        outputs.loss.backward()
        grads = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        found.append({"logits": outputs.logits.detach(), **grads})
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-6)
    save_adapter(offloaded, tmp_path / "a")
    for base in (loaded(folder, tmp_path, **ON_DISK), loaded(folder, tmp_path)):
        with torch.no_grad():
            again = load_adapter(tmp_path / "a", base)(input_ids=IDS).logits
        torch.testing.assert_close(again, found[0]["logits"], atol=1e-6, rtol=1e-6)


def test_weights_in_cpu_memory_are_fetched_too(folder, tmp_path):
    plain = adapt(loaded(folder, tmp_path), "lora+prefix")
    offloaded = adapt(cpu_offload(loaded(folder, tmp_path), "cpu"), "lora+prefix")
    assert any(weight.is_meta for weight in offloaded.parameters())
    for model in (plain, offloaded):
        randomize(model)
    with torch.no_grad():
        expected, found = (model(input_ids=IDS).logits for model in (plain, offloaded))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_what_would_be_trained_nowhere_is_refused(folder, tmp_path):
    with pytest.raises(AdaptkitError, match="PEFT's own methods do not go with.*offloaded"):
        adapt(loaded(folder, tmp_path, **ON_DISK), "peft:LOHA[r=2,target_modules=q_proj]")
    parts = {name: "cpu" for name in ON_DISK if name != "lm_head"} | {"score": "disk"}
    base = loaded(folder, tmp_path, AutoModelForSequenceClassification, **parts)
    with pytest.raises(AdaptkitError, match=r"the head's score.weight is offloaded"):
        adapt(base, "lora", head=["score"])


def test_nothing_is_merged_into_weights_on_disk(folder, tmp_path):
    model = adapt(loaded(folder, tmp_path, **ON_DISK), "lora")
    with pytest.raises(AdaptkitError, match="is offloaded, so nothing can be merged"):
        model.merge_adapter()


def test_an_adapter_of_another_base_is_refused_over_layers_on_disk(folder, tmp_path):
    other = make_model("llama", ["one two three"] * 40, tmp_path / "other", seed=5)[0]
    save_adapter(adapt(loaded(folder, tmp_path), "lora"), tmp_path / "a")
    with pytest.raises(AdaptkitError, match="was trained on another base"):
        load_adapter(tmp_path / "a", loaded(other, tmp_path, **ON_DISK))
