"""Train an adapter to find entities: persons, products, dates.

    # entities of the embedded corpus
    python recipes/tag.py

    # a word and its tag per line, BIO, BIOES or BMES
    python recipes/tag.py --train_file train.conll --test_file test.conll

    # {"text": ..., "entities": [{"start", "end", "label"}]}
    python recipes/tag.py --train_file train.jsonl

    # {"text": ..., "label": {type: {surface: [[0, 2]]}}}
    python recipes/tag.py --train_file cluener.jsonl

    python recipes/tag.py --dataset_name conll2003 --tokens_column tokens --tags_column ner_tags

Long texts are read in windows and scored whole. An entity is correct if both its ends and its type
are; per_label.tsv has the scores per type.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Train, evaluate and report a tagging adapter."""
    recipe("tag", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
