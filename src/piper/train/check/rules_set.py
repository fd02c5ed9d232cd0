"""What is wrong with a dataset as a whole: its files, its split, its amount."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from piper.errors import DatasetError, name_some
from piper.files import read_bounded
from piper.progress import count_things
from piper.train.check.entries import Entry
from piper.train.check.issues import Group, Issue, rules_of
from piper.train.check.measuring import find_trained_text
from piper.train.data.metadata import (
    FILE,
    OTHER_DELIMITERS,
    SPEAKER,
    SPEAKERS_SHARE,
    TEXT,
    UTF_8,
    Layout,
    are_quoted,
    are_speakers,
    create_layout,
    decode_text,
    find_audio,
    find_bad_line,
    find_layout,
    find_named,
    remove_quotes,
    walk_recordings,
)
from piper.train.data.settings import DataSettings
from piper.train.data.split import count_held_out, rank_recordings

set_error, set_warning, set_note = rules_of(Group.SET)
structure_error, structure_warning, structure_note = rules_of(Group.STRUCTURE)

FEW_HOURS = 0.2
"""Twelve minutes: with less even a voice that starts from another one lacks many sounds."""
FEWEST_RECORDINGS = 20
RARE_TIMES = 5
SPEAKER_HOURS = 0.1
BALANCE_TIMES = 5.0
HEADER_WORDS = frozenset(
    ("file", "filename", "file_name", "audio", "audio_file", "audio_path", "path", "wav", "id")
)
"""Names of a first column that make the first line a header."""

NO_SPEAKERS = set_error(
    "no-speakers",
    "The second of three columns is no speaker",
    f"more different values than {SPEAKERS_SHARE:.0%} of the lines, or values that read like text",
    "With one speaker the columns are file|text; `python -m piper.train import` makes them.",
)
FEW_RECORDINGS = set_error(
    "few-recordings",
    "Too few recordings for any voice",
    f"fewer than {FEWEST_RECORDINGS}",
    "Record more: a hundred sentences make a voice that starts from another one.",
)
LITTLE_SPEECH = set_warning(
    "little-speech",
    "Little speech",
    f"less than {FEW_HOURS * 60:.0f} minutes",
    "Record more, and start from another voice: --model.warmstart=FILE.",
)
SPEAKER_SPEECH = set_warning(
    "speaker-speech",
    "A speaker with little speech",
    f"less than {SPEAKER_HOURS * 60:.0f} minutes",
    "Record more of this speaker, or leave him out.",
)
BALANCE = set_note(
    "balance",
    "A speaker with far less speech than another",
    f"{BALANCE_TIMES:g} times less than the one with most",
    "This voice is trained on least; that can be as wanted.",
)
RARE_PHONEMES = set_note(
    "rare-phonemes",
    "Phonemes that are hardly ever heard",
    f"fewer than {RARE_TIMES} times",
    "Record sentences with them, or expect them to sound odd.",
)
UNTRAINED_SPEAKER = set_warning(
    "untrained-speaker",
    "A speaker of whom nothing is trained on",
    "all recordings are held out for validation",
    "Record more of this speaker, leave him out, or take another --data.seed.",
)
UNVALIDATED_SPEAKER = set_warning(
    "unvalidated-speaker",
    "A speaker who is not validated",
    "no recording is held out",
    "Record more of this speaker, or raise --data.validation_split.",
)
UNTRAINED_PHONEMES = set_note(
    "untrained-phonemes",
    "Phonemes that do not occur in training",
    "only in recordings that are held out",
    "Record sentences with them, or take another --data.seed.",
)
ENCODING = structure_error(
    "encoding",
    "metadata.csv is not UTF-8",
    "any byte that is no UTF-8",
    "Save the file as UTF-8.",
)
BYTE_ORDER_MARK = structure_note(
    "byte-order-mark",
    "metadata.csv begins with a byte order mark",
    "the bytes EF BB BF",
    "Other programs may take it for a part of the first name; save as UTF-8 without it.",
)
HEADER = structure_error(
    "header",
    "The first line is a header",
    "the first column is a usual head, and no file of that name is there",
    "Remove the line; metadata.csv has none.",
)
DELIMITER = structure_error(
    "delimiter",
    "No '|' in a line",
    "one column",
    "Separate the columns by '|', or make the folder with `python -m piper.train import`.",
)
COLUMNS = structure_error(
    "columns",
    "Another number of columns than the other lines have",
    "not as most lines",
    "A text must not hold '|', and each line needs the same columns.",
)
EMPTY_NAME = structure_error(
    "empty-name",
    "A line without a recording",
    "an empty first column",
    "Name the recording, or remove the line.",
)
OTHER_NAME = structure_note(
    "other-name",
    "A recording that is found by another spelling of its name",
    "other capitals, another ending, a folder or a path of Windows that is not here",
    "Training finds it, too; a copy by --fix has names as they are on this disk.",
)
MISSING_FILE = structure_error(
    "missing-file",
    "A recording is not there",
    "no file of that name, with or without .wav",
    "Put the recording into wavs/, correct the name, or remove the line.",
)
OUTSIDE_FILE = structure_warning(
    "outside-file",
    "A recording outside the dataset",
    "the name leads out of the dataset's folder and out of that of the recordings",
    "It is trained on, and this report plays it; of a dataset that somebody else made, make sure "
    "that it is meant before you give anything of it away.",
)
UNREFERENCED_FILE = structure_warning(
    "unreferenced-file",
    "A recording that no line names",
    "an audio file in the folder of the recordings",
    "Write a line for it, or remove it.",
)
DUPLICATE_NAME = structure_error(
    "duplicate-name",
    "A recording in two lines",
    "the same file, with the same text or another",
    "Remove one of the two lines.",
)
DUPLICATE_TEXT = structure_warning(
    "duplicate-text",
    "The same text in several lines",
    "equal but for case, spaces and punctuation, of one speaker",
    "Make sure that each recording says its text; one of them may be a retake.",
)
QUOTES = structure_warning(
    "quotes",
    "A text in quotes, as a spreadsheet writes it",
    'the text begins and ends with ", or has "" inside',
    "Quotes are part of the text here; save without quoting.",
)
CONTROL_CHARACTERS = structure_warning(
    "control-characters",
    "Invisible characters in a text",
    "tabs, control and formatting characters, the sign of a decoding error",
    "Remove them.",
)


def find_in_set(entries: Sequence[Entry]) -> list[Issue]:
    """Return what is wrong with the set as a whole."""
    issues = []
    speakers = {entry.speaker for entry in entries if entry.speaker is not None}
    has_speakers = are_speakers(speakers, len(entries))
    if not has_speakers:
        message = f"{len(speakers)} different values in {len(entries)} lines"
        issues.append(Issue(NO_SPEAKERS, message))
    usable = find_usable(entries)
    if len(usable) < FEWEST_RECORDINGS:
        issues.append(Issue(FEW_RECORDINGS, f"{len(usable)} can be used"))
    hours = measure_hours(entries)
    if (total := sum(hours.values())) < FEW_HOURS:
        issues.append(Issue(LITTLE_SPEECH, f"{60 * total:.1f} minutes"))
    if has_speakers and len(speakers) > 1:
        issues += _check_hours(hours)
    rare = {c: n for c, n in count_phonemes(entries).items() if n < RARE_TIMES and c.isalpha()}
    for phoneme, count in sorted(rare.items(), key=lambda item: item[1]):
        times = "once" if count == 1 else f"{count} times"
        example = next(e.text for e in entries if e.read and phoneme in e.read.phonemes)
        message = f"{phoneme!r} {times}, in {example!r:.60}"
        issues.append(Issue(RARE_PHONEMES, message, score=-count))
    return issues


def _check_hours(hours: Mapping[str | None, float]) -> Iterator[Issue]:
    most = max(hours.values(), default=0.0)
    for speaker, own in sorted(hours.items(), key=lambda item: item[1]):
        if own < SPEAKER_HOURS:
            yield Issue(SPEAKER_SPEECH, f"{speaker}: {60 * own:.1f} minutes", score=-own)
        elif own * BALANCE_TIMES < most:
            yield Issue(BALANCE, f"{speaker}: {own:.2f} hours, another {most:.2f}", score=-own)


def measure_hours(entries: Sequence[Entry]) -> dict[str | None, float]:
    """Return the hours of each speaker's recordings; under None where there is one."""
    seconds: defaultdict[str | None, float] = defaultdict(float)
    for entry in entries:
        if entry.audio:
            seconds[entry.speaker] += entry.audio.seconds
    return {speaker: count / 3600 for speaker, count in seconds.items()}


