"""Put what a model knows into a smaller one: the student learns the teacher's answers and the
labels.

    python recipes/distill.py --teacher runs/classify --student_layers 2                two of the teacher's layers, all weights
    python recipes/distill.py --teacher runs/reviews --train_file reviews.csv --student bilstm
    --unlabelled_file more.txt python recipes/distill.py --teacher runs/reviews --train_file
    reviews.csv --model_name_or_path distilbert-base-uncased
    python recipes/distill.py --teacher runs/tag --student_layers 2                     entities: what the teacher says of each word
    python recipes/distill.py --teacher runs/chat --train_file talks.jsonl --student_layers 8     which tokens it expects next
    python recipes/distill.py --teacher runs/translate --train_file train.en --source_lang en
    --target_lang de --student_layers 6 \\
        --student_decoder_layers 2                                                      the decoder runs once a token
    python recipes/distill.py --teacher runs/old/teacher_logits.safetensors --teacher_base
    all-MiniLM-L6-v2 --student cnn
    adaptkit train distill ...                                                          the same, once installed

The teacher is a folder of recipes/classify.py, tag.py, translate.py, summarize.py, chat.py or (next
tokens) pretrain.py; the student learns the same task, with that recipe's flags for the rows
(adaptkit train tag --help). The teacher runs once; the logits of labels are kept in
teacher_logits.safetensors. A student of labels may be of any architecture and have any tokenizer,
one that writes has the teacher's tokenizer. --method full (the default) trains all its weights, an
adapter's method only that. The result
answers like every other: `adaptkit predict`, `evaluate`, `adaptkit.pipeline`.
"""

from typing import TYPE_CHECKING

from adaptkit.recipe.arguments import StudentArguments
from adaptkit.recipe.main import recipe
from adaptkit.recipe.parser import peek
from adaptkit.utils.terminal import guarded

if TYPE_CHECKING:
    from adaptkit.recipe.steps import Prepared


def main(argv: list[str] | None = None) -> None:
    """Run the teacher, train the student, evaluate, save, report."""
    recipe(_task_of(peek("teacher", argv)), argv, __doc__, StudentArguments, _make_student)


def _task_of(teacher: str | None) -> str:
    """The task that a teacher teaches; whose flags are shown where there is none."""
    if not teacher:
        return "classify"
    from adaptkit.distillation.distill import taught_by

    return taught_by(teacher)


def _make_student(prepared: "Prepared") -> "Prepared":
    from adaptkit.recipe.distill import make_student

    return make_student(prepared)


if __name__ == "__main__":
    guarded(main)
