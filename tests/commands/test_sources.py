"""adaptkit sources ranks adapters for a new task."""

import json

import numpy as np
import pytest
from adaptkit.recipes import classify

from adaptkit import AdaptkitError, adapt, cli, load_base, save_adapter
from tests.helpers.minilm import BASE
from tests.tiny import tiny


def test_the_adapter_that_knows_the_task_comes_first(tmp_path, capsys):
    def rows(kind, seed):
        random = np.random.default_rng(seed)
        words = {
            "colour": (("red", "crimson"), ("blue", "navy")),
            "count": (("one", "single"), ("many", "several")),
        }
        found = []
        for i in range(60):
            colour, count = (words[name][(i >> bit) % 2] for bit, name in enumerate(words))
            label = (i if kind == "colour" else i >> 1) % 2
            found.append(
                {
                    "text": f"{random.choice(count)} {random.choice(colour)} thing {i}",
                    "label": f"{kind}{label}",
                }
            )
        return found

    for kind in ("colour", "count"):
        (tmp_path / f"{kind}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows(kind, 0))
        )
        flags = [
            "--train_file",
            str(tmp_path / f"{kind}.jsonl"),
            "--method",
            "lora[r=4]",
            "--num_train_epochs",
            "5",
        ]
        classify.main(
            [
                *flags,
                "--learning_rate",
                "3e-3",
                "--output_dir",
                str(tmp_path / "store" / kind),
                "--disable_tqdm",
                "true",
            ]
        )
    target = [{"text": row["text"], "label": row["label"]} for row in rows("colour", 5)]
    (tmp_path / "target.jsonl").write_text("".join(json.dumps(row) + "\n" for row in target))
    capsys.readouterr()
    cli.main(
        [
            "sources",
            "--target",
            str(tmp_path / "target.jsonl"),
            "--store",
            str(tmp_path / "store"),
            "--base",
            BASE,
        ]
    )
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["source", "log_me", "h_score", "probe", "neighbours", "seconds"]
    assert out[1].split()[0] == "colour"
    assert {line.split()[0] for line in out[1:4]} == {"colour", "count", "all-MiniLM-L6-v2"}


def test_both_texts_of_a_pair_are_read(tmp_path, capsys):
    """Whether two words are of one kind: neither of them alone says it."""
    random, kinds = (
        np.random.default_rng(0),
        (["red", "crimson", "pink"], ["nine", "seven", "eight"]),
    )
    rows = []
    for i in range(80):
        first, second = i % 2, (i // 2) % 2
        rows.append(
            {
                "a": random.choice(kinds[first]),
                "b": random.choice(kinds[second]),
                "same": str(first == second),
            }
        )
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = [
        "sources",
        "--target",
        str(tmp_path / "pairs.jsonl"),
        "--base",
        BASE,
        "--text_column",
        "a",
        "--label_column",
        "same",
    ]
    found = []
    for more in ([], ["--text_pair_column", "b"]):
        cli.main([*flags, *more])
        found.append(float(capsys.readouterr().out.splitlines()[1].split()[4]))  # neighbours
    assert found[0] < 0.7
    assert found[1] > 0.95


def test_adapters_whose_base_has_no_head_for_labels_are_left_out_aloud(tmp_path, capsys):
    tiny("marian").save_pretrained(tmp_path / "base")
    save_adapter(adapt(load_base(str(tmp_path / "base")), "lora[r=2]"), tmp_path / "store/one")
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"text": f"t {i}", "label": "ab"[i % 2]}) + "\n" for i in range(20))
    )
    flags = [
        "sources",
        "--target",
        str(tmp_path / "rows.jsonl"),
        "--store",
        str(tmp_path / "store"),
    ]
    cli.main([*flags, "--base", BASE])
    said = capsys.readouterr()
    assert f"note: adapters of {tmp_path / 'base'} are left out" in said.err
    assert said.out.splitlines()[1].split()[0] == "all-MiniLM-L6-v2"
    with pytest.raises(AdaptkitError, match="no source is left"):
        cli.main(flags)
    with pytest.raises(AdaptkitError, match="base"):
        cli.main([*flags, "--base", str(tmp_path / "base")])


def test_what_makes_no_sense_is_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"text": f"t {i}", "label": "a"}) + "\n" for i in range(20))
    )
    with pytest.raises(AdaptkitError, match="too few"):
        cli.main(["sources", "--target", str(tmp_path / "rows.jsonl"), "--base", BASE])
    with pytest.raises(AdaptkitError, match="log_me"):
        cli.main(["sources", "--target", str(tmp_path / "rows.jsonl"), "--by", "logme"])
