"""CSV files with a header, Mozilla's Common Voice among them. Knows no audio."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from piper.errors import DatasetError
from piper.train.data.layout import SPEAKER as LAYOUT_SPEAKER
from piper.train.data.layout import find_layout
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
    read_first_line,
    read_text,
)

DELIMITERS = (",", ";", "\t", "|")
SUFFIXES = (".csv", ".tsv", ".psv", ".txt")
MAX_FIELD_CHARACTERS = 1 << 20
MIN_SPEAKER_CHARACTERS = 8
COLUMNS = "columns"
VALIDATED_NAME = "validated.tsv"


def find_tables(source: Path, given: Mapping[str, str]) -> list[Path]:
    """Return the CSV files of a source whose first line names a recording and a text."""
    paths = [source] if source.is_file() else sorted(source.iterdir()) if source.is_dir() else []
    return [
        path
        for path in paths
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and (_find_header(read_first_line(path), given)[1] or _find_plain_delimiter(path, given))
    ]


def _find_plain_delimiter(path: Path, given: Mapping[str, str]) -> str:
    """Return the delimiter of a table without a header; empty where the first line is no row of it.

    With `|` it is one of the formats that never have a header.
    """
    if given or path.suffix.lower() not in (".csv", ".tsv"):
        return ""
    line = read_first_line(path)
    folders = find_folders(path.parent, ReadOptions())
    for delimiter in DELIMITERS:
        with suppress(csv.Error):
            fields = next(csv.reader([line], delimiter=delimiter), [])
            if (
                delimiter != "|"
                and len(fields) > 1
                and find_recording(fields[0], folders).is_file()
            ):
                return delimiter
    return ""


def _find_header(line: str, given: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the delimiter that makes the most of a header, and the columns found with it."""
    best: tuple[str, dict[str, str]] = (DELIMITERS[0], {})
    for delimiter in DELIMITERS:
        try:
            names = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:  # a carriage return within the line
            continue
        found = find_columns(names, given)
        if {AUDIO, TEXT} <= found.keys() and len(found) > len(best[1]):
            best = (delimiter, found)
    return best


def load_tables(
    paths: Sequence[Path], folders: Sequence[Path], options: ReadOptions, *, use_quotes: bool = True
) -> Source:
    """Read CSV files with a header.

    Args:
        paths: The files.
        folders: Where recordings are looked for, in order.
        options: `columns` names columns; else the usual names are found.
        use_quotes: Whether `"` around a field is no part of it.

    Raises:
        DatasetError: A column is missing, or quotes are not closed.
    """
    rows: list[SourceRow] = []
    left_out: list[LeftOut] = []
    columns = ""
    for path in paths:
        for where, fields in _read_table(path, options, use_quotes):
            if where == COLUMNS and isinstance(fields, dict):
                columns = describe_columns(fields)
                continue
            if isinstance(fields, str):
                left_out.append(LeftOut(where, "wrong number of columns", fields))
                continue
            name = fields[AUDIO].strip()
            speaker = fields.get(SPEAKER)
            audio_path = find_recording(name, folders)
            rows.append(SourceRow(audio_path, fields[TEXT], speaker, find_stem(name)))
    return Source(rows, left_out, columns=columns)


def _read_table(
    path: Path, options: ReadOptions, use_quotes: bool
) -> Iterator[tuple[str, dict[str, str] | str]]:
    """Return file and line of each row, and its fields or what is wrong with their number.

    First come the names of the columns, or what they hold where they have none, under `COLUMNS`.
    """
    text = read_text(path)
    delimiter, header = _find_header(text.split("\n", maxsplit=1)[0], options.columns)
    plain = "" if header else _find_plain_delimiter(path, options.columns)
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=plain or delimiter,
        quoting=csv.QUOTE_MINIMAL if use_quotes else csv.QUOTE_NONE,
    )
    try:
        numbered = [(f"{path.name} line {reader.line_num}", fields) for fields in reader]
    except csv.Error as error:
        raise DatasetError(
            f"{path} line {reader.line_num} cannot be read as CSV ({error}); is a quote not closed?"
        ) from None
    if plain:
        names, places = _place_plain(path, [fields for _, fields in numbered if fields])
    else:
        names = numbered.pop(0)[1] if numbered else []
        found = find_columns(names, options.columns, use_original_text=options.use_original_text)
        check_columns(str(path), names, found, options.columns)
        places = {key: names.index(name) for key, name in found.items()}
    yield COLUMNS, {key: names[place] for key, place in places.items()}
    for where, fields in numbered:
        if len(fields) > len(names) or (fields and len(fields) <= max(places.values())):
            yield where, f"{len(fields)} instead of {len(names)}; is a delimiter not quoted?"
        elif any(fields):
            yield where, {key: fields[place] for key, place in places.items()}


