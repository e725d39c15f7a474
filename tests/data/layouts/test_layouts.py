"""Each layout is read right, or refused with a message that says what to do."""

import re

import pytest

from adaptkit import AdaptkitError
from tests.data.layouts import entities, objects, tables
from tests.data.layouts.layout import Layout, checked

LAYOUTS = [*tables.LAYOUTS, *objects.LAYOUTS, *entities.LAYOUTS]
READ = [layout for layout in LAYOUTS if layout.rows is not None]
REFUSED = [layout for layout in LAYOUTS if layout.rows is None]


def _named(layouts):
    return [pytest.param(layout, id=layout.name) for layout in layouts]


@pytest.mark.parametrize("layout", _named(READ))
def test_a_layout_is_read_right(tmp_path, layout: Layout):
    prepared = checked(layout, layout.write(tmp_path))
    found = prepared.splits.train.rows
    if layout.rows:
        assert [
            {key: row.get(key) for key in expected}
            for expected, row in zip(layout.rows, found, strict=True)
        ] == layout.rows
    notes = "\n".join(prepared.splits.notes)
    assert layout.note is None or re.search(layout.note, notes), notes


@pytest.mark.parametrize("layout", _named(REFUSED))
def test_a_layout_is_refused_with_what_to_do(tmp_path, layout: Layout):
    path = layout.write(tmp_path)
    with pytest.raises(AdaptkitError) as refused:
        checked(layout, path)
    message = str(refused.value)
    assert all(re.search(pattern, message) for pattern in layout.message), message
    assert str(path) in message or "--encoding" in message
    assert len(message) < 900
    assert message.count("\n") < 10


def test_the_layouts_are_many_and_differ():
    for layout in LAYOUTS:
        print(f"{'read' if layout.rows is not None else 'refused':8} {layout.task:9} {layout.name}")
    print(f"{len(LAYOUTS)} layouts: {len(READ)} are read, {len(REFUSED)} are refused")
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS) >= 40
