"""`--options` of predict and evaluate: what an adapter of decide chooses among."""

import json
import shlex

import pytest

from adaptkit import AdaptkitError, Predictor, TaskCard, adapt, compare, load_base, save_adapter
from adaptkit.adapters.model_card import answer_command
from adaptkit.cli import main
from adaptkit.data.tables import Table
from adaptkit.inference.pipeline import pipeline
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.decide import Decide
from adaptkit.tasks.pretrain import Pretrain
from adaptkit.tasks.relate import Relate

TEXT = "the lamp is red"
OPTIONS = ["a red thing", "a green thing"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory, bert):
    """Adapters of decide: without options, with some, and with a column of them."""
    root = tmp_path_factory.mktemp("decide options")
    settings = {"own": ({}, {}), "stored": ({"options": OPTIONS}, {}), "column": ({}, "choices")}
    for seed, (name, (chosen, column)) in enumerate(settings.items()):
        model = adapt(load_base(bert), f"lora[r={seed + 1}]")
        columns = {"options": column} if column else {}
        card = TaskCard(task="decide", settings=chosen, columns=columns, max_length=32)
        save_adapter(model, root / name, card=card)
    return root


def answers(capsys, *words):
    capsys.readouterr()
    main(["predict", *map(str, words)])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def _file(folder, *rows):
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "rows.jsonl"


@pytest.mark.parametrize("name", ["own", "stored", "column"])
def test_predict_decides_among_the_options_of_the_command_line(folders, capsys, name):
    (found,) = answers(capsys, folders / name, TEXT, "--options", "a blue thing", "a red thing")
    rows = [{"text": TEXT, "choices": ["a blue thing", "a red thing"]}]
    columns = {"options": "choices"}
    assert [found] == Predictor(folders / name).answer(Table(rows, "rows"), columns)
    predictor = Predictor(folders / name)
    predictor.choose_among(OPTIONS)
    assert predictor(TEXT)[0]["label"] in OPTIONS


def test_rows_with_options_keep_their_own(folders, capsys, tmp_path):
    file = _file(tmp_path, {"text": TEXT, "options": ["x", "y"]}, {"text": TEXT})
    found = answers(capsys, folders / "own", "--file", file, "--options", *OPTIONS)
    assert [found[0]["label"] in ("x", "y"), found[1]["label"] in OPTIONS] == [True, True]


def test_evaluate_and_compare_take_options_too(folders, capsys, tmp_path):
    rows = [{"text": f"{TEXT} {i}", "label": OPTIONS[i % 2]} for i in range(6)]
    words = ["--file", str(_file(tmp_path, *rows)), "--options", *OPTIONS]
    capsys.readouterr()
    main(["evaluate", str(folders / "own"), *words])
    scores = json.loads(capsys.readouterr().out)
    predictor = Predictor(folders / "own")
    predictor.choose_among(OPTIONS)
    assert scores == {**predictor.evaluate(Table(rows, "rows")), "samples": 6}
    main(["evaluate", str(folders / "own"), str(folders / "column"), *words])
    assert "accuracy" in capsys.readouterr().out
    pair = [folders / "own", folders / "column"]
    (found,) = compare(pair, Table(rows, "rows"), options=OPTIONS, resamples=100)
    assert found.metrics["accuracy"].first == scores["accuracy"]


@pytest.mark.parametrize(
    "words, message",
    [
        ([TEXT], "the row has no options; give them in a column .*, or --options"),
        ([TEXT, "--options", "red"], "--options takes two texts or more.*got .'red'."),
        ([TEXT, "--options", "red", "red"], "--options has 'red' twice"),
    ],
)
def test_options_that_are_refused(folders, words, message):
    with pytest.raises(AdaptkitError, match=message):
        main(["predict", str(folders / "own"), *words])


def test_options_that_no_row_needs_are_refused(folders, tmp_path):
    row = {"text": TEXT, "options": ["x", "y"], "label": "x"}
    words = ["--file", str(_file(tmp_path, row, row)), "--options", *OPTIONS]
    for command in (["predict"], ["evaluate"], ["evaluate", str(folders / "stored")]):
        with pytest.raises(AdaptkitError, match="each of the 2 rows has its own"):
            main([*command, str(folders / "own"), *words])


def test_other_tasks_have_no_options(tmp_path, bert):
    model = adapt(load_base(bert, task="classify", labels=["a", "b"]), "lora[r=1]")
    save_adapter(model, tmp_path / "a", card=TaskCard(task="classify", labels=["a", "b"]))
    with pytest.raises(AdaptkitError, match="--options is for decide; the task here is classify"):
        main(["predict", str(tmp_path / "a"), TEXT, "--options", "a", "b"])


@pytest.mark.parametrize("name", ["own", "stored", "column"])
def test_the_command_of_a_card_runs(folders, capsys, name):
    predictor = Predictor(folders / name)
    program, *words = shlex.split(answer_command(predictor.task, folders / name))
    assert program == "adaptkit"
    assert ("--options" in words) is (name != "stored")
    capsys.readouterr()
    main(words)
    assert set(json.loads(capsys.readouterr().out)) == {"label", "score"}


def test_the_command_of_a_card_suits_the_task(tmp_path):
    pairs = Classify(columns={"text": "question", "text_pair": "reply"})
    assert answer_command(pairs, tmp_path) == (
        f"adaptkit predict {tmp_path} --file rows.jsonl  # with the columns question, reply"
    )
    assert answer_command(Relate(), tmp_path).endswith("# with the columns text, head, tail")
    assert answer_command(Classify(), tmp_path / "a b") == (
        f"""adaptkit predict '{tmp_path}/a b' "your text\""""
    )
    assert answer_command(Pretrain(), tmp_path) == f"adaptkit.pipeline('{tmp_path}')  # in Python"
    asked = answer_command(Decide(), tmp_path)
    assert asked == f'adaptkit predict {tmp_path} "your text" --options "an option" "another"'


def test_a_pipeline_takes_a_row_with_its_options(folders):
    row = {"text": TEXT, "options": ["x", "y"]}
    assert pipeline(folders / "stored")(row)["label"] in ("x", "y")
    assert pipeline(folders / "stored")([row, TEXT])[1]["label"] in OPTIONS


def test_a_text_is_called_with_its_options(folders):
    assert Predictor(folders / "stored")(TEXT, options=["x", "y"])[0]["label"] in ("x", "y")
