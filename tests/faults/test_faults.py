"""Faults that were once there, each with the smallest case that showed it."""

import dataclasses
import subprocess
import sys

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForSequenceClassification, TrainingArguments

from adaptkit import (
    AdaptkitError,
    Predictor,
    TaskCard,
    adapt,
    load_adapter,
    load_base,
    load_splits,
    read_table,
    save_adapter,
)
from adaptkit.cli import main
from adaptkit.data.tables import Table
from adaptkit.models.architectures import ARCHITECTURES
from adaptkit.recipe.parser import ELSEWHERE, parse_recipe, recipe_flags
from adaptkit.recipe.report import write_predictions
from adaptkit.tasks.classify import Classify
from adaptkit.training.defaults import DEFAULTS
from adaptkit.utils.plots import draw_confusion
from tests.tiny import first, inputs, randomize, tiny

COLUMNS = {"text": "text", "label": "label"}


def classifier(labels=("LABEL_0", "LABEL_1")):
    model = tiny("bert", AutoModelForSequenceClassification)
    model.config.id2label = dict(enumerate(labels))
    return model


def test_an_adapter_on_a_merged_base_is_not_one_of_the_base_before(tmp_path):
    base = load_base("all-MiniLM-L6-v2", task="classify", labels=2)
    model = adapt(base, "lora[r=2]")
    randomize(model, std=0.05)
    again = adapt(model.merge_and_unload(), "ia3")
    save_adapter(again, tmp_path / "a")
    with pytest.raises(AdaptkitError, match="trained on another base"):
        load_adapter(tmp_path / "a")


def test_an_adapter_does_not_go_on_a_base_that_was_edited_after_loading(tmp_path):
    save_adapter(adapt(load_base("all-MiniLM-L6-v2"), "ia3"), tmp_path / "a")
    base = load_base("all-MiniLM-L6-v2")
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.mul_(1.1)
    with pytest.raises(AdaptkitError, match="trained on another base"):
        load_adapter(tmp_path / "a", base)


def test_an_adapter_saved_while_another_is_merged_goes_on_its_base(tmp_path):
    model = adapt(classifier(), "lora[r=2]", adapter_name="one", head=["classifier"])
    model = adapt(model, "lora[r=4]", adapter_name="two", head=["classifier"])
    randomize(model)
    model.merge_adapter(["two"])
    save_adapter(model, tmp_path / "one", adapter_name="one")
    load_adapter(tmp_path / "one", classifier())


def test_labels_in_another_order_are_refused_and_nameless_ones_are_named(tmp_path):
    save_adapter(adapt(classifier(("bad", "good")), "ia3", head=["classifier"]), tmp_path / "a")
    with pytest.raises(AdaptkitError, match="in this order, the base has"):
        load_adapter(tmp_path / "a", classifier(("good", "bad")))
    model = load_adapter(tmp_path / "a", classifier())
    assert model.config.label2id == {"bad": 0, "good": 1}


def test_labels_that_look_like_formulas_are_drawn_and_written(tmp_path):
    labels = ["$", "$$", "a\tb", "日本|x"]
    assert draw_confusion(tmp_path / "c.png", np.eye(4, dtype=int), labels)
    rows = Table([{"text": "x\ny", "label": "a\tb"}], "x")
    write_predictions(tmp_path / "p.tsv", Classify(), rows, [{"label": "$$", "score": 0.5}])
    assert (tmp_path / "p.tsv").read_text() == "text\tgold\tpredicted\tscore\nx y\ta b\t$$\t0.5\n"


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", "text,label\nhello,a\nbye,b\n", "too few to cut a validation split"),
        ("a.csv", "text,label,text\nA,a,z\nB,b,z\n", r"a\.csv:1: the column 'text' is there twice"),
        (
            "a.csv",
            'text,label\n"hello,a\n' + "foo,b\n" * 10_000,
            r"a\.csv:2: a field of 10001 lines; is a quote not closed",
        ),
        (
            "a.jsonl",
            '{"text": "a\\ud800", "label": "x"}\n{"text": "b", "label": "y"}\n',
            r"a\.jsonl:1: .*half of a surrogate pair",
        ),
    ],
)
def test_odd_files_are_explained(tmp_path, name, content, message):
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(AdaptkitError, match=message):
        Classify().prepare(load_splits(str(tmp_path / name)), seed=1)


