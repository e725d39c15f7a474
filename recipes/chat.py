"""Train an adapter that talks: on dialogues or on instructions, over a causal language model (Qwen, Llama, GPT-2).

    python recipes/chat.py                                              replies to the messages of the embedded corpus, a toy model
    python recipes/chat.py --train_file talks.jsonl --model_name_or_path Qwen/Qwen2.5-0.5B-Instruct --packing
    python recipes/chat.py --train_file rows.csv --prompt_column question --completion_column reply --system "Be brief."

Rows are {"messages": [{"role": "user", "content": ...}, ...]} or a prompt and a completion. The model's chat template is used; only
what the assistant says carries loss. Packed conversations do not see each other.
"""

from dataclasses import dataclass

from adaptkit.arguments import RecipeArguments, flag
from adaptkit.entry import recipe
from adaptkit.errors import guarded


@dataclass
class ChatArguments(RecipeArguments):
    """Who says what."""

    model_name_or_path: str | None = flag(None, "pretrained causal model (default: a small untrained one is made)")
    messages_column: str | None = flag(None, "column of the messages (default: messages)")
    prompt_column: str | None = flag(None, "column of the prompt, where there are no messages (default: prompt)")
    completion_column: str | None = flag(None, "column of its answer (default: completion)")
    system: str | None = flag(None, "a system message for conversations that have none")
    packing: bool = flag(False, "several conversations in one row, blind to each other")
    max_seq_length: int = flag(512, "tokens of a conversation; longer ones lose their beginning")
    max_new_tokens: int = flag(64, "tokens of the longest written answer")
    num_generated: int = flag(64, "so many test rows are answered and scored; 0: all")


def main(argv: list[str] | None = None) -> None:
    """Learn to talk."""
    recipe("chat", ChatArguments, argv, __doc__)


if __name__ == "__main__":
    guarded(main)
