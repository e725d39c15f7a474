"""Customer service: what a message is about, what it names, and an answer or a person.

    python examples/customer_service.py [--show 6] [--ask]

Three adapters over one base answer each message: `intent`, `entities` and `search`. The reply is a
template of the likeliest intent, with what the message names, and the article of the shop's help
that fits best: by words (BM25), by meaning (`search`) or by both, whichever is best on messages
that were kept for such choices. Where the intent is less sure than
`--precision` asks for, the message is handed to a person. Prints replies, and how good all parts
are on messages that were not trained on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
from serving import Client, service, train

from adaptkit.data.corpus import load_corpus

HERE = Path(__file__).parent
STORE = Path("runs/customer_service")
ADAPTERS = {
    "intent": ["classify", "--label_column", "intent", "--num_train_epochs", "10"],
    "entities": ["tag", "--num_train_epochs", "20"],
    "search": ["embed", "--num_train_epochs", "5"],
}
FUSED = 60  # of reciprocal rank fusion (Cormack et al. 2009)


class Help:
    """The shop's articles, found by words and by meaning."""

    def __init__(self, client: Client, articles: list[dict[str, Any]]):
        self.client, self.articles = client, articles
        texts = [f"{one['title']}. {one['text']}" for one in articles]
        self._words = bm25s.BM25()
        self._words.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
        self._vectors = np.array(client.vectors("search", texts))
        self.ways = {"words": self.by_words, "meaning": self.by_meaning, "both": self.by_both}
        self.way = "both"

    def choose(self, rows: list[dict[str, Any]]) -> None:
        """Find articles from now on in the way that is best for these rows."""
        self.way = max(self.ways, key=lambda way: self.hits(rows, way))

    def hits(self, rows: list[dict[str, Any]], way: str) -> float:
        """The share of rows whose first article is about their intent."""
        first = [self.articles[self.ways[way](row["text"])[0]] for row in rows]
        found = [row["intent"] in one["intents"] for row, one in zip(rows, first, strict=True)]
        return float(np.mean(found))

    def find(self, text: str) -> dict[str, Any]:
        """The article that fits best."""
        return self.articles[self.ways[self.way](text)[0]]

    def by_words(self, text: str) -> np.ndarray:
        """Articles `(articles,)`, the best first, by BM25."""
        asked = bm25s.tokenize(text, show_progress=False)
        found, _ = self._words.retrieve(asked, k=len(self.articles), show_progress=False)
        return found[0]

    def by_meaning(self, text: str) -> np.ndarray:
        """Articles by the cosine of their vectors with that of the text."""
        (vector,) = self.client.vectors("search", [text])
        return np.argsort(-(self._vectors @ np.array(vector)), kind="stable")

    def by_both(self, text: str) -> np.ndarray:
        """Articles by their ranks in both lists."""
        score = np.zeros(len(self.articles))
        for order in (self.by_words(text), self.by_meaning(text)):
            score[order] += 1 / (FUSED + np.arange(len(order)))
        return np.argsort(-score, kind="stable")


class Desk:
    """Answers messages.

    threshold: the confidence from which an intent is believed.
    """

    def __init__(self, client: Client, templates: dict[str, str], threshold: float):
        self.client, self.templates, self.threshold = client, templates, threshold
        self.help = Help(client, json.loads((HERE / "help.json").read_text("utf-8"))["articles"])

    def reply(self, text: str) -> dict[str, Any]:
        """Intent, entities, article and reply; `reply` is None if a person should answer."""
        intent, entities = self.client.post("/v1/answer", model=["intent", "entities"], input=text)[
            "answers"
        ]
        named = {one["label"]: one["text"] for one in reversed(entities["entities"])}
        article = self.help.find(text)
        sure = intent["score"] >= self.threshold
        return {
            "intent": intent["label"],
            "confidence": intent["score"],
            "entities": named,
            "article": article["title"],
            "reply": self._fill(intent["label"], named) if sure else None,
        }

    def _fill(self, intent: str, named: dict[str, str]) -> str:
        values = {
            "name": named.get("person", "customer"),
            "thing": f"the {named['product']}" if "product" in named else "your order",
            "order": f" {named['order_number']}" if "order_number" in named else "",
        }
        return self.templates[intent].format(**values)


def find_threshold(client: Client, rows: list[dict[str, Any]], precision: float) -> float:
    """The lowest confidence from which intents of these rows are right often enough."""
    answers = client.answers("intent", [row["text"] for row in rows])
    pairs = sorted(
        (
            (one["score"], one["label"] == row["intent"])
            for one, row in zip(answers, rows, strict=True)
        ),
        reverse=True,
    )
    right = np.cumsum([fits for _, fits in pairs]) / np.arange(1, len(pairs) + 1)
    kept = np.flatnonzero(right >= precision)
    return pairs[kept[-1]][0] if len(kept) else 1.1


def measure(desk: Desk, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Shares of the test messages."""
    replies = [desk.reply(row["text"]) for row in rows]
    answered = [i for i, one in enumerate(replies) if one["reply"] is not None]
    right = [replies[i]["intent"] == rows[i]["intent"] for i in range(len(rows))]
    found = {
        "answered without a person": len(answered) / len(rows),
        "intent right, of these": float(np.mean([right[i] for i in answered] or [0])),
        "intent right, of all": float(np.mean(right)),
    }
    for way in desk.help.ways:
        chosen = " (chosen)" if way == desk.help.way else ""
        found[f"help article fits, by {way}{chosen}"] = desk.help.hits(rows, way)
    return found


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Train, serve, answer; returns the shares that are printed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, default=STORE, help="folder of the adapters")
    parser.add_argument("--model_name_or_path", default="all-MiniLM-L6-v2")
    parser.add_argument("--precision", type=float, default=0.9, help="of believed intents")
    parser.add_argument("--show", type=int, default=6, help="replies to print")
    parser.add_argument("--ask", action="store_true", help="answer your own messages")
    given = parser.parse_args(argv)
    train(given.store, ADAPTERS, given.model_name_or_path)
    templates = json.loads((HERE / "help.json").read_text("utf-8"))["templates"]
    with service(given.store) as client:
        kept, rows = load_corpus("validation"), load_corpus("test")
        desk = Desk(client, templates, find_threshold(client, kept, given.precision))
        desk.help.choose(kept)
        for row in rows[: given.show]:
            show(row["text"], desk.reply(row["text"]))
        found = measure(desk, rows)
        print(f"\n{len(rows)} messages that were not trained on. The confidence was chosen for ")
        print(f"{given.precision:.0%} right intents on {len(kept)} others; here it may give less.")
        for name, share in found.items():
            print(f"  {name:<36} {share:.3f}")
        while given.ask and (text := input("\nmessage: ").strip()):
            show(text, desk.reply(text))
    return found


def show(text: str, reply: dict[str, Any]) -> None:
    """Print a message and what becomes of it."""
    named = ", ".join(f"{name} {value!r}" for name, value in reply["entities"].items())
    print(f"\n> {text}")
    print(f"  {reply['intent']} ({reply['confidence']:.2f}); {named or 'nothing named'}")
    print(f"  help: {reply['article']}")
    print(f"  {reply['reply'] or '-> a person answers this one'}")


if __name__ == "__main__":
    main()
