"""Mixed models that write keep the head that writes."""

import torch
from transformers import AutoModelForCausalLM

from adaptkit import cli, load_tokenizer
from adaptkit.transfer.mix_models import writer_of
from tests.tiny import tiny


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
