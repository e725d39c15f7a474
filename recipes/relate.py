"""Train an adapter to classify the relation between two marked entities, with its direction.

    # relations of the embedded corpus, such as what costs what
    python recipes/relate.py

    # the blocks of SemEval-2010 task 8
    python recipes/relate.py --train_file TRAIN_FILE.TXT --test_file TEST_FILE_FULL.TXT

    # {"text", "head": {"start", "end"}, "tail": ..., "label"}
    python recipes/relate.py --train_file rows.jsonl

The model reads `@ head @` and `# tail #` in the text. Labels such as Cause-Effect(e1,e2) and
Cause-Effect(e2,e1) are different. f1_semeval is the official score: both directions are one
relation, which is only correct in the right direction.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Train, evaluate and report a relation adapter."""
    recipe("relate", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
