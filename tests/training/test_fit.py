"""The metric that chooses the best epoch is known, and is the one that was asked for."""

import json

import pytest
from adaptkit.recipes import score
from transformers import TrainingArguments

from adaptkit import AdaptkitError, EncodedSplit, adapt, load_base, load_tokenizer
from adaptkit.data.corpus import load_corpus
from adaptkit.data.tables import Table
from adaptkit.models.untrained.scratch import make_model
from adaptkit.recipe.encode import encode
from adaptkit.recipe.load import load
from adaptkit.recipe.parser import parse_recipe
from adaptkit.recipe.prepare import prepare
from adaptkit.tasks.answer import Answer
from adaptkit.tasks.chat import Chat
from adaptkit.tasks.classify import Classify
from adaptkit.training.fit import check_best_metric, make_trainer
from tests.helpers.rows import IN_FP32


@pytest.mark.parametrize(
    "words, metric", [(["--metric_for_best_model", "loss"], "eval_loss"), ([], "accuracy")]
)
def test_a_loss_that_is_asked_for_chooses_the_epoch(tmp_path, bert, rows, words, metric):
    flags = [
        "--train_file",
        rows,
        "--output_dir",
        str(tmp_path / "o"),
        "--model_name_or_path",
        bert,
        *words,
    ]
    prepared = prepare(parse_recipe(Classify, flags, ""))
    encoded = encode(prepared)
    splits, model = encoded.splits, load(encoded).model
    trainer = make_trainer(
        model,
        prepared.task,
        splits["train"],
        splits["validation"],
        encoded.tokenizer,
        prepared.training,
    )
    assert (trainer.args.metric_for_best_model, trainer.args.greater_is_better) == (
        metric,
        metric == "accuracy",
    )


def test_a_metric_that_a_few_rows_do_not_show_is_known(bert):
    """Of eight questions that all have answers one cannot tell how well those without are told."""
    context = "Anna lives in Bern. Ben lives in Rome."
    rows = [
        {
            "question": "Where?",
            "context": context,
            "answers": {"text": ["Bern"], "answer_start": [14]},
        }
    ] * 8
    rows += [{"question": "Why?", "context": context, "answers": {"text": [], "answer_start": []}}]
    task, tokenizer = Answer(unanswerable=True), load_tokenizer(bert)
    table = task.read(Table(rows, "rows"))
    part = EncodedSplit(table, task.encode(table, tokenizer, 64))
    model = adapt(load_base(bert, task="answer"), "lora[r=2]")
    for name in ("no_answer_accuracy", "loss", None):
        check_best_metric(
            model,
            task,
            part,
            tokenizer,
            TrainingArguments(metric_for_best_model=name, use_cpu=True),
        )
    with pytest.raises(AdaptkitError, match="did you mean 'no_answer_accuracy'"):
        check_best_metric(
            model,
            task,
            part,
            tokenizer,
            TrainingArguments(metric_for_best_model="no_answer_acuracy", use_cpu=True),
        )


def test_a_metric_of_written_answers_is_said_to_come_late(tmp_path):
    texts = [row["reply"] for row in load_corpus("train")[:20]]
    llama = make_model("llama", texts, tmp_path, vocab_size=400)[0]
    task, tokenizer = Chat(), load_tokenizer(llama)
    talks = [
        {"messages": [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": text}]}
        for text in texts
    ]
    table = task.read(Table(talks, "rows"))
    part = EncodedSplit(table, task.encode(table, tokenizer, 64))
    model = adapt(load_base(llama, task="chat"), "lora[r=2]")
    asked = TrainingArguments(metric_for_best_model="rougeL", use_cpu=True)
    with pytest.raises(
        AdaptkitError,
        match="Known: .*perplexity.* It is of written answers, which are judged at the end only",
    ):
        check_best_metric(model, task, part, tokenizer, asked)


@pytest.mark.slow
def test_a_metric_that_should_be_low_is_kept_low(tmp_path, sixty_texts, sixty_rows):
    bert = make_model("bert", sixty_texts, tmp_path / "bert", vocab_size=500)[0]
    flags = [
        "--train_file",
        sixty_rows,
        "--model_name_or_path",
        bert,
        "--metric_for_best_model",
        "mae",
        "--max_steps",
        "6",
        *IN_FP32,
    ]
    steps = [
        "--eval_strategy",
        "steps",
        "--eval_steps",
        "2",
        "--save_steps",
        "2",
        "--save_total_limit",
        "5",
        "--learning_rate",
        "1e-2",
    ]
    score.main([*flags, *steps, "--output_dir", str(tmp_path / "out")])
    state = json.loads((tmp_path / "out/checkpoint-6/trainer_state.json").read_text())
    assert state["best_metric"] == min(
        entry["eval_mae"] for entry in state["log_history"] if "eval_mae" in entry
    )
