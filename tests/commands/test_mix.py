"""adaptkit mix: the best share, and bases that are narrower or have fewer layers."""

import json

import pytest
import torch
from adaptkit.recipes import classify
from transformers import AutoConfig

from adaptkit import AdaptkitError, cli, load_base, load_tokenizer
from adaptkit.inference.predictor import Predictor


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
