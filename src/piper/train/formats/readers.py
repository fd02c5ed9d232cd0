"""The formats that can be imported, a reader each, and which of them a source has."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from piper.errors import (
    ConfigError,
    DatasetError,
    PiperError,
    describe_briefly,
    name_some,
    needs_extra,
)
from piper.files import digest_file, parse_json_object
from piper.progress import ProgressLine
from piper.train.data.metadata import LJSPEECH as LJSPEECH_LAYOUT
from piper.train.data.metadata import SPEAKER as LAYOUT_SPEAKER
from piper.train.data.metadata import TEXT as LAYOUT_TEXT
from piper.train.data.metadata import (
    Layout,
    find_layout,
    find_stem,
    split_lines,
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
    ReadOptions,
    Source,
    SourceRow,
    describe_columns,
    find_recording,
    find_root,
    load_config,
    open_table,
    read_first_line,
    read_lines,
    read_text,
)
from piper.voices import hub_errors, is_hub_address, name_address

CSV_NAME = "metadata.csv"
_HEADERS = ("audio", "file", "path", "filename", "file_name", "audio_path", "wav", "id", "text")
NO_TEXT = "no text file"
EMPTY_TEXT = "empty text"
COLUMN_NUMBER = "wrong number of columns"


def _list_files(source: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return a source that is a file, or the files in it that have one of the endings."""
    paths = [source] if source.is_file() else sorted(source.iterdir()) if source.is_dir() else []
    return [path for path in paths if path.suffix.lower() in suffixes and path.is_file()]


# -- metadata.csv without a header


def _find_list(source: Path) -> Path | None:
    """Return the list of the recordings: metadata.csv, else a lone file named `*metadata.txt`."""
    if source.is_file():
        return source if source.suffix.lower() in (".csv", ".txt") else None
    if (source / CSV_NAME).is_file() or not source.is_dir():
        return source / CSV_NAME
    # Mimic Recording Studio calls it after the speaker: anna-metadata.txt.
    found = [path for path in source.glob("*.txt") if path.stem.lower().endswith("metadata")]
    return found[0] if len(found) == 1 else source / CSV_NAME


def _find_layout(source: Path) -> Layout | None:
    """Return what the columns of a source's list hold; None where it is no such file."""
    path = _find_list(source)
    if path is None or not path.is_file():
        return None
    try:
        rows = [row for _, row in split_lines(read_text(path))]
    except DatasetError:
        return None
    # A header would make it a CSV: there is no recording of that name.
    if not rows or rows[0][0].lower() in _HEADERS:
        return None
    return _guess_layout(rows)


def _guess_layout(rows: Sequence[Sequence[str]]) -> Layout | None:
    counts = Counter(len(row) for row in rows if len(row) > 1)
    if not counts:
        return None
    [(usual, _)] = counts.most_common(1)
    return find_layout([row for row in rows if len(row) == usual])


def _load_piper(source: Path, options: ReadOptions) -> Source:
    """Read `file|text`, `file|speaker|text` or what else the values tell."""
    path = _find_list(source)
    layout = _guess_layout([row for _, row in split_lines(read_text(path))]) if path else None
    if layout is None:
        raise DatasetError(
            f"What the columns of {path} hold is not clear; write file|text or file|speaker|text, "
            "or pass --format ljspeech for id|text|normalised text."
        )
    return _load_list(source, options, layout)


def _load_list(source: Path, options: ReadOptions, layout: Layout) -> Source:
    path = _find_list(source) or source
    folders = options.find_list_folders(path.parent)
    config, voice = load_config(path.parent)
    found = Source(language=voice, config=config, columns=str(layout))
    speaker = layout.find(LAYOUT_SPEAKER)
    for number, columns in split_lines(read_text(path)):
        values = split_row(columns, layout)
        if values is None:
            detail = f"{len(columns)} instead of {len(layout.names)}"
            found.leave_out(f"{path.name} line {number}", COLUMN_NUMBER, detail)
            continue
        original = values[layout.names.index(LAYOUT_TEXT)]
        found.add(
            find_recording(values[0], folders),
            original if options.use_original_text else values[layout.text] or original,
            None if speaker is None else values[speaker],
            find_stem(values[0]),
        )
    return found


