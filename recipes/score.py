"""Train an adapter that gives a number for a text or for two: how alike, how urgent, how many
stars.

    python recipes/score.py                                             urgency of the embedded corpus, 1 to 5
    python recipes/score.py --train_file sts.tsv --text_column sentence1 --text_pair_column
    sentence2 python recipes/score.py --train_file films.csv --text_column review --score_column
    stars --check

The answers are in the unit of the training scores and stay within their range. Reported: Spearman's
and Pearson's correlation, mean absolute error beside that of always giving the mean.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """From flags to an adapter that scores."""
    recipe("score", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
