"""Mixing weights: exact ends, the formula between them, layers and architectures that find each
other, nothing lost silently.
"""

import json

import pytest
import torch
from adaptkit.recipes import classify
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from adaptkit import AdaptkitError, cli, load_base, load_tokenizer
from adaptkit.distillation.students import make_shallow
from adaptkit.inference.predictor import Predictor
from adaptkit.models.layer_map import layer_map
from adaptkit.models.shallow import depths_of, fresh
from adaptkit.transfer.mix import mix
from adaptkit.transfer.mix_models import writer_of
from adaptkit.utils.overrides import overrides
from tests.tiny import LAW_ARCHITECTURES, tiny


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


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


@pytest.mark.parametrize(
    ("layers", "source", "target", "expected"),
    [
        ("every", 12, 6, [1, 3, 5, 7, 9, 11]),
        ("every", 6, 2, [2, 5]),
        ("every", 5, 3, [0, 2, 4]),
        ("every", 2, 4, [0, 0, 1, 1]),
        ("first", 6, 2, [0, 1]),
        ("last", 6, 2, [4, 5]),
        ("0,2,5", 6, 3, [0, 2, 5]),
        ([5, 5], 6, 2, [5, 5]),
    ],
)
def test_which_layer_comes_from_which(layers, source, target, expected):
    assert layer_map(layers, source, target) == expected


@given(source=st.integers(1, 40), target=st.integers(1, 40))
def test_every_keeps_the_order_and_the_last_layer(source, target):
    found = layer_map("every", source, target)
    assert found == sorted(found)
    assert found[-1] == source - 1
    assert len(found) == target


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


def test_a_network_that_could_not_run_is_refused():
    for heads in (2, 3):  # with 2 heads of keys and values
        with pytest.raises(AdaptkitError, match="no llama that works can be made"):
            fresh(
                tiny("llama", num_attention_heads=4, num_key_value_heads=4),
                1,
                settings={"num_attention_heads": heads},
            )
    with pytest.raises(AdaptkitError, match="n_layer is no setting"):
        fresh(tiny("gpt2"), 1, settings={"n_layer": 2})
    assert (
        fresh(
            tiny("bert"), 1, settings={"layer_norm_eps": overrides("a=1e-6")["a"]}
        ).config.layer_norm_eps
        == 1e-6
    )


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


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """Two models of `--method full` on opposite labels, and rows of the first one's."""
    folder = tmp_path_factory.mktemp("tuned")
    for name, labels in (("right", ("good", "bad")), ("wrong", ("bad", "good"))):
        pairs = list(zip(("warm", "cold"), labels, strict=True))
        rows = [{"text": f"{word} {i}", "label": label} for i in range(20) for word, label in pairs]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        flags = [
            "--train_file",
            str(folder / f"{name}.jsonl"),
            "--model_name_or_path",
            "all-MiniLM-L6-v2",
            "--method",
            "full",
        ]
        flags += ["--num_train_epochs", "3", "--learning_rate", "3e-4", "--disable_tqdm", "true"]
        classify.main([*flags, "--output_dir", str(folder / name)])
    return folder


def test_the_command_keeps_the_best_beta_and_the_result_answers(tuned, capsys):
    flags = [
        "--target",
        str(tuned / "wrong"),
        "--validation_file",
        str(tuned / "right.jsonl"),
        "--output_dir",
        str(tuned / "out"),
    ]
    cli.main(["mix", str(tuned / "right"), "--beta", "0", "0.5", "1", *flags])
    assert f"beta 1.0 is in {tuned / 'out'}" in capsys.readouterr().out
    assert [answer["label"] for answer in Predictor(tuned / "out")("warm", "cold")] == [
        "good",
        "bad",
    ]