def count_phonemes(entries: Sequence[Entry]) -> Counter[str]:
    """Return how often each phoneme is said, signs of stress and pauses included."""
    return Counter(phoneme for entry in entries if entry.read for phoneme in entry.read.phonemes)


def describe_set(entries: Sequence[Entry]) -> dict[str, str]:
    """Return what is good to know of a set, by name."""
    hours = measure_hours(entries)
    seconds = [entry.audio.seconds for entry in entries if entry.audio]
    counts = count_phonemes(entries)
    texts = [entry.read.phonemes for entry in entries if entry.read]
    pairs = Counter(pair for phonemes in texts for pair in pairwise(phonemes))
    recordings = {entry.audio_path: entry.audio for entry in entries if entry.audio}
    rates = Counter(audio.sample_rate for audio in recordings.values())
    return {
        "recordings": str(len(entries)),
        "hours": f"{sum(hours.values()):.2f}",
        "speakers": str(max(1, len(hours))),
        "sample rates": ", ".join(f"{rate} Hz ({n})" for rate, n in rates.most_common(3)),
        "length": f"{min(seconds):.1f} to {max(seconds):.1f} s, median {median(seconds):.1f} s"
        if seconds
        else "none can be read",
        "phonemes": f"{len(counts)} different, {counts.total()} in all",
        "pairs of phonemes": f"{len(pairs)} different, "
        f"{sum(n >= RARE_TIMES for n in pairs.values())} of them {RARE_TIMES} times or more",
    }