LJSPEECH = Format(
    "ljspeech",
    "metadata.csv `id|text|normalised text`, wavs/",
    lambda source: _find_layout(source) == LJSPEECH_LAYOUT,
    lambda source, options: _load_list(source, options, LJSPEECH_LAYOUT),
)
PIPER = Format(
    "piper",
    "the documented structure: metadata.csv `file|text` or `file|speaker|text`, wavs/",
    lambda source: _find_layout(source) not in (LJSPEECH_LAYOUT, None),
    _load_piper,
)


# -- a text file beside each recording

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
    found = Source(columns="recording and text of one name each", language=load_config(source)[1])
    common = Path(os.path.commonpath([path.parent for path in recordings])) if recordings else root
    for path in recordings:
        text_path = _find_beside(path, suffixes)
        if text_path is None and root != source:  # recordings elsewhere, texts here
            text_path = _find_beside(source / path.relative_to(root), suffixes)
        if text_path is None:
            found.leave_out(str(path.relative_to(root)), NO_TEXT)
            continue
        folders = path.parent.relative_to(common).parts
        found.add(path, read_text(text_path).strip(), folders[0] if folders else None, path.stem)
    groups = {row.speaker for row in found.rows if row.speaker is not None}
    if groups and all(_GROUP.fullmatch(group) for group in groups):
        found.rows = [replace(row, speaker=None) for row in found.rows]
        if len(groups) > 1:
            found.notes.append(
                f"The folders ({name_some(sorted(groups))}) are groups of prompts, and no "
                "speakers, by their names."
            )
    return found


PAIRS = Format(
    "pairs",
    "recordings and .txt or .lab of the same name; a folder a speaker",
    lambda source: (
        source.is_dir()
        and any(_find_beside(path, TEXT_SUFFIXES) for path in walk_recordings(source))
    ),
    _load_pairs,
    is_general=True,
)


# -- tables of text

DELIMITERS = (",", ";", "\t", "|")
TABLE_SUFFIXES = (".csv", ".tsv", ".psv", ".txt")
MAX_FIELD_CHARACTERS = 1 << 20
MIN_SPEAKER_CHARACTERS = 8
VALIDATED_NAME = "validated.tsv"


def _find_text_tables(source: Path, options: ReadOptions) -> list[Path]:
    """Return the CSV files of a source whose first line names a recording and a text."""
    return [
        path
        for path in _list_files(source, TABLE_SUFFIXES)
        if _find_header(read_first_line(path), options)[1] or _find_plain_delimiter(path, options)
    ]


def _find_plain_delimiter(path: Path, options: ReadOptions) -> str:
    """Return the delimiter of a table without a header; empty where the first line is no row of it.

    With `|` it is one of the formats that never have a header.
    """
    if options.columns or path.suffix.lower() not in (".csv", ".tsv"):
        return ""
    line = read_first_line(path)
    folders = ReadOptions().find_list_folders(path.parent)
    for delimiter in (",", ";", "\t"):
        with suppress(csv.Error):
            fields = next(csv.reader([line], delimiter=delimiter), [])
            if len(fields) > 1 and find_recording(fields[0], folders).is_file():
                return delimiter
    return ""


def _find_header(line: str, options: ReadOptions) -> tuple[str, dict[str, str]]:
    """Return the delimiter that makes the most of a header, and the columns found with it."""
    best: tuple[str, dict[str, str]] = (DELIMITERS[0], {})
    for delimiter in DELIMITERS:
        try:
            names = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:  # a carriage return within the line
            continue
        found = options.find_columns(names)
        if {AUDIO, TEXT} <= found.keys() and len(found) > len(best[1]):
            best = (delimiter, found)
    return best


def _load_text_tables(
    paths: Sequence[Path], folders: Sequence[Path], options: ReadOptions, *, use_quotes: bool = True
) -> Source:
    """Read CSV files; without `use_quotes`, `"` around a field is a part of it."""
    found = Source()
    for path in paths:
        _read_text_table(path, folders, options, found, use_quotes)
    return found


def _read_text_table(
    path: Path, folders: Sequence[Path], options: ReadOptions, found: Source, use_quotes: bool
) -> None:
    text = read_text(path)
    delimiter, header = _find_header(text.split("\n", maxsplit=1)[0], options)
    plain = "" if header else _find_plain_delimiter(path, options)
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
        columns = options.require_columns(str(path), names)
        places = {key: names.index(name) for key, name in columns.items()}
    found.columns = describe_columns({key: names[place] for key, place in places.items()})
    for where, fields in numbered:
        if len(fields) > len(names) or (fields and len(fields) <= max(places.values())):
            detail = f"{len(fields)} instead of {len(names)}; is a delimiter not quoted?"
            found.leave_out(where, COLUMN_NUMBER, detail)
        elif any(fields):
            name = fields[places[AUDIO]].strip()
            speaker = fields[places[SPEAKER]] if SPEAKER in places else None
            found.add(find_recording(name, folders), fields[places[TEXT]], speaker, find_stem(name))


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


