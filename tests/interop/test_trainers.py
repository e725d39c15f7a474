"""transformers' Trainer, its own adapter methods, and sentence-transformers' trainer."""

import pytest
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import (
    AutoModelForCausalLM,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
)

from adaptkit import AdaptConfig, adapt, load_adapter, load_base, save_adapter
from adaptkit.data.corpus import load_corpus
from adaptkit.models.untrained.scratch import make_model
from tests.interop.conftest import METHOD, QUIET
from tests.tiny import randomize

TEXTS = [row["text"] for row in load_corpus("train")[:16]]


def language_rows(tokenizer) -> Dataset:
    return Dataset.from_dict({"input_ids": tokenizer([TEXTS[0]] * 16).input_ids})


def test_trainer(adapted, trained_and_kept, tmp_path):
    model, tokenizer = adapted()
    trainer = Trainer(
        model,
        TrainingArguments(str(tmp_path / "out"), **QUIET | {"max_steps": 8}),
        train_dataset=language_rows(tokenizer),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
    )
    trained_and_kept(model, trainer.train)
    first, *_, last = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert last < first - 0.05


@pytest.mark.parametrize("method", ["lora[r=4]", METHOD])
def test_transformers_loads_our_folders(method, llama, tmp_path):
    """Plain LoRA is PEFT's; the others are known to PEFT once adaptkit is imported."""
    model = adapt(load_base(llama, task="AutoModelForCausalLM"), method)
    randomize(model)
    save_adapter(model, tmp_path / "saved")
    theirs = AutoModelForCausalLM.from_pretrained(llama)
    theirs.load_adapter(str(tmp_path / "saved"))
    ids = torch.arange(5, 21).view(2, 8)
    with torch.no_grad():
        mine, other, plain = (
            one.eval()(input_ids=ids).logits
            for one in (model, theirs, AutoModelForCausalLM.from_pretrained(llama))
        )
    torch.testing.assert_close(other, mine, atol=1e-6, rtol=0)
    assert (mine - plain).abs().max() > 0.1


def test_transformers_adds_our_configuration(llama, adapted, tmp_path):
    """Its `add_adapter` and Trainer, without `adapt`."""
    model = AutoModelForCausalLM.from_pretrained(llama)
    model.add_adapter(AdaptConfig(method=METHOD))
    _, tokenizer = adapted()
    trainer = Trainer(
        model,
        TrainingArguments(str(tmp_path / "out"), **QUIET),
        train_dataset=language_rows(tokenizer),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
    )
    trainer.train()
    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(llama)
    again.load_adapter(str(tmp_path / "saved"))
    ids = torch.arange(5, 21).view(2, 8)
    with torch.no_grad():
        mine, theirs = (one.eval()(input_ids=ids).logits for one in (model, again))
    torch.testing.assert_close(theirs, mine, atol=1e-6, rtol=0)


def test_sentence_transformers(tmp_path):
    sizes = {"hidden_size": 32, "intermediate_size": 48}
    make_model("bert", TEXTS, tmp_path / "bert", vocab_size=300, **sizes)
    reader = Transformer(str(tmp_path / "bert"), max_seq_length=16)
    base = load_base(str(tmp_path / "bert"))
    adapted = adapt(base, METHOD)
    reader.auto_model = adapted
    model = SentenceTransformer(modules=[reader, Pooling(32)], device="cpu")
    start = torch.as_tensor(model.encode(TEXTS[:2]))
    trainer = SentenceTransformerTrainer(
        model,
        SentenceTransformerTrainingArguments(str(tmp_path / "out"), **QUIET),
        train_dataset=Dataset.from_dict({"anchor": TEXTS, "positive": TEXTS[::-1]}),
        loss=MultipleNegativesRankingLoss(model),
    )
    trainer.train()
    trained = torch.as_tensor(model.encode(TEXTS[:2]))
    assert (trained - start).abs().max() > 1e-3
    save_adapter(adapted, tmp_path / "kept")
    reader.auto_model = load_adapter(tmp_path / "kept")
    kept = SentenceTransformer(modules=[reader, Pooling(32)], device="cpu").encode(TEXTS[:2])
    torch.testing.assert_close(torch.as_tensor(kept), trained, atol=1e-6, rtol=0)
