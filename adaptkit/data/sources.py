"""Load splits from files, the Hub, a DatasetDict or the embedded corpus.

`adaptkit.data.readers` reads the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adaptkit.data.readers import objects
from adaptkit.data.readers.options import Reading
from adaptkit.data.readers.read import read as read_table
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, quoted

__all__ = ["EMBEDDED", "from_datasets", "load_splits", "read_table"]

EMBEDDED = "embedded"


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

    Raises:
        AdaptkitError: there is no training split.
    """
    parts = dataset if isinstance(dataset, dict) else {"train": dataset}
    if "train" not in parts:
        raise AdaptkitError(
            f"{name} has the splits {', '.join(parts)} and no 'train'; give the files or rename "
            "the split."
        )
    validation = next((part for part in objects.SPLIT_KEYS["validation"] if part in parts), None)
    wanted = [part for part in ("train", validation, "test") if part in parts]
    unlabelled = {
        part: found for part in wanted if part != "train" and (found := _unlabelled(parts[part]))
    }
    tables = {
        part: _from_dataset(parts[part], f"{name}[{part}]")
        for part in wanted
        if part not in unlabelled
    }
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
    if path.suffix.lower() == ".json" and path.is_file() and reading.format in (None, "json"):
        keys, others = objects.parts_of(path, reading)
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
        raise AdaptkitError(f"cannot load the dataset {quoted(name)}: {problem}") from problem


def _from_dataset(dataset: Any, source: str) -> Table:
    """Rows of a `datasets.Dataset`, with class indices replaced by their names, also in lists."""
    names = {
        key: found for key, feature in dataset.features.items() if (found := _class_names(feature))
    }
    rows = []
    for row in dataset:
        for key, known in names.items():
            row[key] = _named(row[key], known)
        rows.append(row)
    return Table(rows, source)


def _unlabelled(dataset: Any) -> str | None:
    """The label or score column if it is -1 in every row, as in benchmarks with hidden labels."""
    kinds = {key: str(getattr(feature, "dtype", "")) for key, feature in dataset.features.items()}
    numbers = [
        key for key, kind in kinds.items() if "float" in kind or _class_names(dataset.features[key])
    ]
    return next(
        (key for key in numbers if len(dataset) and all(value == -1 for value in dataset[key])),
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
