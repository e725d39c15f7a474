"""Train an adapter that names the relation between two marked entities of a text, and which way it
goes.

    python recipes/relate.py                                            what costs what in the embedded corpus
    python recipes/relate.py --train_file TRAIN_FILE.TXT --test_file TEST_FILE_FULL.TXT        the blocks of SemEval-2010 task 8
    python recipes/relate.py --train_file rows.jsonl                    {"text", "head": {"start", "end"}, "tail": ..., "label"}

The model reads `@ head @` and `# tail #` in the text. Labels such as Cause-Effect(e1,e2) and
Cause-Effect(e2,e1) are different;
f1_semeval is the official score: both directions are one relation, which is right only in the right
direction.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Learn relations."""
    recipe("relate", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
