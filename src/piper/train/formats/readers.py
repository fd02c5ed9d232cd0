"""The formats that can be imported, a reader each, and which of them a source has."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from piper.errors import ConfigError, DatasetError, name_some
from piper.files import parse_json_object
from piper.train.data.metadata import LJSPEECH as LJSPEECH_LAYOUT
from piper.train.data.metadata import SPEAKER as LAYOUT_SPEAKER
from piper.train.data.metadata import TEXT as LAYOUT_TEXT
from piper.train.data.metadata import (
    Layout,
    are_quoted,
    find_layout,
    find_stem,
    remove_quotes,
    split_row,
    walk_recordings,
)
from piper.train.formats.source import (
    ARROW,
    AUDIO,
    PARQUET,
    SPEAKER,
    TEXT,
    Format,
    LeftOut,
    ReadOptions,
    Source,
    SourceRow,
    check_columns,
    describe_columns,
    find_columns,
    find_folders,
    find_recording,
    find_root,
    load_config,
    open_table,
    read_first_line,
    read_lines,
    read_text,
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
        rows = [row for _, row in _read_ljspeech_rows(path)]
    except DatasetError:
        return None
    # A header would make it a CSV: there is no recording of that name.
    if not rows or rows[0][0].strip().lower() in _HEADERS:
        return None
    return _guess_layout(rows)


def _read_ljspeech_rows(path: Path) -> list[tuple[int, list[str]]]:
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
    return _load_bars(source, options, LJSPEECH_LAYOUT)


def _load_piper(source: Path, options: ReadOptions) -> Source:
    """Read `file|text`, `file|speaker|text` or what else the values tell."""
    path = find_list(source)
    rows = [row for _, row in _read_ljspeech_rows(path)] if path is not None else []
    layout = _guess_layout(rows)
    if layout is None:
        raise DatasetError(
            f"What the columns of {path} hold is not clear; write file|text or file|speaker|text, "
            "or pass --format ljspeech for id|text|normalised text."
        )
    return _load_bars(source, options, layout)


def _load_bars(source: Path, options: ReadOptions, layout: Layout) -> Source:
    rows: list[SourceRow] = []
    left_out: list[LeftOut] = []
    path, folders = _find_files(source, options)
    for number, columns in _read_ljspeech_rows(path):
        values = split_row(columns, layout)
        if values is None:
            left_out.append(_refuse_line(path, number, len(columns), layout))
            continue
        rows.append(_create_ljspeech_row(values, layout, folders, options))
    config, voice = load_config(path.parent)
    return Source(rows, left_out, voice, config, str(layout))


def _find_files(source: Path, options: ReadOptions) -> tuple[Path, list[Path]]:
    path = find_list(source) or source
    root = path.parent
    return path, find_folders(root, options)


def _refuse_line(path: Path, number: int, count: int, layout: Layout) -> LeftOut:
    where = f"{path.name} line {number}"
    return LeftOut(where, "wrong number of columns", f"{count} instead of {len(layout.names)}")


def _create_ljspeech_row(
    values: list[str], layout: Layout, folders: list[Path], options: ReadOptions
) -> SourceRow:
    original = values[layout.names.index(LAYOUT_TEXT)]
    text = original if options.use_original_text else values[layout.text] or original
    speaker = layout.find(LAYOUT_SPEAKER)
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


TEXT_SUFFIXES = (".txt", ".lab", ".normalized.txt")
_GROUP = re.compile(
    r"\d+[-_ .].*"  # 0000000001_0300000050_General; a number alone is LibriTTS's speaker
    r"|(part|session|group|chapter|set|batch|day|take|disc|cd|book|block|lesson|prompts?|chat|general"
    r"|questions?|numbers|sentences|short|long|dialogue|news|глава|часть|сессия|группа|день|блок"
    r"|фразы|вопросы|числа)([-_ .]?\w*)",
    re.IGNORECASE,
)
"""Names of folders that a studio puts prompts of one speaker into."""
ORIGINAL_SUFFIX = ".original.txt"
"""LibriTTS has both beside each other."""


def _is_pairs(source: Path) -> bool:
    return source.is_dir() and any(
        _find_beside(path, TEXT_SUFFIXES) for path in walk_recordings(source)
    )


def _find_beside(path: Path, suffixes: Sequence[str]) -> Path | None:
    """Return a recording's text: in its folder, or in a folder beside that (wav/, txt/)."""
    for suffix in suffixes:
        beside = path.with_name(path.stem + suffix)
        if beside.is_file():
            return beside
        for folder in ("txt", "text", "lab", "texts", "transcripts"):
            other = path.parent.parent / folder / (path.stem + suffix)
            if other.is_file():
                return other
    return None


