"""Options that come with the row: how they are read, scored and answered."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from adaptkit.recipes import decide

from adaptkit import AdaptkitError, Host, Predictor, Splits, load_base
from adaptkit.data.tables import Table
from adaptkit.inference.predict import predict
from adaptkit.models.tokenizer import load_tokenizer
from adaptkit.models.untrained.scratch import make_model
from adaptkit.tasks.decide import Decide

TEXTS = ["the lamp is red", "a green door", "blue boats", "my coat is green and old"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decide") / "bert"
    make_model("bert", [*TEXTS, "red green blue colour"], folder, vocab_size=300)
    return str(folder)


def _rows(*options):
    return [{"text": text, "options": list(one)} for text, one in zip(TEXTS, options, strict=False)]


def _outputs(task, rows, bert, batch_size=64):
    table = task.read(Table(rows, "rows"), labelled="label" in rows[0])
    torch.manual_seed(0)  # the head of a cross-encoder is new
    model, tokenizer = load_base(bert, task=task.auto_class), load_tokenizer(bert)
    encoded = task.encode(table, tokenizer, 32, labelled="label" in rows[0])
    return predict(model, task, encoded, tokenizer, batch_size), encoded, table


@pytest.mark.parametrize("encoder", ["bi", "cross"])
def test_a_row_is_scored_as_alone_whatever_the_options_of_others(bert, encoder):
    task = Decide(encoder=encoder)
    rows = _rows(["red", "green"], ["blue", "red", "a dark green"], ["blue", "red"])
    together, encoded, table = _outputs(task, rows, bert)
    assert together.shape == (3, 3)
    assert (together[[0, 2], 2] == -100).all()
    alone, _, _ = _outputs(task, rows, bert, batch_size=1)
    np.testing.assert_allclose(together, alone, atol=2e-4)
    answers = task.decode(together, encoded, table)
    assert [one["label"] in row["options"] for one, row in zip(answers, rows, strict=True)]


def test_the_score_of_a_bi_encoder_is_a_cosine(bert):
    task = Decide(temperature=0.5, option_template="it is {}")
    outputs, _, _ = _outputs(task, [{"text": TEXTS[0], "options": ["dark_red", "green"]}], bert)
    model, tokenizer = load_base(bert).eval(), load_tokenizer(bert)

    def vector(text):
        with torch.no_grad():
            return model(**tokenizer(text, return_tensors="pt"))[0][0].mean(0)

    cosine = torch.nn.functional.cosine_similarity
    for found, option in zip(outputs[0], ["it is dark red", "it is green"], strict=True):
        assert found == pytest.approx(
            float(cosine(vector(TEXTS[0]), vector(option), 0)) / 0.5, abs=1e-4
        )


def test_the_loss_is_that_of_each_rows_own_options(bert):
    task = Decide()
    rows = _rows(["red", "green"], ["blue", "red", "a dark green"])
    rows = [row | {"label": row["options"][-1]} for row in rows]
    outputs, encoded, _ = _outputs(task, rows, bert)
    wanted = sum(
        torch.nn.functional.cross_entropy(torch.tensor(one[:n]), torch.tensor(n - 1))
        for one, n in zip(outputs, (2, 3), strict=True)
    )
    model, tokenizer = load_base(bert), load_tokenizer(bert)
    batch = task.collator(tokenizer)([encoded[0], encoded[1]])
    inputs = task.model_inputs(model, {k: v for k, v in batch.items() if k != "labels"}, None)
    loss = task.loss(model(**inputs), batch, batch["labels"], 1)
    torch.testing.assert_close(loss, wanted.float(), atol=1e-4, rtol=1e-4)
    assert len(batch["input_ids"]) == 2 + 4  # an option of two rows is read once


@pytest.mark.parametrize(
    "row, label",
    [
        ({"options": ["red", "green"], "label": "green"}, "green"),
        ({"options": ["red", "green"], "label": 1}, "green"),
        ({"options": {"text": ["red", "green"], "label": ["A", "B"]}, "label": "B"}, "green"),
        ({"options": {"x": "red", "y": "green"}, "label": "y"}, "green"),
        ({"options": ["1", "0", "7"], "label": "7"}, "7"),  # no number of three options
    ],
)
def test_ways_to_name_the_right_option(row, label):
    (found,) = Decide().read(Table([{"text": "a"} | row], "rows")).rows
    assert found["label"] == label


def test_options_in_columns():
    rows = [
        {"text": "a", "choice1": "red", "choice2": "green", "choice3": "", "label": 1},
        {"text": "b", "choice1": "red", "choice2": "green", "choice3": "blue", "label": "choice3"},
    ]
    task = Decide(option_columns=["choice1", "choice2", "choice3"])
    found = task.read(Table(rows, "rows")).rows
    assert [row["label"] for row in found] == ["green", "blue"]
    assert [len(row["options"]) for row in found] == [2, 3]
    counted = Decide(option_columns=["choice1", "choice2"], first_option=1)
    rows = [{"text": "a", "choice1": "red", "choice2": "green", "label": 1}]
    assert counted.read(Table(rows, "rows")).rows[0]["label"] == "red"


SUM = ["8", "4", "1", "0"]


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        ([(SUM, 1), (SUM, 0), (SUM, 2)], ["4", "8", "1"]),  # integers
        ([(SUM, "1"), (SUM, "3")], ["4", "0"]),  # 3 is no text
        ([(SUM, "1"), (SUM, "8")], ["1", "8"]),  # 8 is no number
        ([(SUM, 8), (SUM, 4)], ["8", "4"]),  # both are no numbers
        ([(["0", "1"], "1"), (["0", "1"], "0")], ["1", "0"]),  # the same in both ways
        ([(["red", "1", "2"], "red"), (["red", "1", "2"], "1")], ["red", "1"]),
        ([({"1": "8", "2": "4", "4": "1"}, "1"), ({"1": "4", "2": "1"}, "1")], ["8", "4"]),
        ([({"A": "B", "B": "A"}, "A"), (SUM, 1)], ["B", "4"]),  # names
        ([({"A": "B", "B": "A"}, "A"), ({"X": "B", "Y": "A"}, "A")], ["A", "A"]),  # no names
        ([({"text": SUM, "label": [*"ABCD"]}, 1)], ["4"]),
        ([(None, "1"), (SUM, 1)], ["1", "4"]),
    ],
)
def test_labels_that_are_texts_and_numbers_are_read_alike_in_a_file(rows, labels):
    table = Table([{"text": "q", "options": own, "label": label} for own, label in rows], "rows")
    assert [row["label"] for row in Decide().read(table).rows] == labels


@pytest.mark.parametrize("rows", [[(SUM, "1"), (SUM, "0")], [([8, 4, 1, 0], 1)]])
def test_labels_of_which_nothing_tells_are_refused(rows):
    table = Table([{"text": "q", "options": own, "label": label} for own, label in rows], "rows")
    with pytest.raises(AdaptkitError, match="rows row 0: .*number of another, '4'.*integers"):
        Decide().read(table)
    counted = table.with_rows([row for row in table.rows if str(row["label"]) == "1"])
    assert Decide(first_option=1).read(counted).rows[0]["label"] == "8"


def test_an_empty_column_is_counted():
    columns = {"A": "x", "B": "", "C": "z", "D": "w"}
    task = Decide(option_columns=["A", "B", "C", "D"])
    rows = [{"text": "q", **columns, "label": label} for label in (2, "3", "A", "z")]
    found = task.read(Table(rows, "rows")).rows
    assert [row["label"] for row in found] == ["z", "w", "x", "z"]
    with pytest.raises(AdaptkitError, match="'1' is none of its 3 options"):
        task.read(Table([{"text": "q", **columns, "label": 1}], "rows"))


@pytest.mark.parametrize(
    "row, words",
    [
        ({"options": ["red", "green"], "label": "gren"}, "Did you mean 'green'"),
        ({"options": ["red", "green"], "label": 2}, "Then give --first_option 1"),
        ({"options": ["red"], "label": "red"}, "two or more texts"),
        ({"options": ["red", "red"], "label": "red"}, "'red' is there twice"),
        ({"options": "red green", "label": "red"}, "not a list of texts"),
        ({"options": ["red", None], "label": "red"}, "two or more texts"),
        ({"options": ["red", "green"], "label": None}, "is no option"),
    ],
)
def test_rows_that_are_refused_with_their_line(row, words):
    with pytest.raises(AdaptkitError, match=f"rows.*{words}"):
        Decide().read(Table([{"text": "a"} | row], "rows"))


def test_settings_that_are_refused():
    for settings, words in (
        ({"encoder": "cros"}, "did you mean 'cross'"),
        ({"pooling": "men"}, "did you mean 'mean'"),
        ({"pooling": "last"}, "Known: first, mean"),
        ({"option_template": "it is"}, "has no {} for the option"),
    ):
        with pytest.raises(AdaptkitError, match=words):
            Decide(**settings)


def _splits(*options):
    """A row for each, with its own options if it has some."""
    rows = [
        {"text": f"{i} a", "label": "red"} | ({"options": own} if own else {})
        for i, own in enumerate(options)
    ]
    return Splits(Table(rows, "rows.jsonl"))


def test_options_that_no_row_needs_are_refused():
    own, default = ["red", "green"], ["red", "blue"]
    with pytest.raises(AdaptkitError, match="'blue'. would not be used: .* each of the 2 rows has"):
        Decide(options=default).prepare(_splits(own, own), 1, 0)
    some, task = Decide(options=default).prepare(_splits(own, None), 1, 0)
    assert task.options == default
    assert [row.get("options") for row in some.train.rows] == [own, None]
    splits = dataclasses.replace(_splits(own, own), test=_splits(None).train)
    assert Decide(options=default).prepare(splits, 1, 0)[1].options == default
    with pytest.raises(AdaptkitError, match="no column 'option'"):
        Decide(columns={"options": "option"}, options=default).prepare(_splits(None, None), 1, 0)


@pytest.mark.parametrize("encoder", ["bi", "cross"])
def test_a_recipe_learns_and_decides_among_options_it_has_not_seen(bert, tmp_path, encoder):
    things = ("lamp", "door", "boat", "coat", "old lamp", "old door")
    rows = [
        {"text": f"the {thing} is {colour}", "label": colour}
        for thing in things
        for colour in ("red", "green", "blue")
    ]
    own = [row | {"options": ["red", "blue", "colour", row["label"] + " old"]} for row in rows]
    for row in own:
        row["label"] += " old"
    for name, part in (("train", rows * 2), ("test", own)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    words = ["--train_file", str(tmp_path / "train.jsonl"), "--test_file"]
    words += [str(tmp_path / "test.jsonl"), "--model_name_or_path", bert, "--encoder", encoder]
    words += ["--output_dir", str(tmp_path / "out"), "--learning_rate", "1e-2", "--bf16", "false"]
    decide.main([*words, "--num_train_epochs", "8", "--disable_tqdm", "true"])
    found = json.loads((tmp_path / "out/all_results.json").read_text())
    assert found["test_chance"] == 0.25
    predictor = Predictor(tmp_path / "out")
    rows = [{"text": "the boat is red", "options": ["something", "red"]}]
    (chosen,) = predictor.answer(Table(rows, "rows"))
    assert chosen["label"] in ("something", "red")
    if encoder == "bi":  # the other would need to be pretrained
        assert found["eval_accuracy"] > 0.9
        assert predictor("the boat is red")[0]["label"] == "red"  # of the training's labels
        assert chosen["label"] == "red"
    host = Host(bert)
    with pytest.raises(AdaptkitError, match="no host answers decide"):
        host.load("mine", tmp_path / "out")


MANY = [f"option {number}" for number in range(24)]


def _many():
    return Table([{"text": f"{a} {b}", "label": a} for a in MANY for b in "abc"], "rows")


def _labels(table):
    return {row["label"] for row in table.rows}


def test_options_are_held_out_of_training(bert):
    splits, task = Decide(split_by="option").prepare(Splits(_many()), seed=1)
    train, validation = _labels(splits.train), _labels(splits.validation)
    assert not train & validation
    assert train | validation == set(MANY)
    assert "no option on both sides" in splits.notes[-1]
    tokenizer = load_tokenizer(bert)
    learned = task.encode(splits.train, tokenizer, 32, train=True)
    judged = task.encode(splits.validation, tokenizer, 32)
    assert {len(one) for one in learned["option_ids"]} == {len(train)}
    assert {len(one) for one in judged["option_ids"]} == {24}


def test_given_options_that_no_row_has_are_learned_against(bert):
    task = Decide(options=["red", "green", "blue"])
    table = task.read(Table([{"text": "the lamp is red", "label": "red"}], "rows"))
    (row,) = task.encode(table, load_tokenizer(bert), 32, train=True)
    assert len(row["option_ids"]) == 3


def test_by_default_only_texts_are_on_one_side():
    splits, _ = Decide().prepare(Splits(_many()), seed=1)
    assert _labels(splits.validation) & _labels(splits.train)
    assert "no text on both sides" in splits.notes[-1]


def test_an_adapter_that_is_worse_than_the_base_is_told(tmp_path, capsys):
    rates = ["--learning_rate", "1", "--max_grad_norm", "100"]
    decide.main(
        [*rates, "--max_steps", "3", "--disable_tqdm", "true", "--output_dir", str(tmp_path)]
    )
    said = capsys.readouterr().out
    assert "warning: the frozen base is better without the adapter (accuracy 0." in said
