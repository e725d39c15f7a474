"""Train an adapter that gives a number for a text or for two: how alike, how urgent, how many stars.

    python recipes/score.py                                             urgency of the embedded corpus, 1 to 5
    python recipes/score.py --train_file sts.tsv --text_column sentence1 --text_pair_column sentence2
    python recipes/score.py --train_file films.csv --text_column review --score_column stars --check

The answers are in the unit of the training scores and stay within their range. Reported: Spearman's and Pearson's correlation, mean
absolute error beside that of always giving the mean.
"""

from dataclasses import dataclass

from adaptkit.arguments import RecipeArguments, flag
from adaptkit.entry import recipe
from adaptkit.errors import guarded


@dataclass
class ScoreArguments(RecipeArguments):
    """What a row has."""

    text_column: str | None = flag(None, "column of the text (default: text)")
    text_pair_column: str | None = flag(None, "column of a second text, for pairs")
    score_column: str | None = flag(None, "column of the number (default: score; urgency for the embedded corpus)")


def main(argv: list[str] | None = None) -> None:
    """From flags to an adapter."""
    recipe("score", ScoreArguments, argv, __doc__)


if __name__ == "__main__":
    guarded(main)
