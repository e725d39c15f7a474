"""Every row of a mixed batch equals its adapter alone, through its own model."""

import asyncio
import functools
import tempfile
from pathlib import Path

import hypothesis
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adaptkit import AdaptkitError, Host
from tests.host.build import (
    alone,
    auto_of,
    batch_for,
    hidden_alone,
    host_for,
    methods_for,
    seen,
    write_adapters,
)
from tests.host.store import TEXTS, quiet
from tests.host.threads import within
from tests.tiny import inputs, tiny

ARCHITECTURES = (
    "bert",
    "roberta",
    "distilbert",
    "deberta-v2",
    "modernbert",
    "albert",
    "gpt2",
    "llama",
    "phi3",
    "t5",
    "bart",
)
WRITERS = ("llama", "gpt2", "t5", "bart")


@functools.cache
def made(name: str):
    """(folder, adapters, host) of an architecture, for all tests of this file."""
    folder = Path(tempfile.mkdtemp(prefix=f"host-{name}-"))
    adapters = write_adapters(name, folder)
    return folder, adapters, host_for(name, folder, adapters)


@functools.cache
def model_alone(name: str, adapter: str | None):
    return alone(name, made(name)[0], adapter)


def check_hidden(name: str, names: list, batch: dict, tolerance: float = 1e-5) -> None:
    together = made(name)[2].hidden(batch, names)
    for adapter in dict.fromkeys(names):
        rows = [i for i, other in enumerate(names) if other == adapter]
        own = {key: value[rows] for key, value in batch.items()}
        expected = hidden_alone(name, model_alone(name, adapter), own)
        torch.testing.assert_close(
            together[rows][seen(own)], expected[seen(own)], atol=tolerance, rtol=tolerance
        )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_method_in_one_batch_with_the_base(name):
    count = len(methods_for(name))
    names = [None, *[f"a{i % count}" for i in range(2 * count)], None, "a0"]
    check_hidden(name, names, batch_for(name, len(names)))


def test_adapters_change_what_the_base_says():
    """The test above would pass if adapters did nothing; they do."""
    _, adapters, host = made("bert")
    batch = batch_for("bert", 1)
    base = host.hidden(batch)
    for adapter in adapters:
        assert (host.hidden(batch, adapter) - base).abs().max() > 1e-2, adapter


@pytest.mark.parametrize("name", ["bert", "llama", "deberta-v2", "bart"])
@hypothesis.settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_mix_in_any_order(name, data):
    choices = [None, *(f"a{i}" for i in range(len(methods_for(name))))]
    names = data.draw(st.lists(st.sampled_from(choices), min_size=1, max_size=9))
    check_hidden(name, names, batch_for(name, len(names), seed=data.draw(st.integers(0, 99))))


def generated_alone(name: str, adapter: str | None, prompt: list[int], **more) -> list[int]:
    model = model_alone(name, adapter)
    ids = torch.tensor([prompt])
    with torch.no_grad():
        found = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **more
        )[0].tolist()
    return found if name in ("t5", "bart") else found[len(prompt) :]


