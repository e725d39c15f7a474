"""Faults of recipes that were once there, each with the smallest case that showed it."""

import json
import shutil

import pytest
import torch
from adaptkit.recipes import chat, classify, pretrain, score, tag, translate
from safetensors.torch import load_file
from transformers import TrainingArguments

from adaptkit import (
    AdaptkitError,
    EncodedSplit,
    Predictor,
    Reading,
    adapt,
    load_adapter,
    load_base,
    load_tokenizer,
    read_table,
)
from adaptkit.cli import main
from adaptkit.data.corpus import load_corpus
from adaptkit.data.readers.read import read
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.models.scratch import make_model
from adaptkit.recipe.encode import encode
from adaptkit.recipe.load import load
from adaptkit.recipe.parser import parse_recipe
from adaptkit.recipe.prepare import prepare
from adaptkit.tasks.answer import Answer
from adaptkit.tasks.chat import Chat
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.tag import Tag
from adaptkit.training.fit import check_best_metric, make_trainer

FEW = [
    "--max_steps",
    "2",
    "--per_device_train_batch_size",
    "4",
    "--disable_tqdm",
    "true",
    "--eval_strategy",
    "no",
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    texts = [row["text"] for row in load_corpus("train")[:40]]
    return make_model("bert", texts, tmp_path_factory.mktemp("bert"), vocab_size=400)[0]


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "\n".join(
            json.dumps({"text": row["text"], "label": row["sentiment"]})
            for row in load_corpus("train")[:40]
        )
    )
    return str(path)


@pytest.mark.parametrize("recipe, words, message", [
    (classify, ["--validation_split_percentage", "51"], "--validation_split_percentage is 0 to 50, not 51"),
    (classify, ["--early_stopping_patience", "2", "--eval_strategy", "no"], "--early_stopping_patience needs evaluations"),
    (classify, ["--validation_split_percentage", "0", "--early_stopping_patience", "2"], "need validation rows"),
    (classify, ["--validation_split_percentage", "0", "--load_best_model_at_end", "true"], "contradict each other"),
    (classify, ["--validation_split_percentage", "0", "--search", "2"], "need validation rows"),
    (classify, ["--validation_split_percentage", "0", "--eval_strategy", "epoch"], "need validation rows"),
    (classify, ["--method", "full", "--quantize", "nf4"], "those of --quantize nf4 cannot be trained"),
    (classify, ["--metric_for_best_model", "acuracy"], "unknown --metric_for_best_model 'acuracy'; did you mean 'accuracy'"),
    (classify, ["--metric_for_best_model", "eval_rouge1"], "Known: accuracy, f1"),
    (classify, ["--search", "2", "--metric_for_best_model", "recal"], "did you mean 'recall'"),
    (classify, ["--folds", "2", "--max_eval_samples", "5"], "--max_eval_samples does not go with --folds"),
    (classify, ["--folds", "2", "--search", "2", "--validation_split_percentage", "0"], "--search judges by validation rows"),
    (classify, ["--max_train_samples", "0"], "--max_train_samples is 1 or more, not 0"),
    (classify, ["--learning_rate", "-1"], "--learning_rate is more than 0; it got -1"),
    (classify, ["--per_device_train_batch_size", "0"], "--per_device_train_batch_size is more than 0; it got 0"),
    (classify, ["--num_train_epochs", "0"], "--num_train_epochs is more than 0; it got 0"),
    (score, ["--label_smoothing_factor", "0.1"], "--label_smoothing_factor does not go with score"),
])  # fmt: skip
def test_flags_that_cannot_work_are_refused(tmp_path, bert, rows, recipe, words, message):
    with pytest.raises(AdaptkitError, match=message):
        recipe.main(
            [
                "--train_file",
                rows,
                "--model_name_or_path",
                bert,
                "--output_dir",
                str(tmp_path / "o"),
                *words,
            ]
        )


def test_without_validation_rows_every_row_trains_and_the_last_epoch_is_kept(
    tmp_path, bert, rows, capsys
):
    flags = [
        "--train_file",
        rows,
        "--model_name_or_path",
        bert,
        "--validation_split_percentage",
        "0",
        "--bf16",
        "false",
    ]
    flags += ["--max_predict_samples", "5"]
    classify.main(
        [
            *flags,
            "--num_train_epochs",
            "1",
            "--disable_tqdm",
            "true",
            "--output_dir",
            str(tmp_path / "out"),
        ]
    )
    said = capsys.readouterr().out
    assert "no validation rows" in said
    assert "note: --max_predict_samples: there are no test rows" in said
    found = json.loads((tmp_path / "out/all_results.json").read_text())
    assert found["train_samples"] == 40
    assert not [name for name in found if name.startswith(("eval_", "test_"))]
    assert "the last epoch was kept" in (tmp_path / "out/README.md").read_text()
    assert Predictor(tmp_path / "out")("I love it.")[0]["label"] in (
        "negative",
        "neutral",
        "positive",
    )
    main(["check", "classify", *flags])
    assert "one save and load gave the same weights" in capsys.readouterr().out


