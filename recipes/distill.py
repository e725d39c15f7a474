"""Put what a model knows into a smaller one: the student learns the teacher's answers and the labels.

    python recipes/distill.py --teacher runs/classify --student_layers 2                two of the teacher's layers, all weights
    python recipes/distill.py --teacher runs/reviews --train_file reviews.csv --student bilstm --unlabelled_file more.txt
    python recipes/distill.py --teacher runs/reviews --train_file reviews.csv --model_name_or_path distilbert-base-uncased
    python recipes/distill.py --teacher runs/tag --student_layers 2                     entities: what the teacher says of each word
    python recipes/distill.py --teacher runs/chat --train_file talks.jsonl --student_layers 8     which tokens it expects next
    python recipes/distill.py --teacher runs/translate --train_file train.en --source_lang en --target_lang de --student_layers 6 \\
        --student_decoder_layers 2                                                      the decoder runs once a token
    python recipes/distill.py --teacher runs/old/teacher_logits.safetensors --teacher_base all-MiniLM-L6-v2 --student cnn
    adaptkit train distill ...                                                          the same, once installed

The teacher is a folder of recipes/classify.py, tag.py, translate.py, summarize.py, chat.py or (next tokens) pretrain.py; the
student learns the same task, with that recipe's flags for the rows (adaptkit train tag --help). The teacher runs once; the logits
of labels are kept in teacher_logits.safetensors. A student of labels may be of any architecture and have any tokenizer, one that
writes has the teacher's tokenizer. --method full (the default) trains all its weights, an adapter's method only that. The result
answers like every other: `adaptkit predict`, `evaluate`, `adaptkit.pipeline`.
"""

from dataclasses import dataclass

from adaptkit.recipes.chat import ChatArguments
from adaptkit.recipes.classify import ClassifyArguments
from adaptkit.recipes.pretrain import PretrainArguments
from adaptkit.recipes.summarize import SummarizeArguments
from adaptkit.recipes.tag import TagArguments
from adaptkit.recipes.translate import TranslateArguments

from adaptkit.arguments import RecipeArguments, flag, peek
from adaptkit.entry import recipe
from adaptkit.errors import guarded


@dataclass
class StudentArguments(RecipeArguments):
    """Who teaches whom."""

    model_name_or_path: str | None = flag(None, "student: a pretrained model, a folder or a name on the Hub")
    method: str = flag("full", "what of the student trains: full, all weights; or an adapter's method")
    output_dir: str | None = flag("runs/distill", "where the student and its reports go")
    teacher: str | None = flag(None, "folder of an adapter or a model that classifies, tags or writes, or a file of its logits")
    teacher_base: str | None = flag(None, "model whose layers or tokenizer the student takes (default: the teacher's base)")
    student: str | None = flag(None, "student: a small network from random weights, bilstm or (texts alone) cnn")
    student_layers: int = flag(0, "student: so many layers of the teacher's base")
    student_decoder_layers: int = flag(0, "and so many of its decoder, behind an encoder (default: as many, if it has them)")
    layer_map: str = flag("every", "which of them: every (spread evenly), first, last, or their numbers, as in 0,2,5")
    temperature: float = flag(2.0, "divides the logits of both, so that what is unlikely counts more")
    hard_label_share: float = flag(0.1, "share of the labels in the loss; the rest is the teacher's")
    hidden_state_weight: float = flag(0.0, "strength of the pull of each layer's hidden states to the teacher's; 0: none")
    attention_map_weight: float = flag(0.0, "strength of the pull of each head to where the teacher's head looks; 0: none")
    unlabelled_file: str | None = flag(None, "more texts, which the teacher alone judges")

    def default_rate(self) -> float:
        from adaptkit.transfer.student_run import RATES

        return super().default_rate() if self.model_name_or_path else RATES["layers" if self.student_layers else "small"]


@dataclass
class StudentOfTexts(StudentArguments, ClassifyArguments):
    """A student of labels of texts."""


@dataclass
class StudentOfWords(StudentArguments, TagArguments):
    """A student of tags."""


@dataclass
class StudentOfTalk(StudentArguments, ChatArguments):
    """A student of answers."""


@dataclass
class StudentOfTranslations(StudentArguments, TranslateArguments):
    """A student that translates."""


@dataclass
class StudentOfSummaries(StudentArguments, SummarizeArguments):
    """A student that sums up."""


@dataclass
class StudentOfLanguage(StudentArguments, PretrainArguments):
    """A student of plain text."""

    def __post_init__(self) -> None:
        self.objective = self.objective or "clm"


STUDENTS = {
    "classify": StudentOfTexts,
    "tag": StudentOfWords,
    "chat": StudentOfTalk,
    "translate": StudentOfTranslations,
    "summarize": StudentOfSummaries,
    "pretrain": StudentOfLanguage,
}


def main(argv: list[str] | None = None) -> None:
    """Let the teacher speak, train the student, evaluate, save, report."""
    task = "classify"
    if teacher := peek("teacher", argv):
        from adaptkit.transfer.distill import taught_by

        task = taught_by(teacher)

    def prepare(run):
        from adaptkit.transfer.student_run import prepare

        prepare(run)

    recipe(task, STUDENTS[task], argv, __doc__, prepare)


if __name__ == "__main__":
    guarded(main)
