"""Short noisy messages of which few words are part of a name: rows in which rare tags drown."""

from __future__ import annotations

import random
from typing import Any

OPENINGS = [
    "omg",
    "so tired of",
    "anyone know",
    "still thinking about",
    "why is it",
    "lol",
    "missing it all",
    "up early",
    "rt",
    "who else loves",
    "never again",
    "shoutout",
    "yo",
    "honestly",
    "my mom says",
    "i swear",
    "ok but",
    "smh",
    "new day and",
]
MIDDLES = [
    "my new shoes",
    "the rain today",
    "this traffic",
    "free coffee",
    "little brother",
    "the last bus",
    "that song",
    "a good book",
    "homework",
    "the weekend",
    "these pancakes",
    "a long nap",
    "my phone",
    "the gym",
    "some quiet",
    "with friends",
    "at home",
    "watching tv",
    "listening to music",
    "new at work",
    "to the game",
    "with my dog",
]
ENDINGS = [
    "haha",
    "cant wait",
    "so good",
    "ugh",
    "not fair",
    "pls help",
    "again",
    "this morning",
    "tonight maybe",
    "no idea why",
    "best day ever",
    "i guess",
    "for real",
    "with the boys",
    "and im broke",
    ":)",
    "#blessed",
    "#monday",
    "x",
    "at the beach",
]
PLACED = {  # what stands before a name of each kind; elsewhere it stands before ordinary words
    "person": "with",
    "place": "at",
    "company": "work for",
    "band": "listening to",
    "film": "watching",
    "team": "go",
}
SYLLABLES = [
    "ka",
    "mo",
    "ri",
    "ten",
    "lu",
    "sha",
    "vo",
    "ber",
    "ni",
    "dra",
    "el",
    "fo",
    "gan",
    "hi",
    "jo",
    "pel",
    "qua",
    "ru",
    "sto",
    "ti",
    "um",
    "wex",
    "yan",
    "zo",
]


def messages(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows of words and tags: names of six kinds that nobody has seen before, the rest O."""
    draw = random.Random(seed)
    return [_message(draw) for _ in range(count)]


def _message(draw: random.Random) -> dict[str, Any]:
    parts = [(draw.choice(OPENINGS), ""), (draw.choice(MIDDLES), ""), (draw.choice(ENDINGS), "")]
    parts += [(draw.choice(MIDDLES), "")] * draw.randrange(3)
    if draw.random() < 0.2:
        kind = draw.choice(tuple(PLACED))
        before = [(PLACED[kind], "")] * (draw.random() < 0.6)
        place = draw.randrange(1, len(parts))
        parts[place:place] = [*before, (_name(draw), kind)]
    words, tags = [], []
    for text, kind in parts:
        for place, word in enumerate(text.split()):
            words.append(word)
            tags.append(f"{'I' if place else 'B'}-{kind}" if kind else "O")
    return {"tokens": words, "tags": tags}


def _name(draw: random.Random) -> str:
    words = [
        "".join(draw.choices(SYLLABLES, k=draw.randint(1, 3)))
        for _ in range(1 + (draw.random() < 0.4))
    ]
    return " ".join(word.title() if draw.random() < 0.5 else word for word in words)
