"""Mixing weights: exact ends, the formula between them, layers and architectures that find each
other, nothing lost silently.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from adaptkit import AdaptkitError
from adaptkit.models.layer_map import layer_map
from adaptkit.transfer.mix import mix
from tests.helpers.parameters import weights
from tests.tiny import LAW_ARCHITECTURES, tiny


@pytest.mark.parametrize("name", LAW_ARCHITECTURES)
def test_the_ends_are_the_two_networks_to_the_bit(name):
    source = tiny(name, seed=2)
    for beta, end in ((0.0, weights(tiny(name, seed=1))), (1.0, weights(source))):
        target = tiny(name, seed=1)
        mixed = mix(target, source, beta)
        assert not mixed.left
        assert mixed.mapped == {name: name for name in end}
        assert all(torch.equal(value, end[name]) for name, value in weights(target).items())


@given(beta=st.floats(0, 1))
@settings(max_examples=10, deadline=None)
def test_between_them_it_is_the_formula(beta):
    target, source = tiny("bert", seed=1), tiny("bert", seed=2)
    one, other = weights(target), weights(source)
    mix(target, source, beta)
    for name, value in weights(target).items():
        torch.testing.assert_close(value, beta * other[name] + (1 - beta) * one[name])


def test_several_sources_are_their_mean():
    soup, parts = tiny("bert", seed=1), [tiny("bert", seed=seed) for seed in (2, 3, 4)]
    mix(soup, parts, 1.0)
    for name, value in weights(soup).items():
        torch.testing.assert_close(value, sum(weights(part)[name] for part in parts) / 3)


def test_a_network_mixed_with_itself_is_itself():
    target = tiny("llama", seed=1)
    mix(target, tiny("llama", seed=1), 0.3)
    for name, value in weights(target).items():
        torch.testing.assert_close(value, weights(tiny("llama", seed=1))[name])


@pytest.mark.parametrize("layers", ["last", "3,1"])
def test_layers_are_those_that_are_asked_for(layers):
    target, source = (
        tiny("bert", seed=1, num_hidden_layers=2),
        tiny("bert", seed=2, num_hidden_layers=4),
    )
    mix(target, source, 1.0, layers)
    for layer, taken in enumerate(layer_map(layers, 4, 2)):
        assert torch.equal(
            target.encoder.layer[layer].attention.self.query.weight,
            source.encoder.layer[taken].attention.self.query.weight,
        )


def test_another_architecture_of_the_same_widths():
    target, source = tiny("distilbert", seed=1), tiny("bert", seed=2)
    mixed = mix(target, source, 1.0)
    assert mixed.left == []
    assert torch.equal(
        target.transformer.layer[1].attention.q_lin.weight,
        source.encoder.layer[1].attention.self.query.weight,
    )
    assert torch.equal(
        target.transformer.layer[1].output_layer_norm.bias,
        source.encoder.layer[1].output.LayerNorm.bias,
    )
    assert torch.equal(
        target.embeddings.word_embeddings.weight, source.embeddings.word_embeddings.weight
    )


def test_heads_of_the_same_name_are_mixed_and_new_ones_are_listed():
    target = tiny("bert", AutoModelForSequenceClassification, seed=1, num_labels=3)
    source = tiny("bert", AutoModelForSequenceClassification, seed=2, num_labels=3)
    mix(target, source, 1.0)
    assert torch.equal(target.classifier.weight, source.classifier.weight)
    before = weights(target)
    with pytest.raises(
        AdaptkitError, match=r"2 tensors .*classifier.weight, classifier.bias.*leave"
    ):
        mix(target, tiny("bert", seed=3), 0.5)
    assert all(torch.equal(value, before[name]) for name, value in weights(target).items())
    assert mix(target, tiny("bert", seed=3), 0.5, leave=True).left == [
        "classifier.weight",
        "classifier.bias",
    ]
    assert torch.equal(target.classifier.weight, before["classifier.weight"])


def test_a_wider_source_gives_its_embeddings_by_truncated_svd():
    target, source = (
        tiny("bert", seed=1, hidden_size=20, num_attention_heads=2),
        tiny("bert", seed=2),
    )
    before = weights(target)
    with pytest.raises(AdaptkitError, match="no counterpart of their shape"):
        mix(target, source, 1.0)
    mixed = mix(target, source, 1.0, leave=True)
    wide, narrow = (
        source.embeddings.word_embeddings.weight.detach(),
        target.embeddings.word_embeddings.weight.detach(),
    )
    u, s, v = torch.linalg.svd(wide)
    best = u[:, :20] @ torch.diag(s[:20]) @ v[:20]
    torch.testing.assert_close(
        narrow @ narrow.mT, best @ best.mT, atol=1e-4, rtol=1e-4
    )  # the same to a turn
    positions = (
        source.embeddings.position_embeddings.weight.detach(),
        target.embeddings.position_embeddings.weight.detach(),
    )
    torch.testing.assert_close(
        narrow @ positions[1].mT, wide @ v[:20].mT @ v[:20] @ positions[0].mT, atol=1e-4, rtol=1e-4
    )
    share = float(s[:20].square().sum() / s.square().sum())
    assert mixed.narrowed["embeddings.word_embeddings.weight"] == pytest.approx(share, abs=1e-5)
    assert (
        f"truncated SVD: embeddings.word_embeddings.weight ({share:.0%} of its squares kept)"
        in str(mixed)
    )
    assert set(mixed.mapped) == {name for name in before if name.endswith("embeddings.weight")}
    assert all(torch.equal(weights(target)[name], before[name]) for name in mixed.left)


def test_narrow_embeddings_are_turned_to_those_of_the_target():
    """A source that is the target in a wider space, turned: all of it comes back, and every share
    of both is the target.
    """
    target, source = (
        tiny("bert", seed=seed, hidden_size=width, num_attention_heads=2)
        for seed, width in ((1, 20), (2, 32))
    )
    wide, _ = torch.linalg.qr(torch.randn(32, 20))
    with torch.no_grad():
        for name, table in source.named_parameters():
            if name in (
                "embeddings.word_embeddings.weight",
                "embeddings.position_embeddings.weight",
            ):
                table.copy_(target.get_parameter(name) @ wide.mT)
    before = weights(target)
    mixed = mix(target, source, 0.5, leave=True)
    for name in ("embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"):
        torch.testing.assert_close(weights(target)[name], before[name], atol=1e-5, rtol=1e-4)
        assert mixed.narrowed[name] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["qwen3", "electra", "deberta-v2"])
def test_layers_of_another_width_stay_as_they_are(name):
    target = tiny(
        name, seed=1, hidden_size=16, **({"embedding_size": 8} if name == "electra" else {})
    )
    before = weights(target)
    mixed = mix(target, tiny(name, seed=2), 1.0, leave=True)
    assert mixed.mapped.keys() == mixed.narrowed.keys()
    assert all(
        torch.equal(weights(target)[one], before[one])
        for one in before
        if "embeddings" not in one and "embed_" not in one
    )


def test_wide_sources_have_one_width():
    target, wide, wider = (
        tiny("bert", seed=seed, hidden_size=width) for seed, width in ((1, 16), (2, 32), (3, 48))
    )
    for sources in ([wide, wider], [target, wide]):
        with pytest.raises(AdaptkitError, match="sources of one width"):
            mix(target, sources, 0.5, leave=True)


def test_a_narrower_source_gives_nothing():
    target, source = (
        tiny("bert", seed=1),
        tiny("bert", seed=2, hidden_size=20, num_attention_heads=2),
    )
    with pytest.raises(AdaptkitError, match="embeddings.word_embeddings.weight"):
        mix(target, source, 0.5)
    with pytest.raises(AdaptkitError, match="no tensor of the target has a counterpart"):
        mix(target, source, 0.5, leave=True)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"beta": 1.5}, "share from 0 to 1"),
        ({"layers": "evry"}, "every"),
        ({"layers": [0]}, "2 numbers are wanted"),
        ({"layers": "0,7"}, "from 0 to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, problem):
    with pytest.raises(AdaptkitError, match=problem):
        mix(tiny("bert", seed=1), tiny("bert", seed=2), **settings)


def test_stacks_that_do_not_match_are_refused():
    with pytest.raises(AdaptkitError, match="same stacks"):
        mix(tiny("bert"), tiny("bart"))
    with pytest.raises(AdaptkitError, match="a source"):
        mix(tiny("bert"), [])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_not_mixed(value):
    source, target = tiny("bert", seed=2), tiny("bert", seed=1)
    with torch.no_grad():
        source.encoder.layer[1].output.dense.weight[3, 3] = value
    before = {name: tensor.clone() for name, tensor in weights(target).items()}
    for pair in ((target, source), (source, target)):
        with pytest.raises(
            AdaptkitError, match="layer.1.output.dense.weight of BertModel holds NaN"
        ):
            mix(*pair, 0.5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(target).items())
