"""Train an adapter that names the relation between two marked entities of a text, and which way it goes.

    python recipes/relate.py                                            what costs what in the embedded corpus
    python recipes/relate.py --train_file TRAIN_FILE.TXT --test_file TEST_FILE_FULL.TXT        the blocks of SemEval-2010 task 8
    python recipes/relate.py --train_file rows.jsonl                    {"text", "head": {"start", "end"}, "tail": ..., "label"}

The model reads `@ head @` and `# tail #` in the text. Labels such as Cause-Effect(e1,e2) and Cause-Effect(e2,e1) are different;
f1_semeval is the official score: both directions are one relation, which is right only in the right direction.
"""

from dataclasses import dataclass

from adaptkit.arguments import RecipeArguments, flag
from adaptkit.entry import recipe
from adaptkit.errors import guarded


@dataclass
class RelateArguments(RecipeArguments):
    """Where the entities are, and what is between them."""

    text_column: str | None = flag(None, "column of the text (default: text)")
    head_column: str | None = flag(None, "column of the first entity: a span or its text (default: head)")
    tail_column: str | None = flag(None, "column of the second entity (default: tail)")
    label_column: str | None = flag(None, "column of the relation (default: label)")
    no_relation: str = flag("Other", "the label that f1_semeval leaves out")
    class_weights: bool = flag(False, "count rare relations as much as frequent ones")


def main(argv: list[str] | None = None) -> None:
    """Learn relations."""
    recipe("relate", RelateArguments, argv, __doc__)


if __name__ == "__main__":
    guarded(main)
