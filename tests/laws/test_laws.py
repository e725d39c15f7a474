"""The laws that every method obeys on every architecture.

A new method joins by one row in METHODS.
"""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from adaptkit import (
    AdaptkitError,
    LoRA,
    adapt,
    find_sites,
    load_adapter,
    parse_method,
    save_adapter,
)
from adaptkit.adapters.layer import AdaptLayer
from adaptkit.methods.key_values import KeyValues
from adaptkit.methods.registry import known_methods
from tests.processes import run
from tests.tiny import LAW_ARCHITECTURES, first, inputs, randomize, tiny

METHODS = (
    "lora[r=4,alpha=12]",
    "lora[r=3,rslora=true,gate=true]",
    "bottleneck[reduction=4]",
    "bottleneck[placement=pfeiffer,reduction=4,scale=learned]",
    "bottleneck[placement=parallel,reduction=4,gate=true]",
    "prefix[length=5]",
    "prefix[length=3,mlp=8,gate=true]",
    "ia3",
    "bias",
    "reft[r=3]",
    "miss[r=5]",
    "vera[r=6]",
    "mam",
    "unipelt",
    "fusion[adapters=3,reduction=4]",
)
CASES = []
for _name in LAW_ARCHITECTURES:
    for _method in METHODS:
        if _name == "deberta-v2" and "prefix" in _method + {
            "mam": "prefix",
            "unipelt": "prefix",
        }.get(_method, ""):
            continue  # computes its own scores: refused, see test_deberta_refuses_prefixes
        CASES.append((_name, _method))
AFFINE = (
    "lora[r=4,alpha=12]",
    "lora[r=4,alpha=3,rslora=true]",
    "ia3",
    "bias",
    "miss[r=5]",
    "vera[r=6]",
    "lora[r=2]+ia3",
    "bias+vera[r=6]+miss[r=5]",
)

every_case = pytest.mark.parametrize("name, method", CASES)


def adapted(name: str, method: str, start: bool = False, **more):
    model = adapt(tiny(name, **more), method)
    if not start:
        randomize(model)
    return model.eval()


def test_the_number_of_cases():
    without = len(LAW_ARCHITECTURES) * len(METHODS) - len(CASES)
    assert without == 4  # methods with a prefix, where the architecture takes none
    assert set(known_methods()) <= {
        part.name for method in METHODS for part in parse_method(method)
    }


@every_case
def test_a_fresh_adapter_is_the_identity_where_it_says_so(name, method):
    batch = inputs(name)
    with torch.no_grad():
        difference = (
            (first(adapted(name, method, start=True)(**batch)) - first(tiny(name)(**batch)))
            .abs()
            .max()
        )
    if all(part.identity_at_start for part in parse_method(method)):
        assert (
            difference < 1e-5
        )  # pre-norm pfeiffer and merged maps round differently, nothing more
    else:
        assert difference > 1e-4


@every_case
def test_only_the_adapter_trains_and_all_of_it_does_and_the_base_stays(name, method):
    model = adapted(name, method).train()
    base = {
        key: p.detach().clone() for key, p in model.named_parameters() if "adaptkit_" not in key
    }
    trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("adaptkit_" in key for key in trained)
    optimizer = torch.optim.AdamW(trained.values(), lr=0.1)
    first(model(**inputs(name))).square().sum().backward()
    without = [key for key, p in trained.items() if p.grad is None or not p.grad.any()]
    assert not without
    assert all(p.grad is None for key, p in model.named_parameters() if key in base)
    optimizer.step()
    assert all(torch.equal(p, base[key]) for key, p in model.named_parameters() if key in base)


@every_case
def test_disabled_is_the_base_and_enabled_is_not(name, method):
    batch, model = inputs(name), adapted(name, method)
    with torch.no_grad():
        alone, on = first(tiny(name)(**batch)), first(model(**batch))
        with model.disable_adapter():
            assert torch.equal(first(model(**batch)), alone)
        assert torch.equal(first(model(**batch)), on)
        assert (on - alone).abs().max() > 1e-3
        assert torch.equal(first(model.unload()(**batch)), alone)


@pytest.mark.parametrize(
    "name, method", [case for case in CASES if case[0] != "deberta-v2"]
)  # it has no sdpa attention
def test_eager_is_sdpa(name, method):
    one, other = adapted(name, method, attn="eager"), adapted(name, method, attn="sdpa")
    with torch.no_grad():
        torch.testing.assert_close(
            first(one(**inputs(name))), first(other(**inputs(name))), atol=2e-5, rtol=1e-4
        )


