"""Train an adapter that translates, over an encoder-decoder (T5, mBART, NLLB, Marian).

    python recipes/translate.py                                         the embedded corpus, English to Chinese, a toy model
    python recipes/translate.py --train_file train.en --source_lang en --target_lang de --model_name_or_path google-t5/t5-small \\
        --source_prefix "translate English to German: "                 reads train.en and train.de
    python recipes/translate.py --train_file pairs.tsv --column_names en zh --source_column en --target_column zh

Reported: BLEU and chrF of sacrebleu with beam search (Chinese by its own tokenizer), beside chrF of copying the source.
"""

from dataclasses import dataclass

from adaptkit.arguments import RecipeArguments, flag
from adaptkit.entry import recipe
from adaptkit.errors import guarded


@dataclass
class TranslateArguments(RecipeArguments):
    """Two languages, and how to write."""

    model_name_or_path: str | None = flag(None, "pretrained encoder-decoder (default: a small untrained one is made)")
    source_column: str | None = flag(None, "column of the text (default: source)")
    target_column: str | None = flag(None, "column of its translation (default: target)")
    source_lang: str | None = flag(None, "code of the language to translate from; the ending of its file")
    target_lang: str | None = flag(None, "code of the language to translate to; the ending of its file")
    source_prefix: str = flag("", "put before every source")
    max_target_length: int = flag(64, "tokens of the longest translation")
    num_beams: int = flag(4, "beams of the search; 1: greedy")
    length_penalty: float = flag(1.0, "above 1 favours long translations")


def main(argv: list[str] | None = None) -> None:
    """Learn to translate."""
    recipe("translate", TranslateArguments, argv, __doc__)


if __name__ == "__main__":
    guarded(main)
