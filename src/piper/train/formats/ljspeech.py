"""Files with `|` and no header: LJSpeech and the documented structure. Knows no audio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from piper.errors import DatasetError
from piper.json_reader import load_kept_object
from piper.train.formats.source import (
    Format,
    LeftOut,
    ReadOptions,
    Source,
    SourceRow,
    find_recording,
    find_stem,
    read_lines,
)

CSV_NAME = "metadata.csv"
_ROWS_A_SPEAKER = 2
"""A second column whose values come so often on average holds speakers, not texts."""


def _is_ljspeech(source: Path) -> bool:
    rows = _find_rows(source)
    return bool(rows) and _count_columns(rows) == 3 and not _is_structure(source, rows)


def _is_piper(source: Path) -> bool:
    rows = _find_rows(source)
    return bool(rows) and _is_structure(source, rows)


def _find_rows(source: Path) -> list[list[str]]:
    """Return the columns of the CSV, nothing where it is no such file."""
    path = source / CSV_NAME if source.is_dir() else source
    if not path.is_file() or path.suffix.lower() not in (".csv", ".txt"):
        return []
    try:
        rows = [line.split("|") for _, line in read_lines(path)]
    except DatasetError:
        return []
    # A header would make it a CSV: there is no recording of that name.
    is_found = rows and len(rows[0]) > 1 and rows[0][0].strip().lower() not in _HEADERS
    return rows if is_found and _count_columns(rows) in (2, 3) else []


_HEADERS = ("audio", "file", "path", "filename", "file_name", "audio_path", "wav", "id", "text")


def _count_columns(rows: list[list[str]]) -> int:
    counts = [len(row) for row in rows]
    return max(set(counts), key=counts.count)


def _is_structure(source: Path, rows: list[list[str]]) -> bool:
    root = source if source.is_dir() else source.parent
    if _count_columns(rows) == 2 or _load_config(root):
        return True
    return len({row[1] for row in rows if len(row) > 1}) * _ROWS_A_SPEAKER <= len(rows)


def _load_config(root: Path) -> dict[str, Any]:
    data = load_kept_object(root / "config.json")
    is_voice = bool(data.keys() & {"audio", "espeak", "phoneme_type"})
    return data if is_voice else {}


def _load_ljspeech(source: Path, options: ReadOptions) -> Source:
    """Read `id|text|normalised text`; the third column counts unless the original is asked for."""
    rows: list[SourceRow] = []
    left_out: list[LeftOut] = []
    path, folders = _find_files(source, options)
    for number, line in read_lines(path):
        columns = [column.strip() for column in line.split("|")]
        if len(columns) not in (2, 3):
            left_out.append(_refuse_line(path, number, len(columns), "2 or 3"))
            continue
        text = columns[1] if options.use_original_text else columns[-1] or columns[1]
        rows.append(_create_row(columns[0], text, None, folders))
    return Source(rows, left_out)


def _load_piper(source: Path, options: ReadOptions) -> Source:
    """Read `file|text` or `file|speaker|text`, as most of the lines have it."""
    rows: list[SourceRow] = []
    left_out: list[LeftOut] = []
    path, folders = _find_files(source, options)
    lines = [(number, line.split("|")) for number, line in read_lines(path)]
    wanted = _count_columns([columns for _, columns in lines]) if lines else 2
    for number, columns in lines:
        if len(columns) != wanted or wanted not in (2, 3):
            left_out.append(_refuse_line(path, number, len(columns), str(min(max(wanted, 2), 3))))
            continue
        speaker = columns[1].strip() if wanted == 3 else None
        rows.append(_create_row(columns[0].strip(), columns[-1].strip(), speaker, folders))
    config = _load_config(path.parent)
    espeak = config.get("espeak")
    voice = espeak.get("voice") if isinstance(espeak, dict) else None
    return Source(rows, left_out, voice if isinstance(voice, str) else None, config)


def _find_files(source: Path, options: ReadOptions) -> tuple[Path, list[Path]]:
    path = source / CSV_NAME if source.is_dir() else source
    root = path.parent
    folders = [folder for folder in (root / "wavs", root / "wav") if folder.is_dir()]
    return path, options.find_folders(*folders, root)


def _refuse_line(path: Path, number: int, count: int, wanted: str) -> LeftOut:
    return LeftOut(
        f"{path.name} line {number}", "wrong number of columns", f"{count} instead of {wanted}"
    )


def _create_row(name: str, text: str, speaker: str | None, folders: list[Path]) -> SourceRow:
    audio_path = find_recording(name, folders)
    return SourceRow(audio_path, text, speaker, find_stem(name))


LJSPEECH = Format(
    "ljspeech", "metadata.csv `id|text|normalised text`, wavs/", _is_ljspeech, _load_ljspeech
)
PIPER = Format(
    "piper",
    "the documented structure: metadata.csv `file|text` or `file|speaker|text`, wavs/",
    _is_piper,
    _load_piper,
)