def test_endings_in_capitals_are_endings(tmp_path):
    (tmp_path / "A.TSV").write_text('text\tlabel\n"x\ta\n')
    assert read_table(tmp_path / "A.TSV").rows == [{"text": '"x', "label": "a"}]


def test_flags_that_hang_together_follow_the_one_that_is_given(tmp_path):
    make = parse_recipe(Classify, ["--eval_strategy", "no"], "").make_training
    training = make(**DEFAULTS, output_dir=str(tmp_path), use_cpu=True)
    assert (training.save_strategy, training.load_best_model_at_end) == ("epoch", False)
    make = parse_recipe(
        Classify, ["--eval_strategy", "steps", "--eval_steps", "5", "--save_steps", "5"], ""
    ).make_training
    training = make(
        **DEFAULTS | {"load_best_model_at_end": False}, output_dir=str(tmp_path), use_cpu=True
    )
    assert (training.save_strategy, training.load_best_model_at_end) == ("steps", False)
    for words, judged, saved, best in (
        ("--save_strategy no", ("epoch", None), "no", False),
        ("--save_strategy=steps --save_steps=7", ("steps", 7), ("steps", 7), True),
        ("--eval_strategy steps --eval_steps 7", ("steps", 7), ("steps", 7), True),
        ("--save-strategy steps --save-steps 7", ("steps", 7), ("steps", 7), True),
        ("--eval_strategy steps", ("steps", 10), ("steps", 10), True),
        (
            "--save_strategy steps --save_steps 7 --load_best_model_at_end false",
            ("epoch", None),
            ("steps", 7),
            False,
        ),
        ("--save_strategy best", ("epoch", None), "best", True),
    ):
        training = parse_recipe(Classify, words.split(), "").make_training(
            **DEFAULTS, output_dir=str(tmp_path), use_cpu=True
        )
        assert (training.eval_strategy, training.eval_steps) == judged
        assert saved in (training.save_strategy, (training.save_strategy, training.save_steps))
        assert training.load_best_model_at_end is best
    for words in (
        "--save_strategy no --load_best_model_at_end true",
        "--eval_strategy epoch --save_strategy steps",
    ):
        make = parse_recipe(Classify, words.split(), "").make_training
        with pytest.raises(AdaptkitError, match="contradict each other"):
            make(**DEFAULTS, output_dir=str(tmp_path), use_cpu=True)


@pytest.mark.parametrize("words, message", [
    (["--token", "abc"], "--token is no flag here: set HF_TOKEN"),
    (["--pad-to-max-length"], "--pad_to_max_length is no flag here: a batch is padded to its longest row"),
    (["--do_eval"], "recipes always train; adaptkit evaluate"),
    (["--do_train", "false", "--do_predict"], "recipes always train; adaptkit evaluate"),
    (["--learning_rat", "1"], "did you mean '--learning_rate'"),
])  # fmt: skip
def test_flags_of_the_example_scripts_are_answered(tmp_path, words, message):
    with pytest.raises(AdaptkitError, match=message):
        parse_recipe(Classify, words, "").make_training(
            **DEFAULTS, output_dir=str(tmp_path), use_cpu=True
        )
    assert (
        parse_recipe(Classify, ["--do_train", "--do_eval"], "")
        .make_training(output_dir=str(tmp_path), use_cpu=True)
        .do_train
    )
    assert not ELSEWHERE.keys() & (
        {item.name for item in dataclasses.fields(TrainingArguments)} | set(recipe_flags(Classify))
    )


