"""The parameters that a method has at a site, and what of them can be set."""

import dataclasses

import pytest
import torch

from adaptkit import AdaptkitError, Param, parse_method
from adaptkit.methods.base import LARGEST_COUNT, add_map, rows, write_value
from adaptkit.methods.key_values import KeyValues
from adaptkit.models.sites import Site

MAP = Site("ffn.in", "layer.0.up", 0, 2, "map", 32, 48)
LEAVING = Site("layer", "layer.0.down", 0, 2, "stream", 32, 32)
ATTENTION = Site("attn", "layer.0.q", 0, 2, "attention", 32, 16)

SPECS = {
    "lora[r=4,gate=true]": (
        MAP,
        {
            "A": Param((4, 32), "kaiming"),
            "B": Param((48, 4)),
            "gate": Param((1, 32), "normal"),
        },
    ),
    "ia3": (MAP, {"scale": Param((48,), "ones")}),
    "bias": (MAP, {"b": Param((48,))}),
    "reft[r=3]": (
        LEAVING,
        {"R": Param((3, 32), "orthogonal"), "V": Param((3, 32)), "b": Param((3,))},
    ),
    "miss[r=5]": (MAP, {"D": Param((5, 48))}),
    "vera[r=6,start=0.2]": (
        MAP,
        {"d": Param((6,), "constant", value=0.2), "b": Param((48,))},
    ),
    "bottleneck[placement=pfeiffer,reduction=5,scale=learned,gate=true]": (
        LEAVING,
        {
            "down": Param((6, 32), "kaiming"),
            "down_bias": Param((6,)),
            "up": Param((32, 6)),
            "up_bias": Param((32,)),
            "scale": Param((1,), "ones"),
            "gate": Param((1, 32), "normal"),
        },
    ),
    "bottleneck[reduction=100]": (
        LEAVING,
        {
            "down": Param((1, 32), "kaiming"),
            "down_bias": Param((1,)),
            "up": Param((32, 1)),
            "up_bias": Param((32,)),
        },
    ),
    "prefix[length=3,std=0.5,gate=true]": (
        ATTENTION,
        {
            "keys": Param((3, 16), "normal", 0.5),
            "values": Param((3, 16), "normal", 0.5),
            "gate": Param((1, 32), "normal"),
        },
    ),
    "prefix[length=3,mlp=5]": (
        ATTENTION,
        {
            "embed": Param((3, 16), "normal", 1.0),
            "inner": Param((5, 16), "kaiming"),
            "inner_bias": Param((5,)),
            "outer": Param((32, 5), "kaiming"),
            "outer_bias": Param((32,)),
        },
    ),
    "fusion[adapters=3,reduction=8]": (
        LEAVING,
        {
            "down": Param((3, 4, 32), "normal", frozen=True),
            "down_bias": Param((3, 4), frozen=True),
            "up": Param((3, 32, 4), frozen=True),
            "up_bias": Param((3, 32), frozen=True),
            "query": Param((32, 32), "normal"),
            "query_bias": Param((32,)),
            "key": Param((32, 32), "normal"),
            "value": Param((32, 32), "identity"),
        },
    ),
}


@pytest.mark.parametrize("text", SPECS)
def test_the_parameters_at_a_site(text):
    site, wanted = SPECS[text]
    (method,) = parse_method(text)
    assert method.spec(site) == wanted
    assert list(method.spec(site)) == list(wanted)  # draws of a seed follow the order


def test_one_adapter_fused_is_at_least_one_wide():
    (method,) = parse_method("fusion[adapters=1,reduction=64]")
    assert method.spec(LEAVING)["down"].shape == (1, 1, 32)


def test_fusion_is_the_formula_in_its_file():
    torch.manual_seed(0)
    (method,) = parse_method("fusion[adapters=2,reduction=8]")
    p = {name: torch.randn(one.shape) for name, one in method.spec(LEAVING).items()}
    x, y = torch.randn(2, 3, 32), torch.randn(2, 3, 32)
    made = [
        torch.relu(x @ p["down"][i].T + p["down_bias"][i]) @ p["up"][i].T + p["up_bias"][i]
        for i in range(2)
    ]
    asked = x @ p["query"].T + p["query_bias"]
    scores = torch.stack([(asked * (one @ p["key"].T)).sum(-1) for one in made], -1)
    shares = scores.softmax(-1)
    mixed = sum(shares[..., i : i + 1] * one for i, one in enumerate(made))
    wanted = y + mixed @ p["value"].T
    torch.testing.assert_close(method.apply(p, x, y), wanted, atol=1e-4, rtol=1e-4)
    batched = {name: one.expand(2, *one.shape) for name, one in p.items()}  # as a host has it
    torch.testing.assert_close(method.apply(batched, x, y), wanted, atol=1e-4, rtol=1e-4)


