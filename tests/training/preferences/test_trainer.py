"""TRL's losses over our adapters: the reference, the tokens, and what a training learns."""

import json
import shutil

import pytest
import torch
from adaptkit.recipes import prefer
from torch.nn.functional import logsigmoid, relu
from transformers import TrainingArguments

from adaptkit import (
    AdaptkitError,
    EncodedSplit,
    Predictor,
    Table,
    adapt,
    load_base,
    load_tokenizer,
    pipeline,
    read_table,
)
from adaptkit.data.corpus import load_corpus
from adaptkit.tasks.prefer import BETAS, Prefer
from adaptkit.training.options import TrainerOptions
from adaptkit.training.preferences.losses import LOSSES
from adaptkit.training.preferences.make import make_preference_trainer
from adaptkit.training.preferences.rows import for_dpo
from tests.helpers.rows import IN_FP32
from tests.helpers.small import weights
from tests.tiny import randomize

METHODS = ["lora", "prefix", "bottleneck", "lora+prefix"]


def pairs(count: int) -> Table:
    rows = load_corpus("train")[:count]
    return Table(
        [{"prompt": r["text"], "chosen": r["reply"], "rejected": r["summary"]} for r in rows], "x"
    )


def parts(small, task: Prefer, method: str, count: int = 4):
    """An adapter of random weights, and encoded pairs."""
    base = small / "llama"
    model = adapt(load_base(str(base), task=task.auto_class, dtype="float32"), method)
    randomize(model)
    tokenizer, table = load_tokenizer(str(base)), task.read(pairs(count))
    return model, EncodedSplit(table, task.encode(table, tokenizer, 256, train=True)), tokenizer


def trainer_of(small, tmp_path, task: Prefer, method: str, **options):
    model, split, tokenizer = parts(small, task, method)
    arguments = TrainingArguments(
        str(tmp_path), per_device_train_batch_size=4, use_cpu=True, report_to=[], seed=3
    )
    return make_preference_trainer(
        model, task, split, split, tokenizer, arguments, TrainerOptions(**options)
    )


def log_probabilities(model, split: EncodedSplit) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each example's answer, from its whole logits; and how many tokens it has."""
    sums, counts = [], []
    for row in split.encoded:
        ids, labels = (torch.tensor([row[key]]) for key in ("input_ids", "labels"))
        with torch.no_grad():
            logits = model(input_ids=ids).logits[:, :-1].log_softmax(-1)
        seen = labels[:, 1:] != -100
        sums.append(logits.gather(-1, ids[:, 1:, None])[..., 0][seen].sum())
        counts.append(int(seen.sum()))
    return torch.stack(sums), torch.tensor(counts)


def by_hand(name: str, model, split: EncodedSplit) -> torch.Tensor:
    """The loss of a batch, from the formulas of the papers."""
    own, tokens = log_probabilities(model, split)
    with model.disable_adapter():
        base, _ = log_probabilities(model, split)
    beta, change = BETAS[name], own - base
    margin = change[::2] - change[1::2]
    if name == "ipo":
        per_token = change / tokens
        return ((per_token[::2] - per_token[1::2] - 1 / (2 * beta)) ** 2).mean()
    if name == "hinge":
        return relu(1 - beta * margin).mean()
    if name == "simpo":
        per_token = own / tokens
        return -logsigmoid(beta * (per_token[::2] - per_token[1::2]) - 0.5).mean()
    return -logsigmoid(beta * margin).mean()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["dpo", "ipo", "hinge", "simpo"])
def test_the_loss_is_that_of_the_paper_against_the_base_alone(small, tmp_path, name, method):
    trainer = trainer_of(small, tmp_path, Prefer(loss_type=name), method)
    split = trainer.validation
    expected = by_hand(name, trainer.model, split)
    batch = trainer.data_collator(list(trainer.train_dataset))
    trainer.model.eval()
    with torch.no_grad():
        found = trainer.compute_loss(trainer.model, batch)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_scores_are_those_of_whole_logits(small, tmp_path, method):
    trainer = trainer_of(small, tmp_path, Prefer(), method)
    found = trainer.evaluate()
    own, tokens = log_probabilities(trainer.model, trainer.validation)
    with trainer.model.disable_adapter():
        base, _ = log_probabilities(trainer.model, trainer.validation)
    margins = 0.1 * ((own - base)[::2] - (own - base)[1::2])
    assert found["eval_reward_accuracy"] == float((margins > 0).float().mean())
    assert found["eval_reward_margin"] == pytest.approx(float(margins.mean()), rel=1e-3)
    likelier = (base / tokens)[::2] > (base / tokens)[1::2]
    assert found["eval_base_chosen_likelier"] == float(likelier.float().mean())


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_moves_the_adapter_alone(small, tmp_path, name):
    trainer = trainer_of(small, tmp_path, Prefer(loss_type=name), "lora")
    before = {key: value.clone() for key, value in trainer.model.named_parameters()}
    trainer.args.max_steps = 2
    trainer.train()
    moved = {
        key
        for key, value in trainer.model.named_parameters()
        if not torch.equal(value, before[key])
    }
    assert moved == {key for key in before if before[key].requires_grad}


def test_each_name_has_a_beta():
    assert LOSSES.keys() == BETAS.keys()


