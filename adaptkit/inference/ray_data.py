"""Answer tables of any size with Ray Data: rows stream through processes with a model each."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import ray
from pyarrow import csv

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, quoted
from adaptkit.inference.predictor import Predictor
from adaptkit.utils.ray_cluster import join_cluster

LIGHT = 0.0  # cores for reading, which the models would keep waiting if they had all
BATCH = 1024  # rows that a process is given at once; the model's own batches are smaller
ERROR = "(error)"
ENDINGS = (".jsonl", ".parquet", ".csv", ".tsv")


class _Answers:
    """One process: a predictor, and rows as JSON in, answers as JSON out."""

    def __init__(self, folder: str, settings: dict[str, Any], options: list[str] | None, **base):
        self._predictor = Predictor(folder, **base)
        self._settings = settings
        if options:
            self._predictor.choose_among(options)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = [json.loads(row) for row in batch["row"]]
        try:
            answers = self._predictor.answer(Table(rows, "a part of the file"), **self._settings)
        except AdaptkitError as problem:  # raised here, it would come with pages of Ray's
            answers = [{ERROR: str(problem)}] * len(rows)
        shown = [json.dumps(one, ensure_ascii=False, default=str) for one in answers]
        return {"row": batch["row"], "answer": np.array(shown, object)}


def answer_file(
    folder: str | Path,
    file: str | Path,
    replicas: int,
    options: list[str] | None = None,
    quantize: str | None = None,
    **settings: Any,
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each row of a file, or of all files in a folder, with its answer, in order.

    Runs in the cluster that runs (RAY_ADDRESS), or in a new one on this machine.

    Args:
        folder: of the adapter, which all machines see, as they see the file.
        file: .jsonl, .parquet, .csv with commas or .tsv without quotes, with a line of names; or a
            folder of files of one such ending. Cells of .csv and .tsv are texts.
        replicas: processes with a model each.
        settings: of `Predictor.answer`.

    Raises:
        AdaptkitError: the ending is another one, or a row cannot be read.
    """
    joined = join_cluster()
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    given = {"folder": str(Path(folder).absolute()), "settings": settings, "options": options}
    try:
        rows = _rows(Path(file).absolute())
        answered = rows.map_batches(
            _Answers,
            batch_size=BATCH,
            batch_format="numpy",
            fn_constructor_kwargs=given | ({"quantize": quantize} if quantize else {}),
            compute=ray.data.ActorPoolStrategy(size=replicas),
            num_cpus=1,
        )
        for one in answered.iter_rows():
            row, answer = json.loads(one["row"]), json.loads(one["answer"])
            if ERROR in answer:
                raise AdaptkitError(answer[ERROR])
            yield row, answer
    finally:
        if joined:
            ray.shutdown()


def _rows(file: Path) -> Any:
    """The rows as JSON, in the column `row`."""
    paths = sorted(map(str, file.iterdir())) if file.is_dir() else [str(file)]
    endings = {Path(path).suffix for path in paths}
    if len(endings) != 1 or not endings <= set(ENDINGS):
        raise AdaptkitError(
            f"{quoted(str(file))}: --ray reads {', '.join(ENDINGS)}, or a folder of one of these; "
            f"it got {', '.join(sorted(endings)) or 'nothing'}."
        )
    (ending,) = endings
    if ending == ".jsonl":
        lines = ray.data.read_text(paths, drop_empty_lines=True, num_cpus=LIGHT)
        return lines.rename_columns({"text": "row"})
    if ending == ".parquet":
        table = ray.data.read_parquet(paths, num_cpus=LIGHT)
    else:
        table = _read_cells(paths, ending)
    return table.map(
        lambda row: {"row": json.dumps(row, ensure_ascii=False, default=str)}, num_cpus=LIGHT
    )


def _read_cells(paths: list[str], ending: str) -> Any:
    """A table of texts: nothing that looks like a number becomes one."""
    tabs = ending == ".tsv"
    parse = csv.ParseOptions(
        delimiter="\t" if tabs else ",",
        quote_char=False if tabs else '"',
        newlines_in_values=not tabs,
    )
    names: list[str] = []
    for path in paths:
        with csv.open_csv(path, parse_options=parse) as file:
            names += file.schema.names
    kinds = csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.string()))
    return ray.data.read_csv(paths, parse_options=parse, convert_options=kinds, num_cpus=LIGHT)