def written(ids: list[int]) -> list[int]:
    """Up to the end: what fills the rest of a batch's rows differs."""
    return ids[: ids.index(2) + 1] if 2 in ids else [token for token in ids if token != 0]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"use_cache": False},
        {"num_beams": 3},
        {"num_beams": 3, "use_cache": False, "length_penalty": 2.0},
    ],
)
def test_generation_with_an_adapter_for_every_row(name, how):
    count = len(methods_for(name))
    names = [f"a{i}" for i in range(count)] + [None, "a0", "a7", None]
    prompts = [
        ids[: 3 + i % 5].tolist()
        for i, ids in enumerate(inputs(name, rows=len(names))["input_ids"])
    ]
    together = made(name)[2].generate(prompts, names, max_new_tokens=6, **how)
    assert len({tuple(ids) for ids in together}) > 2
    for adapter, prompt, ids in zip(names, prompts, together, strict=True):
        expected = generated_alone(name, adapter, prompt, max_new_tokens=6, do_sample=False, **how)
        assert written(ids) == written(expected), (adapter, prompt)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"temperature": 0.7, "top_k": 5},
        {"top_p": 0.8, "top_k": 0},
        {"min_p": 0.05, "use_cache": False},
    ],
)
def test_sampling_draws_what_it_would_draw_alone(name, how):
    names = ["a0", None, "a4", "a7", "a0", "a11", None]
    prompts = [
        ids[: 3 + i % 4].tolist()
        for i, ids in enumerate(inputs(name, rows=len(names))["input_ids"])
    ]
    together = made(name)[2].generate(
        prompts, names, max_new_tokens=8, do_sample=True, seed=40, **how
    )
    again = made(name)[2].generate(
        prompts[::-1], names[::-1], max_new_tokens=8, do_sample=True, seed=range(46, 39, -1), **how
    )
    for i, (adapter, prompt, ids) in enumerate(zip(names, prompts, together, strict=True)):
        model_alone(name, adapter)  # to make it draws numbers too
        torch.manual_seed(40 + i)
        expected = generated_alone(name, adapter, prompt, max_new_tokens=8, do_sample=True, **how)
        assert written(ids) == written(expected)
        assert written(again[-1 - i]) == written(ids)
    other = made(name)[2].generate(prompts, names, max_new_tokens=8, do_sample=True, seed=41, **how)
    assert other != together


def test_padding_on_either_side_of_a_batch_of_prefixes_changes_nothing():
    """Rows with prefixes of other lengths beside them, and rows without."""
    names = ["a7", "a8", "a10", None, "a7"]
    for length in (4, 9):
        batch = inputs("llama", rows=5, length=length)
        check_hidden("llama", names, batch)


def test_a_base_that_has_no_axis_of_rows_is_asked_one_adapter_at_a_time(tmp_path):
    """DeBERTa-v2 with shared keys puts its positions through the adapted maps, once for the whole
    batch.
    """
    shared = {"share_att_key": True}
    adapters = write_adapters("deberta-v2", tmp_path, **shared)
    host = host_for("deberta-v2", tmp_path, adapters, **shared)
    names = ["a0", "a1", None, "a4", "a0", None]
    batch = batch_for("deberta-v2", len(names))
    for _ in range(2):  # the first time it finds out
        together = host.hidden(batch, names)
        assert not host.backbone.mixes
        for i, adapter in enumerate(names):
            own = {key: value[i : i + 1] for key, value in batch.items()}
            expected = hidden_alone(
                "deberta-v2", alone("deberta-v2", tmp_path, adapter, **shared), own
            )
            torch.testing.assert_close(
                together[i : i + 1][seen(own)], expected[seen(own)], atol=1e-5, rtol=1e-5
            )


@pytest.mark.parametrize(
    "name, attn", [("bert", "eager"), ("llama", "eager"), ("t5", "eager"), ("bart", "eager")]
)
def test_eager_attention_too(name, attn, tmp_path):
    folder, adapters, _ = made(name)
    host = Host(
        tiny(name, auto_of(name), attn=attn),
        slots=len(adapters),
        slot_capacity=list(adapters.values()),
    )
    for adapter in adapters:
        host.load(adapter, folder / adapter)
    names = [None, *adapters]
    batch = batch_for(name, len(names))
    torch.testing.assert_close(
        host.hidden(batch, names)[:, :5],
        made(name)[2].hidden(batch, names)[:, :5],
        atol=2e-5,
        rtol=1e-4,
    )


def test_bf16_is_as_close_as_bf16_is(tmp_path):
    """The same adapters over the same base in bf16: no further from fp32 than the adapters alone in
    bf16, twice over.
    """
    folder, adapters, exact = made("bert")
    host = Host(tiny("bert").bfloat16(), slots=len(adapters), slot_capacity=list(adapters.values()))
    for adapter in adapters:
        host.load(adapter, folder / adapter)
    assert host.slots.rows.dtype == torch.bfloat16
    names = list(adapters)
    batch = batch_for("bert", len(names))
    difference = (host.hidden(batch, names).float() - exact.hidden(batch, names))[seen(batch)].abs()
    spread = exact.hidden(batch, names)[seen(batch)].std()
    assert difference.mean() < 0.02 * spread


