"""Train an adapter to translate with an encoder-decoder (T5, NLLB, Marian) or a chat model.

    # the embedded corpus, English to Chinese, a toy model
    python recipes/translate.py

    # reads train.en and train.de
    python recipes/translate.py --train_file train.en --source_lang en --target_lang de \\
        --model_name_or_path google-t5/t5-small \\
        --source_prefix "translate English to German: "

    python recipes/translate.py --train_file pairs.tsv --column_names en zh \\
        --source_column en --target_column zh

Reported: BLEU and chrF of sacrebleu (Chinese with its own tokenizer), beside chrF
of copying the source.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Train, evaluate and report a translation adapter."""
    recipe("translate", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
