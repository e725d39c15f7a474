"""`adaptkit list` shows every folder, however odd the one beside it is."""

import json

import pytest

from adaptkit import AdaptkitError
from adaptkit.cli import main

ODD = {
    "not_json": "{",
    "a_list": "[]",
    "task_is_a_number": {"task": 5},
    "labels": {"labels": "abc"},
    "metrics": {"metrics": {"test_f1": "high"}},
    "huge_metric": {"metrics": {"test_f1": 10**400}},
    "deep": "[" * 100_000,
    "surrogate": {"labels": ["\ud800"]},
    "no_settings": None,
}


@pytest.fixture
def store(tmp_path):
    def card(name, content):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text("{}")
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name / "task.json").write_text(text)

    good = {"task": "classify", "labels": ["a", "b"], "method": "ia3", "metrics": {"test_f1": 0.5}}
    card("alright", good)
    sure = {"eval_temperature": 0.9, "eval_f1": 0.25, "eval_accuracy": 0.75}
    card("sure", good | {"metrics": sure})
    card("zebra", good | {"metrics": {"test_loss": float("nan")}})
    for name, content in ODD.items():
        card(name, content)
    (tmp_path / "no_settings/task.json").unlink()
    (tmp_path / "no_settings/task.json").mkdir()
    return tmp_path


def test_one_odd_card_hides_no_other(store, capsys):
    main(["list", str(store)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 3 + len(ODD)
    rows = {line.split()[0]: line for line in lines}
    assert rows["alright"].split()[1:] == ["classify", "2", "ia3", "0", "0.5000", "test_f1"]
    assert rows["sure"].split()[-2:] == ["0.7500", "eval_accuracy"]
    assert rows["zebra"].split()[-2:] == ["nan", "test_loss"]
    for name in ODD:
        assert "cannot be read: " in rows[name]
        assert len(rows[name]) < 300


@pytest.mark.parametrize("name", [name for name in ODD if name != "no_settings"])
def test_show_refuses_it(name, store):
    with pytest.raises(AdaptkitError, match="task.json"):
        main(["show", str(store / name)])
