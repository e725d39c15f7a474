"""Recommendation: from what somebody has clicked to what comes next, also for new things.

    python examples/recommendation.py [--users 600]

A shop's clicks are made up: everybody has two interests, and clicks on things of these, popular
ones more often. Two adapters over one base learn from them: `towers` makes vectors of a history and
of a thing (two towers with shared weights, trained with the other things of a batch as negatives),
`rank` scores pairs of both. The service finds things by vectors and reranks the first ones. Beside
that: what is popular, and words that are shared with the history (BM25). One thing in seven is
new: nobody has clicked on them in training.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import bm25s
import numpy as np
from serving import Client, service, train

HERE = Path(__file__).parent
STORE = Path("runs/recommendation")
HISTORY, CLICKS, TOP, FIRST = 3, 7, 10, 30
EXPLORE = 0.15  # share of clicks on anything
NEW = 0.15  # share of things without a click in training


@dataclass
class Shop:
    """Things, who clicked on what, and which things are new.

    clicks: `(users, CLICKS)`, indexes of things; the last one is to be guessed.
    """

    things: list[str]
    clicks: np.ndarray
    new: np.ndarray

    @classmethod
    def make(cls, users: int, seed: int = 0) -> Shop:
        """A shop whose clicks are drawn by the seed."""
        random = np.random.default_rng(seed)
        interests = json.loads((HERE / "interests.json").read_text("utf-8"))
        things = [one for own in interests.values() for one in own]
        sizes = [len(own) for own in interests.values()]
        interest = np.repeat(np.arange(len(sizes)), sizes)
        popularity = random.pareto(2.5, len(things)) + 0.2
        new = random.random(len(things)) < NEW
        clicks = np.zeros((users, CLICKS), int)
        for user in range(users):
            liked = np.isin(interest, random.choice(len(interests), 2, replace=False))
            for place in range(CLICKS):
                known = ~new if place < CLICKS - 1 else np.ones_like(new)
                wanted = liked if random.random() > EXPLORE else np.ones_like(liked)
                weights = popularity * known * wanted
                clicks[user, place] = random.choice(len(things), p=weights / weights.sum())
        return cls(things, clicks, new)

    def history(self, clicks: np.ndarray) -> str:
        """Clicks as a text, the latest first."""
        return "; ".join(self.things[one] for one in clicks[::-1])

    def pairs(self) -> list[tuple[str, int]]:
        """Histories with what was clicked next, without the last clicks."""
        return [
            (self.history(own[place - HISTORY : place]), own[place])
            for own in self.clicks
            for place in range(HISTORY, CLICKS - 1)
        ]


def write_rows(shop: Shop, folder: Path, seed: int = 0) -> dict[str, list[str]]:
    """Write the training rows of both adapters; returns what to train with them."""
    random, pairs = np.random.default_rng(seed), shop.pairs()
    known = np.flatnonzero(~shop.new)
    towers = [{"text": history, "text_pair": shop.things[one]} for history, one in pairs]
    rank = [row | {"score": 1.0} for row in towers]
    rank += [
        {"text": history, "text_pair": shop.things[random.choice(known)], "score": 0.0}
        for history, _ in pairs
    ]
    folder.mkdir(parents=True, exist_ok=True)
    adapters = {}
    for name, recipe, rows in (("towers", "embed", towers), ("rank", "score", rank)):
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        flags = ["--train_file", str(file), "--max_seq_length", "48", "--num_train_epochs", "2"]
        pair = ["--text_pair_column", "text_pair"] if recipe == "score" else []
        adapters[name] = [recipe, *flags, *pair, "--label_smoothing_factor", "0"]
    return adapters


def by_popularity(shop: Shop, histories: list[str]) -> np.ndarray:
    """The same order for everybody: how often a thing was clicked."""
    counts = np.bincount(shop.clicks[:, :-1].ravel(), minlength=len(shop.things))
    return np.tile(np.argsort(-counts, kind="stable"), (len(histories), 1))


def by_words(shop: Shop, histories: list[str]) -> np.ndarray:
    """Things by BM25 with the history as the query."""
    index = bm25s.BM25()
    index.index(bm25s.tokenize(shop.things, show_progress=False), show_progress=False)
    asked = bm25s.tokenize(histories, show_progress=False)
    found, _ = index.retrieve(asked, k=len(shop.things), show_progress=False)
    return found


def by_vectors(client: Client, model: str, shop: Shop, histories: list[str]) -> np.ndarray:
    """Things by the cosine of their vectors with the history's."""
    own, things = (np.array(client.vectors(model, texts)) for texts in (histories, shop.things))
    return np.argsort(-(own @ things.T), axis=1, kind="stable")


def reranked(client: Client, shop: Shop, histories: list[str], order: np.ndarray) -> np.ndarray:
    """The first things of each order, in the order of the pair adapter's scores."""
    found = order.copy()
    for row, history in enumerate(histories):
        first = order[row, :FIRST]
        texts = [shop.things[one] for one in first]
        ranked = client.post("/rerank", model="rank", query=history, texts=texts)
        found[row, :FIRST] = first[[one["index"] for one in ranked]]
    return found


def hits(shop: Shop, order: np.ndarray, chosen: np.ndarray) -> float:
    """hit@10: how often the next click is among the first ten things not seen in the history."""
    found = []
    for user in np.flatnonzero(chosen):
        seen = shop.clicks[user, -1 - HISTORY : -1]
        first = [one for one in order[user] if one not in seen][:TOP]
        found.append(shop.clicks[user, -1] in first)
    return float(np.mean(found)) if found else float("nan")


def main(argv: list[str] | None = None) -> dict[str, tuple[float, float]]:
    """Train, serve, recommend; returns hit@10 of all clicks and of those on new things."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, default=STORE, help="folder of the adapters")
    parser.add_argument("--model_name_or_path", default="all-MiniLM-L6-v2")
    parser.add_argument("--users", type=int, default=600)
    given = parser.parse_args(argv)
    shop = Shop.make(given.users)
    rows = given.store.parent / f"{given.store.name}-rows"
    train(given.store, write_rows(shop, rows), given.model_name_or_path)
    histories = [shop.history(own[-1 - HISTORY : -1]) for own in shop.clicks]
    with service(given.store) as client:
        towers = by_vectors(client, "towers", shop, histories)
        base = Path(given.model_name_or_path).name
        orders = {
            "popularity": by_popularity(shop, histories),
            "words (BM25)": by_words(shop, histories),
            "frozen base": by_vectors(client, base, shop, histories),
            "two towers": towers,
            "two towers, reranked": reranked(client, shop, histories, towers),
        }
    is_new = shop.new[shop.clicks[:, -1]]
    print(f"{given.users} users, {len(shop.things)} things; hit@{TOP} of the next click:")
    print(f"  {'':<24} {'all':>6} {f'new things ({is_new.sum()})':>18}")
    found = {}
    for name, order in orders.items():
        found[name] = hits(shop, order, np.ones_like(is_new)), hits(shop, order, is_new)
        print(f"  {name:<24} {found[name][0]:>6.3f} {found[name][1]:>18.3f}")
    return found


if __name__ == "__main__":
    main()
