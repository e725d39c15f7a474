"""Train an adapter that sums up texts or dialogues, over an encoder-decoder (BART, T5, Pegasus).

    python recipes/summarize.py                                         the messages of the embedded corpus, a toy model
    python recipes/summarize.py --train_file train.jsonl --text_column dialogue --model_name_or_path
    facebook/bart-base

Several references are a list, or columns summary1, summary2, ... Reported: ROUGE-1, -2 and -L with
the best reference, beside those of the first sentence.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Learn to summarize."""
    recipe("summarize", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
