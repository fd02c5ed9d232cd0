"""A Hugging Face dataset on disk: audiofolder, parquet, or saved by save_to_disk. No network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from piper.errors import DatasetError
from piper.train.data.names import find_stem
from piper.train.formats.columns import AUDIO, SPEAKER, TEXT, check_columns, find_columns
from piper.train.formats.delimited import load_tables
from piper.train.formats.json_lines import load_line_files
from piper.train.formats.source import (
    Format,
    LeftOut,
    ReadOptions,
    Source,
    SourceRow,
    find_recording,
    find_root,
    read_first_line,
)
from piper.train.formats.tables import ARROW, PARQUET, open_table

FILE_NAME = "file_name"
TABLE_NAMES = ("metadata.csv", "metadata.jsonl")
_DEPTH = ("", "*/", "*/*/")
"""A dataset's folder, its splits or `data`, and their folders."""


def _is_this(source: Path) -> bool:
    if source.is_file():
        return source.suffix in (ARROW, PARQUET)
    return bool(_find_metadata(source) or _find_tables(source))


def _find_metadata(source: Path) -> list[Path]:
    """Return audiofolder's files of metadata: those whose first line has `file_name`."""
    paths = [path for name in TABLE_NAMES for depth in _DEPTH for path in source.glob(depth + name)]
    return sorted(path for path in paths if FILE_NAME in read_first_line(path))


def _find_tables(source: Path) -> list[Path]:
    """Return the tables of a dataset, those of an index or of the library's own cache left out."""
    if source.is_file():
        return [source]
    found = [path for depth in _DEPTH for path in source.glob(f"{depth}*{PARQUET}")]
    if not found:
        found = [path for depth in _DEPTH for path in source.glob(f"{depth}*{ARROW}")]
        found = [path for path in found if (path.parent / "dataset_info.json").is_file()]
    hidden = (".", "cache-")
    return sorted(
        path
        for path in found
        if not any(part.startswith(hidden) for part in path.relative_to(source).parts)
    )


def _load(source: Path, options: ReadOptions) -> Source:
    """Read what is there; recordings inside tables stay there until they are written.

    Raises:
        DatasetError: pyarrow is missing, or a column.
    """
    if metadata := _find_metadata(source) if source.is_dir() else []:
        return _load_audio_folder(metadata, options)
    tables = _find_tables(source)
    if not tables:
        raise DatasetError(
            f"{source} has neither metadata.csv or metadata.jsonl with `{FILE_NAME}`, nor "
            "parquet files, nor what save_to_disk writes."
        )
    rows = [row for path in tables for row in _read_rows(path, source, options)]
    return Source(rows)


def _load_audio_folder(paths: list[Path], options: ReadOptions) -> Source:
    rows: list[SourceRow] = []
    left_out: list[LeftOut] = []
    for path in paths:
        columns = {AUDIO: FILE_NAME, **options.columns}
        given = ReadOptions(options.use_original_text, columns, options.audio_dir)
        load = load_tables if path.suffix == ".csv" else load_line_files
        found = load([path], options.find_folders(path.parent), given)
        rows += found.rows
        left_out += found.left_out
    return Source(rows, left_out)


def _read_rows(path: Path, source: Path, options: ReadOptions) -> Iterator[SourceRow]:
    table = open_table(path)
    names = table.names
    found = find_columns(names, options.columns, use_original_text=options.use_original_text)
    if AUDIO not in options.columns:
        # The library decodes one column of bytes and path; its name does not matter.
        structs = [name for name in names if table.has_bytes(name)]
        found = {**found, **({AUDIO: structs[0]} if structs else {})}
    check_columns(str(path), names, found, options.columns)
    root = find_root(source)
    is_inside = table.has_bytes(found[AUDIO])
    wanted = [f"{found[AUDIO]}.path" if is_inside else found[AUDIO], found[TEXT]]
    wanted += [found[SPEAKER]] if SPEAKER in found else []
    for number, values in enumerate(table.read_columns(wanted)):
        name, text, speaker = (*values, None)[:3]
        stem = find_stem(_to_text(name)) or f"{path.stem}-{number + 1:06}"
        yield SourceRow(
            path if is_inside else find_recording(_to_text(name), options.find_folders(root)),
            _to_text(text),
            None if speaker is None else str(speaker),
            stem,
            (found[AUDIO], number) if is_inside else None,
        )


def _to_text(value: Any) -> str:
    return "" if value is None else str(value)


HUGGING_FACE = Format(
    "hugging_face",
    "audiofolder with file_name, parquet files, or what save_to_disk writes",
    _is_this,
    _load,
)
