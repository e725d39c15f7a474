"""Pretrain on plain text: go on with a model, by an adapter or in full, or begin one from nothing, tokenizer included.

    python recipes/pretrain.py                                          a small BERT from nothing, on the embedded corpus
    python recipes/pretrain.py --train_file law.txt --model_name_or_path google-bert/bert-base-uncased --method lora
    python recipes/pretrain.py --train_file tales.txt --model_name_or_path openai-community/gpt2 --objective clm --method full
    python recipes/pretrain.py --train_file zh.txt --model_type bert --vocab_size 8000 \\
        --config_overrides hidden_size=256,num_hidden_layers=4 --num_train_epochs 10

`--method full` and every model from nothing leave a whole model: use its folder as --model_name_or_path of the other recipes.
"""

from dataclasses import dataclass
from typing import Any

from adaptkit.arguments import RecipeArguments, flag
from adaptkit.entry import recipe
from adaptkit.errors import guarded


@dataclass
class PretrainArguments(RecipeArguments):
    """What is learned, and by which model."""

    model_name_or_path: str | None = flag(None, "the model to go on with (default: one from nothing)")
    text_column: str | None = flag(None, "column of the text, where the file has columns (default: text)")
    objective: str | None = flag(None, "mlm: foretell hidden tokens; clm: the next token (default: what the model is for)")
    mlm_probability: float = flag(0.15, "the share of tokens that is hidden")
    model_type: str = flag("bert", "what to begin from nothing: bert, llama")
    config_overrides: str | None = flag(None, "settings of a model from nothing: hidden_size=256,num_hidden_layers=4")
    vocab_size: int = flag(4000, "tokens of its tokenizer")
    method: str | None = flag(None, "full: all weights; lora, ... (default: lora; full for a model from nothing)")

    def __post_init__(self) -> None:
        from adaptkit.tasks.pretrain import objective_of

        self.method = self.method or (None if self.model_name_or_path else "full")
        self.objective = self.objective or objective_of(self.model_name_or_path, self.model_type)

    def from_nothing(self) -> dict[str, Any]:
        from adaptkit.scratch import overrides

        return {"kind": self.model_type, "vocab_size": self.vocab_size, **overrides(self.config_overrides)}


def main(argv: list[str] | None = None) -> None:
    """Learn a language."""
    recipe("pretrain", PretrainArguments, argv, __doc__)


if __name__ == "__main__":
    guarded(main)
