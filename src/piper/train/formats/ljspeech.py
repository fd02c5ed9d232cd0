"""Files with `|` and no header: LJSpeech and the documented structure. Knows no audio."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from piper.errors import DatasetError
from piper.train.data.layout import LJSPEECH as LJSPEECH_LAYOUT
from piper.train.data.layout import (
    SPEAKER,
    TEXT,
    Layout,
    are_quoted,
    find_layout,
    remove_quotes,
    split_row,
)
from piper.train.data.names import find_stem
from piper.train.formats.source import (
    Format,
    LeftOut,
    ReadOptions,
    Source,
    SourceRow,
    find_folders,
    find_recording,
    load_config,
    read_lines,
)

CSV_NAME = "metadata.csv"
_HEADERS = ("audio", "file", "path", "filename", "file_name", "audio_path", "wav", "id", "text")


def find_list(source: Path) -> Path | None:
    """Return the list of the recordings: metadata.csv, else a lone file named `*metadata.txt`."""
    if source.is_file():
        return source if source.suffix.lower() in (".csv", ".txt") else None
    if (source / CSV_NAME).is_file() or not source.is_dir():
        return source / CSV_NAME
    # Mimic Recording Studio calls it after the speaker: anna-metadata.txt.
    found = [path for path in source.glob("*.txt") if path.stem.lower().endswith("metadata")]
    return found[0] if len(found) == 1 else source / CSV_NAME


def _is_ljspeech(source: Path) -> bool:
    return _find_layout(source) == LJSPEECH_LAYOUT


def _is_piper(source: Path) -> bool:
    return _find_layout(source) not in (LJSPEECH_LAYOUT, None)


def _find_layout(source: Path) -> Layout | None:
    """Return what the columns of a source's list hold; None where it is no such file."""
    path = find_list(source)
    if path is None or not path.is_file():
        return None
    try:
        rows = [row for _, row in _read_rows(path)]
    except DatasetError:
        return None
    # A header would make it a CSV: there is no recording of that name.
    if not rows or rows[0][0].strip().lower() in _HEADERS:
        return None
    return _guess_layout(rows)


def _read_rows(path: Path) -> list[tuple[int, list[str]]]:
    rows = [(number, line.split("|")) for number, line in read_lines(path)]
    if are_quoted([row for _, row in rows]):
        return [(number, [remove_quotes(value) for value in row]) for number, row in rows]
    return rows


def _guess_layout(rows: list[list[str]]) -> Layout | None:
    counts = Counter(len(row) for row in rows if len(row) > 1)
    if not counts:
        return None
    [(usual, _)] = counts.most_common(1)
    return find_layout([row for row in rows if len(row) == usual])


def _load_ljspeech(source: Path, options: ReadOptions) -> Source:
    """Read `id|text|normalised text`; the third column counts unless the original is asked for."""
    return _load(source, options, LJSPEECH_LAYOUT)


def _load_piper(source: Path, options: ReadOptions) -> Source:
    """Read `file|text`, `file|speaker|text` or what else the values tell.

    Raises:
        DatasetError: They do not tell.
    """
    path = find_list(source)
    rows = [row for _, row in _read_rows(path)] if path is not None else []
    layout = _guess_layout(rows)
    if layout is None:
        raise DatasetError(
            f"What the columns of {path} hold is not clear; write file|text or file|speaker|text, "
            "or pass --format ljspeech for id|text|normalised text."
        )
    return _load(source, options, layout)


def _load(source: Path, options: ReadOptions, layout: Layout) -> Source:
    rows: list[SourceRow] = []
    left_out: list[LeftOut] = []
    path, folders = _find_files(source, options)
    for number, columns in _read_rows(path):
        values = split_row(columns, layout)
        if values is None:
            left_out.append(_refuse_line(path, number, len(columns), layout))
            continue
        rows.append(_create_row(values, layout, folders, options))
    config, voice = load_config(path.parent)
    return Source(rows, left_out, voice, config, str(layout))


def _find_files(source: Path, options: ReadOptions) -> tuple[Path, list[Path]]:
    path = find_list(source) or source
    root = path.parent
    return path, find_folders(root, options)


def _refuse_line(path: Path, number: int, count: int, layout: Layout) -> LeftOut:
    where = f"{path.name} line {number}"
    return LeftOut(where, "wrong number of columns", f"{count} instead of {len(layout.names)}")


def _create_row(
    values: list[str], layout: Layout, folders: list[Path], options: ReadOptions
) -> SourceRow:
    original = values[layout.names.index(TEXT)]
    text = original if options.use_original_text else values[layout.text] or original
    speaker = layout.find(SPEAKER)
    return SourceRow(
        find_recording(values[0], folders),
        text,
        None if speaker is None else values[speaker],
        find_stem(values[0]),
    )


LJSPEECH = Format(
    "ljspeech", "metadata.csv `id|text|normalised text`, wavs/", _is_ljspeech, _load_ljspeech
)
PIPER = Format(
    "piper",
    "the documented structure: metadata.csv `file|text` or `file|speaker|text`, wavs/",
    _is_piper,
    _load_piper,
)
