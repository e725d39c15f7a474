"""Train an adapter for dialogues or instructions on a causal language model (Qwen, Llama, GPT-2).

    # replies to the messages of the embedded corpus, a toy model
    python recipes/chat.py

    python recipes/chat.py --train_file talks.jsonl \\
        --model_name_or_path Qwen/Qwen2.5-0.5B-Instruct --packing

    python recipes/chat.py --train_file rows.csv --prompt_column question \\
        --completion_column reply --system "Be brief."

Rows are {"messages": [{"role": "user", "content": ...}, ...]} or a prompt and a completion. The
model's chat template is used; only the assistant's answers carry loss. Packed conversations do not
see each other.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Train, evaluate and report a chat adapter."""
    recipe("chat", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
