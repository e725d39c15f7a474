"""Train an adapter for text embeddings: search, clustering and deduplication.

    # summaries find their messages in the embedded corpus
    python recipes/embed.py

    python recipes/embed.py --train_file pairs.tsv --text_column question \\
        --text_pair_column answer

    python recipes/embed.py --train_file sts.tsv --text_column sentence1 \\
        --text_pair_column sentence2 --score_column score

Without scores each text must find its pair among the whole batch, so larger batches are harder.
With scores the cosine learns them. Reported: recall at 1 and 5 and mean reciprocal rank among all
texts of the split, or Spearman's correlation.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Train, evaluate and report an embedding adapter."""
    recipe("embed", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