def test_fewer_rows_are_used_where_that_is_asked_for(tmp_path, bert, rows, capsys):
    same = [
        "--train_file",
        rows,
        "--model_name_or_path",
        bert,
        "--validation_split_percentage",
        "25",
        "--test_file",
        rows,
        *FEW,
    ]
    most = ["--max_train_samples", "12", "--max_eval_samples", "5", "--max_predict_samples", "99"]
    classify.main([*same, *most, "--output_dir", str(tmp_path / "few")])
    said = capsys.readouterr().out
    assert "12 of 30 train rows are used" in said
    assert "5 of 10 validation rows are used" in said
    found = json.loads((tmp_path / "few/all_results.json").read_text())
    assert (found["train_samples"], found["eval_samples"], found["test_samples"]) == (12, 5, 40)


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


def test_rows_are_drawn_by_the_seed_and_stay_in_order():
    table = Table([{"n": n} for n in range(100)], "rows", list(range(2, 102)))
    splits = Splits(table, test=table, notes=["as before"])
    one, again, other = (
        splits.at_most({"train": 20, "validation": 3, "test": None}, seed) for seed in (1, 1, 2)
    )
    assert one.train.rows == again.train.rows != other.train.rows
    assert [row["n"] for row in one.train.rows] == sorted({row["n"] for row in one.train.rows})
    assert one.train.where(0) == f"rows:{one.train.rows[0]['n'] + 2}"
    assert len(one.train) == 20
    assert (one.validation, one.test) == (None, table)
    assert one.notes == ["as before", "20 of 100 train rows are used (seed 1)"]


def test_with_few_validation_rows_the_last_epoch_is_kept(tmp_path, bert, rows):
    """Four rows tell no epoch from another, and of equal ones the first would be kept, which has
    learned least.
    """
    flags = [
        "--train_file",
        rows,
        "--model_name_or_path",
        bert,
        "--bf16",
        "false",
        "--disable_tqdm",
        "true",
    ]
    flags += ["--num_train_epochs", "3", "--learning_rate", "1e-6", "--save_total_limit", "9"]
    for name, step, more in (
        ("last", 15, []),  # 36 rows in batches of 8
        ("best", 5, ["--load_best_model_at_end", "true"]),
        ("named", 5, ["--metric_for_best_model", "f1"]),
        (
            "plateau",
            5,
            ["--lr_scheduler_type", "reduce_lr_on_plateau"],
        ),  # it watches the validation rows
    ):
        classify.main([*flags, *more, "--output_dir", str(tmp_path / name)])
        folders = (tmp_path / name, tmp_path / name / f"checkpoint-{step}")
        heads = [
            load_file(folder / "adapter_model.safetensors")["base_model.model.classifier.weight"]
            for folder in folders
        ]
        assert torch.equal(*heads)


def test_folds_are_judged_by_their_own_rows(tmp_path, bert, rows, capsys):
    flags = [
        "--train_file",
        rows,
        "--model_name_or_path",
        bert,
        "--folds",
        "2",
        "--validation_split_percentage",
        "0",
        *FEW[:-2],
    ]
    classify.main([*flags, "--bf16", "false", "--output_dir", str(tmp_path / "out")])
    assert "20 validation rows are too few" in capsys.readouterr().out
    assert "eval_accuracy" in json.loads((tmp_path / "out/all_results.json").read_text())


def test_texts_that_must_stay_are_not_augmented(tmp_path):
    talks = [
        [{"role": "user", "content": f"Hm {i}?"}, {"role": "assistant", "content": "No."}]
        for i in range(20)
    ]
    (tmp_path / "talks.jsonl").write_text(
        "\n".join(json.dumps({"messages": talk}) for talk in talks)
    )
    with pytest.raises(AdaptkitError, match="chat needs its texts as they are"):
        chat.main(
            [
                "--train_file",
                str(tmp_path / "talks.jsonl"),
                "--augment_copies",
                "1",
                "--output_dir",
                str(tmp_path / "o"),
            ]
        )


