"""The loss of a router in training, beside what the model's own forward gives with labels."""

import json

import pytest
import torch
from adaptkit.recipes import chat
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    NllbMoeConfig,
    TrainingArguments,
)

from adaptkit import AdaptkitError, adapt, load_tokenizer
from adaptkit.data.tables import Table
from adaptkit.models.language.router import left_out, router_loss
from adaptkit.models.untrained.scratch import make_model
from adaptkit.tasks.pretrain import Pretrain
from adaptkit.training.fit import make_trainer
from adaptkit.training.options import EncodedSplit
from tests.helpers.architectures import small_config
from tests.tiny import inputs, randomize

KINDS = ("mixtral", "qwen3_moe", "olmoe", "jetmoe", "gpt_oss")
LORA = "lora[r=2,sites=attn.q]"
METHODS = {"jetmoe": "peft:LORA[r=2,target_modules=kv_proj]"}
TEXTS = ["the lamp of Anna is red", "a green door", "blue boats of Ben", "what is it?"]


def decoder(kind, asked=True, share=0.5):
    config = small_config(kind)
    for name in ("router_aux_loss_coef", "aux_loss_coef"):
        if hasattr(config, name):
            setattr(config, name, share)
    config.output_router_logits = asked
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).float()


def trainer_of(model, folder, **more):
    batch = inputs("llama", rows=4)
    batch["attention_mask"][1, 6:] = 0
    batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    batch["labels"][:, 0] = -100  # nothing predicts it
    args = TrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none", **more)
    task, table = Pretrain(objective="clm"), Table([{"text": text} for text in TEXTS], "x")
    tokenizer = load_tokenizer(make_model("llama", TEXTS, folder / "words", vocab_size=300)[0])
    encoded = task.encode(table, tokenizer, 16)
    trainer = make_trainer(model, task, EncodedSplit(table, encoded), None, tokenizer, args)
    return trainer, batch


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asked", [True, False])
def test_a_training_loss_is_that_of_the_models_own_forward(kind, asked, tmp_path):
    model = adapt(decoder(kind, asked), METHODS.get(kind, LORA))
    randomize(model)
    trainer, batch = trainer_of(model, tmp_path)
    model.train()
    own = model(**batch)
    assert (own.aux_loss is not None) == asked
    loss = trainer.compute_loss(model, dict(batch))
    assert loss.item() == pytest.approx(own.loss.item(), rel=1e-5)
    parameters = [one for one in model.parameters() if one.requires_grad]
    wanted, found = (torch.autograd.grad(one, parameters) for one in (own.loss, loss))
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_routers_loss_is_a_mean_over_accumulated_batches_and_no_part_of_an_evaluation(tmp_path):
    model = adapt(decoder("mixtral"), LORA)
    trainer, batch = trainer_of(model, tmp_path, gradient_accumulation_steps=4)
    model.train()
    own = model(**batch)
    router = 0.5 * own.aux_loss.item()
    plain = own.loss.item() - router
    assert trainer.compute_loss(model, dict(batch)).item() == pytest.approx(plain + router / 4)
    model.eval()
    assert trainer.compute_loss(model, dict(batch)).item() == pytest.approx(plain)


def test_what_is_no_mixture_of_experts_has_none():
    model = AutoModelForCausalLM.from_config(small_config("llama"))
    assert router_loss(model, model(**inputs("llama"))) is None
    assert not left_out(model)


def test_a_router_behind_an_encoder_is_said_to_be_left_out():
    config = small_config("nllb-moe")
    assert isinstance(config, NllbMoeConfig)
    assert not left_out(AutoModelForSeq2SeqLM.from_config(config))
    config.output_router_logits = True
    assert "of this nllb-moe" in left_out(AutoModelForSeq2SeqLM.from_config(config))


def test_frozen_layers_below_a_routers_loss_are_run_each_time(tmp_path):
    make_model("llama", TEXTS, tmp_path / "base", vocab_size=99)
    decoder("mixtral").save_pretrained(tmp_path / "base")
    rows = [{"prompt": text, "completion": "red"} for text in TEXTS * 4]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--train_file", str(tmp_path / "rows.jsonl"), "--output_dir", str(tmp_path / "out")]
    flags += ["--model_name_or_path", str(tmp_path / "base"), "--frozen_trunk", "memory"]
    with pytest.raises(AdaptkitError, match="memory: the loss of its router reads the frozen"):
        chat.main([*flags, "--method", "lora[sites=attn.q,layers=last[1]]"])
