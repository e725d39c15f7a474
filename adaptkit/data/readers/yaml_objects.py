"""YAML lists of objects. Every value is a text: `no` is a label like another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptkit.data.readers.objects import shape_of
from adaptkit.data.readers.parse_json import DEEPEST
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, quoted

if TYPE_CHECKING:
    from adaptkit.data.readers.file import File
    from adaptkit.data.readers.options import Reading


def read_yaml(file: File, reading: Reading) -> Table:
    """Rows from a list of objects.

    Raises:
        AdaptkitError: it is no YAML, no list of objects, nested deeply, or has anchors, which may
            unfold to gigabytes.
    """
    import yaml

    loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        _check_events(file, yaml, loader)
        content = yaml.load(file.text, loader)
    except (yaml.YAMLError, ValueError) as problem:
        mark = getattr(problem, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        raise AdaptkitError(
            f"{file}{place}: not valid YAML: {quoted(getattr(problem, 'problem', str(problem)))}"
        ) from None
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise AdaptkitError(
            f"{file}: expected a list of objects, as in `- text: ...`; it is {shape_of(content)}."
        )
    return Table(content, str(file))


def _check_events(file: File, yaml: Any, loader: Any) -> None:
    """Refuse what is nested deeply or repeated before anything is built."""
    depth = 0
    for event in yaml.parse(file.text, loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise AdaptkitError(f"{file} repeats parts by anchors (&, *): write them out.")
        if depth > DEEPEST:
            raise AdaptkitError(f"{file}: lists or objects are nested more than {DEEPEST} deep.")
