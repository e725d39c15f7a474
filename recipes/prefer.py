"""Train an adapter by preferences: of two answers to a prompt, the better one becomes likelier.

    # fitting replies to the messages of the embedded corpus, SmolLM2-135M-Instruct
    python recipes/prefer.py

    python recipes/prefer.py --train_file pairs.jsonl --loss_type ipo \\
        --model_name_or_path Qwen/Qwen2.5-0.5B-Instruct

Rows are {"prompt": ..., "chosen": ..., "rejected": ...}, texts or messages; or two conversations
that differ in the last answer. TRL computes the loss: dpo, ipo, hinge, robust, apo_zero, kto, orpo,
cpo or simpo. The reference is the base with its adapter off.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Train, evaluate and report a preference adapter."""
    recipe("prefer", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