def tabulate_phonemes(entries: Sequence[Entry]) -> tuple[str, list[str], list[list[str]]]:
    """Return a table of phonemes and how often they are said, the rare ones first."""
    counts = sorted(count_phonemes(entries).items(), key=lambda item: (item[1], item[0]))
    rows = [[phoneme if phoneme.strip() else "(space)", str(count)] for phoneme, count in counts]
    return "Phonemes", ["phoneme", "times"], rows


def tabulate_speakers(entries: Sequence[Entry]) -> tuple[str, list[str], list[list[str]]]:
    """Return a table of speakers, their recordings and hours."""
    counts = Counter(entry.speaker for entry in entries)
    hours = measure_hours(entries)
    rows = [
        [str(speaker), str(counts[speaker]), f"{hours.get(speaker, 0.0):.2f}"]
        for speaker in sorted(counts, key=lambda speaker: -hours.get(speaker, 0.0))
    ]
    return "Speakers", ["speaker", "recordings", "hours"], rows


def find_usable(entries: Sequence[Entry]) -> list[Entry]:
    """Return the lines whose recording and text can be used: training refuses a set with others.

    So the split is that of the set once those lines are fixed or removed.
    """
    return [entry for entry in entries if entry.audio and entry.read]


def choose_held_out(usable: Sequence[Entry], settings: DataSettings) -> list[Entry]:
    """Return what training would hold out, in the order in which it is listened to."""
    names = [
        (
            entry.audio_path.name if entry.audio_path else entry.name,
            find_trained_text(entry, settings),
        )
        for entry in usable
    ]
    count = count_held_out(len(usable), settings.validation_split)
    return [usable[place] for place in rank_recordings(names, settings.seed)[:count]]


def find_in_split(training: Sequence[Entry], held_out: Sequence[Entry]) -> list[Issue]:
    """Return what one part of the split lacks."""
    if not held_out:
        return []
    issues = []
    trained, validated = ({entry.speaker for entry in part} for part in (training, held_out))
    if are_speakers(trained | validated, len(training) + len(held_out)):
        for speaker in sorted(map(str, validated - trained)):
            issues.append(Issue(UNTRAINED_SPEAKER, speaker))
        for speaker in sorted(map(str, trained - validated)):
            count = sum(str(entry.speaker) == speaker for entry in training)
            message = f"{speaker}: {count_things(count, 'recording')}"
            issues.append(Issue(UNVALIDATED_SPEAKER, message, score=count))
    known = count_phonemes(training)
    unknown: dict[str, Entry] = {}
    for entry in held_out:
        for phoneme in entry.read.phonemes if entry.read else ():
            if phoneme not in known and phoneme.isalpha():
                unknown.setdefault(phoneme, entry)
    for phoneme, entry in sorted(unknown.items()):
        message = f"{phoneme!r} in {entry.text!r:.60}"
        issues.append(Issue(UNTRAINED_PHONEMES, message, name=entry.name))
    return issues


def describe_split(held_out: Sequence[Entry], num_examples: int) -> dict[str, str]:
    """Return what is good to know of the validation, by name."""
    if not held_out:
        return {"held out": "none: val_loss will be that of recordings which are trained on"}
    seconds = sum(entry.audio.seconds for entry in held_out if entry.audio)
    count = count_things(len(held_out), "recording")
    facts = {"held out": f"{count}, {seconds / 60:.1f} minutes (--data.validation_split)"}
    if num_examples:
        facts["spoken at each validation"] = name_some(e.name for e in held_out[:num_examples])
    return facts


