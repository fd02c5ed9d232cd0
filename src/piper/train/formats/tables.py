"""Parquet and Arrow files with recordings in them. Knows neither datasets nor audio."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from piper.errors import DatasetError

PARQUET = ".parquet"
ARROW = ".arrow"
BYTES = "bytes"
PATH = "path"


class Table:
    """A file of rows; what is not asked for is not read.

    Args:
        path: `.parquet`, or `.arrow` as a stream or file.

    Raises:
        DatasetError: pyarrow is missing, or the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        pyarrow = _load_pyarrow()
        try:
            self._blocks: Any = _Parquet(path) if path.suffix == PARQUET else _Arrow(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise DatasetError(
                f"{path} cannot be read ({_first_line(error)}); fetch the file again."
            ) from None
        self._ends = list(accumulate(self._blocks.counts))
        self._kept: tuple[int, str, Any] = (-1, "", None)

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return list(self._blocks.schema.names)

    def has_bytes(self, name: str) -> bool:
        """Return whether a column holds recordings: structures of `bytes` and `path`."""
        import pyarrow

        kind = self._blocks.schema.field(name).type
        return pyarrow.types.is_struct(kind) and kind.get_field_index(BYTES) >= 0

    def read_columns(self, names: Sequence[str]) -> Iterator[list[Any]]:
        """Return the values of columns row by row; `a.path` is a field of a structure.

        Raises:
            DatasetError: The file is damaged.
        """
        for number in range(len(self._blocks.counts)):
            columns = [self._read(number, name).to_pylist() for name in names]
            yield from (list(values) for values in zip(*columns, strict=True))

    def read_bytes(self, name: str, row: int) -> tuple[bytes, str]:
        """Return the bytes of the recording in a column and row, and the path beside them.

        The block of the last call is kept: whoever asks in order reads each once.

        Raises:
            DatasetError: The file is damaged.
        """
        number = bisect_right(self._ends, row)
        if self._kept[:2] != (number, name):
            self._kept = (number, name, self._read(number, name))
        start = self._ends[number] - self._blocks.counts[number]
        value = self._kept[2][row - start].as_py() or {}
        return value.get(BYTES) or b"", value.get(PATH) or ""

    def _read(self, number: int, name: str) -> Any:
        import pyarrow

        try:
            return self._blocks.read(number, name)
        except (pyarrow.ArrowException, OSError) as error:
            raise DatasetError(
                f"{self.path} cannot be read ({_first_line(error)}); fetch the file again."
            ) from None


class _Parquet:
    def __init__(self, path: Path) -> None:
        import pyarrow.parquet

        self._file = pyarrow.parquet.ParquetFile(path)
        self.schema = self._file.schema_arrow
        metadata = self._file.metadata
        self.counts = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]

    def read(self, number: int, name: str) -> Any:
        # One thread: there is a process for each core already.
        column = self._file.read_row_group(number, columns=[name], use_threads=False).column(0)
        return _find_field(column.combine_chunks(), name)


class _Arrow:
    def __init__(self, path: Path) -> None:
        import pyarrow

        mapped = pyarrow.memory_map(str(path))
        try:
            reader = pyarrow.ipc.open_stream(mapped)
            self._batches = list(reader)
        except pyarrow.ArrowInvalid:
            mapped.seek(0)
            reader = pyarrow.ipc.open_file(mapped)
            self._batches = [reader.get_batch(n) for n in range(reader.num_record_batches)]
        self.schema = reader.schema
        self.counts = [batch.num_rows for batch in self._batches]

    def read(self, number: int, name: str) -> Any:
        column = self._batches[number].column(name.split(".", maxsplit=1)[0])
        return _find_field(column, name)


def _find_field(column: Any, name: str) -> Any:
    """Return `path` of `audio.path`, the column itself where it is no structure."""
    import pyarrow

    _, dot, inner = name.partition(".")
    is_inner = dot and pyarrow.types.is_struct(column.type)
    return column.field(inner) if is_inner else column


def _load_pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise DatasetError(
            "Parquet and Arrow files need the library pyarrow: "
            'pip install "piper-workshop[formats]".'
        ) from None
    return pyarrow


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


@lru_cache(maxsize=2)
def open_table(path: Path) -> Table:
    """Return the table of a file; the last two stay open, a process.

    Raises:
        DatasetError: pyarrow is missing, or the file is damaged.
    """
    return Table(path)
