"""A captured network gives every row what its adapter's own model gives it alone."""

import pytest
import torch

from adaptkit import Host
from adaptkit.host.packed import packable, packed_outputs
from adaptkit.host.rows import Item
from tests.host.build import PREFIXES, alone, auto_of, host_for, write_adapters
from tests.tiny import tiny

CAPTURED = ("bert", "roberta", "distilbert", "electra", "albert", "modernbert")
LENGTHS = (3, 30, 4, 17, 16, 16, 5, 2)


def items_of(host, adapters):
    """Rows of several lengths, each with the next of the adapters."""
    generator = torch.Generator().manual_seed(1)
    count = max(len(LENGTHS), len(adapters))
    found = []
    for number in range(count):
        ids = torch.randint(3, 100, (LENGTHS[number % len(LENGTHS)],), generator=generator)
        name = adapters[number % len(adapters)]
        loaded = host._engine.slots.admit(name) if name else None
        features = {"input_ids": ids.tolist(), "attention_mask": [1] * len(ids)}
        found.append((name, Item(features, loaded)))
    return found


@pytest.mark.parametrize("name", CAPTURED)
def test_rows_of_all_methods_and_lengths_equal_their_models_alone(name, tmp_path):
    adapters = write_adapters(name, tmp_path)
    with host_for(name, tmp_path, adapters) as host:
        backbone = host._engine.backbone
        backbone.capture()
        assert backbone.not_captured is None
        names = [one for one, method in adapters.items() if not method.startswith(PREFIXES)]
        rows = items_of(host, [*names, None])
        items = [item for _, item in rows]
        seen = {}
        with torch.no_grad(), backbone.forward_lock():
            for block, outputs in packed_outputs(backbone, items, host._engine.choose):
                for item, states in zip(block, outputs.last_hidden_state, strict=True):
                    seen[id(item)] = states[: item.length].clone()
        for adapter, item in rows:
            model = alone(name, tmp_path, adapter)
            with torch.no_grad():
                ids = torch.tensor([item.features["input_ids"]])
                expected = model(input_ids=ids).last_hidden_state[0]
            torch.testing.assert_close(seen[id(item)], expected, atol=1e-5, rtol=1e-5)
        prefixed = host._engine.slots.admit(next(iter(set(adapters) - set(names))))
        other = Item(items[0].features, prefixed)
        strange = Item(items[0].features | {"bbox": []}, None)
        assert packable(backbone, [*items, other, strange]) == (items, [other, strange])


def test_what_is_not_captured_answers_by_its_modules():
    refused = {
        "deberta-v2": "attends in a way of its own",
        "gemma2": "attention softcap",
        "mbart": "takes no positions",
        "gpt2": "are encoders on a CPU",
    }
    for name, problem in refused.items():
        host = Host(tiny(name, auto_of(name)), slots=1, capture=True)
        assert not host.stats()["captured"]
        assert problem in host.stats()["not_captured"]
        assert host.backbone.program is None
