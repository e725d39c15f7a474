"""Encoded rows in memory are the rows of their table."""

from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.data.encoded import Encoded


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-9, 9), max_size=5), min_size=2, max_size=9), st.data())
def test_rows_in_memory_are_the_rows(lists, data):
    more = {
        "score": [0.5 * i for i in range(len(lists))],
        "name": [None, *"abcdefgh"[: len(lists) - 1]],
        "_owner": lists,
    }
    rows = Dataset.from_dict({"ids": lists, "flags": [[True] * len(one) for one in lists], **more})
    rows = rows.select(data.draw(st.permutations(range(len(lists)))))
    kept = Encoded.of(rows)
    assert isinstance(kept, Encoded)
    assert len(kept) == len(rows)
    found = [kept[i] | {"ids": list(kept[i]["ids"])} for i in range(len(rows))]
    assert found == rows.remove_columns("_owner").to_list()
    assert list(kept["score"]) == list(rows["score"])


def test_large_tables_stay_where_they_are(monkeypatch):
    import adaptkit.data.encoded

    rows = Dataset.from_dict({"ids": [[1, 2], [3]]})
    monkeypatch.setattr(adaptkit.data.encoded, "MOST_BYTES", 30)
    assert Encoded.of(rows) is rows
    assert isinstance(Encoded.of(rows.select([0])), Encoded)
    assert Encoded.of(few := rows.select([0] * 9)) is few


def test_what_is_more_than_a_table_stays_as_it_is():
    rows = Dataset.from_dict({"ids": [[1, 2], [3]], "more": [1, 2]})
    changed = rows.with_transform(lambda batch: {"ids": [[7]] * len(batch["ids"])})
    for other in (
        changed,
        rows.with_format("torch"),
        rows.with_format(columns=["ids"]),
        [{"ids": [1]}],
        Encoded(rows),
    ):
        assert Encoded.of(other) is other
