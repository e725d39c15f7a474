"""Faults of tasks that were once there, each with the smallest case that showed it."""

import json
import random
from pathlib import Path

import pytest
from adaptkit.recipes import classify, pretrain, score, tag
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from adaptkit import AdaptkitError, Predictor, Table, load_base, load_tokenizer, pipeline
from adaptkit.cli import main
from adaptkit.data.augmentation import Augmentation
from adaptkit.data.corpus import load_corpus
from adaptkit.data.splits import Splits, split_groups
from adaptkit.models.probe import check_packing, packing_leaks
from adaptkit.models.scratch import make_model
from adaptkit.tasks.answer import Answer
from adaptkit.tasks.chat import Chat
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.relate import Relate
from adaptkit.tasks.tag import Tag
from adaptkit.tasks.translate import Translate
from adaptkit.utils.overrides import overrides
from tests.tiny import tiny

FEW = ["--per_device_train_batch_size", "8", "--disable_tqdm", "true", "--bf16", "false"]


@pytest.fixture(scope="module")
def texts():
    return [row["text"] for row in load_corpus("train")[:60]]


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    found = [
        {"text": row["text"], "label": row["sentiment"], "score": row["urgency"]}
        for row in load_corpus("train")[:60]
    ]
    path.write_text("\n".join(map(json.dumps, found)))
    return str(path)


@pytest.mark.slow
def test_answers_over_a_decoder_do_not_depend_on_the_batch(tmp_path, texts, rows):
    """Its configuration names no padding token, the tokenizer does: the head must not read that."""
    folder = Path(make_model("llama", texts, tmp_path / "llama", vocab_size=500)[0])
    settings = json.loads((folder / "config.json").read_text())
    settings.pop("pad_token_id")
    (folder / "config.json").write_text(json.dumps(settings))
    flags = [
        "--train_file",
        rows,
        "--model_name_or_path",
        str(folder),
        "--learning_rate",
        "1e-2",
        "--max_steps",
        "20",
        *FEW,
    ]
    classify.main([*flags, "--output_dir", str(tmp_path / "out"), "--eval_strategy", "no"])
    predictor = Predictor(tmp_path / "out")
    table = Table([{"text": row["text"]} for row in load_corpus("test")[:24]], "x")
    together, alone = (predictor.answer(table, batch_size=size) for size in (24, 1))
    assert [answer["label"] for answer in together] == [answer["label"] for answer in alone]
    assert [answer["score"] for answer in together] == pytest.approx(
        [answer["score"] for answer in alone], abs=1e-5
    )
    piped = pipeline(tmp_path / "out")([row["text"] for row in table.rows], batch_size=24)
    assert [answer["label"] for answer in piped] == [answer["label"] for answer in alone]


@pytest.mark.slow
def test_steps_without_a_label_do_no_harm(tmp_path, texts, rows):
    """A short block may hide no token, a window may hold one long word: nothing to learn is no
    reason for NaN.
    """
    bert = make_model("bert", texts, tmp_path / "bert", vocab_size=500)[0]
    flags = [
        "--max_steps",
        "40",
        "--per_device_train_batch_size",
        "1",
        "--disable_tqdm",
        "true",
        "--bf16",
        "false",
    ]
    flags += ["--eval_strategy", "no", "--logging_steps", "1", "--model_name_or_path", bert]
    pretrain.main(
        [
            *flags,
            "--train_file",
            rows,
            "--max_seq_length",
            "12",
            "--output_dir",
            str(tmp_path / "mlm"),
        ]
    )
    words = [{"tokens": ["x" * 70, "Bern"], "tags": ["O", "B-place"]}] * 20
    (tmp_path / "words.jsonl").write_text(
        "\n".join(json.dumps(row | {"id": i}) for i, row in enumerate(words))
    )
    few = ["--validation_file", str(tmp_path / "words.jsonl"), "--max_seq_length", "24"]
    tag.main(
        [
            *flags,
            "--train_file",
            str(tmp_path / "words.jsonl"),
            *few,
            "--output_dir",
            str(tmp_path / "tag"),
        ]
    )


