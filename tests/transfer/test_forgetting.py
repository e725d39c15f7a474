"""Forgetting: the losses by hand, nothing forgotten where nothing changed, and what is refused."""

import math

import pytest
import torch
from adaptkit.recipes import classify, pretrain
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, LlamaConfig

from adaptkit import AdaptkitError, adapt, load_base
from adaptkit.adapters.card import TaskCard
from adaptkit.adapters.save_load import save_adapter
from adaptkit.cli import main
from adaptkit.models.tokenizer import load_tokenizer
from adaptkit.transfer.forgetting import forgetting
from tests.tiny import randomize

MINILM = "all-MiniLM-L6-v2"
TEXT = "the kettle leaked on the first day and the handle broke a week later\n" * 8
FEW = [
    "--max_steps",
    "2",
    "--disable_tqdm",
    "true",
    "--bf16",
    "false",
    "--eval_strategy",
    "no",
    "--save_strategy",
    "no",
]
FEW += ["--load_best_model_at_end", "false"]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """A tiny Llama with MiniLM's tokenizer, and general text."""
    folder = tmp_path_factory.mktemp("forgetting")
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
    }
    config = LlamaConfig(
        **sizes, vocab_size=30522, num_key_value_heads=2, pad_token_id=0, tie_word_embeddings=True
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "llama")
    load_tokenizer(MINILM).save_pretrained(folder / "llama")
    (folder / "general.txt").write_text(TEXT)
    return folder


def trained(folder, name, method="lora[r=2]", random=True):
    base = load_base(str(folder / "llama"), task="classify", labels=["a", "b"])
    model = adapt(base, method)
    if random:
        randomize(model, std=0.5)
    card = TaskCard(
        task="classify",
        labels=["a", "b"],
        columns={"text": "text", "label": "label"},
        max_length=32,
    )
    save_adapter(model, folder / name, card=card)
    return folder / name, model


def by_hand(model, ids):
    logits = model(input_ids=ids).logits
    return float(F.cross_entropy(logits[0, :-1], ids[0, 1:]))


@torch.no_grad()
def test_losses_are_those_by_hand(decoder):
    folder, model = trained(decoder, "random")
    found = forgetting(folder, decoder / "general.txt", max_length=1000)
    tokenizer = load_tokenizer(MINILM)
    stream = []
    for line in TEXT.splitlines():
        stream += tokenizer(line, add_special_tokens=False)["input_ids"]
        stream += [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    ids = torch.tensor([stream])
    plain = AutoModelForCausalLM.from_pretrained(decoder / "llama").eval()
    assert found["before"] == pytest.approx(by_hand(plain, ids), rel=1e-5)
    states = model.eval().get_base_model().model(input_ids=ids).last_hidden_state
    logits = states @ plain.lm_head.weight.T
    assert found["after"] == pytest.approx(
        float(F.cross_entropy(logits[0, :-1], ids[0, 1:])), rel=1e-5
    )
    assert abs(found["after"] - found["before"]) > 1e-3


def test_an_adapter_that_changes_nothing_forgets_nothing(decoder):
    folder, _ = trained(decoder, "fresh", random=False)
    found = forgetting(folder, decoder / "general.txt")
    assert found["before"] == found["after"]
    (decoder / "general.csv").write_text(
        "day,said\n" + "".join(f"1,{line}\n" for line in TEXT.splitlines())
    )
    assert forgetting(folder, decoder / "general.csv", text_column="said") == found
    with pytest.raises(AdaptkitError, match="no column 'text'; it has day, said"):
        forgetting(folder, decoder / "general.csv")


def test_masked_models_with_a_head_of_their_own_and_whole_models(tmp_path, capsys):
    (tmp_path / "general.txt").write_text(TEXT)
    (tmp_path / "rows.csv").write_text(
        "text,label\n" + "".join(f"a {w} day {i},{w}\n" for i in range(8) for w in ("warm", "cold"))
    )
    flags = [
        "--train_file",
        str(tmp_path / "rows.csv"),
        *FEW,
        "--train",
        "full",
        "--learning_rate",
        "1e-3",
    ]
    classify.main([*flags, "--output_dir", str(tmp_path / "full")])
    with pytest.raises(AdaptkitError, match="has no language head"):
        forgetting(tmp_path / "full", tmp_path / "general.txt")
    fit = [
        "--model_name_or_path",
        MINILM,
        "--train",
        "head",
        "--train_file",
        str(tmp_path / "general.txt"),
        *FEW,
    ]
    pretrain.main([*fit, "--output_dir", str(tmp_path / "language")])
    capsys.readouterr()
    main(
        [
            "forgetting",
            str(tmp_path / "full"),
            "--file",
            str(tmp_path / "general.txt"),
            "--head",
            str(tmp_path / "language"),
        ]
    )
    name, method, before, after, rise = capsys.readouterr().out.splitlines()[-1].split()
    assert (name, method) == (str(tmp_path / "full"), "full")
    assert math.isclose(float(after) - float(before), float(rise), abs_tol=2e-4)
    assert float(rise) != 0


def test_a_head_of_another_network_is_refused(decoder):
    folder, _ = trained(decoder, "other")
    tokenizer = load_tokenizer(MINILM)
    config = LlamaConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        vocab_size=30522,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(decoder / "narrow")
    tokenizer.save_pretrained(decoder / "narrow")
    with pytest.raises(AdaptkitError, match=r"narrow is not the base that .* was trained from"):
        forgetting(folder, decoder / "general.txt", head=str(decoder / "narrow"))


def test_a_whole_model_is_held_against_the_base_that_it_was_trained_from(decoder):
    rows = "text,label\n" + "".join(
        f"a {w} day {i},{w}\n" for i in range(8) for w in ("warm", "cold")
    )
    (decoder / "rows.csv").write_text(rows)
    base, out = str(decoder / "llama"), decoder / "tuned"
    flags = [
        "--train_file",
        str(decoder / "rows.csv"),
        "--model_name_or_path",
        base,
        *FEW,
        "--learning_rate",
        "1e-1",
    ]
    classify.main([*flags, "--train", "last[1]", "--output_dir", str(out)])
    found = forgetting(out, decoder / "general.txt")
    assert (
        found["before"] == forgetting(trained(decoder, "any")[0], decoder / "general.txt")["before"]
    )
    assert abs(found["after"] - found["before"]) > 1e-3
    with pytest.raises(AdaptkitError, match=r"tuned is not the base that .*any was trained from"):
        forgetting(decoder / "any", decoder / "general.txt", head=str(out))
    (out / "task.json").write_text((out / "task.json").read_text().replace('"origin"', '"from"'))
    with pytest.raises(AdaptkitError, match="does not say what it was trained from"):
        forgetting(out, decoder / "general.txt")


def test_prompts_change_no_network_and_are_refused(decoder, capsys):
    trained(decoder, "any")
    trained(decoder, "prompt", "peft:PROMPT_TUNING[num_virtual_tokens=4]", random=False)
    with pytest.raises(AdaptkitError, match="PROMPT_TUNING puts its prompt before the text"):
        forgetting(decoder / "prompt", decoder / "general.txt")
    with pytest.raises(AdaptkitError, match="nosuch"):  # before a folder is measured
        main(
            [
                "forgetting",
                str(decoder / "any"),
                str(decoder / "nosuch"),
                "--file",
                str(decoder / "general.txt"),
            ]
        )
    assert not capsys.readouterr().out