def test_dropout_of_bottlenecks_and_prefixes_is_for_training_alone():
    """Half of 4,000 numbers are dropped and the others doubled, so their mean stays."""
    torch.manual_seed(0)
    (method,) = parse_method("bottleneck[reduction=1,dropout=0.5,activation=linear]")
    p = {"down": torch.eye(1), "down_bias": torch.zeros(1)}
    p |= {"up": torch.eye(1), "up_bias": torch.zeros(1)}
    y = torch.ones(1, 4000, 1)
    assert torch.equal(method.apply(p, y, y), 2 * y)
    drawn = method.apply(p, y, y, training=True)
    assert set(drawn.flatten().tolist()) == {1.0, 3.0}
    assert drawn.mean().item() == pytest.approx(2, abs=0.1)
    (prefix,) = parse_method("prefix[length=4000,dropout=0.5]")
    p = {"keys": torch.ones(4000, 2), "values": torch.ones(4000, 2)}
    given = KeyValues(torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 3, 2))
    x = torch.zeros(1, 3, 2)
    assert prefix.apply(p, x, given).keys[0, 0, :4000].eq(1).all()
    for drawn in prefix.apply(p, x, given, training=True)[:2]:
        assert set(drawn[0, 0, :4000].flatten().tolist()) == {0.0, 2.0}
        assert drawn[0, 0, :4000].mean().item() == pytest.approx(1, abs=0.05)


def test_a_prefix_in_front_of_another_has_scores_of_its_own():
    """A plain one adds 0 to its columns, a gated one the log of its gate; others stay behind."""
    torch.manual_seed(0)
    given = KeyValues(torch.randn(2, 2, 5, 4), torch.randn(2, 2, 5, 4))
    x = torch.randn(2, 3, 8)
    (plain,), (gated,) = (
        parse_method("prefix[length=2]"),
        parse_method("prefix[length=3,gate=true]"),
    )
    p = {"keys": torch.randn(2, 8), "values": torch.randn(2, 8)}
    q = {"keys": torch.randn(3, 8), "values": torch.randn(3, 8), "gate": torch.randn(1, 8)}
    assert plain.apply(p, x, given).scores is None
    one = gated.apply(q, x, given)
    gates = (x @ q["gate"].T).sigmoid().log()  # (2, 3, 1)
    torch.testing.assert_close(one.scores, gates[:, None].expand(2, 1, 3, 3))
    both = plain.apply(p, x, one)
    assert both.scores.shape == (2, 1, 3, 5)
    assert both.scores[..., :2].eq(0).all()
    assert torch.equal(both.scores[..., 2:], one.scores)
    assert both.keys.shape == (2, 2, 10, 4)
    heads = p["keys"].view(2, 2, 4).transpose(0, 1)
    assert torch.equal(both.keys[:, :, :2], heads.expand(2, 2, 2, 4))
    assert torch.equal(both.keys[:, :, 5:], given.keys)


def test_fresh_parameters():
    torch.manual_seed(0)
    assert torch.equal(Param((2, 3)).new(), torch.zeros(2, 3))
    assert torch.equal(Param((2, 3), "ones").new(), torch.ones(2, 3))
    assert torch.equal(Param((2, 2), "identity").new(), torch.eye(2))
    assert Param((200, 200), "normal", 0.5).new().std().item() == pytest.approx(0.5, rel=0.02)
    assert Param((200, 200), "normal").new().std().item() == pytest.approx(0.02, rel=0.02)
    assert Param((2,), "constant", value=0.5).new().tolist() == [0.5, 0.5]
    rows_of = Param((3, 16), "orthogonal").new()
    torch.testing.assert_close(rows_of @ rows_of.T, torch.eye(3))
    kaiming = Param((300, 16), "kaiming").new()
    assert kaiming.abs().max().item() == pytest.approx(0.25, rel=0.01)  # 1 / sqrt(16)
    assert kaiming.std().item() == pytest.approx(0.25 / 3**0.5, rel=0.05)


def test_add_map_in_every_shape_and_dtype():
    torch.manual_seed(0)
    x, weight, y = torch.randn(2, 3, 4), torch.randn(5, 4), torch.randn(2, 3, 5)
    wanted = y + 2 * x @ weight.T
    torch.testing.assert_close(add_map(y, x, weight, 2.0), wanted)
    torch.testing.assert_close(add_map(y, x, weight.expand(2, 5, 4), 2.0), wanted)
    torch.testing.assert_close(add_map(y.double(), x, weight, 2.0), wanted.double())
    torch.testing.assert_close(add_map(y[:1, :1], x, weight, 2.0), y[:1, :1] + 2 * x @ weight.T)
    torch.testing.assert_close(add_map(y, x, weight), y + x @ weight.T)


