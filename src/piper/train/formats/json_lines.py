"""Files with one JSON object a line. Knows no audio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from piper.errors import ConfigError, DatasetError
from piper.json_reader import parse_json_object
from piper.train.data.names import find_stem
from piper.train.formats.columns import AUDIO, SPEAKER, TEXT, check_columns, find_columns
from piper.train.formats.source import (
    Format,
    LeftOut,
    ReadOptions,
    Source,
    SourceRow,
    describe_columns,
    find_folders,
    find_recording,
    find_root,
    load_config,
    read_first_line,
    read_lines,
)

SUFFIXES = (".jsonl", ".ndjson", ".json")


def find_line_files(source: Path, given: Mapping[str, str]) -> list[Path]:
    """Return the files of a source whose first line is an object with recording and text."""
    paths = [source] if source.is_file() else sorted(source.iterdir()) if source.is_dir() else []
    found = []
    for path in paths:
        if path.suffix.lower() in SUFFIXES and path.is_file():
            first = _parse(read_first_line(path))
            if first is not None and {AUDIO, TEXT} <= find_columns(list(first), given).keys():
                found.append(path)
    return found


def load_line_files(paths: Sequence[Path], folders: Sequence[Path], options: ReadOptions) -> Source:
    """Read files of one JSON object a line; the names of the first line count for all.

    Raises:
        DatasetError: A key is missing, or a file is not UTF-8.
    """
    rows: list[SourceRow] = []
    left_out: list[LeftOut] = []
    keys: dict[str, str] = {}
    for path in paths:
        keys = {}
        for number, line in read_lines(path):
            data = _parse(line)
            where = f"{path.name} line {number}"
            if data is None:
                left_out.append(LeftOut(where, "no JSON object"))
                continue
            if not keys:
                keys = find_columns(
                    list(data), options.columns, use_original_text=options.use_original_text
                )
                check_columns(where, list(data), keys, options.columns)
            rows.append(_create_row(data, keys, folders))
    # The older trainer's dataset.jsonl has a config.json beside it.
    _, voice = load_config(paths[0].parent) if paths else ({}, None)
    return Source(rows, left_out, voice, columns=describe_columns(keys))


def _create_row(data: dict[str, Any], keys: dict[str, str], folders: Sequence[Path]) -> SourceRow:
    audio = data.get(keys[AUDIO])
    if isinstance(audio, dict):  # as Hugging Face's datasets write it
        audio = audio.get("path")
    name = str(audio).strip() if audio is not None else ""
    text = data.get(keys[TEXT])
    # A row whose keys differ may name a speaker that the first line lacks.
    speaker = data.get(keys.get(SPEAKER, SPEAKER))
    return SourceRow(
        find_recording(name, folders),
        str(text) if text is not None else "",
        str(speaker) if speaker is not None else None,
        find_stem(name),
    )


def _parse(line: str) -> dict[str, Any] | None:
    try:
        return parse_json_object(line, "a line")
    except ConfigError:
        return None


def _is_this(source: Path) -> bool:
    return bool(find_line_files(source, {}))


def _load(source: Path, options: ReadOptions) -> Source:
    paths = find_line_files(source, options.columns)
    root = find_root(source)
    if not paths:
        paths = [source] if source.is_file() else sorted(source.glob("*.jsonl"))[:1]
        if not paths:
            raise DatasetError(f"{source} has no .jsonl file.")
    return load_line_files(paths, find_folders(root, options), options)


JSONL = Format(
    "jsonl",
    "one JSON object a line: `audio_path`, `text`, `speaker`",
    _is_this,
    _load,
    is_general=True,
)
