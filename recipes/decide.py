"""Train an adapter that chooses among the options that come with a row, also unseen ones.

    # the intents of the embedded corpus, by their names
    python recipes/decide.py

    python recipes/decide.py --train_file rows.jsonl   # text, options (a list), label

    python recipes/decide.py --train_file copa.csv --text_column premise \\
        --option_columns choice1 choice2 --encoder cross

Without options in the rows, the labels of the training rows are the options of all. Reported: the
accuracy, that of the frozen base and that of guessing.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Train, evaluate and report an adapter that decides."""
    recipe("decide", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
