"""Train an adapter that makes vectors of texts: like texts near each other, for search, clustering and deduplication.

    python recipes/embed.py                                             summaries find their messages in the embedded corpus
    python recipes/embed.py --train_file pairs.tsv --text_column question --text_pair_column answer
    python recipes/embed.py --train_file sts.tsv --text_column sentence1 --text_pair_column sentence2 --score_column score

Without scores each text must find its pair among all of the batch, so larger batches are harder; with scores the cosine learns
them. Reported: recall at 1 and 5 and mean reciprocal rank among all texts of the split, or Spearman's correlation.
"""

from dataclasses import dataclass

from adaptkit.arguments import RecipeArguments, flag
from adaptkit.entry import recipe
from adaptkit.errors import guarded


@dataclass
class EmbedArguments(RecipeArguments):
    """Pairs, and how a vector is made."""

    text_column: str | None = flag(None, "column of the first text (default: text)")
    text_pair_column: str | None = flag(None, "column of the second text (default: text_pair)")
    score_column: str | None = flag(None, "column of how alike they are, where that is known")
    pooling: str = flag("mean", "how tokens become one vector: mean, or cls for the first token's")
    temperature: float = flag(0.05, "cosines are divided by it")


def main(argv: list[str] | None = None) -> None:
    """Learn vectors."""
    recipe("embed", EmbedArguments, argv, __doc__)


if __name__ == "__main__":
    guarded(main)
