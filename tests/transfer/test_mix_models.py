"""Mixed models that write keep the head that writes."""

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from adaptkit import Predictor, TaskCard, adapt, cli, load_base, load_tokenizer, save_adapter
from adaptkit.adapters.export import export
from adaptkit.models.untrained.scratch import make_model
from adaptkit.tasks.classify import Classify
from adaptkit.transfer.mix_models import writer_of
from tests.host.store import LABELS, TEXTS
from tests.tiny import randomize, tiny


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


def test_classifiers_that_pool_are_mixed(tmp_path):
    make_model("bert", TEXTS, tmp_path / "base", vocab_size=300)
    task = Classify(labels=LABELS, pooling="mean")
    card = TaskCard(task="classify", labels=LABELS, settings=task.settings(), max_length=32)
    for name, seed in (("a", 1), ("b", 2)):
        base = load_base(str(tmp_path / "base"), task=task.auto_class, labels=LABELS)
        model = adapt(base, "lora[r=2]")
        randomize(model, seed=seed)
        save_adapter(model, tmp_path / f"{name}-adapter", card=card)
        export(tmp_path / f"{name}-adapter", tmp_path / name)
    folders = [str(tmp_path / name) for name in ("a", "b", "mixed")]
    cli.main(["mix", *folders[:1], "--target", folders[1], "--output_dir", folders[2]])
    one, two, mixed = (load_file(f"{folder}/model.safetensors") for folder in folders)
    assert mixed.keys() == one.keys() == two.keys()
    for name in mixed:
        torch.testing.assert_close(mixed[name], (one[name] + two[name]) / 2)
    assert (tmp_path / "mixed/modeling_adaptkit_pooled.py").is_file()
    assert {answer["label"] for answer in Predictor(tmp_path / "mixed")(TEXTS)} <= set(LABELS)
