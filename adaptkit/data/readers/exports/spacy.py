"""spaCy's training data in JSON: tuples of version 3, documents of version 2.

Also the JSON of annotators that write spaCy's tuples under `annotations`.
"""

from __future__ import annotations

from typing import Any

from adaptkit.errors import AdaptkitError, quoted


def wrote(content: Any) -> bool:
    """True for [["text", {"entities": ...}]], {"annotations": [...]} and documents of version 2."""
    rows = _tuples(content)
    return bool(rows) and (_is_tuple(rows[0]) or _is_document(rows[0]))


def objects(content: Any) -> list[dict[str, Any]]:
    """Rows of `text` with `entities` or `label`, or of `tokens` and `tags`."""
    rows = _tuples(content)
    if _is_document(rows[0]):
        return [row for document in rows for row in _sentences(document)]
    return [_from_tuple(row, number) for number, row in enumerate(rows)]


def _tuples(content: Any) -> list[Any]:
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        content = content["annotations"]
    rows = content if isinstance(content, list) else []
    return [row for row in rows if row is not None]  # annotators write null for what was skipped


def _is_tuple(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 2
        and isinstance(row[0], str)
        and isinstance(row[1], dict)
        and bool({"entities", "cats"} & row[1].keys())
    )


def _is_document(row: Any) -> bool:
    paragraphs = row.get("paragraphs") if isinstance(row, dict) else None
    first = paragraphs[0] if isinstance(paragraphs, list) and paragraphs else None
    return isinstance(first, dict) and "sentences" in first


def _from_tuple(row: Any, number: int) -> dict[str, Any]:
    if not _is_tuple(row):
        raise AdaptkitError(
            f'row {number}: expected ["text", {{"entities": [[0, 5, "LABEL"]]}}], as spaCy has it; '
            f"it is {quoted(row)}."
        )
    text, about = row
    found: dict[str, Any] = {"text": text}
    if "entities" in about:
        found["entities"] = about["entities"]
    if "cats" in about:
        labels = [name for name, value in about["cats"].items() if float(value) >= 0.5]
        found["label"] = labels[0] if len(labels) == 1 else labels
    return found


def _sentences(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The sentences of a document of version 2, whose tags are of BILUO."""
    try:
        return [
            {
                "tokens": [token["orth"] for token in sentence["tokens"]],
                "tags": [token["ner"] for token in sentence["tokens"]],
            }
            for paragraph in document["paragraphs"]
            for sentence in paragraph["sentences"]
        ]
    except (KeyError, TypeError) as problem:
        raise AdaptkitError(
            f"not as spaCy 2 writes documents with entities: {type(problem).__name__} {problem}."
        ) from None