def test_a_text_of_lines_that_begin_alike_loses_no_word(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"The lamp number {i} is on.\n" for i in range(30)))
    table = read(tmp_path / "a.txt", Reading(wanted=("text",)))
    assert table.rows[3] == {"text": "The lamp number 3 is on."}
    assert read(tmp_path / "a.txt", Reading(wanted=("source", "target"))).rows[3] == {
        "source": "The lamp number 3 is on."
    }


def test_a_pair_of_sentences_is_no_header(tmp_path):
    (tmp_path / "a.tsv").write_text(
        "The lamp is on.\tDie Lampe ist an.\nIt is off.\tSie ist aus.\n"
    )
    table = read(tmp_path / "a.tsv", Reading(wanted=("source", "target")))
    assert table.rows[0] == {"source": "The lamp is on.", "target": "Die Lampe ist an."}


def test_ends_that_look_inclusive_are_asked_about(tmp_path):
    row = {"text": "Anna lives in Bern", "entities": [[0, 3, "person"], [14, 17, "place"]]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    with pytest.raises(
        AdaptkitError,
        match="2 of 2 entities end one character before the end of a word.*--span_end inclusive",
    ):
        Tag().read(read_table(tmp_path / "a.jsonl"))
    assert (
        Tag(span_end="inclusive")
        .read(read_table(tmp_path / "a.jsonl"))
        .rows[0]["entities"][1]["end"]
        == 18
    )


@pytest.mark.slow
def test_what_lies_in_the_folder_moves_with_it(tmp_path, rows, bert):
    """A whole model, and an adapter whose small base was made beside it."""
    flags = ["--train_file", rows, *FEW]
    classify.main(
        [
            *flags,
            "--model_name_or_path",
            bert,
            "--method",
            "full",
            "--output_dir",
            str(tmp_path / "full"),
        ]
    )
    talk = [
        "--train_file",
        rows,
        "--prompt_column",
        "text",
        "--completion_column",
        "label",
        "--max_new_tokens",
        "2",
        *FEW,
    ]
    chat.main([*talk, "--output_dir", str(tmp_path / "chat")])
    (tmp_path / "other").mkdir()
    for name in ("full", "chat"):
        before = Predictor(tmp_path / name)("Hello there")
        shutil.move(tmp_path / name, tmp_path / "other" / name)
        assert Predictor(tmp_path / "other" / name)("Hello there") == before
    assert load_adapter(tmp_path / "other/full").num_labels == 3


@pytest.mark.slow
def test_a_language_has_no_answers_and_says_so(tmp_path, rows):
    pretrain.main(["--train_file", rows, *FEW, "--output_dir", str(tmp_path / "out")])
    with pytest.raises(
        AdaptkitError, match="pretrain learns a language and has no answers; adaptkit.pipeline"
    ):
        main(["predict", str(tmp_path / "out"), "Hello [MASK]."])


@pytest.mark.slow
def test_parallel_files_are_evaluated_as_they_were_trained_on(tmp_path, capsys):
    for language, word in (("en", "lamp"), ("de", "Lampe")):
        (tmp_path / f"t.{language}").write_text("".join(f"{word} {i} {word}\n" for i in range(40)))
    words = [
        "--train_file",
        str(tmp_path / "t.en"),
        "--source_lang",
        "en",
        "--target_lang",
        "de",
        *FEW,
    ]
    translate.main(
        [
            *words,
            "--max_target_length",
            "6",
            "--num_beams",
            "1",
            "--output_dir",
            str(tmp_path / "out"),
        ]
    )
    capsys.readouterr()
    main(["evaluate", str(tmp_path / "out"), "--file", str(tmp_path / "t.en")])
    found = json.loads(capsys.readouterr().out)
    assert found["samples"] == 40
    assert {"bleu", "chrf", "perplexity"} <= found.keys()
    main(["predict", str(tmp_path / "out"), "--file", str(tmp_path / "t.en")])
    assert len(capsys.readouterr().out.splitlines()) == 40


def test_an_unknown_word_in_a_span_row_is_no_crash(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"text": "abc", "entities": None})
        + "\n"
        + json.dumps({"text": "x y", "entities": []})
    )
    with pytest.raises(AdaptkitError, match="no row holds an entity"):
        tag.main(["--train_file", str(tmp_path / "a.jsonl"), "--output_dir", str(tmp_path / "o")])
