"""Tiny bases, and a folder of adapters of every task over each."""

from pathlib import Path

from adaptkit import TaskCard, adapt, load_base, save_adapter
from adaptkit.data.corpus import load_corpus
from adaptkit.models.untrained.scratch import make_model
from tests.tiny import randomize

ROWS = load_corpus("train")
TEXTS = [row["text"] for row in ROWS[:40]]
LABELS = ["refund", "praise", "question"]
READERS = {
    "intent": ("lora[r=3]", TaskCard(task="classify", labels=LABELS, max_length=48)),
    "broken": ("ia3", TaskCard(task="classify", labels=["no", "yes"], max_length=48)),
    "topics": (
        "bottleneck[reduction=4]",
        TaskCard(
            task="classify",
            labels=["a", "b", "c", "d"],
            settings={"multi_label": True},
            max_length=32,
        ),
    ),
    "same": (
        "prefix[length=3]",
        TaskCard(
            task="score",
            labels=["score"],
            columns={"text": "one", "text_pair": "two"},
            settings={"mean": 0.5, "spread": 0.4},
            max_length=40,
        ),
    ),
    "stars": (
        "lora[r=2]",
        TaskCard(
            task="score",
            labels=["score"],
            columns={"text": "text"},
            settings={"mean": 3.0, "spread": 1.0, "low": 1.0, "high": 5.0},
            max_length=32,
        ),
    ),
    "names": (
        "ia3",
        TaskCard(task="tag", labels=["O", "B-person", "I-person"], max_length=32),
    ),
    "reader": ("lora[r=2]", TaskCard(task="answer", max_length=48)),
    "search": ("lora[r=3]", TaskCard(task="embed", max_length=32)),
}
WRITERS = {
    "helper": ("lora[r=3]", TaskCard(task="chat", settings={"max_new_tokens": 12}, max_length=200)),
    "mood": ("lora[r=2]", TaskCard(task="classify", labels=["bad", "good"], max_length=48)),
}


def make_readers(root: Path) -> Path:
    """A tiny BERT, and a store over it."""
    make_model("bert", TEXTS, root / "base", vocab_size=300, hidden_size=32, intermediate_size=48)
    return _write(root, READERS, std=0.4)


def make_writers(root: Path) -> Path:
    """A tiny Llama with widely drawn weights, so that its texts differ, and a store over it."""
    texts = [row[key] for row in ROWS for key in ("text", "reply")]
    base = make_model("llama", texts, root / "base", vocab_size=600)[0]
    model = load_base(str(base), task="AutoModelForCausalLM").requires_grad_(True)
    randomize(model, std=0.3)
    model.save_pretrained(base)
    return _write(root, WRITERS, std=0.3)


def _write(root: Path, adapters: dict, std: float) -> Path:
    for seed, (name, (method, card)) in enumerate(adapters.items()):
        base = load_base(str(root / "base"), task=card.task, labels=card.labels or None)
        model = adapt(base, method)
        randomize(model, seed=seed, std=std)
        save_adapter(model, root / "store" / name, card=card)
    return root / "store"
