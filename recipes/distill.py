"""Put what a classifier knows into a smaller one: the student learns the teacher's answers and the labels.

    python recipes/distill.py --teacher runs/classify --student_layers 2                two of the teacher's layers, all weights
    python recipes/distill.py --teacher runs/reviews --train_file reviews.csv --student bilstm --unlabelled_file more.txt
    python recipes/distill.py --teacher runs/reviews --train_file reviews.csv --model_name_or_path distilbert-base-uncased
    python recipes/distill.py --teacher runs/old/teacher_logits.safetensors --teacher_base all-MiniLM-L6-v2 --student cnn
    adaptkit train distill ...                                                          the same, once installed

The teacher is any folder that `adaptkit predict` answers from. It runs once; its logits are kept in teacher_logits.safetensors.
The student may be of any architecture and have any tokenizer; --method full (the default) trains all its weights, an adapter's
method only that. The result answers like every other: `adaptkit predict`, `evaluate`, `adaptkit.pipeline`.
"""

from dataclasses import dataclass

from adaptkit.recipes.classify import ClassifyArguments

from adaptkit.arguments import flag
from adaptkit.entry import recipe
from adaptkit.errors import guarded


@dataclass
class DistillArguments(ClassifyArguments):
    """The flags of this recipe."""

    model_name_or_path: str | None = flag(None, "student: a pretrained model, a folder or a name on the Hub")
    method: str = flag("full", "what of the student trains: full, all weights; or an adapter's method")
    teacher: str | None = flag(None, "folder of an adapter or a model of recipes/classify.py, or a file of its logits")
    teacher_base: str | None = flag(None, "model whose layers or tokenizer the student takes (default: the teacher's base)")
    student: str | None = flag(None, "student: a small network from random weights, bilstm or cnn")
    student_layers: int = flag(0, "student: so many layers of the teacher's base")
    layer_map: str = flag("every", "which of them: every (spread evenly), first, last, or their numbers, as in 0,2,5")
    temperature: float = flag(2.0, "divides the logits of both, so that what is unlikely counts more")
    hard_label_share: float = flag(0.1, "share of the labels in the loss; the rest is the teacher's")
    unlabelled_file: str | None = flag(None, "more texts, which the teacher alone judges")

    def default_rate(self) -> float:
        from adaptkit.transfer.student_run import RATES

        return super().default_rate() if self.model_name_or_path else RATES["layers" if self.student_layers else "small"]


def main(argv: list[str] | None = None) -> None:
    """Let the teacher speak, train the student, evaluate, save, report."""

    def prepare(run):
        from adaptkit.transfer.student_run import prepare

        prepare(run)

    recipe("classify", DistillArguments, argv, __doc__, prepare)


if __name__ == "__main__":
    guarded(main)