def test_the_command_writes_a_base(tmp_path):
    cli.main(
        [
            "mix",
            "all-MiniLM-L6-v2",
            "--num_hidden_layers",
            "3",
            "--beta",
            "1",
            "--output_dir",
            str(tmp_path / "three"),
        ]
    )
    three, six = load_base(str(tmp_path / "three")), load_base("all-MiniLM-L6-v2")
    assert three.config.num_hidden_layers == 3
    assert (
        AutoConfig.from_pretrained(tmp_path / "three").hidden_dropout_prob == 0.1
    )  # as the source's own
    assert torch.equal(
        three.encoder.layer[2].output.dense.weight, six.encoder.layer[5].output.dense.weight
    )


def test_what_writes_keeps_its_head(tmp_path):
    """The map to the vocabulary is a model's own where it is not its table of embeddings."""
    source = AutoModelForCausalLM.from_config(tiny("llama").config)
    source.save_pretrained(tmp_path / "source")
    load_tokenizer("all-MiniLM-L6-v2").save_pretrained(tmp_path / "source")
    mixed = [
        "mix",
        str(tmp_path / "source"),
        "--num_hidden_layers",
        "1",
        "--beta",
        "1",
        "--output_dir",
        str(tmp_path / "one"),
    ]
    cli.main(mixed)
    one = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    assert not torch.equal(one.lm_head.weight, one.model.embed_tokens.weight)
    assert torch.equal(one.lm_head.weight, source.lm_head.weight)
    bare = tmp_path / "bare"
    source.model.save_pretrained(bare)
    load_tokenizer("all-MiniLM-L6-v2").save_pretrained(bare)
    assert writer_of([str(tmp_path / "source")]) == "AutoModelForCausalLM"
    assert writer_of([str(tmp_path / "source"), str(bare)]) is None
    assert writer_of(["all-MiniLM-L6-v2"]) is None


