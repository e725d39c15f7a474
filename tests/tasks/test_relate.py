"""Relations keep their direction."""

import pytest

from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.tasks.relate import Relate, mark


@pytest.mark.parametrize(
    "head, tail, wanted",
    [((0, 3), (8, 11), "@ cat @ and # dog #"), ((8, 11), (0, 3), "# cat # and @ dog @")],
)
def test_the_direction_of_a_relation_is_in_the_marks(head, tail, wanted):
    spans = [dict(zip(("start", "end"), span, strict=True)) for span in (head, tail)]
    assert mark("cat and dog", *spans) == wanted
    assert mark("cat and dog", {"start": 0, "end": 3}, {"start": 2, "end": 5}) is None


def test_relations_of_entities_keep_their_direction():
    entities = [{"start": 0, "end": 3, "label": "x"}, {"start": 8, "end": 11, "label": "y"}]
    relations = [{"head": 1, "tail": 0, "label": "bites"}, {"head": 0, "tail": 1, "label": "sees"}]
    table = Table([{"text": "cat and dog", "entities": entities, "relations": relations}], "x", [7])
    rows = Relate(columns={"label": "relation"}).read(table)
    assert [row["label"] for row in rows.rows] == ["bites(e2,e1)", "sees(e1,e2)"]
    assert rows.where(1) == "x:7"


def test_relations_of_texts_that_differ_in_blanks_are_of_one_text():
    texts = [f"Ann of town {i}{blank}left" for i in range(40) for blank in (" ", "  ")]
    rows = [
        {"text": text, "head": [0, 3], "tail": [7, 11], "label": "ab"[i // 2 % 2]}
        for i, text in enumerate(texts)
    ]
    splits, _ = Relate().prepare(Splits(Table(rows, "rows")), seed=1)
    train, validation = (
        {" ".join(row["plain"].split()) for row in part.rows} for _, part in splits.items()
    )
    assert validation
    assert not train & validation
