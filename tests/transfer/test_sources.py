"""Scores of sources: each against its definition done another way, and a ranking that finds the
adapter that knows the task.
"""

import json

import numpy as np
import pytest
import torch
from adaptkit.recipes import classify
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from adaptkit import AdaptkitError, adapt, cli, load_base, save_adapter
from adaptkit.models.probe import HeadInput
from adaptkit.transfer.rank_sources import started_from, task_model
from adaptkit.transfer.source_scores import SCORES, h_score, log_me, neighbours, probe
from tests.tiny import randomize, tiny
from tests.transfer.test_combine import BASE


def data(rows=40, width=6, apart=2.0, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % 2
    features = random.normal(size=(rows, width))
    features[:, 0] += apart * labels
    return features, labels


@pytest.mark.parametrize(("rows", "width"), [(40, 6), (12, 20)])
def test_log_me_is_the_maximum_of_the_evidence(rows, width):
    features, labels = data(rows, width)

    def negative(logs, wanted):
        alpha, beta = np.exp(logs)
        covariance = features @ features.T / alpha + np.eye(rows) / beta
        return -multivariate_normal.logpdf(wanted, np.zeros(rows), covariance)

    best = [
        -minimize(negative, [0.0, 0.0], (1.0 * (labels == label),), method="Nelder-Mead").fun / rows
        for label in (0, 1)
    ]
    assert log_me(features, labels) == pytest.approx(np.mean(best), abs=1e-4)


def test_h_score_of_one_feature_is_a_ratio_of_variances():
    features, labels = data(rows=400, width=1)
    means = np.where(labels == 1, features[labels == 1].mean(), features[labels == 0].mean())
    assert h_score(features, labels) == pytest.approx(means.var() / features.var(), rel=1e-6)


def test_h_score_shrinks_as_scikit_learn_does():
    covariance = pytest.importorskip("sklearn.covariance", reason="scikit-learn is not installed")
    features, labels = data(rows=30, width=20)
    spread, share = covariance.ledoit_wolf(features)
    means = np.stack([features[labels == label].mean(0) - features.mean(0) for label in labels])
    between = np.trace(np.linalg.pinv(spread) @ (means.T @ means / 30))
    assert 0.1 < share < 0.95
    assert h_score(features, labels) == pytest.approx((1 - share) * between, rel=1e-6)


@pytest.mark.parametrize("apart", [0.0, 1.0, 10.0])
def test_h_score_is_at_most_the_number_of_labels_less_one(apart):
    """More features than rows: their covariance is shrunk far, which must not count for the source."""
    labels = np.arange(60) % 3
    features = np.random.default_rng(0).normal(size=(60, 100)) + apart * np.eye(100)[labels]
    assert 0 <= h_score(features, labels) <= 2


def test_neighbours_by_hand():
    features = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [1.0, 0.9]])
    assert neighbours(features, np.array([0, 0, 1, 1, 1]), 1) == pytest.approx(
        4 / 5
    )  # the last one is nearest to the second


def test_a_draw_of_neighbours_goes_to_the_nearer():
    features = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [1.0, 0.4], [-1.0, 0.0]])
    labels = np.array([0, 0, 1, 1, 0, 0])  # those of the four nearest of the first are 0 1 1 0
    assert (
        neighbours(features, labels, 4)
        == neighbours(features, 1 - labels, 4)
        == pytest.approx(2 / 6)
    )


def test_the_probe_is_held_out():
    features, _ = data(rows=60, width=200)
    noise = np.random.default_rng(1).integers(0, 2, 60)
    assert probe(features, noise) < 0.75
    features, labels = data(rows=60, apart=8.0)
    assert probe(features, labels) > 0.95


@pytest.mark.parametrize("name", SCORES)
def test_every_score_grows_with_what_sets_labels_apart(name):
    found = [
        np.mean([SCORES[name](*data(80, apart=apart, seed=seed)) for seed in range(5)])
        for apart in (0.0, 1.5, 4.0)
    ]
    assert found == sorted(found)


@pytest.mark.parametrize(
    "name",
    [
        "bert",
        "roberta",
        "electra",
        "distilbert",
        "deberta-v2",
        "modernbert",
        "gpt2",
        "llama",
        "qwen3",
    ],
)
def test_features_are_what_a_fresh_head_reads(name, tmp_path):
    network = tiny(name)
    network.save_pretrained(tmp_path)
    ids, mask = torch.arange(1, 19).reshape(2, 9), torch.ones(2, 9, dtype=torch.long)
    ids[1, 6:], mask[1, 6:] = 0, 0
    model = task_model(str(tmp_path))
    model.config.pad_token_id = 0
    with torch.no_grad():
        outputs = network(input_ids=ids, attention_mask=mask)
    states = outputs.last_hidden_state
    if name == "bert":
        expected = outputs.pooler_output
    elif name in ("gpt2", "llama", "qwen3"):
        expected = torch.stack([states[0, 8], states[1, 5]])
    else:
        expected = states[:, 0]
    torch.testing.assert_close(
        HeadInput(model)({"input_ids": ids, "attention_mask": mask}), expected
    )


def test_a_source_is_in_the_base_while_it_is_looked_at(tmp_path):
    tiny("bert").save_pretrained(tmp_path / "base")
    model, inputs = task_model(str(tmp_path / "base")), {"input_ids": torch.arange(1, 10)[None]}
    adapted = adapt(task_model(str(tmp_path / "base")), "lora[r=2]")
    randomize(adapted)
    save_adapter(adapted, tmp_path / "one")
    before = HeadInput(model)(inputs)
    with started_from(model, tmp_path / "one"):
        inside = HeadInput(model)(inputs)
    torch.testing.assert_close(inside, HeadInput(adapted.get_base_model())(inputs))
    assert not torch.allclose(inside, before, atol=1e-2)
    assert torch.equal(HeadInput(model)(inputs), before)


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
