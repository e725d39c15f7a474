"""Train an adapter that finds entities: persons, products, dates.

    python recipes/tag.py                                               entities of the embedded corpus
    python recipes/tag.py --train_file train.conll --test_file test.conll     a word and its tag a line, BIO, BIOES or BMES
    python recipes/tag.py --train_file train.jsonl                      {"text": ..., "entities": [{"start", "end", "label"}]}
    python recipes/tag.py --train_file cluener.jsonl                    {"text": ..., "label": {type: {surface: [[0, 2]]}}}
    python recipes/tag.py --dataset_name conll2003 --tokens_column tokens --tags_column ner_tags

Texts that are too long are read in windows and scored whole. An entity is right when both its ends
and its type are; per_label.tsv has the scores of each type.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Learn to tag."""
    recipe("tag", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