def test_a_batch_of_kto_has_answers_of_other_rows_beside_its_own(small, tmp_path):
    rows = trainer_of(small, tmp_path, Prefer(loss_type="kto"), "lora").train_dataset.to_list()
    assert len(rows) == 8
    assert sum(row["label"] for row in rows) == 4
    for start in (0, 4):
        batch = rows[start : start + 4]
        answers = [row["completion_ids"] for row in batch]
        assert [row["KL_completion_ids"] for row in batch] == [answers[-1], *answers[:-1]]


def test_a_whole_model_has_no_reference(small, tmp_path):
    model = load_base(str(small / "llama"), task="AutoModelForCausalLM")
    _, split, tokenizer = parts(small, Prefer(), "lora")
    with pytest.raises(AdaptkitError, match="prefer trains an adapter.*Leave --method full"):
        make_preference_trainer(
            model, Prefer(), split, None, tokenizer, TrainingArguments(str(tmp_path), use_cpu=True)
        )


def test_options_of_other_losses_are_refused(small, tmp_path):
    with pytest.raises(AdaptkitError, match="--max_tokens_per_batch is not for prefer"):
        trainer_of(small, tmp_path, Prefer(), "lora", max_tokens_per_batch=100)


@pytest.mark.parametrize(
    "loss_type, method, settings, problem",
    [
        ("orpo", "peft:PROMPT_TUNING[num_virtual_tokens=4]", {}, "tokens in front of a text; dpo"),
        ("dpo", "lora", {"train_sampling_strategy": "group_by_length"}, "group_by_length is not"),
        ("dpo", "lora", {"metric_for_best_model": "eval_loss"}, "loss is not for prefer"),
        ("kto", "lora", {"per_device_train_batch_size": 1}, "TRL refuses these settings"),
    ],
)
def test_what_trl_cannot_do_is_refused(small, tmp_path, loss_type, method, settings, problem):
    model = adapt(load_base(str(small / "llama"), task="AutoModelForCausalLM"), method)
    task = Prefer(loss_type=loss_type)
    _, split, tokenizer = parts(small, task, "lora")
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[], **settings)
    with pytest.raises(AdaptkitError, match=problem):
        make_preference_trainer(model, task, split, None, tokenizer, arguments)


def test_answers_begin_where_the_tokens_part(small):
    """A template that ends in a blank, which is one token with the first word of an answer."""
    tokenizer = load_tokenizer(str(small / "llama"))
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role ~ ' ' ~ m.content ~ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}assistant {% endif %}"
    )
    task = Prefer()
    rows = task.read(Table([{"prompt": "Q", "chosen": "the a", "rejected": "1 b"}], "x"))
    encoded = task.encode(rows, tokenizer, 64)
    found = for_dpo(encoded)[0]
    for side, example in zip(("chosen", "rejected"), encoded, strict=True):
        whole = found["prompt_ids"] + found[f"{side}_ids"]
        assert whole == example["input_ids"][: len(whole)]
    assert found["chosen_ids"][0] != found["rejected_ids"][0]


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """A run of the recipe, stopped nowhere: pairs whose better answer is always the reply."""
    root = tmp_path_factory.mktemp("prefer")
    for name, start, end in (("train", 0, 32), ("dev", 32, 48)):
        lines = [json.dumps(row) for row in pairs(48).rows[start:end]]
        (root / f"{name}.jsonl").write_text("\n".join(lines))
    flags = [
        *("--train_file", str(root / "train.jsonl"), "--test_file", str(root / "dev.jsonl")),
        *("--validation_file", str(root / "dev.jsonl"), "--num_generated", "2"),
        *("--model_name_or_path", str(small / "llama"), "--output_dir", str(root / "out")),
        *("--num_train_epochs", "3", "--learning_rate", "5e-3", "--max_new_tokens", "4"),
        *("--max_seq_length", "256", "--disable_tqdm", "true", *IN_FP32),
    ]
    prefer.main(flags)
    return root, flags


def test_a_recipe_learns_which_answers_are_better(trained):
    root, _ = trained
    found = json.loads((root / "out/all_results.json").read_text())
    assert found["test_reward_accuracy"] > 0.9
    assert found["test_reward_margin"] > 0.1
    card = (root / "out/README.md").read_text()
    assert "reward accuracy" in card
    assert "trl" not in card.lower().split("---")[1]


def test_what_was_saved_scores_the_same_and_answers(trained):
    root, _ = trained
    found = json.loads((root / "out/all_results.json").read_text())
    predictor = Predictor(root / "out")
    again = predictor.evaluate(read_table(str(root / "dev.jsonl")))
    assert again["reward_margin"] == pytest.approx(found["test_reward_margin"], rel=1e-4)
    asked = predictor.answer(Table([{"prompt": "Where is it?"}], "x"))
    talk = [{"role": "user", "content": "Where is it?"}]
    assert predictor.answer(Table([{"messages": talk}], "x")) == asked
    assert set(asked[0]) == {"text"}
    written = pipeline(root / "out")([talk], max_new_tokens=4)
    assert written[0][0]["generated_text"][-1]["role"] == "assistant"


def test_a_training_goes_on_from_its_checkpoint(trained):
    root, flags = trained
    again = [*flags, "--output_dir", str(root / "again"), "--save_total_limit", "5"]
    prefer.main(again)
    whole = weights(root / "again")
    for step in (8, 12):
        shutil.rmtree(root / f"again/checkpoint-{step}")
    prefer.main([*again, "--resume_from_checkpoint", "true"])
    resumed = weights(root / "again")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