def _load_csv(source: Path, options: ReadOptions) -> Source:
    paths = _find_text_tables(source, options)
    root = find_root(source)
    if not paths:
        candidates = [source] if source.is_file() else sorted(source.glob("*.[ctp]sv"))
        if not candidates:
            raise DatasetError(f"{source} has no .csv or .tsv file.")
        # For its sentence about the column that is missing.
        return _load_text_tables(candidates[:1], [root], options)
    return _load_text_tables(paths, options.find_list_folders(root), options)


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
    found = _load_text_tables([path], folders, options, use_quotes=False)
    names = {row.speaker for row in found.rows if row.speaker}
    length = MIN_SPEAKER_CHARACTERS  # of 128
    while len({name[:length] for name in names}) < len(names):
        length += 1
    found.rows = [
        replace(row, speaker=row.speaker[:length]) if row.speaker else row for row in found.rows
    ]
    found.language = _find_locale(path)
    return found


def _find_locale(path: Path) -> str | None:
    """Return the locale of a two-letter language: espeak-ng has these by the same name."""
    lines = read_text(path).split("\n", maxsplit=2)
    header, first = (lines[index].strip("\r").split("\t") for index in (0, 1 if lines[1:] else 0))
    place = header.index("locale") if "locale" in header else len(first)
    locale = first[place] if place < len(first) else ""
    return locale if len(locale) == 2 and locale.isalpha() else None


CSV = Format(
    "csv",
    "a .csv or .tsv with a header, see --columns",
    lambda source: bool(_find_text_tables(source, ReadOptions())),
    _load_csv,
    is_general=True,
)
COMMON_VOICE = Format(
    "common_voice", "validated.tsv and clips/ of one language", _is_common_voice, _load_common_voice
)


# -- lines of JSON

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


def _find_line_files(source: Path, options: ReadOptions) -> list[Path]:
    """Return the files of a source whose first line is an object with recording and text."""
    found = []
    for path in _list_files(source, JSON_SUFFIXES):
        first = _parse_line(read_first_line(path))
        if first is not None and {AUDIO, TEXT} <= options.find_columns(list(first)).keys():
            found.append(path)
    return found


def _load_line_files(
    paths: Sequence[Path], folders: Sequence[Path], options: ReadOptions
) -> Source:
    """Read files of one JSON object a line; the names of the first line count for all."""
    # The older trainer's dataset.jsonl has a config.json beside it.
    found = Source(language=load_config(paths[0].parent)[1] if paths else None)
    for path in paths:
        keys: dict[str, str] = {}
        for number, line in read_lines(path):
            data = _parse_line(line)
            where = f"{path.name} line {number}"
            if data is None:
                found.leave_out(where, "no JSON object")
                continue
            keys = keys or options.require_columns(where, list(data))
            audio = data.get(keys[AUDIO])
            if isinstance(audio, dict):  # as Hugging Face's datasets write it
                audio = audio.get("path")
            name = _to_text(audio).strip()
            # A row whose keys differ may name a speaker that the first line lacks.
            speaker = data.get(keys.get(SPEAKER, SPEAKER))
            found.add(
                find_recording(name, folders),
                _to_text(data.get(keys[TEXT])),
                str(speaker) if speaker is not None else None,
                find_stem(name),
            )
        found.columns = describe_columns(keys)
    return found


def _parse_line(line: str) -> dict[str, Any] | None:
    try:
        return parse_json_object(line, "a line")
    except ConfigError:
        return None


def _to_text(value: Any) -> str:
    return "" if value is None else str(value)


def _load_json_lines(source: Path, options: ReadOptions) -> Source:
    paths = _find_line_files(source, options)
    if not paths:
        paths = [source] if source.is_file() else sorted(source.glob("*.jsonl"))[:1]
        if not paths:
            raise DatasetError(f"{source} has no .jsonl file.")
    return _load_line_files(paths, options.find_list_folders(find_root(source)), options)


