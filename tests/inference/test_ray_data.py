"""`adaptkit predict --ray`: the same answers as without, from files that Ray reads."""

import json

import pytest

from adaptkit import AdaptkitError
from adaptkit.cli import main
from tests.serve.stores import TEXTS, make_readers

ROWS = [{"text": text, "number": f"{i:03d}"} for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    return make_readers(tmp_path_factory.mktemp("readers")) / "intent"


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="ray is not installed")
    ray.init("local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(capsys, *words):
    main(["predict", *map(str, words)])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[:1] == "{"]


def test_a_folder_of_files_is_answered_in_order(cluster, adapter, tmp_path, capsys):
    for name, part in (("1", ROWS[:15]), ("2", ROWS[15:])):
        (tmp_path / "rows").mkdir(exist_ok=True)
        write(tmp_path / "rows" / f"{name}.jsonl", part)
    whole = write(tmp_path / "whole.jsonl", ROWS)
    expected = answers(capsys, adapter, "--file", whole, "--with_input", "--top_k", 2)
    found = answers(
        capsys,
        *(adapter, "--file", tmp_path / "rows", "--with_input", "--top_k", 2),
        *("--ray", "--replicas", 2),
    )
    assert [one["input"] for one in found] == ROWS
    for one, other in zip(found, expected, strict=True):
        assert one["labels"] == other["labels"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)


def test_cells_are_texts_and_a_bad_row_is_an_error(cluster, adapter, tmp_path, capsys):
    from adaptkit.inference import ray_data

    table = tmp_path / "rows.csv"
    table.write_text('text,number\n"where is, my\nparcel?",007\nyes,1e3\n')
    assert [json.loads(one["row"]) for one in ray_data._rows(table).take_all()] == [
        {"text": "where is, my\nparcel?", "number": "007"},
        {"text": "yes", "number": "1e3"},
    ]
    table.write_text("text,number\nwhere?,1\n  ,2\n")
    with pytest.raises(AdaptkitError, match="empty"):
        answers(capsys, adapter, "--file", table, "--ray")


@pytest.mark.parametrize(
    "words, problem",
    [
        (["a text", "--ray"], "--ray answers a --file"),
        (["--file", "rows.txt", "--ray"], "there is no file rows.txt"),
        (["--file", "{adapter}/task.json", "--ray"], "--ray reads .jsonl, .parquet"),
        (["--file", "{adapter}/task.json", "--replicas", "2"], "goes with --ray"),
    ],
)
def test_what_ray_does_not_read(cluster, adapter, words, problem):
    with pytest.raises(AdaptkitError, match=problem):
        main(["predict", str(adapter), *(word.format(adapter=adapter) for word in words)])
