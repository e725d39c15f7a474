"""Train an adapter to summarize texts or dialogues with a chat model or an encoder-decoder.

    # the messages of the embedded corpus, SmolLM2-135M-Instruct
    python recipes/summarize.py

    python recipes/summarize.py --train_file train.jsonl --text_column dialogue \\
        --model_name_or_path facebook/bart-base

Several references are a list, or columns summary1, summary2, ... Reported: ROUGE-1, -2 and -L with
the best reference, beside those of the first sentence.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Train, evaluate and report a summarization adapter."""
    recipe("summarize", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