JSONL = Format(
    "jsonl",
    "one JSON object a line: `audio_path`, `text`, `speaker`",
    lambda source: bool(_find_line_files(source, ReadOptions())),
    _load_json_lines,
    is_general=True,
)


# -- VCTK, MLS, festvox

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


def _load_vctk(source: Path, options: ReadOptions) -> Source:
    """Read wav48*/SPEAKER/NAME_mic1.flac and txt/SPEAKER/NAME.txt; of microphones the first."""
    folders = options.find_folders(*_find_vctk_folders(source))
    if not folders:
        raise DatasetError(f"{source} has no folder wav48*; is it the folder of VCTK?")
    found = Source()
    seen: set[tuple[str, str]] = set()
    for path in walk_recordings(folders[0]):
        speaker, stem = path.parent.name, _MICROPHONE.sub("", path.stem)
        if (speaker, stem) in seen:
            continue
        seen.add((speaker, stem))
        text_path = source / "txt" / speaker / f"{stem}.txt"
        if text_path.is_file():
            found.add(path, read_text(text_path).strip(), speaker, stem)
        else:
            found.leave_out(stem, NO_TEXT)
    return found


def _find_mls_splits(source: Path) -> list[Path]:
    folders = [source, *(source / name for name in MLS_SPLITS)]
    return [path for path in folders if (path / MLS_TEXTS).is_file() and (path / "audio").is_dir()]


def _load_mls(source: Path, options: ReadOptions) -> Source:
    r"""Read transcripts.txt, `SPEAKER_BOOK_ID\ttext`, and audio/SPEAKER/BOOK/*."""
    splits = _find_mls_splits(source)
    if not splits:
        raise DatasetError(f"{source} has no train/, dev/ or test/ with {MLS_TEXTS} and audio/.")
    found = Source()
    for split in splits:
        folders = options.find_folders(split / "audio")
        for number, line in read_lines(split / MLS_TEXTS):
            name, _, text = line.partition("\t")
            name = name.strip()
            parts = name.split("_")
            if len(parts) != 3:
                found.leave_out(f"{split.name}/{MLS_TEXTS} line {number}", "no SPEAKER_BOOK_ID")
                continue
            audio_path = find_recording(f"{parts[0]}/{parts[1]}/{name}", folders)
            found.add(audio_path, text.strip(), parts[0], name)
    return found


def _load_festvox(source: Path, options: ReadOptions) -> Source:
    """Read `( name "text" )` of etc/txt.done.data, and wav/."""
    path = source / FESTVOX_TEXTS
    folders = options.find_folders(source / "wav", source / "wavs")
    found = Source()
    for number, line in read_lines(path):
        match = _TRANSCRIPT.match(line.strip())
        if match is None:
            found.leave_out(f"{path.name} line {number}", 'no ( name "text" )')
            continue
        text = match[2].replace('\\"', '"').replace("\\\\", "\\")
        found.add(find_recording(match[1], folders), text, None, match[1])
    return found


VCTK = Format(
    "vctk",
    "wav48*/pNNN/ and txt/pNNN/",
    lambda source: (source / "txt").is_dir() and bool(_find_vctk_folders(source)),
    _load_vctk,
)
MLS = Format(
    "mls",
    "train/transcripts.txt and train/audio/SPEAKER/BOOK/",
    lambda source: bool(_find_mls_splits(source)),
    _load_mls,
)
FESTVOX = Format(
    "festvox",
    "etc/txt.done.data and wav/",
    lambda source: (source / FESTVOX_TEXTS).is_file(),
    _load_festvox,
)


# -- Hugging Face

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
    found = Source()
    if metadata := _find_metadata(source) if source.is_dir() else []:
        options = replace(options, columns={AUDIO: FILE_NAME, **options.columns})
        for path in metadata:
            load = _load_text_tables if path.suffix == ".csv" else _load_line_files
            part = load([path], options.find_folders(path.parent), options)
            found.rows += part.rows
            found.left_out += part.left_out
        return found
    tables = _find_tables(source)
    if not tables:
        raise DatasetError(
            f"{source} has neither metadata.csv or metadata.jsonl with `{FILE_NAME}`, nor "
            "parquet files, nor what save_to_disk writes."
        )
    for path in tables:
        found.rows += _read_hugging_face_rows(path, find_root(source), options)
    return found


