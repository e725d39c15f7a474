"""Which tool wrote this? Tried in order on what a JSON file holds."""

from __future__ import annotations

from typing import Any

from adaptkit.data.readers.exports import doccano, label_studio, prodigy, spacy
from adaptkit.data.tables import Table

_TOOLS = (label_studio, prodigy, doccano)


def objects_of(content: Any) -> Any:
    """The content of a JSON file whose rows are no objects, as a list of objects; else as it is."""
    return spacy.objects(content) if spacy.wrote(content) else content


def rows_of(table: Table, labelled: bool) -> Table:
    """The rows of an annotation tool's export in our form, with a note; others as they are.

    Without `labelled`, rows that nobody annotated or accepted are kept: they are to be answered.
    """
    tool = next((tool for tool in _TOOLS if table.rows and tool.wrote(table.rows[0])), None)
    return table if tool is None else tool.convert(table, labelled)
