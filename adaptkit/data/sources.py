"""Load splits from files, the Hub, a DatasetDict or the embedded corpus.

`adaptkit.data.readers` reads the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adaptkit.data.readers import objects
from adaptkit.data.readers.detect import detect
from adaptkit.data.readers.file import File
from adaptkit.data.readers.options import Reading
from adaptkit.data.readers.read import read as read_table
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError

__all__ = ["EMBEDDED", "from_datasets", "load_splits", "read_table"]

EMBEDDED = "embedded"
MOST_STREAMED = 1_000_000  # rows of a dataset that does not say how many it has


def load_splits(
    train_file: str | None = None,
    validation_file: str | None = None,
    test_file: str | None = None,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    reading: Reading = Reading(),
) -> Splits:
    """Load the splits that a recipe's flags name, or the embedded corpus by default.

    Raises:
        AdaptkitError: a file is missing, a row is bad, or flags contradict each other.
    """
    if train_file and dataset_name:
        raise AdaptkitError("give --train_file or --dataset_name, not both.")
    if train_file:
        return _from_files(train_file, validation_file, test_file, reading)
    if validation_file or (test_file and not dataset_name):
        raise AdaptkitError("--validation_file and --test_file go with --train_file.")
    if dataset_name in (None, EMBEDDED):
        return _embedded()
    splits = from_datasets(_from_hub(dataset_name, dataset_config_name), dataset_name)
    if test_file:
        splits.test = read_table(test_file, reading)
    return splits


def from_datasets(dataset: Any, name: str = "dataset") -> Splits:
    """Splits of a `datasets.DatasetDict`, or of one `Dataset`, used as training data.

    Streams (`IterableDataset`) are read to their end.

    Raises:
        AdaptkitError: there is no training split, or a stream has more rows than are read.
    """
    parts = dataset if isinstance(dataset, dict) else {"train": dataset}
    if "train" not in parts:
        raise AdaptkitError(
            f"{name} has the splits {', '.join(parts)} and no 'train'; give the files or rename "
            "the split."
        )
    validation = next((part for part in objects.SPLIT_KEYS["validation"] if part in parts), None)
    wanted = [part for part in ("train", validation, "test") if part in parts]
    read = {part: _from_dataset(parts[part], f"{name}[{part}]") for part in wanted}
    unlabelled = {
        part: found
        for part in wanted
        if part != "train" and (found := _unlabelled(parts[part], read[part]))
    }
    tables = {part: table for part, table in read.items() if part not in unlabelled}
    notes = [
        f"{name}[{part}] is left out: {column} is -1 in every row, so its labels are not told"
        for part, column in unlabelled.items()
    ]
    return Splits(tables["train"], tables.get(validation or ""), tables.get("test"), notes)


def _from_files(
    train_file: str, validation_file: str | None, test_file: str | None, reading: Reading
) -> Splits:
    """Read each split from its file, or from the training file if that holds several splits."""
    notes = []
    path = Path(train_file)
    file = File(path, reading.encoding)
    if path.is_file() and ".json" in path.name.lower() and _is_json(file, reading):
        keys, others = objects.parts_of(file)
        if "train" in keys:
            train_file = f"{path}#{keys['train']}"
            validation_file = validation_file or (
                f"{path}#{keys['validation']}" if "validation" in keys else None
            )
            test_file = test_file or (f"{path}#{keys['test']}" if "test" in keys else None)
            notes.append(f"{path.name} holds the splits {', '.join(keys.values())}")
            if others:
                notes[-1] += (
                    f"; left out: {', '.join(others)} (take them in with --train_file "
                    f"{path.name}#{keys['train']}+{others[0]})"
                )
    train, validation, test = (
        read_table(file, reading) if file else None
        for file in (train_file, validation_file, test_file)
    )
    if train is None:
        raise AdaptkitError("--train_file is empty.")
    shared_notes = [note for table in (train, validation, test) if table for note in table.notes]
    return Splits(train, validation, test, [*notes, *dict.fromkeys(shared_notes)])


def _is_json(file: File, reading: Reading) -> bool:
    """True if one JSON text fills the file, which may hold several splits."""
    return (reading.format or detect(file, reading)) == "json"


def _embedded() -> Splits:
    from adaptkit.data.corpus import load_corpus

    tables = {
        split: Table(load_corpus(split), f"{EMBEDDED}[{split}]")
        for split in ("train", "validation", "test")
    }
    note = "no data given: using the embedded corpus of customer messages"
    return Splits(tables["train"], tables["validation"], tables["test"], [note])


def _from_hub(name: str, config: str | None) -> Any:
    import datasets

    try:
        return datasets.load_dataset(name, config)
    except Exception as problem:  # datasets raises its own, requests' and fsspec's errors
        raise AdaptkitError(f"cannot load the dataset {name!r}: {problem}") from problem


def _from_dataset(dataset: Any, source: str) -> Table:
    """Rows of a `datasets.Dataset`, with class indices replaced by their names, also in lists.

    A stream may not know its features; its numbers stay numbers then.
    """
    names = {key: found for key, feature in _features(dataset) if (found := _class_names(feature))}
    rows: list[dict[str, Any]] = []
    for row in dataset:
        if len(rows) == MOST_STREAMED and not hasattr(dataset, "__len__"):
            raise AdaptkitError(
                f"{source} is a stream of more than {MOST_STREAMED:,} rows, and all rows are held "
                f"in memory: take as many as you need, as with dataset.take({MOST_STREAMED // 10})."
            )
        rows.append({**row, **{key: _named(row[key], known) for key, known in names.items()}})
    return Table(rows, source)


def _features(dataset: Any) -> list[tuple[str, Any]]:
    return list((dataset.features or {}).items())


def _unlabelled(dataset: Any, table: Table) -> str | None:
    """The label or score column if it is -1 in every row, as in benchmarks with hidden labels.

    The index -1 of a class has no name and is None in the table.
    """
    classes = [key for key, feature in _features(dataset) if _class_names(feature)]
    numbers = [
        key for key, feature in _features(dataset) if "float" in str(getattr(feature, "dtype", ""))
    ]
    hidden = [(key, None) for key in classes] + [(key, -1) for key in numbers]
    return next(
        (key for key, value in hidden if len(table) and all(r[key] == value for r in table.rows)),
        None,
    )


def _class_names(feature: Any) -> list[str] | None:
    return getattr(feature, "names", None) or getattr(
        getattr(feature, "feature", None), "names", None
    )


def _named(value: Any, known: list[str]) -> Any:
    if isinstance(value, list):
        return [_named(item, known) for item in value]
    if isinstance(value, int):
        return known[value] if value >= 0 else None
    return value