@dataclass(frozen=True)
class Structure:
    """A dataset's lines, and what is wrong with them.

    Attributes:
        layout: What the columns of most lines hold; where their values do not tell, what is
            documented.
    """

    entries: list[Entry]
    issues: list[Issue]
    layout: Layout


def read_structure(csv_path: Path, audio_dir: Path) -> Structure:
    """Read metadata.csv as far as it can be read.

    Args:
        csv_path: Lines `file|text`, `file|speaker|text`, or another layout of `data.metadata`.
        audio_dir: Folder of the recordings; names are looked for here, then beside the CSV.
    """
    text, issues = _read_text(csv_path)
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
            issues.append(Issue(HEADER, f"the line is {line!r:.60}", number))
        elif len(columns) == 1:
            issues.append(Issue(DELIMITER, _describe_delimiter(line), number))
        elif len(columns) != num_columns:
            message = f"{len(columns)} columns, most lines have {num_columns}"
            issues.append(Issue(COLUMNS, message, number, columns[0]))
        else:
            place = layout.find(SPEAKER)
            speaker = None if place is None else columns[place]
            said = columns[layout.text] or columns[layout.names.index(TEXT)]
            path = find_audio(columns[0], folders)
            entries.append(Entry(number, columns[0], path, speaker, said))
    for entry in entries:
        issues += _check_name(entry, folders)
        issues += _check_text(entry)
    issues += _find_duplicates(entries)
    named = {entry.audio_path for entry in entries}
    issues += [
        Issue(UNREFERENCED_FILE, "no line names it", name=str(path.relative_to(audio_dir)))
        for path in walk_recordings(audio_dir)
        if path not in named
    ]
    return Structure(entries, issues, layout)


def _read_text(csv_path: Path) -> tuple[str, list[Issue]]:
    try:
        data = read_bounded(csv_path, "metadata.csv")
    except FileNotFoundError:
        raise DatasetError(f"{csv_path} does not exist; name the dataset's folder.") from None
    issues = []
    if data.startswith(b"\xef\xbb\xbf"):
        issues.append(Issue(BYTE_ORDER_MARK, "before the first name", 1))
    text, encoding = decode_text(data)
    if encoding != UTF_8:
        line = find_bad_line(data)
        issues.append(Issue(ENCODING, f"read as {encoding} here: {text[:40]!r}", line))
    return text, issues


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


def _check_name(entry: Entry, folders: Sequence[Path]) -> Iterator[Issue]:
    name, path = entry.name, entry.audio_path
    if not name:
        yield EMPTY_NAME.at(entry, f"the text is {entry.text!r:.60}")
    elif path is None:
        yield MISSING_FILE.at(entry, f"{name:.60} is not in {folders[0].name}/")
    elif find_named(name, folders) is None:
        yield OTHER_NAME.at(entry, f"{name:.60}: {path.name} is there")
    elif not is_below(path, folders):
        yield OUTSIDE_FILE.at(entry, f"{path}"[:200])


def _check_text(entry: Entry) -> Iterator[Issue]:
    text = entry.text
    if len(text) > 1 and ((text[0] == text[-1] == '"') or '""' in text):
        yield QUOTES.at(entry, f"the text is {text!r:.60}")
    odd = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn") or c == "\ufffd"}
    if odd:
        named = ", ".join(f"U+{ord(character):04X}" for character in sorted(odd))
        yield CONTROL_CHARACTERS.at(entry, f"{named} in {text!r:.60}")


def is_below(path: Path, folders: Sequence[Path]) -> bool:
    """Return whether a path leads below a folder by its names alone, whatever links there are."""
    # `resolve` would follow links.
    place, *wholes = (Path(os.path.abspath(one)) for one in (path, *folders))  # noqa: PTH100
    return any(place.is_relative_to(whole) for whole in wholes)


def _find_duplicates(entries: Sequence[Entry]) -> Iterator[Issue]:
    names: dict[Path, Entry] = {}
    texts: dict[tuple[str | None, str], Entry] = {}
    for entry in entries:
        if entry.audio_path is not None:
            first = names.setdefault(entry.audio_path, entry)
            if first is not entry:
                how = "the same text" if first.text == entry.text else "another text"
                yield DUPLICATE_NAME.at(entry, f"already in line {first.line}, with {how}")
                continue
        if entry.spoken[1]:
            first = texts.setdefault(entry.spoken, entry)
            if first is not entry:
                message = f"as line {first.line} ({first.name}): {entry.text!r:.60}"
                yield DUPLICATE_TEXT.at(entry, message)