def test_the_column_of_the_tags_is_named_to_evaluate_too(tmp_path, texts, capsys):
    bert = make_model("bert", texts, tmp_path / "bert", vocab_size=300)[0]
    train = (
        tmp_path / "a.conll"
    )  # the last column, detected where none is named, holds tags that were not trained on
    train.write_text("in O O\nBern B-place B-town\n\non O O\nMonday B-day B-date\n\n" * 20)
    flags = [
        "--train_file",
        str(train),
        "--model_name_or_path",
        bert,
        "--max_steps",
        "2",
        "--output_dir",
        str(tmp_path / "out"),
    ]
    tag.main([*flags, "--tag_column", "2", "--bf16", "false", "--disable_tqdm", "true"])
    capsys.readouterr()
    with pytest.raises(AdaptkitError, match="town"):
        main(["evaluate", str(tmp_path / "out"), "--file", str(train)])
    main(["evaluate", str(tmp_path / "out"), "--file", str(train), "--tag_column", "2"])
    assert json.loads(capsys.readouterr().out)["samples"] == 40


def test_characters_without_a_piece_of_their_own_are_tagged(tmp_path):
    """A byte-level tokenizer makes one piece of several characters, and several pieces of one."""
    folder = make_model("llama", ["北京大学在中国"] * 50 + ["我爱"], tmp_path, vocab_size=300)[0]
    tokenizer = load_tokenizer(folder)
    task = Tag()
    table = task.read(
        Table(
            [
                {"text": "北京大学在中国", "entities": [[0, 4, "org"], [5, 7, "place"]]},
                {"text": "鼠在中国", "entities": [[0, 1, "x"]]},
            ],
            "x",
        )
    )
    task = task.fit_labels(table)
    encoded = task.encode(table, tokenizer, 32)
    assert len(encoded["input_ids"][0]) < 7  # some pieces hold several characters
    for firsts in encoded["_first"]:
        own = [unit for unit in firsts if unit >= 0]
        assert len(own) == len(set(own))
    outputs = [[max(label, 0) for label in labels] + [0] * 20 for labels in encoded["labels"]]
    answers = task.decode(outputs, encoded, table)
    assert {"start": 0, "end": 1, "label": "x", "text": "鼠"} in answers[1]["entities"]
    covered = {
        place
        for entity in answers[0]["entities"]
        for place in range(entity["start"], entity["end"])
    }
    assert {0, 1, 2, 3} <= covered
    assert "no piece of their own" in task.encoding_issues(encoded, table)[0].text