def _read_hugging_face_rows(path: Path, root: Path, options: ReadOptions) -> Iterator[SourceRow]:
    table = open_table(path)
    names = table.names
    found = options.find_columns(names)
    if AUDIO not in options.columns:
        # The library decodes one column of bytes and path; its name does not matter.
        structs = [name for name in names if table.has_bytes(name)]
        found = {**found, **({AUDIO: structs[0]} if structs else {})}
    options.check_columns(str(path), names, found)
    folders = options.find_folders(root)
    is_inside = table.has_bytes(found[AUDIO])
    wanted = [f"{found[AUDIO]}.path" if is_inside else found[AUDIO], found[TEXT]]
    wanted += [found[SPEAKER]] if SPEAKER in found else []
    for number, values in enumerate(table.read_columns(wanted)):
        name, text, speaker = (*values, None)[:3]
        yield SourceRow(
            path if is_inside else find_recording(_to_text(name), folders),
            _to_text(text),
            None if speaker is None else str(speaker),
            find_stem(_to_text(name)) or f"{path.stem}-{number + 1:06}",
            (found[AUDIO], number) if is_inside else None,
        )


HUGGING_FACE = Format(
    "hugging_face",
    "audiofolder with file_name, parquet files, or what save_to_disk writes",
    _is_hugging_face,
    _load_hugging_face,
)


# -- Hugging Face's Hub

_DATASET = re.compile(r"hf://datasets/((?:[\w.-]+/)?[\w.-]+)(?:@([\w./-]+))?/?")
_CONVERTED = "refs/convert/parquet"
"""The Hub's branch with a dataset of any layout as parquet: CONFIG/SPLIT/0000.parquet."""
_PARTIAL = "partial-"
"""Begins a split of that branch of which the Hub converted the first gigabytes only."""
_NUMBERED = re.compile(r"(?:(.+?)[-_.])?\d+(?:-of-\d+)?(?:-[0-9a-f]{16})?")
DEFAULT, TRAIN = "default", "train"


@dataclass(frozen=True)
class HubTable:
    """A parquet file of a dataset of the Hub.

    Attributes:
        path: In the Hub's cache where it lies there, else its address.
        version: The digest of its content.
    """

    name: str
    path: Path
    version: str


def _load_hub(source: Path, options: ReadOptions) -> Source:
    """Read the rows; of recordings nothing is fetched until they are written."""
    address = name_address(source)
    match = _DATASET.fullmatch(address)
    if match is None:
        raise DatasetError(f"{address} is no address of a dataset; write hf://datasets/USER/NAME.")
    with needs_extra("hub"):
        import huggingface_hub  # noqa: F401
    try:
        tables, card = _list_hub_tables(match[1], match[2])
    except hub_errors() as error:
        raise PiperError(
            f"{address} cannot be had ({describe_briefly(error, 200)}); check the address, "
            "the network, and HF_TOKEN where the repository is private."
        ) from None
    subsets = group_tables(tables, card)
    fetch = f"`hf download --repo-type dataset {match[1]} --local-dir DIR`, and import DIR"
    if not subsets:
        raise DatasetError(f"{address} has no parquet files; fetch it with {fetch}.")
    subset = _choose(subsets, options.subset, DEFAULT, address, "--config")
    split = _choose(subsets[subset], options.split, TRAIN, address, "--split")
    chosen = subsets[subset][split]
    found = Source()
    if f"/{_PARTIAL}{split}/" in f"/{chosen[0].name}":
        found.notes.append(f"Of {address} the Hub has only the beginning as parquet files.")
    for row in _read_hub_rows(chosen, options):
        if row.cell is None:
            raise DatasetError(
                f"The tables of {address} only name its recordings; fetch them with {fetch}."
            )
        if row.text.strip():
            found.rows.append(row)
        else:
            found.leave_out(row.name, EMPTY_TEXT)
        if len(found.rows) == options.limit:
            break
    return found


def _read_hub_rows(tables: Sequence[HubTable], options: ReadOptions) -> Iterator[SourceRow]:
    progress = ProgressLine("Reading", len(tables), "tables")
    for number, table in enumerate(tables, start=1):
        for row in _read_hugging_face_rows(table.path, Path(), options):
            yield replace(row, version=table.version)
        progress.show(number)
    progress.leave()


def _find_content(path: Path) -> str:
    """Return the digest of a file of the Hub's cache: a link to one of that name, or the file."""
    name = path.resolve().name
    return name if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", name) else digest_file(path)