def test_an_interrupt_in_a_forward_leaves_the_host_to_others(host):
    def interrupt(*_):
        raise KeyboardInterrupt

    hook = host.backbone.network.encoder.layer[1].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        host(TEXTS[:2], "a0")
    hook.remove()
    within(10, lambda: host(TEXTS[:2], "a0"))
    assert quiet(host)


def test_settings_that_belong_to_one_row_or_to_nobody_are_refused():
    host = made("llama")[2]
    for settings, message in (
        ({"prefix_allowed_tokens_fn": lambda b, ids: [10 + b]}, "unknown setting of generate"),
        ({"decoder_input_ids": torch.ones(1, 2)}, "unknown setting of generate"),
        ({"do_sample": True, "typical_p": 0.2}, "unknown setting of generate 'typical_p'"),
        ({"temperature": 0.5}, "goes with do_sample=True"),
        ({"temprature": 0.5, "do_sample": True}, "did you mean 'temperature'"),
        ({"do_sample": True, "num_beams": 2}, "do not go together"),
        ({"do_sample": True, "temperature": 0.0}, "cannot sample so"),
        ({"do_sample": True, "top_p": 5.0}, "cannot sample so"),
        ({"do_sample": True, "top_k": -1}, "cannot sample so"),
        ({"max_new_tokens": 0}, "max_new_tokens is a whole number, 1 or more"),
        ({"num_beams": 0}, "num_beams is a whole number"),
        ({"batch_size": -1}, "batch_size is a whole number"),
        ({"seed": None}, "seed is a whole number"),
        ({"seed": [1, 2, 3]}, "1 prompts|seed is a whole number"),
        ({"max_new_tokens": 10**6}, "positions"),
    ):
        with pytest.raises(AdaptkitError, match=message):
            host.generate([[5, 6, 7]], **settings)
    for prompts in ([[]], [[5], []], [5, 6, 7], [[10**6]], [[5], "text"], ["text"]):
        with pytest.raises(AdaptkitError, match="prompt 0 is|prompt 1 is|without a tokenizer"):
            host.generate(prompts)


def test_ids_end_with_the_end_token_whatever_the_batch():
    host = made("gpt2")[2]
    prompts = [
        ids[: 2 + i % 5].tolist() for i, ids in enumerate(inputs("gpt2", rows=12)["input_ids"])
    ]
    names = [f"a{i}" for i in range(12)]
    together = host.generate(prompts, names, max_new_tokens=12)
    alone = [
        host.generate([prompt], name, max_new_tokens=12)[0]
        for prompt, name in zip(prompts, names, strict=True)
    ]
    assert together == alone
    assert {len(ids) for ids in together} != {12}


def test_what_a_new_user_tried(root):
    with Host.from_store(root / "store", slots=2) as host:
        host.unload("a3")  # in no slot anyway
        host.load("mine", root / "store/a0")
        host.load("a1", root / "store/a1")
        with pytest.raises(AdaptkitError, match=r"all 2 slots are taken \(a1, mine\)"):
            host(TEXTS[:1], "a2")  # what was loaded by hand does not leave
        with pytest.raises(AdaptkitError, match="labels= is for adapters without a card"):
            host.load("mine", root / "store/a0", labels=["x"])
        for adapters in (3, [["x"]], {"a": 1}):
            with pytest.raises(AdaptkitError):
                host(TEXTS[:1], adapters)
        for wrong in ("text", 5, None):
            with pytest.raises(AdaptkitError, match="hidden wants inputs"):
                host.hidden(wrong)
    with pytest.raises(AdaptkitError, match="the host is closed"):
        asyncio.run(host.submit(TEXTS[0], "mine"))
    with pytest.raises(AdaptkitError, match="Host has no option 'slot'; did you mean 'slots'"):
        Host(str(root / "base"), slot=3)
    for prompts in ({"text": "One day"}, 3):
        with pytest.raises(AdaptkitError, match="prompts are texts or lists of ids"):
            made("llama")[2].generate(prompts)
