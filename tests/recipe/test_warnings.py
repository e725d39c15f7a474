"""A model that learned nothing is not reported as a success: the output and the card say so."""

import json

from adaptkit.recipes import classify, tag

from adaptkit import Table
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.tag import Tag

STILL = ["--learning_rate", "1e-9", "--max_steps", "2", "--bf16", "false"]


def test_a_tagger_that_finds_no_entity_says_so(tmp_path, capsys):
    rows = [
        {"tokens": ["Anna", "lives", "here", "now"], "tags": ["B-PER", "O", "O", "O"]},
        {"tokens": ["we", "met", "Ben"], "tags": ["O", "O", "B-PER"]},
    ]
    lines = [
        json.dumps(row | {"tokens": [*row["tokens"], str(i)], "tags": [*row["tags"], "O"]})
        for i in range(12)
        for row in rows
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    flags = ["--train_file", str(tmp_path / "rows.jsonl"), "--output_dir", str(tmp_path / "out")]
    tag.main([*flags, "--num_train_epochs", "1", "--learning_rate", "3e-4", "--bf16", "false"])
    found = json.loads((tmp_path / "out/all_results.json").read_text())
    warned = "never predicts an entity" in capsys.readouterr().out
    assert warned is (found["eval_f1"] == 0 and found["eval_precision"] == 0)
    assert ("**Warning:**" in (tmp_path / "out/README.md").read_text()) is warned


def test_which_answers_are_warned_of():
    words = Table([{"text": "Anna", "entities": [{"start": 0, "end": 4, "label": "PER"}]}], "x")
    (warning,) = Tag().warnings([{"entities": []}], words)
    assert "never predicts an entity" in warning
    assert not Tag().warnings([{"entities": [{"label": "PER", "text": "Anna"}]}], words)
    rows = Table([{"text": "a", "label": "yes"}, {"text": "b", "label": "no"}], "x")
    same = [{"label": "yes", "score": 0.9}] * 2
    (warning,) = Classify(labels=["no", "yes"]).warnings(same, rows)
    assert "always answers 'yes'" in warning
    both = [{"label": "yes", "score": 0.9}, {"label": "no", "score": 0.9}]
    assert not Classify(labels=["no", "yes"]).warnings(both, rows)
    none = [{"labels": [], "scores": {"no": 0.1, "yes": 0.2}}] * 2
    several = rows.with_rows([{"text": "a", "label": ["yes"]}, {"text": "b", "label": []}])
    (warning,) = Classify(labels=["no", "yes"], multi_label=True).warnings(none, several)
    assert "always answers no label" in warning


def test_a_classifier_that_always_answers_the_same_says_so(tmp_path, capsys):
    rows = "".join(f"word {i}\t{'yes' if i % 4 else 'no'}\n" for i in range(80))
    (tmp_path / "rows.tsv").write_text("text\tlabel\n" + rows)
    flags = ["--train_file", str(tmp_path / "rows.tsv"), "--output_dir", str(tmp_path / "out")]
    classify.main([*flags, "--num_train_epochs", "6", "--learning_rate", "1e-3", "--bf16", "false"])
    answers = (tmp_path / "out/predictions_validation.tsv").read_text().splitlines()[1:]
    alike = len({line.split("\t")[2] for line in answers}) == 1
    assert ("the model always answers" in capsys.readouterr().out) is alike
    assert ("**Warning:**" in (tmp_path / "out/README.md").read_text()) is alike


def test_an_untrained_base_is_named_again_at_the_end(tmp_path, capsys):
    from adaptkit.recipes import translate

    flags = ["--max_steps", "1", "--max_target_length", "8", "--num_beams", "1"]
    translate.main([*flags, "--max_predict_samples", "4", "--output_dir", str(tmp_path / "out")])
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("warning: the base is a small untrained model")