@pytest.mark.parametrize(
    "name, method", [case for case in CASES if case[0] != "vit"]
)  # images are not padded
def test_padding_changes_nothing(name, method):
    model, batch = adapted(name, method), inputs(name, rows=1)
    side = "left" if name in ("gpt2", "llama") else "right"
    padded = {
        key: torch.nn.functional.pad(value, (4, 0) if side == "left" else (0, 4))
        for key, value in batch.items()
        if "decoder" not in key
    }
    padded |= {key: value for key, value in batch.items() if "decoder" in key}
    if side == "left":
        padded["position_ids"] = (padded["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        whole, alone = first(model(**padded)), first(model(**batch))
    if "decoder_input_ids" not in batch:
        whole = whole[:, 4:] if side == "left" else whole[:, :-4]
    torch.testing.assert_close(whole, alone, atol=2e-5, rtol=1e-4)


@every_case
def test_gradient_checkpointing_gives_the_same_gradients(name, method):
    grads = []
    for checkpointing in (False, True):
        model = adapted(name, method).train()
        model.get_base_model().config.use_cache = False
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        _silence(model.get_base_model())
        if checkpointing:
            model.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
        first(model(**inputs(name))).square().mean().backward()
        grads.append({key: p.grad for key, p in model.named_parameters() if p.requires_grad})
    for key, grad in grads[0].items():
        torch.testing.assert_close(grads[1][key], grad, atol=1e-5, rtol=1e-4)


def _silence(model) -> None:
    for module in model.modules():
        for attribute in ("dropout", "attention_dropout", "activation_dropout", "dropout_prob"):
            if isinstance(getattr(module, attribute, None), float):
                setattr(module, attribute, 0.0)


@every_case
def test_a_bf16_base_trains_in_fp32_masters(name, method):
    model = adapt(tiny(name).to(torch.bfloat16), method)
    randomize(model)
    batch = {key: v.bfloat16() if v.is_floating_point() else v for key, v in inputs(name).items()}
    out = first(model.train()(**batch))
    assert out.dtype == torch.bfloat16
    out.float().square().mean().backward()
    assert all(
        p.dtype == torch.float32 and p.grad.isfinite().all()
        for p in model.parameters()
        if p.requires_grad
    )


@pytest.mark.parametrize("name", LAW_ARCHITECTURES)
@pytest.mark.parametrize("method", AFFINE)
def test_merged_is_unmerged(name, method):
    batch, model = inputs(name), adapted(name, method)
    weights = {key: p.detach().clone() for key, p in model.named_parameters()}
    with torch.no_grad():
        apart = first(model(**batch))
        model.merge_adapter()
        assert any(not torch.equal(p, weights[key]) for key, p in model.named_parameters())
        torch.testing.assert_close(first(model(**batch)), apart, atol=2e-5, rtol=1e-4)
        model.unmerge_adapter()
        assert all(torch.equal(p, weights[key]) for key, p in model.named_parameters())
        merged = model.merge_and_unload()
        assert not any(isinstance(module, AdaptLayer) for module in merged.modules())
        torch.testing.assert_close(first(merged(**batch)), apart, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("method", AFFINE)
def test_a_model_that_was_cast_while_merged_is_of_one_dtype(method):
    batch, model = inputs("bert"), adapted("bert", method)
    with torch.no_grad():
        model.merge_adapter()
        model.to(torch.float64)
        model.unmerge_adapter()
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
        torch.testing.assert_close(
            first(model(**batch)).float(),
            first(adapted("bert", method)(**batch)),
            atol=1e-5,
            rtol=1e-4,
        )


@pytest.mark.parametrize("method", [m for m in METHODS if m not in AFFINE])
def test_what_cannot_be_merged_is_refused_and_left_alone(method):
    model = adapted("bert", method)
    before = first(model(**inputs("bert")))
    with pytest.raises(AdaptkitError, match="cannot be merged"):
        model.merge_and_unload()
    assert torch.equal(first(model(**inputs("bert"))), before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
def test_generation_from_a_cache_is_generation_without(name, method):
    model = adapt(
        tiny(name, AutoModelForSeq2SeqLM if name in ("t5", "bart") else AutoModelForCausalLM),
        method,
        head=[],
    )
    randomize(model)
    batch = {key: value for key, value in inputs(name).items() if "decoder" not in key}
    if name in ("llama", "gpt2"):
        batch["attention_mask"][0, :3] = 0
    settings = {
        "max_new_tokens": 6,
        "min_new_tokens": 6,
        "do_sample": False,
        "output_logits": True,
        "return_dict_in_generate": True,
    }
    results = [model.eval().generate(**batch, use_cache=use, **settings) for use in (True, False)]
    assert torch.equal(results[0].sequences, results[1].sequences)
    for cached, fresh in zip(results[0].logits, results[1].logits, strict=True):
        torch.testing.assert_close(cached, fresh, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["lora[r=4]", "prefix[length=5]", "unipelt"])
def test_a_static_cache_gives_the_same_text(method):
    model = adapt(tiny("llama", AutoModelForCausalLM), method, head=[])
    randomize(model)
    batch = inputs("llama")
    kinds = [
        model.eval().generate(**batch, max_new_tokens=6, do_sample=False, **c)
        for c in ({}, {"cache_implementation": "static"})
    ]
    assert torch.equal(*kinds)


@pytest.mark.parametrize("method", METHODS)
def test_the_batched_formula_is_one_at_a_time(method):
    """Weights with a batch axis, as a host has them: each row with its own adapter equals that
    adapter alone.
    """
    for part in parse_method(method):
        for site in part.place(find_sites(tiny("llama"))):
            if site.layer == 0:
                _check_batched(part, site)


def _check_batched(part, site) -> None:
    rows = 4
    adapters = [
        {key: torch.randn(spec.shape) for key, spec in part.spec(site).items()} for _ in range(rows)
    ]
    batched = {key: torch.stack([adapter[key] for adapter in adapters]) for key in adapters[0]}
    width = site.width_in if site.kind in ("map", "attention") else site.width_out
    x = torch.randn(rows, 7, width)
    if site.kind == "attention":
        y = KeyValues(
            *(torch.randn(rows, site.heads, 7, site.width_out // site.heads) for _ in range(2))
        )
    else:
        y = torch.randn(rows, 7, site.width_out)
    together = part.apply(batched, x, y)
    for row, adapter in enumerate(adapters):
        mine = (
            KeyValues(*(t[row : row + 1] for t in y[:2]))
            if site.kind == "attention"
            else y[row : row + 1]
        )
        alone = part.apply(adapter, x[row : row + 1], mine)
        pairs = (
            zip(together, alone, strict=True) if site.kind == "attention" else [(together, alone)]
        )
        for whole, single in pairs:
            assert (whole is None) == (single is None)
            if whole is not None:
                torch.testing.assert_close(whole[row : row + 1], single, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "method",
    (*METHODS, "lora[r=5,alpha=3,rslora=true,dropout=0.5]", "bottleneck[scale=3.5,dropout=0.1]"),
)
def test_the_served_form_changes_the_base_as_the_method_does(method):
    """What a host computes with, one adapter and a batch of them; and low-rank products mean what
    they say.
    """
    for part in parse_method(method):
        served = part.served()
        assert served.served() == served
        for site in part.place(find_sites(tiny("llama"))):
            if site.layer:
                continue
            p = {key: torch.randn(spec.shape) for key, spec in part.spec(site).items()}
            q = part.to_served(p)
            assert {key: tensor.shape for key, tensor in q.items()} == {
                k: spec.shape for k, spec in served.spec(site).items()
            }
            x = torch.randn(
                2, 7, site.width_in if site.kind in ("map", "attention") else site.width_out
            )
            if site.kind == "attention":
                y = KeyValues(
                    *(torch.randn(2, site.heads, 7, site.width_out // site.heads) for _ in range(2))
                )
                pairs = list(zip(part.apply(p, x, y), served.apply(q, x, y), strict=True))
            else:
                y = torch.randn(2, 7, site.width_out)
                pairs = [(part.apply(p, x, y), served.apply(q, x, y))]
            for one, other in pairs:
                assert (one is None) == (other is None)
                if one is not None:
                    torch.testing.assert_close(other, one, atol=2e-5, rtol=1e-4)
            if low := served.low_rank():
                a, b = (q[name] for name in low)
                torch.testing.assert_close(y + (x @ a.mT) @ b.mT, pairs[0][0], atol=2e-5, rtol=1e-4)
    assert LoRA().served().low_rank()
    assert not LoRA(gate=True).served().low_rank()


def test_deberta_refuses_prefixes():
    with pytest.raises(AdaptkitError, match="prefix has no site in this model"):
        adapt(tiny("deberta-v2"), "prefix")


@pytest.mark.parametrize("method", METHODS)
def test_save_and_load_are_bit_equal_in_a_new_process(method, tmp_path):
    """One model of each family, written here, read there; outputs are compared as bytes."""
    script = tmp_path / "read.py"
    script.write_text(
        "import sys, torch\n"
        "from adaptkit import load_adapter\n"
        "from tests.tiny import first, inputs, tiny\n"
        "for name in sys.argv[2:]:\n"
        "    model = load_adapter(f'{sys.argv[1]}/{name}', tiny(name))\n"
        "    with torch.no_grad():\n"
        "        assert torch.equal(first(model(**inputs(name))), "
        "torch.load(f'{sys.argv[1]}/{name}.pt')), name\n"
    )
    names = [name for name, one in CASES if one == method]
    for name in names:
        model = adapted(name, method)
        save_adapter(model, tmp_path / name)
        with torch.no_grad():
            torch.save(
                first(load_adapter(tmp_path / name, tiny(name))(**inputs(name))),
                tmp_path / f"{name}.pt",
            )
            torch.testing.assert_close(
                first(model(**inputs(name))),
                torch.load(tmp_path / f"{name}.pt"),
                atol=1e-6,
                rtol=1e-6,
            )
    run(script, tmp_path, *names)
