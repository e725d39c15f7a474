"""Train an adapter that finds entities: persons, products, dates.

    python recipes/tag.py                                               entities of the embedded corpus
    python recipes/tag.py --train_file train.conll --test_file test.conll     a word and its tag a line, BIO, BIOES or BMES
    python recipes/tag.py --train_file train.jsonl                      {"text": ..., "entities": [{"start", "end", "label"}]}
    python recipes/tag.py --train_file cluener.jsonl                    {"text": ..., "label": {type: {surface: [[0, 2]]}}}
    python recipes/tag.py --dataset_name conll2003 --tokens_column tokens --tags_column ner_tags

Texts that are too long are read in windows and scored whole. An entity is right when both its ends and its type are; per_label.tsv
has the scores of each type.
"""

from dataclasses import dataclass

from adaptkit.arguments import RecipeArguments, flag
from adaptkit.entry import recipe
from adaptkit.errors import guarded


@dataclass
class TagArguments(RecipeArguments):
    """Where texts and entities are."""

    text_column: str | None = flag(None, "column of the text, where entities are spans of characters (default: text)")
    entities_column: str | None = flag(None, "column of the entities (default: entities)")
    tokens_column: str | None = flag(None, "column of the words, where each has a tag (default: tokens)")
    tags_column: str | None = flag(None, "column of their tags (default: tags)")
    tag_column: int | None = flag(None, "in CoNLL files: which column holds the tags, 1 being the first (default: detected)")
    span_end: str | None = flag(None, "ends of spans: exclusive or inclusive (default: detected where the data tell)")
    doc_stride: int = flag(32, "tokens that two windows of a long text share")


def main(argv: list[str] | None = None) -> None:
    """Learn to tag."""
    recipe("tag", TagArguments, argv, __doc__)


if __name__ == "__main__":
    guarded(main)
