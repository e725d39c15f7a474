"""Distill a model into a smaller one: the student learns from the teacher's answers and the labels.

    # two of the teacher's layers, all weights
    python recipes/distill.py --teacher runs/classify --student_layers 2

    python recipes/distill.py --teacher runs/reviews --train_file reviews.csv \\
        --student bilstm --unlabelled_file more.txt

    python recipes/distill.py --teacher runs/reviews --train_file reviews.csv \\
        --model_name_or_path distilbert-base-uncased

    # entities: the teacher's predictions for each word
    python recipes/distill.py --teacher runs/tag --student_layers 2

    # next tokens
    python recipes/distill.py --teacher runs/chat --train_file talks.jsonl --student_layers 8

    # the decoder runs once per token
    python recipes/distill.py --teacher runs/translate --train_file train.en \\
        --source_lang en --target_lang de --student_layers 6 --student_decoder_layers 2

    python recipes/distill.py --teacher runs/old/teacher_logits.safetensors \\
        --teacher_base all-MiniLM-L6-v2 --student cnn

    # the same, once installed
    adaptkit train distill ...

The teacher is a folder of recipes/classify.py, tag.py, translate.py, summarize.py, chat.py or (next
tokens) pretrain.py. The student learns the same task, with that recipe's flags for the rows
(adaptkit train tag --help). The teacher runs once; logits of labels are stored in
teacher_logits.safetensors. A student of labels may have any architecture and tokenizer; one that
generates has the teacher's tokenizer. --method full (the default) trains all its weights, an
adapter method only the adapter. The result answers like any other: `adaptkit predict`, `evaluate`,
`adaptkit.pipeline`.
"""

from typing import TYPE_CHECKING

from adaptkit.recipe.arguments import StudentArguments
from adaptkit.recipe.main import recipe
from adaptkit.recipe.parser import peek
from adaptkit.utils.terminal import guarded

if TYPE_CHECKING:
    from adaptkit.recipe.steps import Prepared


def main(argv: list[str] | None = None) -> None:
    """Run the teacher, train the student, evaluate, save and report."""
    recipe(_task_of(peek("teacher", argv)), argv, __doc__, StudentArguments, _make_student)


def _task_of(teacher: str | None) -> str:
    """The teacher's task, or `classify` without a teacher, so that `--help` shows its flags."""
    if not teacher:
        return "classify"
    from adaptkit.distillation.teacher import taught_by

    return taught_by(teacher)


def _make_student(prepared: "Prepared") -> "Prepared":
    from adaptkit.recipe.distill import make_student

    return make_student(prepared)


if __name__ == "__main__":
    guarded(main)