def _load_pairs(source: Path, options: ReadOptions) -> Source:
    """Read all pairs; where recordings lie in several folders, those are the speakers,
    unless they are called as groups of prompts are.
    """
    suffixes = (ORIGINAL_SUFFIX, *TEXT_SUFFIXES) if options.use_original_text else TEXT_SUFFIXES
    root = options.audio_dir or source
    recordings = list(walk_recordings(root))
    left_out: list[LeftOut] = []
    found: list[tuple[Path, str, str | None]] = []
    common = Path(os.path.commonpath([path.parent for path in recordings])) if recordings else root
    for path in recordings:
        text_path = _find_beside(path, suffixes)
        if text_path is None and root != source:  # recordings elsewhere, texts here
            text_path = _find_beside(source / path.relative_to(root), suffixes)
        if text_path is None:
            left_out.append(LeftOut(str(path.relative_to(root)), "no text file"))
            continue
        folders = path.parent.relative_to(common).parts
        found.append((path, read_text(text_path).strip(), folders[0] if folders else None))
    groups = {folder for *_, folder in found if folder is not None}
    are_groups = bool(groups) and all(_GROUP.fullmatch(group) for group in groups)
    rows = [
        SourceRow(path, text, None if are_groups else folder, path.stem)
        for path, text, folder in found
    ]
    notes = []
    if are_groups and len(groups) > 1:
        notes.append(
            f"The folders ({name_some(sorted(groups))}) are groups of prompts, and no speakers, "
            "by their names."
        )
    _, voice = load_config(source)
    columns = "recording and text of one name each"
    return Source(rows, left_out, voice, columns=columns, notes=notes)


PAIRS = Format(
    "pairs",
    "recordings and .txt or .lab of the same name; a folder a speaker",
    _is_pairs,
    _load_pairs,
    is_general=True,
)


DELIMITERS = (",", ";", "\t", "|")
TABLE_SUFFIXES = (".csv", ".tsv", ".psv", ".txt")
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
        if path.suffix.lower() in TABLE_SUFFIXES
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
        options: `columns` names columns; else the usual names are found.
        use_quotes: Whether `"` around a field is no part of it.
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
    """Return what the columns of a table without a header hold, and their places by key."""
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


JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


def find_line_files(source: Path, given: Mapping[str, str]) -> list[Path]:
    """Return the files of a source whose first line is an object with recording and text."""
    paths = [source] if source.is_file() else sorted(source.iterdir()) if source.is_dir() else []
    found = []
    for path in paths:
        if path.suffix.lower() in JSON_SUFFIXES and path.is_file():
            first = _parse(read_first_line(path))
            if first is not None and {AUDIO, TEXT} <= find_columns(list(first), given).keys():
                found.append(path)
    return found


def load_line_files(paths: Sequence[Path], folders: Sequence[Path], options: ReadOptions) -> Source:
    """Read files of one JSON object a line; the names of the first line count for all."""
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
            rows.append(_create_json_row(data, keys, folders))
    # The older trainer's dataset.jsonl has a config.json beside it.
    _, voice = load_config(paths[0].parent) if paths else ({}, None)
    return Source(rows, left_out, voice, columns=describe_columns(keys))


def _create_json_row(
    data: dict[str, Any], keys: dict[str, str], folders: Sequence[Path]
) -> SourceRow:
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


def _is_json_lines(source: Path) -> bool:
    return bool(find_line_files(source, {}))


def _load_json_lines(source: Path, options: ReadOptions) -> Source:
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
    _is_json_lines,
    _load_json_lines,
    is_general=True,
)


MLS_SPLITS = ("train", "dev", "test")
MLS_TEXTS = "transcripts.txt"
FESTVOX_TEXTS = Path("etc", "txt.done.data")
_MICROPHONE = re.compile(r"_mic\d+$")
_TRANSCRIPT = re.compile(r'^\(\s*(\S+)\s+"(.*)"\s*\)$')


def _find_vctk_folders(source: Path) -> list[Path]:
    # wav48_silence_trimmed of release 0.92 before the wav48 of earlier ones.
    return sorted(
        (path for path in source.glob("wav48*") if path.is_dir()), key=lambda p: -len(p.name)
    )


def _is_vctk(source: Path) -> bool:
    return (source / "txt").is_dir() and bool(_find_vctk_folders(source))


def _load_vctk(source: Path, options: ReadOptions) -> Source:
    """Read wav48*/SPEAKER/NAME_mic1.flac and txt/SPEAKER/NAME.txt; of microphones the first."""
    folders = options.find_folders(*_find_vctk_folders(source))
    if not folders:
        raise DatasetError(f"{source} has no folder wav48*; is it the folder of VCTK?")
    rows: list[SourceRow] = []
    left_out: list[LeftOut] = []
    seen: set[tuple[str, str]] = set()
    for path in walk_recordings(folders[0]):
        speaker, stem = path.parent.name, _MICROPHONE.sub("", path.stem)
        if (speaker, stem) in seen:
            continue
        seen.add((speaker, stem))
        text_path = source / "txt" / speaker / f"{stem}.txt"
        if not text_path.is_file():
            left_out.append(LeftOut(stem, "no text file"))
            continue
        rows.append(SourceRow(path, read_text(text_path).strip(), speaker, stem))
    return Source(rows, left_out)


