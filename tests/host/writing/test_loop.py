"""Rows that join and leave a batch are written as each alone, over many families."""

import copy
import functools

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from adaptkit import Host, adapt, save_adapter
from adaptkit.models.language.row_cache import RowCache, rows_may_come_and_go
from tests.host.build import alone, host_for, methods_for, write_adapters
from tests.tiny import randomize, tiny

# With positions that are learned, turned or added to scores; with windows; with shared heads.
FAMILIES = ["gpt2", "opt", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100}
OTHERS = {
    "bloom": {"n_layer": 2, "n_head": 4},
    "gpt_neox": {"intermediate_size": 48},
    "falcon": {"num_kv_heads": 2, "new_decoder_architecture": True},
    "mixtral": {"intermediate_size": 48, "num_key_value_heads": 2, "num_local_experts": 4},
    "olmo2": {"intermediate_size": 48},
    "stablelm": {"intermediate_size": 48, "num_key_value_heads": 2},
}
STATEFUL = {
    "mamba": {"num_hidden_layers": 2, "hidden_size": 32, "vocab_size": 100, "state_size": 4},
    "rwkv": {"num_hidden_layers": 2, "hidden_size": 32, "vocab_size": 100, "context_length": 64},
}
PROMPTS = [[(7 * i + 3 * j) % 90 + 5 for j in range(2 + 5 * i % 9)] for i in range(10)]
COUNTS = [3, 9, 1, 12, 5, 7, 2, 11, 4, 6]


@functools.cache
def decoder(kind: str):
    if kind in FAMILIES:
        model = tiny(kind, AutoModelForCausalLM)
    else:
        config = AutoConfig.for_model(kind, **SMALL | OTHERS.get(kind, {}) | STATEFUL.get(kind, {}))
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
    model.requires_grad_(True)
    randomize(model, std=0.3)
    model.generation_config.eos_token_id = None
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("kind", [*FAMILIES, *OTHERS])
def test_rows_of_a_queue_are_those_that_each_is_alone(kind):
    model = decoder(kind)
    expected = []
    for prompt, count in zip(PROMPTS, COUNTS, strict=True):
        ids = torch.tensor([prompt])
        written = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
        expected.append(written[0, len(prompt) :].tolist())
    host = Host(copy.deepcopy(model), slots=1)
    assert host._engine.writer.by_token
    for batch_size in (3, 32):
        assert host.generate(PROMPTS, max_new_tokens=COUNTS, batch_size=batch_size) == expected
    drawn = {"max_new_tokens": COUNTS, "do_sample": True, "temperature": 2.0}
    together = host.generate(PROMPTS, batch_size=3, **drawn)
    assert together == host.generate(PROMPTS, batch_size=1, **drawn)
    assert len({tuple(ids[:3]) for ids in together}) > 5


@pytest.mark.parametrize("kind", STATEFUL)
def test_a_base_that_keeps_no_keys_is_written_in_whole_batches(kind):
    model = decoder(kind)
    assert not rows_may_come_and_go(model)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_rows_of_every_method_join_and_leave(kind, tmp_path):
    """Layouts of other shapes and prefixes of other lengths come and go."""
    adapters = write_adapters(kind, tmp_path)
    host = host_for(kind, tmp_path, adapters)
    names = [None, *(f"a{i}" for i in range(len(methods_for(kind)))), "a0", None]
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(len(names))]
    counts = [COUNTS[(3 * i) % len(COUNTS)] for i in range(len(names))]
    settings = {"eos_token_id": 10**6, "max_new_tokens": counts}
    together = host.generate(prompts, names, batch_size=4, **settings)
    for i, (name, prompt, count) in enumerate(zip(names, prompts, counts, strict=True)):
        ids = torch.tensor([prompt])
        expected = alone(kind, tmp_path, name).generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
        ended = host.generate([prompt], name, max_new_tokens=count, eos_token_id=10**6)[0]
        assert together[i] == ended, name
        if 2 not in ended:  # else transformers may not write it
            assert expected[0, len(prompt) :].tolist() == ended, name


def test_fewer_steps_than_whole_batches_take():
    host = Host(copy.deepcopy(decoder("llama")), slots=1)
    counts = [40 if i % 4 == 0 else 2 for i in range(16)]
    before = host.stats()["batches"]
    host.generate([PROMPTS[0]] * 16, max_new_tokens=counts, batch_size=4)
    assert host.stats()["batches"] - before <= 60  # whole batches: 160


def test_a_cache_of_rows_of_others_holds_them_at_its_end():
    def filled(rows: int, columns: int, start: int) -> RowCache:
        cache = RowCache()
        values = torch.arange(start, start + rows * columns, dtype=torch.float32)
        states = values.view(rows, 1, columns, 1)
        cache.update(states, -states, 0)
        return cache

    joined = RowCache.of([(filled(2, 3, 1), [1]), (filled(2, 5, 10), [1, 0])], [1, 0, 2], 4)
    keys, values = joined.layers[0].keys, joined.layers[0].values
    assert keys[:, 0, :, 0].tolist() == [[16, 17, 18, 19], [0, 4, 5, 6], [11, 12, 13, 14]]
    assert torch.equal(values, -keys)
    new = torch.full((3, 1, 1, 1), 99.0)
    assert joined.update(new, new, 0)[0][:, 0, -2:, 0].tolist() == [[19, 99], [6, 99], [14, 99]]


def test_rows_go_on_where_they_are_if_a_base_turns_out_not_to_mix_adapters(tmp_path):
    """OPT passes a tensor without rows through its maps; only the second batch has two adapters."""
    for i in range(2):
        model = adapt(tiny("opt", AutoModelForCausalLM), "lora[r=4]")
        randomize(model, seed=i, std=0.3)
        save_adapter(model, tmp_path / f"a{i}")

    def host() -> Host:
        made = Host(tiny("opt", AutoModelForCausalLM), slots=2)
        for i in range(2):
            made.load(f"a{i}", tmp_path / f"a{i}", check_base=False)
        return made

    prompts, names, counts = [[5, 6, 7], [8, 9], [20, 21, 22]], ["a0", "a0", "a1"], [2, 12, 12]
    settings = {"eos_token_id": 99}
    together = host()
    found = together.generate(prompts, names, max_new_tokens=counts, batch_size=2, **settings)
    for prompt, name, count, ids in zip(prompts, names, counts, found, strict=True):
        assert host().generate([prompt], name, max_new_tokens=count, **settings)[0] == ids
    assert together.stats()["adapters"]["a0"]["rows"] == 2
