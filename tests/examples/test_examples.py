"""The applications with real services, over tiny adapters instead of trained ones."""

import json
import re
import sys

import pytest

from adaptkit import TaskCard, adapt, load_base, read_card, save_adapter
from adaptkit.data.corpus import load_corpus
from adaptkit.models.untrained.scratch import make_model
from tests.processes import ROOT
from tests.tiny import randomize

sys.path.insert(0, str(ROOT / "examples"))
pytest.importorskip("bm25s", reason="bm25s is not installed")

import customer_service
import opinion_watch
import recommendation
import serving

ROWS = load_corpus("train")
INTENTS = sorted({row["intent"] for row in ROWS})
PAIR = {"text": "text", "text_pair": "text_pair"}
CARDS = {
    "intent": TaskCard(task="classify", labels=INTENTS, max_length=48),
    "topic": TaskCard(task="classify", labels=INTENTS, max_length=48),
    "sentiment": TaskCard(
        task="classify", labels=["negative", "neutral", "positive"], max_length=48
    ),
    "entities": TaskCard(task="tag", labels=["O", "B-product", "I-product"], max_length=48),
    "search": TaskCard(task="embed", max_length=32),
    "towers": TaskCard(task="embed", max_length=32),
    "rank": TaskCard(task="score", labels=["score"], columns=PAIR, max_length=48),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples") / "base"
    texts = [row["text"] for row in ROWS]
    make_model("bert", texts, folder, vocab_size=300, hidden_size=32, intermediate_size=48)
    return folder


@pytest.fixture(scope="module")
def store(base):
    for seed, (name, card) in enumerate(CARDS.items()):
        model = adapt(load_base(str(base), task=card.task, labels=card.labels or None), "lora[r=2]")
        randomize(model, seed=seed, std=0.4)
        save_adapter(model, base.parent / "store" / name, card=card)
    return base.parent / "store"


def test_adapters_are_trained_once(base, tmp_path):
    flags = ["classify", "--label_column", "intent", "--max_steps", "2"]
    serving.train(tmp_path, {"intent": flags}, str(base))
    assert read_card(tmp_path / "intent").labels == INTENTS
    written = (tmp_path / "intent/task.json").stat().st_mtime_ns
    serving.train(tmp_path, {"intent": flags}, str(base))
    assert (tmp_path / "intent/task.json").stat().st_mtime_ns == written


def test_customer_service_answers_or_hands_over(store, base, capsys):
    words = ["--store", str(store), "--model_name_or_path", str(base), "--show", "97"]
    sure = customer_service.main([*words, "--precision", "0"])
    assert sure["answered without a person"] > 0.9
    printed = capsys.readouterr().out
    assert printed.count("\n> ") == 97
    assert "Dear " in printed
    by_words = next(share for name, share in sure.items() if "by words" in name)
    assert by_words == pytest.approx(22 / 97)  # BM25 does not depend on the adapters
    unsure = customer_service.main([*words, "--precision", "1.01"])
    assert unsure["answered without a person"] == 0
    assert capsys.readouterr().out.count("-> a person answers this one") == 97


def test_opinion_watch_alerts_when_negatives_surge(store, base, tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    texts = [row["text"] for row in ROWS]
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    page = tmp_path / "page.html"
    words = ["--store", str(store), "--file", str(rows), "--window", "20", "--page", str(page)]
    opinion_watch.main(words)
    assert f"{len(texts)} texts in {len(texts) // 20} windows, " in capsys.readouterr().out
    assert len(re.findall("<rect ", page.read_text())) == 3 * (len(texts) // 20)
    calm = opinion_watch.Window(["<b>x</b>"] * 20, ["a"] * 20, ["negative"] * 4 + ["neutral"] * 16)
    bad = opinion_watch.Window(["<b>x</b>"] * 20, ["b"] * 20, ["negative"] * 14 + ["neutral"] * 6)
    assert opinion_watch.alerts([calm] * 14) == []
    (alert,) = opinion_watch.alerts([calm] * 12 + [bad, calm])
    assert (alert.window, alert.share, alert.topics) == (12, 0.7, ["b"])
    assert "<b>" not in opinion_watch.page([calm, bad], [alert])


def test_recommendation_prints_every_way(store, base, capsys):
    words = ["--store", str(store), "--model_name_or_path", str(base), "--users", "40"]
    found = recommendation.main(words)
    assert list(found) == [
        "popularity",
        "words (BM25)",
        "frozen base",
        "two towers",
        "two towers, reranked",
    ]
    assert all(0 <= share <= 1 for share, _ in found.values())
    assert found["popularity"][1] == 0  # nobody has clicked on new things
    assert "40 users, 120 things" in capsys.readouterr().out


def test_hits_count_the_first_ten_that_were_not_seen():
    import numpy as np

    shop = recommendation.Shop.make(30)
    assert not shop.new[shop.clicks[:, :-1]].any()
    right = np.tile(np.arange(len(shop.things)), (30, 1))
    for user in range(30):
        order = [*shop.clicks[user, -4:-1], shop.clicks[user, -1]]
        rest = [one for one in range(len(shop.things)) if one not in order]
        right[user] = [*dict.fromkeys(order), *rest]
    seen_again = [own[-1] in own[-4:-1] for own in shop.clicks]
    everybody = np.ones(30, bool)
    assert recommendation.hits(shop, right, everybody) == pytest.approx(1 - np.mean(seen_again))
