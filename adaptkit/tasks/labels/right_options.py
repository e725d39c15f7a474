"""Which option of each row is right, decided once a file: all labels are texts, names or numbers.

A text may be a number itself, as in sums: of the options 8, 4, 1 and 0 is 1 the third, or the
second? A row by itself cannot tell, so all rows of a file are read in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, nearest, quoted
from adaptkit.tasks.labels.options import Options, raw_options


@dataclass(frozen=True)
class _Label:
    """The label of a row that has options, and which of them it is, if read in each way.

    named: the options have names. whole: the label is an integer, and no option is.
    """

    index: int
    label: str
    options: list[str]
    named: bool
    whole: bool
    text: str | None
    name: str | None
    number: str | None


def right_options(
    table: Table,
    column: str,
    options: Sequence[Options | None],
    first: int,
    listed: str | None = None,
    columns: Sequence[str] | None = None,
) -> list[str]:
    """The text of each row's right option, whose text, name or number a column holds.

    Labels of options with names are names, if each is one. All others are texts, if each is one of
    its row. If some are none, those that are numbers are numbers.

    Args:
        options: from `read_options`; None: the row has none of its own, and the column holds the
            text.
        first: the number of the first option.
        listed, columns: where they were read; an empty column is counted, too.

    Raises:
        AdaptkitError: a label is missing or is none of the options (names the closest), or all
            are texts and numbers of other options (says how to tell).
    """
    found = [_written(table, index, column) for index in range(len(table))]
    labels = []
    for index, own in enumerate(options):
        if own is not None:
            row = table.rows[index]
            typed = any(isinstance(one, int) for one in raw_options(row, listed, columns))
            whole = isinstance(row[column], int) and not typed
            labels.append(_read(index, found[index], whole, own, list(columns or own), first))
    for one in labels:
        if one.text is None and one.name is None and one.number is None:
            raise _none_of_them(table, one, first)
    if all(one.name is not None for one in labels if one.named):
        for one in labels:
            found[one.index] = one.name or found[one.index]
        labels = [one for one in labels if not one.named]
    counted = _are_numbers(table, labels, first)
    for one in labels:
        number = counted and one.label.isdecimal()
        text = one.number if number else one.text or one.name
        if text is None:
            raise _none_of_them(table, one, first)
        found[one.index] = text
    return found


def _written(table: Table, index: int, column: str) -> str:
    value = table.rows[index].get(column)
    label = "" if value is None or isinstance(value, bool | list | dict) else str(value).strip()
    if not label:
        raise table.bad(index, f"the label {quoted(value)} is no option.")
    return label


def _read(
    index: int, label: str, whole: bool, options: Options, names: list[str], first: int
) -> _Label:
    place = int(label) - first if label.isdecimal() else -1
    numbered = names == [str(number) for number in range(len(names))]
    return _Label(
        index,
        label,
        list(options.values()),
        named=not numbered,
        whole=whole,
        text=label if label in options.values() else None,
        name=None if numbered else options.get(label),
        number=options.get(names[place]) if 0 <= place < len(names) else None,
    )


def _are_numbers(table: Table, labels: list[_Label], first: int) -> bool:
    """Whether labels that could be numbers are.

    Raises:
        AdaptkitError: nothing tells.
    """
    if any(one.text is None for one in labels):
        return True
    if any(one.number is None for one in labels):
        return False
    other = next((one for one in labels if one.text != one.number), None)
    if other is None or first or all(one.whole for one in labels):
        return other is not None
    raise table.bad(
        other.index,
        f"the label {quoted(other.label)} is an option's text and the number of another, "
        f"{quoted(other.number)}, and so it is in all rows. If labels are numbers, write them as "
        "integers and options as texts in a .jsonl file, or give --first_option 1 if they count "
        "from 1. If they are texts, give the options names ({name: text}), and name the right one.",
    )


def _none_of_them(table: Table, one: _Label, first: int) -> AdaptkitError:
    close = nearest(one.label, one.options)
    hint = f" Did you mean {quoted(close)}?" if close else ""
    if one.label.isdecimal() and one.text is not None:
        hint = " It is a text, but labels of other rows are numbers; write all in the same way."
    elif one.label.isdecimal():
        hint = f" Are they counted from 1? Then give --first_option {1 - first}."
    count = len(one.options)
    return table.bad(
        one.index, f"the label {quoted(one.label)} is none of its {count} options.{hint}"
    )