def _list_hub_tables(repository: str, revision: str | None) -> tuple[list[HubTable], Any]:
    """Return the parquet files of a dataset, and what its card says (its YAML).

    Where it has none, those that the Hub made of it; without a network, those in the cache.
    """
    from huggingface_hub import DatasetCard, HfApi, constants, snapshot_download
    from huggingface_hub import try_to_load_from_cache as find_cached
    from huggingface_hub.errors import RevisionNotFoundError

    if constants.HF_HUB_OFFLINE:
        folder = Path(snapshot_download(repository, repo_type="dataset", revision=revision))
        paths = sorted(folder.rglob(f"*{PARQUET}"))
        tables = [
            HubTable(path.relative_to(folder).as_posix(), path, _find_content(path))
            for path in paths
        ]
        card = folder / "README.md"
        return tables, DatasetCard.load(card).data.to_dict() if card.is_file() else {}
    branches = [revision] if revision else [None, _CONVERTED]
    for branch in branches:
        try:
            info = HfApi().dataset_info(repository, revision=branch, files_metadata=True)
        except RevisionNotFoundError:
            if branch != _CONVERTED:
                raise
            break
        tables = []
        for file in sorted(info.siblings or (), key=lambda file: file.rfilename):
            name = file.rfilename
            if not name.endswith(PARQUET):
                continue
            cached = find_cached(repository, name, repo_type="dataset", revision=info.sha)
            path = (
                cached
                if isinstance(cached, str)
                else f"hf://datasets/{repository}@{info.sha}/{name}"
            )
            version = file.lfs.sha256 if file.lfs else file.blob_id
            tables.append(HubTable(name, Path(path), str(version)))
        if tables:
            return tables, info.card_data.to_dict() if info.card_data else {}
    return [], {}


def group_tables(
    tables: Sequence[HubTable], card: Mapping[str, Any]
) -> dict[str, dict[str, list[HubTable]]]:
    """Return the tables of each subset's splits: as the card says it, else by their names."""
    found: dict[str, dict[str, list[HubTable]]] = {}
    configs = card.get("configs")
    for config in configs if isinstance(configs, list) else ():
        if not isinstance(config, dict):
            continue
        files = config.get("data_files")
        for entry in files if isinstance(files, list) else [files]:
            said = entry if isinstance(entry, dict) else {"path": entry}
            patterns = said.get("path")
            patterns = [patterns] if isinstance(patterns, str) else patterns
            matching = [
                table
                for table in tables
                for pattern in (patterns if isinstance(patterns, list) else ())
                if isinstance(pattern, str) and fnmatch(table.name, pattern.replace("**/", "*"))
            ]
            if matching:
                splits = found.setdefault(str(config.get("config_name", DEFAULT)), {})
                splits.setdefault(str(said.get("split", TRAIN)), []).extend(matching)
    for table in () if found else tables:
        *folders, stem = table.name.removesuffix(PARQUET).split("/")
        if match := _NUMBERED.fullmatch(stem):
            stem = match[1] or (folders.pop() if folders else TRAIN)
        subset = "/".join(folder for folder in folders if folder != "data") or DEFAULT
        split = stem.removeprefix(_PARTIAL)
        found.setdefault(subset, {}).setdefault(split, []).append(table)
    return found


def _choose(names: Collection[str], wanted: str | None, usual: str, address: str, flag: str) -> str:
    """Return the one of the names that is wanted, else the usual or the only one."""
    if wanted is None and len(names) == 1:
        return next(iter(names))
    name = usual if wanted is None else wanted
    if name not in names:
        raise DatasetError(f"{address} has {name_some(names, 20)}; name one with {flag}.")
    return name


HUB = Format(
    "hub",
    "hf://datasets/USER/NAME, a dataset of the Hugging Face Hub, streamed",
    is_hub_address,
    _load_hub,
)


FORMATS: Sequence[Format] = (
    *(LJSPEECH, PAIRS, CSV, JSONL, VCTK, MLS, COMMON_VOICE, FESTVOX, HUGGING_FACE, HUB, PIPER),
)


def find_format(source: Path, name: str | None = None) -> Format:
    """Return the format of a name, or the one that a source looks like.

    Args:
        name: As `--format` has it; None looks into the source.
    """
    if is_hub_address(source):
        return HUB
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
