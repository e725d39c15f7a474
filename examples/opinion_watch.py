"""Opinion watch: topics and sentiment of a stream of texts, a page of trends, and an alert.

    python examples/opinion_watch.py [--file messages.jsonl] [--window 40]

Two adapters over one base answer each text of a stream. Each window has its mix of topics and of
sentiments; when one has more negative texts than the first windows make likely, there is an alert,
with the topics that grew and some of the texts. The page is one HTML file without scripts. Without
a file, messages of the embedded corpus come in an order that is made up: from window 15 on, more
and more of them are negative.
"""

from __future__ import annotations

import argparse
import html
import json
import math
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from serving import Client, service, train

from adaptkit.data.corpus import load_corpus

STORE = Path("runs/opinion_watch")
ADAPTERS = {
    "topic": ["classify", "--label_column", "intent", "--num_train_epochs", "10"],
    "sentiment": ["classify", "--label_column", "sentiment", "--num_train_epochs", "10"],
}
NEGATIVE = "negative"
BEFORE = 10  # windows that say what is usual
ALPHA = 0.01  # of a false alert in all windows together
WINDOWS, TURN = 24, 15  # of the stream that is made up, and where it turns
COLOURS = {"positive": "#3a7d44", "neutral": "#9aa0a6", "negative": "#c0392b"}


@dataclass
class Window:
    """The texts of a window with their topics and sentiments."""

    texts: list[str]
    topics: list[str]
    sentiments: list[str]

    @property
    def negatives(self) -> int:
        return self.sentiments.count(NEGATIVE)


@dataclass
class Alert:
    """A window with more negative texts than chance allows."""

    window: int
    share: float
    usual: float
    topics: list[str]
    texts: list[str]

    def __str__(self) -> str:
        return (
            f"window {self.window}: {self.share:.0%} negative, usually {self.usual:.0%}; more than "
            f"before: {', '.join(self.topics) or 'no topic alone'}"
        )


def make_stream(window: int, seed: int = 0) -> list[str]:
    """Test messages in a made-up order, negative ones more and more often from TURN on."""
    random_ = random.Random(seed)
    rows = load_corpus("test")
    by_kind = {True: [], False: []}
    for row in rows:
        by_kind[row["sentiment"] == NEGATIVE].append(row["text"])
    stream = []
    for number in range(WINDOWS):
        share = 0.25 if number < TURN else min(0.75, 0.4 + 0.05 * (number - TURN))
        stream += [random_.choice(by_kind[random_.random() < share]) for _ in range(window)]
    return stream


def look(client: Client, texts: list[str], size: int) -> list[Window]:
    """The windows of a stream; texts at its end that fill none are left out."""
    topics, sentiments = (
        [one["label"] for one in client.answers(name, texts)] for name in ("topic", "sentiment")
    )
    return [
        Window(*(part[start : start + size] for part in (texts, topics, sentiments)))
        for start in range(0, len(texts) - size + 1, size)
    ]


def alerts(windows: list[Window]) -> list[Alert]:
    """The windows after the first BEFORE that have too many negative texts.

    By the exact binomial tail of the usual share (with one text more of each kind than was seen, so
    that few windows do not look sure), divided by the number of windows (Bonferroni).
    """
    first, found = windows[:BEFORE], []
    texts = sum(len(one.texts) for one in first)
    usual = (sum(one.negatives for one in first) + 1) / (texts + 2)
    before = Counter(topic for one in first for topic in one.topics)
    for number, one in enumerate(windows[BEFORE:], BEFORE):
        if tail(one.negatives, len(one.texts), usual) * len(windows) > ALPHA:
            continue
        chosen = [i for i, kind in enumerate(one.sentiments) if kind == NEGATIVE]
        counts = Counter(one.topics[i] for i in chosen)
        grown = [
            topic
            for topic, count in counts.most_common()
            if tail(count, len(one.texts), (before[topic] + 1) / (texts + 2)) < ALPHA
        ]
        share = one.negatives / len(one.texts)
        found.append(Alert(number, share, usual, grown, [one.texts[i] for i in chosen[:3]]))
    return found


