"""Tables in columns: .parquet, and Arrow's files and streams (.arrow, .feather)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from adaptkit.data.readers.compressed import allowed, too_large
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, quoted

if TYPE_CHECKING:
    from adaptkit.data.readers.file import File
    from adaptkit.data.readers.options import Reading

ARROW_FILE = b"ARROW1"
BATCH = 256  # rows
PART = 16_000_000  # bytes that a batch may become at once


def read_parquet(file: File, reading: Reading) -> Table:
    """Rows of a parquet file."""

    def batches() -> Iterable[Any]:
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(file.raw))
        if table.metadata.num_rows > max(100_000, len(file.raw)):
            raise too_large(file.path)
        return table.iter_batches(batch_size=BATCH)

    return _rows(file, "parquet", batches)


def read_arrow(file: File, reading: Reading) -> Table:
    """Rows of an Arrow file or stream, as `datasets` and feather write them."""

    def batches() -> Iterable[Any]:
        import pyarrow.ipc

        source = pyarrow.BufferReader(file.raw)
        if file.raw.startswith(ARROW_FILE):
            opened = pyarrow.ipc.open_file(source)
            return (opened.get_batch(i) for i in range(opened.num_record_batches))
        return pyarrow.ipc.open_stream(source)

    return _rows(file, "arrow", batches)


def _rows(file: File, kind: str, batches: Callable[[], Iterable[Any]]) -> Table:
    """The rows of all batches; they may not be far larger than the file.

    Raises:
        AdaptkitError: the file is damaged, has two columns of a name, or unfolds to gigabytes.
    """
    import pyarrow

    rows: list[dict[str, Any]] = []
    size = 0
    try:
        for batch in batches():
            twice = [name for name, n in Counter(batch.schema.names).items() if n > 1]
            if twice:
                raise AdaptkitError(f"{file}: the column {quoted(twice[0])} is there twice.")
            size += batch.nbytes
            if size > allowed(len(file.raw)):
                raise too_large(file.path)
            batch.validate(full=True)  # what it says of its own buffers may be wrong
            for part in _parts(batch):
                found = part.to_pylist()
                size += _repeated(part, found)
                if size > allowed(len(file.raw)):
                    raise too_large(file.path)
                rows += found
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as problem:
        raise AdaptkitError(
            f"{file} is not a whole {kind} file ({str(problem)[:160]}). Download or write it again."
        ) from None
    return Table(rows, str(file))


def _parts(batch: Any) -> Iterable[Any]:
    """A batch in parts that take little memory, though each value may be named again and again."""
    rows = max(1, PART // max(1, batch.nbytes)) if _dictionaries(batch) else BATCH
    return (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))


def _repeated(part: Any, rows: list[dict[str, Any]]) -> int:
    """The characters in columns that name values of a dictionary: each is there for every row."""
    texts = (row[name] for name in _dictionaries(part) for row in rows)
    return sum(len(text) for text in texts if isinstance(text, str))


def _dictionaries(batch: Any) -> list[str]:
    import pyarrow

    return [field.name for field in batch.schema if pyarrow.types.is_dictionary(field.type)]