@pytest.mark.slow
def test_a_metric_that_should_be_low_is_kept_low(tmp_path, texts, rows):
    bert = make_model("bert", texts, tmp_path / "bert", vocab_size=500)[0]
    flags = [
        "--train_file",
        rows,
        "--model_name_or_path",
        bert,
        "--metric_for_best_model",
        "mae",
        "--max_steps",
        "6",
        *FEW,
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


def test_packing_is_refused_where_conversations_see_each_other():
    models = {name: tiny(name, AutoModelForCausalLM) for name in ("opt", "llama", "gpt2")}
    assert {name: packing_leaks(model) for name, model in models.items()} == {
        "opt": True,
        "llama": False,
        "gpt2": False,
    }
    with pytest.raises(AdaptkitError, match="would see each other in a opt"):
        check_packing(models["opt"])


def test_long_answers_do_not_cut_the_question(tmp_path, texts):
    folder = make_model("llama", texts, tmp_path, vocab_size=500)[0]
    model, tokenizer = load_base(folder, task="chat").eval(), load_tokenizer(folder)
    rows = Chat().read(Table([{"prompt": texts[0]}], "x"), labelled=False)
    short, long = (
        Chat(max_new_tokens=n).generate(model, rows, tokenizer, 128, 1)[0]["text"] for n in (4, 128)
    )
    assert long.startswith(short)
    with pytest.raises(
        AdaptkitError, match="leaves no room for a question: the base has 1024 positions"
    ):
        Chat(max_new_tokens=1020).generate(model, rows, tokenizer, 128, 1)


@given(
    st.lists(st.sampled_from(["one", "two", "drei", "北", "!"]), min_size=1, max_size=12),
    st.integers(0, 99),
)
def test_swapped_words_stay_words(words, seed):
    changed = Augmentation(swap=0.5, dropout=0.0).text(" ".join(words), random.Random(seed))
    assert sorted(changed.split()) == sorted(words)


def test_splits_of_labels_keep_their_size_and_texts_on_one_side():
    several = Table([{"text": f"t{i}", "label": [f"a{i % 7}", f"b{i}"]} for i in range(200)], "x")
    rest, cut = Classify(multi_label=True).split(several, 1, 0.1)
    assert (len(rest), len(cut)) == (180, 20)
    pairs = Table([{"text": f"t{i}", "label": str(i // 2)} for i in range(400)], "x")
    assert len(Classify().split(pairs, 1, 0.1)[1]) == 40
    double = Table([{"text": f"t{i % 50}", "label": "ab"[i % 2]} for i in range(400)], "x")
    rest, cut = Classify().split(double, 1, 0.1)
    assert not {row["text"] for row in rest.rows} & {row["text"] for row in cut.rows}
    assert 30 <= len(cut) <= 60
    articles = Table([{"n": i} for i in range(1010)], "x")
    for seed in range(4):
        assert len(split_groups(articles, ["long"] * 1000 + ["short"] * 10, seed)[1]) == 10


@pytest.mark.slow
def test_a_check_doubts_roles_that_no_question_has():
    talk = [{"role": "human", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    fine = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."}, talk[1]]
    splits, task = Chat().prepare(
        Splits(Table([{"messages": talk}, {"messages": fine}] * 10, "talks")), seed=1, validation=0
    )
    doubts = [finding.text for finding in task.findings(splits) if finding.severity == "warn"]
    assert doubts == [
        "train: the roles human are not user, assistant, system or tool; questions are asked as "
        "the user's"
    ]


def test_pipelines_of_ours_take_lists_and_batches(tmp_path, texts, rows):
    bert = make_model("bert", texts, tmp_path / "bert", vocab_size=500)[0]
    flags = [
        "--train_file",
        rows,
        "--model_name_or_path",
        bert,
        "--max_steps",
        "2",
        *FEW,
        "--eval_strategy",
        "no",
    ]
    score.main([*flags, "--output_dir", str(tmp_path / "out")])
    pipe = pipeline(tmp_path / "out")
    together = pipe(texts[:5], batch_size=2)
    assert [answer["score"] for answer in together] == pytest.approx(
        [pipe(text)["score"] for text in texts[:5]], abs=1e-5
    )
    assert pipe([]) == []
    with pytest.raises(AdaptkitError, match="takes no top_k"):
        pipe(texts[:2], top_k=3)
    for words, message in (
        (["--resume_from_checkpoint", "false"], "is not empty"),
        (["--resume_from_checkpoint", str(tmp_path / "none")], "there is no such folder"),
    ):
        with pytest.raises(AdaptkitError, match=message):
            score.main([*flags, "--output_dir", str(tmp_path / "out"), *words])


@pytest.mark.parametrize("task, row, message", [
    (Relate(), {"text": "a b", "head": "a", "label": "x", "tail": None}, "the tail is None"),
    (Relate(columns={"label": "r"}), {"text": "a b", "entities": [{"start": 0}], "relations": [{"head": 0, "tail": -1}]},
     "names no label and two of the row's entities"),
    (Translate(source_lang="en", target_lang="de"), {"translation": {"en": "a"}}, "'target' holds None"),
    (Answer(), {"question": "a", "context": "b", "answers": {"text": ["b"], "answer_start": []}}, "1 texts and not as many starts"),
    (Tag(), {"text": "a b", "entities": [{"start": 0, "end": 1, "label": None}]}, "an entity has no label"),
])  # fmt: skip
def test_missing_fields_are_placed(task, row, message):
    with pytest.raises(AdaptkitError, match=rf"x:7: .*{message}"):
        task.read(Table([row], "x", [7]))


def test_overrides_are_what_they_look_like():
    assert overrides("tie_word_embeddings=false,a=1.0e-4,b=-1") == {
        "tie_word_embeddings": False,
        "a": 1e-4,
        "b": -1,
    }
