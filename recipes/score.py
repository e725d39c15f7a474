"""Train an adapter to predict a number for a text or a pair: similarity, urgency, stars.

    # urgency of the embedded corpus, 1 to 5
    python recipes/score.py

    python recipes/score.py --train_file sts.tsv --text_column sentence1 \\
        --text_pair_column sentence2

    python recipes/score.py --train_file films.csv --text_column review --score_column stars \\
        --check

Predictions are in the unit of the training scores and stay within their range. Reported: Spearman's
and Pearson's correlation, and mean absolute error beside that of always predicting the mean.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Train, evaluate and report a regression adapter."""
    recipe("score", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
