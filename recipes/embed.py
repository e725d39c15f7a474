"""Train an adapter that makes vectors of texts: like texts near each other, for search, clustering
and deduplication.

    python recipes/embed.py                                             summaries find their messages in the embedded corpus
    python recipes/embed.py --train_file pairs.tsv --text_column question --text_pair_column answer
    python recipes/embed.py --train_file sts.tsv --text_column sentence1 --text_pair_column
    sentence2 --score_column score

Without scores each text must find its pair among all of the batch, so larger batches are harder;
with scores the cosine learns
them. Reported: recall at 1 and 5 and mean reciprocal rank among all texts of the split, or
Spearman's correlation.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Learn vectors."""
    recipe("embed", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