def _find_mls_splits(source: Path) -> list[Path]:
    folders = [source, *(source / name for name in MLS_SPLITS)]
    return [path for path in folders if (path / MLS_TEXTS).is_file() and (path / "audio").is_dir()]


def _is_mls(source: Path) -> bool:
    return bool(_find_mls_splits(source))


def _load_mls(source: Path, options: ReadOptions) -> Source:
    r"""Read transcripts.txt, `SPEAKER_BOOK_ID\ttext`, and audio/SPEAKER/BOOK/*."""
    splits = _find_mls_splits(source)
    if not splits:
        raise DatasetError(f"{source} has no train/, dev/ or test/ with {MLS_TEXTS} and audio/.")
    rows: list[SourceRow] = []
    left_out: list[LeftOut] = []
    for split in splits:
        for number, line in read_lines(split / MLS_TEXTS):
            name, _, text = line.partition("\t")
            parts = name.strip().split("_")
            if len(parts) != 3:
                where = f"{split.name}/{MLS_TEXTS} line {number}"
                left_out.append(LeftOut(where, "no SPEAKER_BOOK_ID"))
                continue
            below = f"{parts[0]}/{parts[1]}/{name.strip()}"
            audio_path = find_recording(below, options.find_folders(split / "audio"))
            rows.append(SourceRow(audio_path, text.strip(), parts[0], name.strip()))
    return Source(rows, left_out)


def _is_festvox(source: Path) -> bool:
    return (source / FESTVOX_TEXTS).is_file()


def _load_festvox(source: Path, options: ReadOptions) -> Source:
    """Read `( name "text" )` of etc/txt.done.data, and wav/."""
    path = source / FESTVOX_TEXTS
    folders: Sequence[Path] = options.find_folders(source / "wav", source / "wavs")
    rows: list[SourceRow] = []
    left_out: list[LeftOut] = []
    for number, line in read_lines(path):
        match = _TRANSCRIPT.match(line.strip())
        if match is None:
            left_out.append(LeftOut(f"{path.name} line {number}", 'no ( name "text" )'))
            continue
        text = match[2].replace('\\"', '"').replace("\\\\", "\\")
        rows.append(SourceRow(find_recording(match[1], folders), text, None, match[1]))
    return Source(rows, left_out)


VCTK = Format("vctk", "wav48*/pNNN/ and txt/pNNN/", _is_vctk, _load_vctk)
MLS = Format("mls", "train/transcripts.txt and train/audio/SPEAKER/BOOK/", _is_mls, _load_mls)
FESTVOX = Format("festvox", "etc/txt.done.data and wav/", _is_festvox, _load_festvox)


FILE_NAME = "file_name"
TABLE_NAMES = ("metadata.csv", "metadata.jsonl")
_DEPTH = ("", "*/", "*/*/")
"""A dataset's folder, its splits or `data`, and their folders."""


def _is_hugging_face(source: Path) -> bool:
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


def _load_hugging_face(source: Path, options: ReadOptions) -> Source:
    """Read what is there; recordings inside tables stay there until they are written."""
    if metadata := _find_metadata(source) if source.is_dir() else []:
        return _load_audio_folder(metadata, options)
    tables = _find_tables(source)
    if not tables:
        raise DatasetError(
            f"{source} has neither metadata.csv or metadata.jsonl with `{FILE_NAME}`, nor "
            "parquet files, nor what save_to_disk writes."
        )
    rows = [row for path in tables for row in _read_hugging_face_rows(path, source, options)]
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


def _read_hugging_face_rows(path: Path, source: Path, options: ReadOptions) -> Iterator[SourceRow]:
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
    _is_hugging_face,
    _load_hugging_face,
)


FORMATS: Sequence[Format] = (
    *(LJSPEECH, PAIRS, CSV, JSONL, VCTK, MLS, COMMON_VOICE, FESTVOX, HUGGING_FACE, PIPER),
)


def find_format(source: Path, name: str | None = None) -> Format:
    """Return the format of a name, or the one that a source looks like.

    Args:
        name: As `--format` has it; None looks into the source.
    """
    if not source.exists():
        raise DatasetError(f"{source} does not exist; name the folder of the recordings.")
    names = ", ".join(one.name for one in FORMATS)
    if name is not None:
        for one in FORMATS:
            if one.name == name.replace("-", "_"):
                return one
        raise DatasetError(f'There is no format "{name}"; pass one of {names} with --format.')
    for is_general in (False, True):
        found = [one for one in FORMATS if one.is_general == is_general and one.is_this(source)]
        if len(found) == 1:
            return found[0]
        if found:
            several = " and ".join(one.name for one in found)
            raise DatasetError(f"{source} looks like {several}; say which with --format ({names}).")
    raise DatasetError(
        f"{source} looks like none of the formats {names}; is it the folder that holds the list "
        "of the recordings? If so, name its format with --format."
    )
