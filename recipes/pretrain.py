"""Pretrain on plain text: continue with a model, by adapter or in full, or start from scratch.

    # a small BERT from scratch, on the embedded corpus
    python recipes/pretrain.py

    # SmolLM2-135M-Instruct continues with the text, by LoRA
    python recipes/pretrain.py --train_file tales.txt --objective clm

    python recipes/pretrain.py --train_file law.txt \\
        --model_name_or_path google-bert/bert-base-uncased --method lora

    python recipes/pretrain.py --train_file tales.txt \\
        --model_name_or_path openai-community/gpt2 --objective clm --method full

    python recipes/pretrain.py --train_file zh.txt --model_type bert --vocab_size 8000 \\
        --config_overrides hidden_size=256,num_hidden_layers=4 --num_train_epochs 10

A model from scratch gets its own tokenizer. `--method full` and every model from scratch save a
full model: use its folder as --model_name_or_path of the other recipes.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Train, evaluate and report a language model."""
    recipe("pretrain", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