def _place_plain(path: Path, rows: list[list[str]]) -> tuple[Sequence[str], dict[str, int]]:
    """Return what the columns of a table without a header hold, and their places by key.

    Raises:
        DatasetError: Their values do not tell.
    """
    usual = Counter(map(len, rows)).most_common(1)[0][0]
    layout = find_layout([row for row in rows if len(row) == usual])
    if layout is None:
        raise DatasetError(
            f"{path} has no header, and its {usual} columns do not tell what they hold; write one, "
            "such as file,text,speaker."
        )
    speaker = layout.find(LAYOUT_SPEAKER)
    places = {AUDIO: 0, TEXT: layout.text}
    return layout.names, places | ({SPEAKER: speaker} if speaker is not None else {})


def _is_csv(source: Path) -> bool:
    return bool(find_tables(source, {}))


def _load_csv(source: Path, options: ReadOptions) -> Source:
    paths = find_tables(source, options.columns)
    if not paths:
        candidates = [source] if source.is_file() else sorted(source.glob("*.[ctp]sv"))
        if not candidates:
            raise DatasetError(f"{source} has no .csv or .tsv file.")
        # For its sentence about the column that is missing.
        return load_tables(candidates[:1], [find_root(source)], options)
    root = find_root(source)
    return load_tables(paths, find_folders(root, options), options)


def _is_common_voice(source: Path) -> bool:
    if not (source / "clips").is_dir():
        return False
    header = read_first_line(source / VALIDATED_NAME).split("\t")
    return {"path", "sentence"} <= set(header)


def _load_common_voice(source: Path, options: ReadOptions) -> Source:
    """Read validated.tsv, which has no quoting; speakers' names are cut as short as can be."""
    path = source / VALIDATED_NAME
    if not path.is_file():
        raise DatasetError(f"{source} has no {VALIDATED_NAME}; name the folder of one language.")
    folders = options.find_folders(source / "clips")
    found = load_tables([path], folders, options, use_quotes=False)
    names = _shorten({row.speaker for row in found.rows if row.speaker})
    rows = [
        SourceRow(row.audio_path, row.text, names.get(row.speaker or "", row.speaker), row.name)
        for row in found.rows
    ]
    return Source(rows, found.left_out, _find_locale(path), columns=found.columns)


def _shorten(names: set[str]) -> dict[str, str]:
    """Return names of 128 digits cut to as many as tell them apart."""
    length = MIN_SPEAKER_CHARACTERS
    while len({name[:length] for name in names}) < len(names):
        length += 1
    return {name: name[:length] for name in names}


def _find_locale(path: Path) -> str | None:
    """Return the locale of a two-letter language: espeak-ng has these by the same name."""
    lines = read_text(path).split("\n", maxsplit=2)
    header, first = (lines[index].strip("\r").split("\t") for index in (0, 1 if lines[1:] else 0))
    place = header.index("locale") if "locale" in header else len(first)
    locale = first[place] if place < len(first) else ""
    return locale if len(locale) == 2 and locale.isalpha() else None


CSV = Format(
    "csv", "a .csv or .tsv with a header, see --columns", _is_csv, _load_csv, is_general=True
)
COMMON_VOICE = Format(
    "common_voice", "validated.tsv and clips/ of one language", _is_common_voice, _load_common_voice
)
