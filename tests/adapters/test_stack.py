"""Stacked adapters are the union of their parts."""

import pytest
import torch

from adaptkit import adapt, cli, load_adapter, load_base, save_adapter
from adaptkit.adapters.card import TaskCard
from adaptkit.adapters.stack import stack_adapters
from adaptkit.adapters.tensors import adapter_tensors
from tests.helpers.minilm import BASE, PFEIFFER, make, states
from tests.tiny import randomize


@pytest.mark.parametrize("method", [PFEIFFER, "lora[r=4]", "prefix[length=3]+ia3"])
def test_a_stack_with_an_identity_is_the_adapter(tmp_path, method):
    torch.manual_seed(0)
    one = make(tmp_path, "one", method)
    labels = ["no", "yes"]
    fresh = adapt(load_base(BASE, task="classify", labels=labels), "bottleneck")
    with torch.no_grad():
        stored = (
            load_adapter(one).get_base_model().classifier.modules_to_save["default"].state_dict()
        )
        fresh.get_base_model().classifier.modules_to_save["default"].load_state_dict(stored)
    save_adapter(
        fresh,
        tmp_path / "identity",
        card=TaskCard(task="classify", labels=labels, columns={"text": "text"}, max_length=64),
    )
    for order in (["one", "identity"], ["identity", "one"]):
        stack_adapters([tmp_path / name for name in order], tmp_path / "out")
        torch.testing.assert_close(states(tmp_path / "out"), states(one), rtol=1e-5, atol=1e-5)


def test_a_stack_is_the_union_of_its_parts(tmp_path):
    parts = [make(tmp_path, "a", "lora[r=2]", 1), make(tmp_path, "b", PFEIFFER, 2)]
    cli.main(["combine", *map(str, parts), "--how", "stack", "--output_dir", str(tmp_path / "out")])
    union = adapt(load_base(BASE, task="classify", labels=["no", "yes"]), f"lora[r=2]+{PFEIFFER}")
    randomize(union)
    slots = adapter_tensors(union, "default")
    with torch.no_grad():
        for number, part in enumerate(parts):
            for key, tensor in adapter_tensors(load_adapter(part), "default").items():
                slots[key.replace(".0_", f".{number}_")].copy_(tensor)
        ids = torch.arange(1000, 1012).view(2, 6)
        out = union.eval()(input_ids=ids, output_hidden_states=True)
    found = torch.cat([out.hidden_states[-1].flatten(), out.logits.flatten()])
    torch.testing.assert_close(states(tmp_path / "out"), found, rtol=1e-5, atol=1e-5)
