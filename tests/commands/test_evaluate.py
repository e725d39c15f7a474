"""adaptkit evaluate: slices, mistakes, two adapters, and files as they were trained on them."""

import csv
import json

import pytest
from adaptkit.recipes import classify, tag, translate

from adaptkit import AdaptkitError, Predictor, cli
from adaptkit.cli import main
from adaptkit.data.tables import Table
from adaptkit.models.untrained.scratch import make_model
from tests.helpers.constant import always
from tests.helpers.files import write
from tests.helpers.rows import TWO_STEPS, bert

__all__ = ["bert"]


def test_the_command_shows_slices(tmp_path, capsys):
    rows = [
        {"text": f"{word} {i}", "label": label, "shop": ("north", "south")[i % 2]}
        for i in range(12)
        for word, label in (("warm", "good"), ("cold", "bad"))
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = [
        "--train_file",
        str(tmp_path / "rows.jsonl"),
        "--num_train_epochs",
        "3",
        "--disable_tqdm",
        "true",
    ]
    classify.main([*flags, "--output_dir", str(tmp_path / "out"), "--learning_rate", "5e-3"])
    wrong = [row | {"label": "bad"} if row["shop"] == "south" else row for row in rows]
    (tmp_path / "wrong.jsonl").write_text("".join(json.dumps(row) + "\n" for row in wrong))
    capsys.readouterr()
    cli.main(
        ["evaluate", str(tmp_path / "out"), "--file", str(tmp_path / "wrong.jsonl"), "--by", "shop"]
    )
    out = capsys.readouterr().out
    assert out.splitlines()[0].split()[:3] == ["shop", "rows", "accuracy"]
    assert "largest gap in accuracy: 0.5000, between north and south" in out
    with pytest.raises(AdaptkitError, match="Did you mean --by shop"):
        cli.main(
            [
                "evaluate",
                str(tmp_path / "out"),
                "--file",
                str(tmp_path / "wrong.jsonl"),
                "--by",
                "shp",
            ]
        )


def test_recipes_write_mistakes_and_the_command_line_shows_them(tmp_path, capsys):
    rows = [
        {"text": f"a {word} day {i}", "label": label}
        for i in range(9)
        for word, label in (("warm", "x"), ("cold", "y"))
    ]
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    wrong = [row | {"label": "y" if row["label"] == "x" else "x"} for row in rows]
    (tmp_path / "wrong.jsonl").write_text("".join(json.dumps(row) + "\n" for row in wrong))
    flags = [
        "--train_file",
        str(tmp_path / "train.jsonl"),
        "--test_file",
        str(tmp_path / "wrong.jsonl"),
        "--disable_tqdm",
        "true",
    ]
    classify.main(
        [
            *flags,
            "--output_dir",
            str(tmp_path / "out"),
            "--num_train_epochs",
            "5",
            "--learning_rate",
            "5e-3",
        ]
    )
    with (tmp_path / "out/confusions.tsv").open() as file:
        written = list(csv.DictReader(file, delimiter="\t"))
    right = Predictor(tmp_path / "out").evaluate(Table(rows, "rows"))["accuracy"]
    assert sum(int(row["count"]) for row in written) == round(right * len(rows))
    assert right > 0.9
    predictor, texts = Predictor(tmp_path / "out"), [row["text"] for row in rows[:3]]
    assert predictor(texts) == predictor(*texts)
    with pytest.raises(
        AdaptkitError, match=r"text row 1: column 'text' holds \[.*is not a text"
    ) as raised:
        predictor("fine", ["not"] * 9000)
    assert len(str(raised.value)) < 700
    capsys.readouterr()
    main(
        [
            "evaluate",
            str(tmp_path / "out"),
            "--file",
            str(tmp_path / "wrong.jsonl"),
            "--confusions",
            "1",
        ]
    )
    head, _, line = capsys.readouterr().out.splitlines()
    assert head.startswith(f"{round(right * len(rows))} of {len(rows)} answers are wrong")
    assert line.split()[:2] == [written[0]["gold"], written[0]["answer"]]


def test_labels_with_white_space_take_one_field_and_old_mistakes_go(tmp_path, capsys):
    rows = [
        {"text": f"a {word} day {i}", "label": label}
        for i in range(9)
        for word, label in (("warm", "x\ty"), ("cold", "z\nq"))
    ]
    wrong = [row | {"label": "z\nq" if row["label"] == "x\ty" else "x\ty"} for row in rows]
    for name, found in (("right", rows), ("wrong", wrong)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    flags = [
        "--train_file",
        str(tmp_path / "right.jsonl"),
        "--disable_tqdm",
        "true",
        "--num_train_epochs",
        "5",
    ]
    flags += [
        "--learning_rate",
        "5e-3",
        "--output_dir",
        str(tmp_path / "out"),
        "--overwrite_output_dir",
    ]
    classify.main([*flags, "--test_file", str(tmp_path / "wrong.jsonl")])
    for name in ("confusions", "per_label"):
        with (tmp_path / f"out/{name}.tsv").open() as file:
            assert {
                row["gold" if name == "confusions" else "label"]
                for row in csv.DictReader(file, delimiter="\t")
            } >= {
                "x y",
                "z q",
            }
    capsys.readouterr()
    main(
        [
            "evaluate",
            str(tmp_path / "out"),
            "--file",
            str(tmp_path / "wrong.jsonl"),
            "--confusions",
            "9",
        ]
    )
    assert len(capsys.readouterr().out.splitlines()) == 4
    classify.main([*flags, "--test_file", str(tmp_path / "right.jsonl")])
    assert not (tmp_path / "out/confusions.tsv").exists()


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
        *TWO_STEPS,
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


def test_the_column_of_the_tags_is_that_of_training_or_the_one_named(tmp_path, sixty_texts, capsys):
    bert = make_model("bert", sixty_texts, tmp_path / "bert", vocab_size=300)[0]
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
        main(["evaluate", str(tmp_path / "out"), "--file", str(train), "--tag_column", "3"])
    main(["evaluate", str(tmp_path / "out"), "--file", str(train)])
    answers, notes = capsys.readouterr()
    assert json.loads(answers)["samples"] == 40
    assert "a.conll is read as the training file was: --tag_column 2" in notes


def test_a_file_like_the_training_file_needs_none_of_its_flags(tmp_path, capsys, bert):
    """Rows without a header line, in an encoding and a format that no ending tells."""
    lines = [f"{i}\t{('good', 'bad')[i % 2]}\tcaf\u00e9 {i}" for i in range(40)]
    path = str(write(tmp_path / "rows.txt", "\n".join(lines).encode("gb18030")))
    how = ["--format", "tsv", "--encoding", "gb18030", "--column_names", "id", "kind", "words"]
    columns = ["--text_column", "words", "--label_column", "kind"]
    out = str(tmp_path / "out")
    base = ["--model_name_or_path", str(bert), *TWO_STEPS]
    classify.main([*base, "--train_file", path, *how, *columns, "--output_dir", out])
    assert json.loads((tmp_path / "out/task.json").read_text())["reading"] == {
        "ending": ".txt",
        "format": "tsv",
        "encoding": "gb18030",
        "column_names": ["id", "kind", "words"],
    }
    new = str(write(tmp_path / "new.txt", "7\tgood\tcaf\u00e9 1\n8\tbad\tso\n".encode("gb18030")))
    capsys.readouterr()
    main(["predict", out, "--file", new, "--with_input"])
    answers, note = capsys.readouterr()
    assert [json.loads(line)["input"]["words"] for line in answers.splitlines()] == [
        "caf\u00e9 1",
        "so",
    ]
    assert "note: new.txt is read as the training file was: --format tsv --encoding gb18030" in note
    main(["evaluate", out, "--file", new])
    assert json.loads(capsys.readouterr().out)["samples"] == 2
    main(["evaluate", out, "--file", new, *how])
    told = capsys.readouterr()
    assert (json.loads(told.out)["samples"], "as the training file" in told.err) == (2, False)
    other = str(write(tmp_path / "new.csv", "words,kind\nso,good\n"))
    main(["evaluate", out, "--file", other])
    assert json.loads(capsys.readouterr().out)["samples"] == 1


def test_the_command_compares_adapters(tmp_path, capsys, bert):
    one = always(tmp_path / "one", "yes")
    two = always(tmp_path / "two", "no", ("yes", "no"), bert)
    rows = "".join(f"row {i},{('yes', 'no')[i % 4 == 0]},{'xy'[i % 2]}\n" for i in range(80))
    file = str(write(tmp_path / "rows.csv", f"text,label,shop\n{rows}"))
    main(["evaluate", one, "--file", file, "--resamples", "200", two])  # behind flags, too
    head, first, *_, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["metric", "one", "two", "difference", "95", "%", "interval"]
    assert first.split()[:4] == ["accuracy", "0.7500", "0.2500", "-0.5000"]
    assert "one is better: its accuracy is higher by 50.00 points (" in last
    assert last.endswith("p = 0.005")
    main(["evaluate", one, two, "--file", file, "--resamples", "200", "--by", "shop"])
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in out[1:4]] == [["all", "80"], ["x", "40"], ["y", "40"]]
    assert out[-1] == last
    for flags, message in (
        ([one, two, "--confusions", "3"], "--confusions is for one adapter"),
        ([one, "--resamples", "200"], "--resamples is for two adapters or more"),
        ([one, one], "given 2 times"),
        ([one, str(tmp_path / "tow")], "Did you mean .*two"),
    ):
        with pytest.raises(AdaptkitError, match=message):
            main(["evaluate", *flags, "--file", file])


def test_columns_of_every_adapter_are_read(tmp_path, capsys):
    one = always(tmp_path / "one", "yes", columns={"text": "title", "label": "kind"})
    two = always(tmp_path / "two", "no", columns={"text": "body", "label": "kind"})
    rows = "".join(f"a,b {i},{('yes', 'no')[i % 4 == 0]}\n" for i in range(20))
    file = str(write(tmp_path / "rows.csv", f"title,body,kind\n{rows}"))
    main(["evaluate", one, two, "--file", file, "--resamples", "100"])
    accuracy = capsys.readouterr().out.splitlines()[1].split()
    assert accuracy[:4] == ["accuracy", "0.7500", "0.2500", "-0.5000"]
    three = always(tmp_path / "three", "no", columns={"text": "body", "label": "sort"})
    with pytest.raises(AdaptkitError, match="the label from column 'kind', the second from column"):
        main(["evaluate", one, three, "--file", file])