def test_a_missing_file_is_told_before_the_imports(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n")
    code = f"""
import sys
from adaptkit.recipes import classify
from adaptkit.errors import AdaptkitError
try:
    classify.main(["--train_file", r"{tmp_path / "row.csv"}"])
except AdaptkitError as error:
    print(error, "torch" in sys.modules)
"""
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert (
        said
        == f"there is no file {tmp_path / 'row.csv'}. Did you mean {tmp_path / 'rows.csv'}? False\n"
    )


@pytest.fixture
def folders(tmp_path):
    for name, columns in (("one", COLUMNS), ("pair", {**COLUMNS, "text_pair": "other"})):
        model = adapt(load_base("all-MiniLM-L6-v2", task="classify", labels=["a", "b"]), "ia3")
        save_adapter(
            model,
            tmp_path / name,
            card=TaskCard(task="classify", labels=["a", "b"], columns=columns, max_length=32),
        )
    return tmp_path


def test_an_adapter_for_pairs_does_not_answer_single_texts(folders):
    with pytest.raises(AdaptkitError, match="was trained on text and text_pair, not on text"):
        Predictor(folders / "pair")("just one")
    rows = folders / "rows.jsonl"
    rows.write_text('{"text": "x", "other": "y"}\n')
    assert len(Predictor(folders / "pair").answer(read_table(rows))) == 1


def test_flags_may_stand_before_the_text(folders, capsys):
    main(["predict", str(folders / "one"), "--batch_size", "2", "hi", "there"])
    assert len(capsys.readouterr().out.splitlines()) == 2
    for words in (["--batch_size", "0", "hi"], ["hi", "--bach_size", "1"]):
        with pytest.raises(SystemExit) as stop:
            main(["predict", str(folders / "one"), *words])
        assert stop.value.code == 2


def test_longer_texts_than_the_base_has_positions_for_are_cut(tmp_path, capsys):
    from adaptkit.recipes import classify

    with pytest.raises(AdaptkitError, match="leaves no room"):
        classify.main(["--max_seq_length", "0", "--output_dir", str(tmp_path / "x")])
    rows = "".join(f"{'word ' * (700 if i == 3 else 3)}{i},{'ab'[i % 2]}\n" for i in range(12))
    (tmp_path / "long.csv").write_text("text,label\n" + rows)
    flags = [
        "--train_file",
        str(tmp_path / "long.csv"),
        "--max_seq_length",
        "1000",
        "--output_dir",
        str(tmp_path / "out"),
    ]
    classify.main(
        [*flags, "--max_steps", "1", "--per_device_train_batch_size", "2", "--disable_tqdm", "true"]
    )
    assert "is lowered to that" in capsys.readouterr().out


def test_both_predictions_of_one_model_are_the_same_after_a_refused_merge():
    model = adapt(tiny("bert"), "bottleneck[placement=parallel,reduction=4]").eval()
    randomize(model)
    before = first(model(**inputs("bert")))
    with pytest.raises(AdaptkitError):
        model.merge_adapter()
    assert torch.equal(first(model(**inputs("bert"))), before)


def test_a_peft_configuration_stays_its_owners():
    config = peft.LoHaConfig(r=2, target_modules=["query"])
    adapt(classifier(), config, head=["classifier"])
    assert config.modules_to_save is None


def test_a_base_in_half_precision_trains_its_head_and_answers(tmp_path):
    from adaptkit.recipes import classify

    rows = "".join(f"word {i},{'ab'[i % 2]}\n" for i in range(12))
    (tmp_path / "a.csv").write_text("text,label\n" + rows)
    flags = [
        "--train_file",
        str(tmp_path / "a.csv"),
        "--output_dir",
        str(tmp_path / "out"),
        "--dtype",
        "bfloat16",
        "--max_steps",
        "2",
    ]
    classify.main([*flags, "--disable_tqdm", "true", "--train_sampling_strategy", "random"])
    said = (tmp_path / "out/predictions_validation.tsv").read_text().splitlines()[1].split("\t")
    answer = Predictor(tmp_path / "out", dtype="bfloat16")(said[0])[0]
    assert (answer["label"], answer["score"]) == (said[2], pytest.approx(float(said[3]), abs=0.01))


def test_an_attention_that_cannot_be_routed_is_refused_before_the_model_is_touched(monkeypatch):
    model = tiny("deberta-v2")
    stack = ARCHITECTURES["deberta-v2"][0]
    monkeypatch.setitem(
        ARCHITECTURES, "deberta-v2", (dataclasses.replace(stack, attn="attention.self"),)
    )
    with pytest.raises(AdaptkitError, match="does not call transformers' attention interface"):
        adapt(model, "lora+prefix")
    assert not any("adaptkit" in name for name, _ in model.named_modules())