def test_vectors_of_one_adapter_and_of_many():
    assert rows(torch.ones(4)).shape == (4,)
    assert rows(torch.ones(2, 4)).shape == (2, 1, 4)


@pytest.mark.parametrize(
    "text, message",
    [
        ("lora[r=0]", "r is a rank, 1 or more and up to 65,536; it got 0"),
        ("lora[r=65537]", "r is a rank, 1 or more and up to 65,536; it got 65537"),
        ("lora[dropout=1]", "dropout is in [0, 1); it got 1.0"),
        ("lora[dropout=-0.1]", "dropout is in [0, 1); it got -0.1"),
        ("lora[alpha=1000001]", "alpha is a number up to 1,000,000; it got 1000001.0"),
        ("lora[alpha=-1000001]", "alpha is a number up to 1,000,000; it got -1000001.0"),
        ("prefix[length=0]", "length is 1 position or more; it got 0"),
        ("prefix[length=2147483649]", "length is a number up to 2,147,483,648; it got"),
        ("prefix[mlp=-1]", "mlp is a width, or 0 for a flat prefix; it got -1"),
        ("prefix[std=-0.1]", "std is 0 or more; it got -0.1"),
        ("prefix[dropout=1]", "dropout is in [0, 1); it got 1.0"),
        ("bottleneck[reduction=0.06]", "reduction is 0.0625 or more (below 1 it widens); it"),
        ("bottleneck[dropout=1]", "dropout is in [0, 1); it got 1.0"),
        ("bottleneck[scale=1000001]", "scale is a number up to 1,000,000 or 'learned'; it got"),
        ("bottleneck[scale=much]", "scale is a number up to 1,000,000 or 'learned'; it got 'much'"),
        ("bottleneck[placement=pfeifer]", "did you mean 'pfeiffer'"),
        ("bottleneck[activation=rellu]", "did you mean 'relu'"),
        ("reft[r=0]", "r is a rank, 1 or more; it got 0"),
        ("miss[r=0]", "r is a rank, 1 or more; it got 0"),
        ("miss[dropout=1]", "dropout is in [0, 1); it got 1.0"),
        ("vera[r=0]", "r is a rank, 1 or more and up to 4,096; it got 0"),
        ("vera[r=4097]", "r is a rank, 1 or more and up to 4,096; it got 4097"),
        ("vera[seed=-1]", "seed is 0 or more; it got -1"),
        ("vera[start=0]", "start is not 0: nothing would train"),
        ("vera[dropout=1]", "dropout is in [0, 1); it got 1.0"),
        ("fusion[adapters=0]", "adapters is a number of adapters, 1 or more; it got 0"),
        ("fusion[reduction=0.9]", "reduction is 1 or more; it got 0.9"),
        ("fusion[activation=rellu]", "did you mean 'relu'"),
    ],
)
def test_a_setting_out_of_bounds_is_named(text, message):
    with pytest.raises(AdaptkitError) as refused:
        parse_method(text)
    assert message in str(refused.value)
    if "did you mean" not in message:
        assert str(refused.value).startswith(f"{text.partition('[')[0]}: ")


@pytest.mark.parametrize(
    "text",
    [
        "lora[r=1]",
        "lora[r=65536]",
        "lora[dropout=0.99]",
        "lora[alpha=1000000]",
        "lora[alpha=-1000000]",
        "prefix[length=1,mlp=1]",
        f"prefix[length={LARGEST_COUNT}]",
        "prefix[std=0]",
        "prefix[dropout=0.99]",
        "bottleneck[reduction=0.0625]",
        "bottleneck[dropout=0.99,scale=1000000.0]",
        "bottleneck[scale=-1000000.0]",
        "fusion[adapters=1,reduction=1]",
        "reft[r=1]",
        "miss[r=1,dropout=0.99]",
        "vera[r=1,seed=0,dropout=0.99]",
        "vera[r=4096]",
    ],
)
def test_the_bounds_themselves_are_allowed(text):
    (method,) = parse_method(text)
    assert parse_method(str(method)) == (method,)


