"""Train an adapter for extractive question answering, including unanswerable questions.

    # questions on the messages of the embedded corpus
    python recipes/answer.py

    # SQuAD's format, 1.1 or 2.0
    python recipes/answer.py --train_file train-v2.0.json --validation_file dev-v2.0.json

    # {"question", "context", "answers": [{"text", "start"}]}
    python recipes/answer.py --train_file rows.jsonl

    # Chinese: F1 counts characters
    python recipes/answer.py --train_file cmrc.json --max_answer_length 60

Long contexts are read in windows that share --doc_stride tokens. Reported: exact match and F1 as
SQuAD defines them.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Train, evaluate and report a question-answering adapter."""
    recipe("answer", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
