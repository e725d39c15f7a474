"""A captured network is the network, in each of its forms, or it is refused."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from adaptkit.compute.attention import NotCapturedError
from adaptkit.compute.capture import capture
from adaptkit.compute.maps import PackedMap, QuantizedMap, packs, quantizes
from adaptkit.compute.program import Program
from tests.tiny import tiny

LENGTHS = (30, 29, 12, 3)


def rows_of(lengths):
    generator = torch.Generator().manual_seed(2)
    return [
        {"input_ids": torch.randint(3, 100, (n,), generator=generator).tolist()} for n in lengths
    ]


def program_of(network):
    return Program(network, capture(network), {}, 0)


@pytest.mark.parametrize("name", ["bert", "mistral", "qwen2", "gemma3", "opt"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_several_lengths(name, dtype):
    network = tiny(name).to(dtype)
    program, rows = program_of(network), rows_of(LENGTHS)
    before = network.config._attn_implementation
    for row, states in zip(rows, program.states(rows), strict=True):
        with torch.no_grad():
            expected = network(input_ids=torch.tensor([row["input_ids"]])).last_hidden_state[0]
        bound = 1e-5 if dtype == torch.float32 else 0.05 * expected.abs().max()
        assert (states - expected).abs().max() <= bound
    assert network.config._attn_implementation == before


def test_kinds_of_tokens_are_read():
    network = tiny("bert", type_vocab_size=2)
    program = program_of(network)
    row = rows_of([6])[0] | {"token_type_ids": [0, 0, 0, 1, 1, 1]}
    with torch.no_grad():
        expected = network(**{name: torch.tensor([ids]) for name, ids in row.items()})
    torch.testing.assert_close(program.states([row])[0], expected.last_hidden_state[0])
    plain = program.states([{"input_ids": row["input_ids"]}])[0]
    assert (plain - expected.last_hidden_state[0]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["bert", "albert"])
def test_the_poolers_output_is_the_networks(name):
    """ALBERT's pooler is a map without the choice of a token."""
    network = tiny(name)
    program, row = program_of(network), rows_of([9])[0]
    with torch.no_grad():
        expected = network(input_ids=torch.tensor([row["input_ids"]]))
        found = program.outputs(program.states([row])[0][None])
    torch.testing.assert_close(found.pooler_output, expected.pooler_output)
    assert type(found) is type(expected)


def test_a_network_that_looks_at_its_neighbours_is_refused():
    """What mixes tokens other than by attention mixes rows when they are packed."""
    network = tiny("bert")
    weight = network.encoder.layer[0].output.dense

    class Rolled(nn.Module):
        def forward(self, x):
            return weight(x) + torch.roll(x, 1, 1)[..., :32]

    network.encoder.layer[0].output.dense = Rolled()
    with pytest.raises(NotCapturedError, match="computes something else"):
        program_of(network)


@pytest.mark.skipif(not packs(torch.bfloat16), reason="this processor has no bf16 instructions")
@pytest.mark.parametrize("gelu", [None, "none", "tanh"])
def test_packed_maps_are_maps(gelu):
    generator = torch.Generator().manual_seed(0)
    weight, bias, x = (torch.randn(n, generator=generator) for n in ((24, 40), (24,), (1, 7, 40)))
    weight, bias, x = weight.bfloat16() / 6, bias.bfloat16(), x.bfloat16()
    expected = nn.functional.linear(x.float(), weight.float(), bias.float())
    if gelu is not None:
        expected = nn.functional.gelu(expected, approximate=gelu)
    found = PackedMap(weight, bias, gelu)(x)
    torch.testing.assert_close(found.float(), expected, atol=0.03, rtol=0.02)


NO_INT8 = pytest.mark.skipif(not quantizes(), reason="this processor has no int8 instructions")


@NO_INT8
@pytest.mark.parametrize("biased", [True, False])
def test_quantized_maps_round_weights_and_tokens_and_nothing_else(biased):
    generator = torch.Generator().manual_seed(0)
    weight, bias, x = (torch.randn(n, generator=generator) for n in ((24, 40), (24,), (1, 7, 40)))
    x[0, 2] *= 1000  # an outlier costs no other token its digits
    x[0, 3] = 0
    weight[5] = 0
    bias = bias if biased else None
    scales = (weight.abs().amax(1) / 127).clamp(min=1e-30)
    tokens = (x.abs().amax(-1, keepdim=True) / 127).clamp(min=1e-30)
    rounded = (weight / scales[:, None]).round() * scales[:, None]
    expected = nn.functional.linear((x / tokens).round() * tokens, rounded, bias)
    made = QuantizedMap(weight, bias)
    found = made(x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(found[:, 4:6], made(x[:, 4:6].contiguous()))
    strided = torch.cat([x, x], -1)[..., :40]  # a part of a map's output is read as it lies
    assert torch.equal(made(strided), found)


@NO_INT8
@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert", "qwen2"])
def test_quantized_rows_do_not_depend_on_their_company(kind):
    network = tiny(kind)
    network = getattr(network, "model", network)
    program = Program(network, capture(network), {}, 0, int8=True)
    draw = torch.Generator().manual_seed(0)
    rows = [
        {"input_ids": torch.randint(3, 90, (length,), generator=draw).tolist()}
        for length in (31, 30, 9, 8, 2)
    ]
    together = program.states(rows)
    for row, states in zip(rows, together, strict=True):
        [alone] = program.states([row])
        assert (states - alone).norm() < 0.01 * alone.norm()  # a last bit may change a rounding
        with torch.no_grad():
            exact = network(torch.tensor([row["input_ids"]])).last_hidden_state[0]
        off = (alone - exact).norm() / exact.norm()
        assert 1e-4 < off < 0.05


def esm():
    """Its embeddings depend on how many masks a row has, of all its tokens."""
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    more = {"intermediate_size": 48, "vocab_size": 100, "max_position_embeddings": 64}
    ids = {"pad_token_id": 1, "mask_token_id": 32, "token_dropout": True}
    torch.manual_seed(0)
    return AutoModel.from_config(AutoConfig.for_model("esm", **shape, **more, **ids)).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "make, special, avoided",
    [
        (lambda: tiny("bert"), {0, 1, 2}, set()),
        (lambda: tiny("roberta", pad_token_id=1), {0, 1, 2}, {1}),
        (esm, {0, 1, 2, 32}, {1, 32}),
    ],
)
def test_special_tokens_that_packing_changes_are_avoided(make, special, avoided, dtype):
    """A row with "<mask>" in it changed the rows of others, one with "<pad>" its own positions."""
    network = make().to(dtype)
    program = Program(network, capture(network), {}, 1, special)
    assert program.avoided == avoided
    assert program.reads([5, 6, 7])
    assert program.reads([5, 1, 7]) == (1 not in avoided)


def test_a_single_token_is_a_row():
    network = tiny("roberta")
    with torch.no_grad():
        expected = network(input_ids=torch.tensor([[7]])).last_hidden_state[0]
    found = program_of(network).states([{"input_ids": [7]}])[0]
    torch.testing.assert_close(found, expected)


def test_a_weight_that_is_computed_stays_so():
    network = tiny("bert")
    map_ = network.encoder.layer[0].intermediate.dense
    nn.utils.parametrizations.weight_norm(map_)
    rows = rows_of(LENGTHS)
    for row, states in zip(rows, program_of(network).states(rows), strict=True):
        with torch.no_grad():
            expected = network(input_ids=torch.tensor([row["input_ids"]])).last_hidden_state[0]
        torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)
