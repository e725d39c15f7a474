"""The embedded corpus: spans, balance, variety, and a split that does not move."""

import hashlib
import re
from collections import Counter
from itertools import pairwise

from adaptkit.data.corpus import load_corpus

ROWS = load_corpus()


def test_size_split_and_balance():
    assert len(ROWS) == 384
    assert Counter(row["split"] for row in ROWS) == {"train": 238, "test": 97, "validation": 49}
    assert len({row["id"] for row in ROWS}) == len({row["text"] for row in ROWS}) == 384
    intents = Counter(row["intent"] for row in ROWS)
    assert len(intents) == 10
    assert min(intents.values()) >= 32
    assert min(Counter(row["sentiment"] for row in ROWS).values()) >= 100
    assert set(Counter(row["urgency"] for row in ROWS)) == {1, 2, 3, 4, 5}
    for split in ("train", "validation", "test"):
        assert len({row["intent"] for row in load_corpus(split)}) == 10
    ids = ",".join(f"{row['id']}:{row['split']}" for row in ROWS)
    assert hashlib.sha256(ids.encode()).hexdigest().startswith(FIXED)


FIXED = "53d7ea97fc7be903"


def test_spans_and_relations():
    kinds = {
        "in_order": ("product", "order_number"),
        "costs": ("product", "amount"),
        "bought_on": ("product", "date"),
    }
    kinds |= {"ship_to": ("product", "place"), "ordered_by": ("order_number", "person")}
    seen = Counter()
    for row in ROWS:
        spans = sorted((entity["start"], entity["end"]) for entity in row["entities"])
        assert all(0 <= start < end <= len(row["text"]) for start, end in spans)
        assert all(one[1] <= two[0] for one, two in pairwise(spans))
        answer = row["answer"]
        assert row["text"][answer["start"] :].startswith(answer["text"])
        for relation in row["relations"]:
            ends = tuple(row["entities"][relation[end]]["label"] for end in ("head", "tail"))
            assert ends == kinds[relation["label"]]
            seen[relation["label"]] += 1
    assert set(seen) == set(kinds)
    assert min(seen.values()) >= 30


def test_texts_are_varied_and_complete():
    for row in ROWS:
        assert row["question"].endswith("?")
        assert row["summary"].strip()
        assert row["reply"].strip()
        assert len(re.findall(r"[\u4e00-\u9fff]", row["chinese"])) >= 6
    openings = Counter(" ".join(row["text"].lower().split()[:2]) for row in ROWS)
    assert openings.most_common(1)[0][1] <= 12
    pairs = [_pairs(row["text"]) for row in ROWS]
    for i, one in enumerate(pairs):
        for other in pairs[:i]:
            assert len(one & other) <= 0.5 * min(len(one), len(other))


def _pairs(text: str) -> set[tuple[str, str]]:
    words = re.findall(r"\w+", text.lower())
    return set(pairwise(words))