def test_what_a_host_computes_in_place_of_a_method():
    """Scales are folded into the weights, ranks are powers of two from 4 on."""
    torch.manual_seed(0)
    x, y = torch.randn(2, 3, 32), torch.randn(2, 3, 48)
    for rank, served in ((1, 4), (4, 4), (5, 8), (8, 8), (9, 16)):
        (method,) = parse_method(f"lora[r={rank},alpha=3,dropout=0.1]")
        p = {name: torch.randn(one.shape) for name, one in method.spec(MAP).items()}
        assert method.served() == dataclasses.replace(
            method, r=served, alpha=float(served), dropout=0.0
        )
        folded = method.to_served(p)
        assert folded["A"].shape == (served, 32)
        assert folded["B"].shape == (48, served)
        torch.testing.assert_close(
            method.served().apply(folded, x, y), method.apply(p, x, y), atol=1e-4, rtol=1e-4
        )
        assert method.low_rank() is None
        assert method.served().low_rank() == ("A", "B")
    for text in ("[scale=learned]", "[scale=3]", "[placement=parallel,gate=true]"):
        (method,) = parse_method(f"bottleneck{text}")
        p = {name: torch.randn(one.shape) for name, one in method.spec(LEAVING).items()}
        both = torch.randn(2, 2, 3, 32)
        assert set(method.to_served(p)) == set(method.served().spec(LEAVING))
        torch.testing.assert_close(
            method.served().apply(method.to_served(p), *both),
            method.apply(p, *both),
            atol=1e-4,
            rtol=1e-4,
        )
        assert method.low_rank() is None
    for text, served in {
        "bottleneck[dropout=0.1,scale=2]": "bottleneck[activation=silu,reduction=16,scale=1.0]",
        "bottleneck[placement=parallel,reduction=3]": (
            "bottleneck[activation=relu,placement=parallel,reduction=3.0,scale=1.0]"
        ),
        "prefix[length=3,mlp=5,dropout=0.1,std=0.5]": "prefix[length=3]",
        "ia3": "ia3",
        "bias": "bias",
        "reft[r=3]": "reft[orthonormal=false,r=3]",
        "miss[r=5,dropout=0.5]": "miss[r=5]",
        "vera[r=6,seed=3,start=0.2,dropout=0.5]": "vera[r=6,seed=3]",
    }.items():
        assert str(parse_method(text)[0].served()) == served
    (gated,) = parse_method("lora[gate=true,alpha=8]")
    assert gated.low_rank() is None
    assert gated.affine is False


@pytest.mark.parametrize(
    "value, text",
    [(True, "true"), (None, "none"), (("a", "b"), "a|b"), ([1, 2.5], "1|2.5"), ("Silu", "Silu")],
)
def test_a_setting_is_written_as_the_grammar_reads_it(value, text):
    assert write_value(value) == text


def test_a_method_is_described_with_what_was_chosen_or_with_everything():
    (method,) = parse_method("lora[r=4,sites=attn.q|attn.v]")
    assert str(method) == "lora[r=4,sites=attn.q|attn.v]"
    assert method.describe(full=True) == (
        "lora[alpha=8.0,dropout=0.0,gate=false,r=4,rslora=false,sites=attn.q|attn.v]"
    )
    assert str(parse_method("ia3")[0]) == "ia3"


def test_where_a_method_goes():
    sites = [MAP, LEAVING, ATTENTION]
    assert parse_method("lora")[0].place(sites) == [MAP]
    assert parse_method("bias")[0].place([MAP, dataclasses.replace(MAP, name="attn.k")]) == [MAP]
    assert parse_method("reft")[0].place(sites) == [LEAVING]
    assert parse_method("prefix[sites=a*]")[0].place(sites) == [ATTENTION]
    assert parse_method("bottleneck[placement=pfeiffer,layers=0]")[0].place(sites) == [LEAVING]
    for text, message in {
        "lora[sites=attn.q]": "wants site 'attn.q', which this model does not have for this "
        "method. It has: ffn.in.",
        "lora[sites=atn.q]": "unknown site 'atn.q'",
        "ia3": "ia3 acts at attn.k, attn.v, ffn.in, and this model has no attn.k, attn.v. Choose "
        "the sites yourself (ia3[sites=...]: ffn.in), or lora.",
        "bottleneck": "bottleneck acts at attn.out, ffn.out, and this model has no attn.out, "
        "ffn.out.",
        "miss[r=33]": "r is at most the width of what it reads, and ffn.in of this model is 32 "
        "wide; it got 33. Write miss[r=32], or choose other sites.",
        "reft[r=49,sites=ffn.in]": "and ffn.in of this model is 48 wide; it got 49.",
    }.items():
        with pytest.raises(AdaptkitError) as refused:
            parse_method(text)[0].place(sites)
        assert message in str(refused.value)
    with pytest.raises(AdaptkitError, match="prefix has no site in this model: it needs one of"):
        parse_method("prefix")[0].place([MAP])
    assert parse_method("lora[layers=1]")[0].place([MAP, dataclasses.replace(MAP, layer=1)]) == [
        dataclasses.replace(MAP, layer=1)
    ]
    with pytest.raises(AdaptkitError, match="this model has 2 layers, 0 to 1"):
        parse_method("lora[layers=2]")[0].place([MAP])
