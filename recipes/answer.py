"""Train an adapter that answers questions with a part of a text, or with nothing where the text does not tell.

    python recipes/answer.py                                            questions on the messages of the embedded corpus
    python recipes/answer.py --train_file train-v2.0.json --validation_file dev-v2.0.json      SQuAD's format, 1.1 or 2.0
    python recipes/answer.py --train_file rows.jsonl                    {"question", "context", "answers": [{"text", "start"}]}
    python recipes/answer.py --train_file cmrc.json --max_answer_length 60      Chinese: F1 counts characters

Long contexts are read in windows that share --doc_stride tokens. Reported: exact match and F1 as SQuAD defines them.
"""

from dataclasses import dataclass

from adaptkit.arguments import RecipeArguments, flag
from adaptkit.entry import recipe
from adaptkit.errors import guarded


@dataclass
class AnswerArguments(RecipeArguments):
    """Questions, and where their answers lie."""

    question_column: str | None = flag(None, "column of the question (default: question)")
    context_column: str | None = flag(None, "column of the text (default: context)")
    answers_column: str | None = flag(None, "column of the answers (default: answers)")
    max_seq_length: int = flag(256, "tokens of question and context that the model reads at once")
    doc_stride: int = flag(64, "tokens that two windows of a long context share")
    max_answer_length: int = flag(30, "tokens of the longest answer")
    null_threshold: float = flag(0.0, "how much better (in logits) no answer must be than the best one")


def main(argv: list[str] | None = None) -> None:
    """Learn to answer."""
    recipe("answer", AnswerArguments, argv, __doc__)


if __name__ == "__main__":
    guarded(main)
