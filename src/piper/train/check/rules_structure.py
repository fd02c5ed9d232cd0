"""What is wrong with metadata.csv and its files, all of it at once. Opens no recording."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from piper.errors import DatasetError
from piper.json_reader import read_bounded
from piper.train.check.entries import Entry
from piper.train.check.findings import Finding, Group, Severity, create_rule
from piper.train.data.layout import (
    FILE,
    SPEAKER,
    TEXT,
    UTF_8,
    Layout,
    are_quoted,
    create_layout,
    decode_text,
    find_bad_line,
    find_layout,
    remove_quotes,
)
from piper.train.data.metadata import OTHER_DELIMITERS, find_audio
from piper.train.data.names import find_named, walk_recordings

HEADER_WORDS = frozenset(
    ("file", "filename", "file_name", "audio", "audio_file", "audio_path", "path", "wav", "id")
)
"""Names of a first column that make the first line a header."""


_rule = partial(create_rule, Group.STRUCTURE)


ENCODING = _rule(
    "encoding",
    Severity.ERROR,
    "metadata.csv is not UTF-8",
    "any byte that is no UTF-8",
    "Save the file as UTF-8.",
)
BYTE_ORDER_MARK = _rule(
    "byte-order-mark",
    Severity.NOTE,
    "metadata.csv begins with a byte order mark",
    "the bytes EF BB BF",
    "Other programs may take it for a part of the first name; save as UTF-8 without it.",
)
HEADER = _rule(
    "header",
    Severity.ERROR,
    "The first line is a header",
    "the first column is a usual head, and no file of that name is there",
    "Remove the line; metadata.csv has none.",
)
DELIMITER = _rule(
    "delimiter",
    Severity.ERROR,
    "No '|' in a line",
    "one column",
    "Separate the columns by '|', or make the folder with `python -m piper.train import`.",
)
COLUMNS = _rule(
    "columns",
    Severity.ERROR,
    "Another number of columns than the other lines have",
    "not as most lines",
    "A text must not hold '|', and each line needs the same columns.",
)
EMPTY_NAME = _rule(
    "empty-name",
    Severity.ERROR,
    "A line without a recording",
    "an empty first column",
    "Name the recording, or remove the line.",
)
OTHER_NAME = _rule(
    "other-name",
    Severity.NOTE,
    "A recording that is found by another spelling of its name",
    "other capitals, another ending, a folder or a path of Windows that is not here",
    "Training finds it, too; a copy by --fix has names as they are on this disk.",
)
MISSING_FILE = _rule(
    "missing-file",
    Severity.ERROR,
    "A recording is not there",
    "no file of that name, with or without .wav",
    "Put the recording into wavs/, mend the name, or remove the line.",
)
OUTSIDE_FILE = _rule(
    "outside-file",
    Severity.WARNING,
    "A recording outside the dataset",
    "the name leads out of the dataset's folder and out of that of the recordings",
    "It is trained on, and this report plays it; of a dataset that somebody else made, make sure "
    "that it is meant before you give anything of it away.",
)
UNREFERENCED_FILE = _rule(
    "unreferenced-file",
    Severity.WARNING,
    "A recording that no line names",
    "an audio file in the folder of the recordings",
    "Write a line for it, or remove it.",
)
DUPLICATE_NAME = _rule(
    "duplicate-name",
    Severity.ERROR,
    "A recording in two lines",
    "the same file, with the same text or another",
    "Remove one of the two lines.",
)
DUPLICATE_TEXT = _rule(
    "duplicate-text",
    Severity.WARNING,
    "The same text in several lines",
    "equal but for case, spaces and punctuation, of one speaker",
    "Make sure that each recording says its text; one of them may be a retake.",
)
QUOTES = _rule(
    "quotes",
    Severity.WARNING,
    "A text in quotes, as a spreadsheet writes it",
    'the text begins and ends with ", or has "" inside',
    "Quotes are part of the text here; save without quoting.",
)
CONTROL_CHARACTERS = _rule(
    "control-characters",
    Severity.WARNING,
    "Invisible characters in a text",
    "tabs, control and formatting characters, the sign of a decoding error",
    "Remove them.",
)
RULES = (
    *(ENCODING, BYTE_ORDER_MARK, HEADER, DELIMITER, COLUMNS, EMPTY_NAME, OTHER_NAME),
    *(MISSING_FILE, OUTSIDE_FILE, UNREFERENCED_FILE, DUPLICATE_NAME, DUPLICATE_TEXT, QUOTES),
    CONTROL_CHARACTERS,
)


@dataclass(frozen=True)
class Structure:
    """A dataset's lines, and what is wrong with them.

    Attributes:
        entries: Lines that have a name and a text column.
        findings: What is wrong.
        layout: What the columns of most lines hold; where their values do not tell, what is
            documented.
    """

    entries: list[Entry]
    findings: list[Finding]
    layout: Layout


def read_structure(csv_path: Path, audio_dir: Path) -> Structure:
    """Read metadata.csv as far as it can be read.

    Args:
        csv_path: Lines `file|text`, `file|speaker|text`, or another layout of `data.layout`.
        audio_dir: Folder of the recordings; names are looked for here, then beside the CSV.

    Raises:
        DatasetError: There is no such file, or nothing in it.
    """
    text, findings = _read_text(csv_path)
    lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise DatasetError(f"{csv_path} is empty; write one line `file.wav|Text.` a recording.")
    folders = (audio_dir, csv_path.parent)
    counts = Counter(line.count("|") + 1 for _, line in lines)
    # Lines with another delimiter are no dataset of one column.
    num_columns = max((count for count in counts if count > 1), key=counts.__getitem__, default=2)
    entries = []
    clean = remove_quotes if are_quoted([line.split("|") for _, line in lines]) else str.strip
    rows = [(n, line, tuple(map(clean, line.split("|")))) for n, line in lines]
    usual = [row for *_, row in rows if len(row) == num_columns]
    layout = (find_layout(usual) if num_columns > 2 else None) or _guess_layout(num_columns)
    for number, line, columns in rows:
        if number == lines[0][0] and _is_header(line, folders):
            findings.append(Finding(HEADER, f"the line is {line!r:.60}", number))
        elif len(columns) == 1:
            findings.append(Finding(DELIMITER, _describe_delimiter(line), number))
        elif len(columns) != num_columns:
            message = f"{len(columns)} columns, most lines have {num_columns}"
            findings.append(Finding(COLUMNS, message, number, columns[0]))
        else:
            entries.append(_create_entry(number, columns, layout, folders))
    for entry in entries:
        findings += _check_entry(entry, folders)
    findings += _find_duplicates(entries)
    findings += _find_unreferenced(entries, audio_dir)
    return Structure(entries, findings, layout)


def _read_text(csv_path: Path) -> tuple[str, list[Finding]]:
    try:
        data = read_bounded(csv_path, "metadata.csv")
    except FileNotFoundError:
        raise DatasetError(f"{csv_path} does not exist; name the dataset's folder.") from None
    findings = []
    if data.startswith(b"\xef\xbb\xbf"):
        findings.append(Finding(BYTE_ORDER_MARK, "before the first name", 1))
    text, encoding = decode_text(data)
    if encoding != UTF_8:
        line = find_bad_line(data)
        findings.append(Finding(ENCODING, f"read as {encoding} here: {text[:40]!r}", line))
    return text, findings


def _is_header(line: str, folders: Sequence[Path]) -> bool:
    delimiter = next((sign for sign in ("|", *OTHER_DELIMITERS) if sign in line), "|")
    first = line.split(delimiter)[0].strip().strip('"').lower()
    return first in HEADER_WORDS and find_audio(first, folders) is None


def _describe_delimiter(line: str) -> str:
    seen = next((name for sign, name in OTHER_DELIMITERS.items() if sign in line), None)
    return f"it seems to use {seen}" if seen else f"the line is {line!r:.60}"


def _guess_layout(num_columns: int) -> Layout:
    """Return the documented layout; of more columns than it has the last is the text."""
    if num_columns == 2:
        return create_layout(1, has_ids=False)
    return Layout((FILE, SPEAKER, *("?" * (num_columns - 3)), TEXT))


def _create_entry(
    number: int, columns: tuple[str, ...], layout: Layout, folders: Sequence[Path]
) -> Entry:
    name = columns[0]
    place = layout.find(SPEAKER)
    speaker = None if place is None else columns[place]
    text = columns[layout.text] or columns[layout.names.index(TEXT)]
    path = find_audio(name, folders)
    return Entry(number, name, path, speaker, text)


def _check_entry(entry: Entry, folders: Sequence[Path]) -> Iterator[Finding]:
    if not entry.name:
        yield Finding(EMPTY_NAME, f"the text is {entry.text!r:.60}", entry.line)
    elif entry.audio_path is None:
        message = f"{entry.name:.60} is not in {folders[0].name}/"
        yield Finding(MISSING_FILE, message, entry.line, entry.name)
    elif find_named(entry.name, folders) is None:
        message = f"{entry.name:.60}: {entry.audio_path.name} is there"
        yield Finding(OTHER_NAME, message, entry.line, entry.name)
    elif not any(_is_below(entry.audio_path, folder) for folder in folders):
        yield Finding(OUTSIDE_FILE, f"{entry.audio_path}"[:200], entry.line, entry.name)
    text = entry.text
    if len(text) > 1 and ((text[0] == text[-1] == '"') or '""' in text):
        yield Finding(QUOTES, f"the text is {text!r:.60}", entry.line, entry.name)
    odd = sorted(
        {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn") or c == "\ufffd"}
    )
    if odd:
        named = ", ".join(f"U+{ord(character):04X}" for character in odd)
        yield Finding(CONTROL_CHARACTERS, f"{named} in {text!r:.60}", entry.line, entry.name)


def _is_below(path: Path, folder: Path) -> bool:
    """Return whether a path leads below a folder by its names, whatever links there are."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100 - `resolve` would follow links
    return whole.is_relative_to(os.path.abspath(folder))  # noqa: PTH100


def _find_duplicates(entries: Sequence[Entry]) -> Iterator[Finding]:
    names: dict[Path, Entry] = {}
    texts: dict[tuple[str | None, str], Entry] = {}
    for entry in entries:
        if entry.audio_path is not None:
            first = names.setdefault(entry.audio_path, entry)
            if first is not entry:
                how = "the same text" if first.text == entry.text else "another text"
                message = f"already in line {first.line}, with {how}"
                yield Finding(DUPLICATE_NAME, message, entry.line, entry.name)
                continue
        if entry.spoken[1]:
            first = texts.setdefault(entry.spoken, entry)
            if first is not entry:
                message = f"as line {first.line} ({first.name}): {entry.text!r:.60}"
                yield Finding(DUPLICATE_TEXT, message, entry.line, entry.name)


def _find_unreferenced(entries: Sequence[Entry], audio_dir: Path) -> Iterator[Finding]:
    named = {entry.audio_path for entry in entries}
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in walk_recordings(audio_dir):
        if path not in named:
            folders[path.parent].append(path)
    for paths in folders.values():
        for path in paths:
            yield Finding(
                UNREFERENCED_FILE, "no line names it", None, str(path.relative_to(audio_dir))
            )