def test_the_command_writes_a_narrower_base(tmp_path, capsys):
    flags = [
        "--config_overrides",
        "hidden_size=96,num_attention_heads=3,intermediate_size=384",
        "--leave_unmapped",
    ]
    flags += ["--num_hidden_layers", "2", "--beta", "1", "--output_dir", str(tmp_path / "narrow")]
    cli.main(["mix", "all-MiniLM-L6-v2", *flags])
    assert "approximate, by truncated SVD" in capsys.readouterr().out
    narrow = load_base(str(tmp_path / "narrow"))
    assert narrow.encoder.layer[1].attention.self.query.weight.shape == (96, 96)
    found = torch.nn.functional.normalize(narrow.embeddings.word_embeddings.weight)
    first, second, other = load_tokenizer("all-MiniLM-L6-v2").convert_tokens_to_ids(
        ["good", "great", "seventeen"]
    )
    assert found[first] @ found[second] > found[first] @ found[other] + 0.2


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ([], "one target"),
        (
            ["--num_hidden_layers", "3", "--config_overrides", "hiden_size=96"],
            "did you mean 'hidden_size'",
        ),
        (["--num_hidden_layers", "3", "--config_overrides", "hidden_size=97"], "97"),
        (
            ["--num_hidden_layers", "3", "--config_overrides", "hidden_size=big"],
            "that works can be made with hidden_size=big",
        ),
        (
            ["--num_hidden_layers", "3", "--config_overrides", "hidden_size="],
            "should be name=value",
        ),
        (["--num_hidden_layers", "3", "--config_overrides", "hidden_act=foo"], "foo"),
        (["--num_hidden_layers", "3", "--config_overrides", "to_dict=5"], "to_dict"),
        (["--num_hidden_layers", "3", "--config_overrides", "seed=[1"], "seed"),
        (
            ["--num_hidden_layers", "3", "--config_overrides", "num_hidden_layers=2"],
            "--num_hidden_layers says it",
        ),
        (
            ["--num_hidden_layers", "3", "--config_overrides", "vocab_size=50"],
            "tokenizer goes with it",
        ),
        (
            ["--target", "all-MiniLM-L6-v2", "--config_overrides", "hidden_size=96"],
            "for a new network",
        ),
        (["--num_hidden_layers", "3", "--target", "all-MiniLM-L6-v2"], "one target"),
        (["--num_hidden_layers", "3", "--beta", "0", "1"], "method full"),
        (["--target", "all-MiniLM-L6-v2", "--beta", "2"], "share from 0 to 1"),
    ],
)
def test_the_command_refuses(tmp_path, flags, problem):
    with pytest.raises(AdaptkitError, match=problem):
        cli.main(["mix", "all-MiniLM-L6-v2", *flags, "--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["t5", "mt5", "bart", "marian"])
def test_both_stacks_of_an_encoder_and_a_decoder_are_made_and_mixed(name):
    """Also what the first layer holds for its whole stack: T5's biases of positions."""
    source = tiny(name, seed=2)
    deep = depths_of(source.config)
    target = fresh(source, deep[0], "last", decoder_layers=1)
    assert depths_of(target.config) == [deep[0], 1]
    assert mix(target, source, 1.0, "last").left == []
    mine, theirs = dict(target.named_parameters()), dict(source.named_parameters())
    for parameter, value in mine.items():
        last = parameter.replace("decoder.block.0", f"decoder.block.{deep[1] - 1}").replace(
            "decoder.layers.0", f"decoder.layers.{deep[1] - 1}"
        )
        assert torch.equal(
            value, theirs[parameter if "relative_attention_bias" in parameter else last]
        ), parameter


def test_networks_whose_depth_cannot_be_changed_are_refused():
    sizes = {
        "d_model": 32,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "vocab_size": 50,
        "encoder_layers": 2,
        "decoder_layers": 2,
    }
    config = AutoConfig.for_model(
        "led", **sizes, attention_window=4, encoder_attention_heads=4, decoder_attention_heads=4
    )
    with pytest.raises(
        AdaptkitError, match="a led cannot be made with 1 layers: .*attention_window"
    ):
        fresh(AutoModel.from_config(config), 1)


def test_a_student_of_a_translator_has_its_bias_of_logits_and_its_way_to_write(tmp_path):
    config = AutoConfig.for_model(
        "marian",
        **{
            name: value
            for name, value in tiny("marian").config.to_diff_dict().items()
            if name != "model_type"
        },
    )
    source = AutoModelForSeq2SeqLM.from_config(config)
    torch.nn.init.normal_(source.final_logits_bias)
    source.generation_config.num_beams = 3
    source.save_pretrained(tmp_path / "source")
    (tmp_path / "tokenizer").mkdir()
    load_tokenizer("all-MiniLM-L6-v2").save_pretrained(tmp_path / "source")
    mixed = make_shallow(
        str(tmp_path / "source"),
        depths_of(config)[0],
        tmp_path / "same",
        head="AutoModelForSeq2SeqLM",
    )
    assert not mixed.left
    student = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "same")
    assert student.generation_config.num_beams == 3
    ids = torch.tensor([[5, 6, 7, 2]])
    with torch.no_grad():
        logits = [
            model.eval()(input_ids=ids, decoder_input_ids=ids).logits for model in (source, student)
        ]
    assert torch.equal(*logits)


def test_a_decoder_does_not_grow_by_itself():
    sizes = {
        "d_model": 32,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
    }
    config = AutoConfig.for_model(
        "bart", **sizes, vocab_size=50, encoder_layers=4, decoder_layers=1
    )
    assert depths_of(fresh(AutoModel.from_config(config), 2).config) == [2, 1]


def test_what_only_a_later_layer_has_is_not_taken_for_the_stacks():
    """ModernBERT's first layer has no norm before its attention."""
    shallow, deep = tiny("modernbert", seed=1), tiny("modernbert", seed=2)
    assert len([name for name in weights(shallow) if name.endswith("attn_norm.weight")]) == 1
    target = fresh(deep, 4)
    with pytest.raises(AdaptkitError, match="attn_norm"):
        mix(target, shallow, 1.0)