def tail(count: int, of: int, share: float) -> float:
    """The chance of `count` or more among `of`.

    >>> round(tail(9, 10, 0.5), 6)
    0.010742
    """
    return sum(
        math.comb(of, one) * share**one * (1 - share) ** (of - one) for one in range(count, of + 1)
    )


def page(windows: list[Window], found: list[Alert]) -> str:
    """The trends as one HTML file."""
    width, height, bar = 960, 240, 960 / max(1, len(windows))
    bars, marks = [], []
    for number, one in enumerate(windows):
        top = 0.0
        for kind, colour in COLOURS.items():
            part = one.sentiments.count(kind) / len(one.texts) * height
            bars.append(
                f'<rect x="{number * bar:.1f}" y="{top:.1f}" width="{bar - 2:.1f}" '
                f'height="{part:.1f}" fill="{colour}"><title>window {number}: {kind} '
                f"{one.sentiments.count(kind)} of {len(one.texts)}</title></rect>"
            )
            top += part
    for one in found:
        x = (one.window + 0.5) * bar
        marks.append(f'<circle cx="{x:.1f}" cy="-12" r="6" fill="{COLOURS[NEGATIVE]}"/>')
    named = sorted({topic for one in windows for topic in one.topics})
    rows = "".join(
        f"<tr><td>{html.escape(topic)}</td>"
        + "".join(f"<td>{one.topics.count(topic)}</td>" for one in windows)
        + "</tr>"
        for topic in named
    )
    told = "".join(
        f"<li>{html.escape(str(one))}"
        + "".join(f"<blockquote>{html.escape(text)}</blockquote>" for text in one.texts)
        + "</li>"
        for one in found
    )
    legend = " ".join(
        f'<span style="color:{colour}">&#9632; {kind}</span>' for kind, colour in COLOURS.items()
    )
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Opinion watch</title>
<style>body{{font:15px sans-serif;max-width:1000px;margin:2em auto;padding:0 1em}}
table{{border-collapse:collapse;font-size:12px}}td{{border:1px solid #ddd;padding:2px 5px}}
blockquote{{color:#555;margin:.3em 1em}}</style>
<h1>Opinion watch</h1><p>{legend}; a dot marks an alert.</p>
<svg viewBox="0 -24 {width} {height + 24}" role="img" aria-label="sentiment by window">
{"".join(bars)}{"".join(marks)}</svg>
<h2>Alerts</h2><ul>{told or "<li>none</li>"}</ul>
<h2>Topics by window</h2><table>{rows}</table></html>
"""


def main(argv: list[str] | None = None) -> list[Alert]:
    """Train, serve, read the stream, write the page; returns the alerts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, default=STORE, help="folder of the adapters")
    parser.add_argument("--model_name_or_path", default="all-MiniLM-L6-v2")
    parser.add_argument("--file", type=Path, help="a JSON object with a `text` in each line")
    parser.add_argument("--window", type=int, default=40, help="texts of a window")
    parser.add_argument("--page", type=Path, default=Path("opinion_watch.html"))
    given = parser.parse_args(argv)
    train(given.store, ADAPTERS, given.model_name_or_path)
    if given.file:
        lines = given.file.read_text("utf-8").splitlines()
        texts = [json.loads(line)["text"] for line in lines if line.strip()]
    else:
        texts = make_stream(given.window)
    with service(given.store) as client:
        windows = look(client, texts, given.window)
    if len(windows) <= BEFORE:
        raise SystemExit(f"{len(texts)} texts make {len(windows)} windows; {BEFORE + 1} are needed")
    found = alerts(windows)
    for one in found:
        print(f"ALERT {one}")
    given.page.write_text(page(windows, found), "utf-8")
    print(f"{len(texts)} texts in {len(windows)} windows, {len(found)} alerts; see {given.page}")
    return found


if __name__ == "__main__":
    main()
