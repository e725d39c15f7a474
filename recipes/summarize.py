"""Train an adapter that sums up texts or dialogues, over an encoder-decoder (BART, T5, Pegasus).

    python recipes/summarize.py                                         the messages of the embedded corpus, a toy model
    python recipes/summarize.py --train_file train.jsonl --text_column dialogue --model_name_or_path facebook/bart-base

Several references are a list, or columns summary1, summary2, ... Reported: ROUGE-1, -2 and -L with the best reference, beside
those of the first sentence.
"""

from dataclasses import dataclass

from adaptkit.arguments import RecipeArguments, flag
from adaptkit.entry import recipe
from adaptkit.errors import guarded


@dataclass
class SummarizeArguments(RecipeArguments):
    """What is summed up, and how long the sum is."""

    model_name_or_path: str | None = flag(None, "pretrained encoder-decoder (default: a small untrained one is made)")
    text_column: str | None = flag(None, "column of the text (default: text)")
    summary_column: str | None = flag(None, "column of the summary (default: summary)")
    source_prefix: str = flag("", 'put before every text, as T5 wants "summarize: "')
    max_seq_length: int = flag(256, "tokens of the text that the model reads")
    max_target_length: int = flag(64, "tokens of the longest summary")
    min_target_length: int = flag(0, "tokens of the shortest summary")
    num_beams: int = flag(4, "beams of the search; 1: greedy")
    length_penalty: float = flag(1.0, "above 1 favours long summaries")
    no_repeat_ngram_size: int = flag(3, "so many tokens never come twice in a summary; 0: may")


def main(argv: list[str] | None = None) -> None:
    """Learn to sum up."""
    recipe("summarize", SummarizeArguments, argv, __doc__)


if __name__ == "__main__":
    guarded(main)
