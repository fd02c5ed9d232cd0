"""What is wrong with a dataset as a whole: its files, its split, its amount."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

from piper.errors import DatasetError, name_some
from piper.files import read_bounded
from piper.progress import count_things
from piper.train.check.entries import Entry
from piper.train.check.issues import Group, Issue, Rule, Severity
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

FEW_HOURS = 0.2
"""Twelve minutes: with less even a voice that starts from another one lacks many sounds."""
FEWEST_RECORDINGS = 20
RARE_TIMES = 5
SPEAKER_HOURS = 0.1
BALANCE_TIMES = 5.0


_create_set_rule = partial(Rule, Group.SET)


NO_SPEAKERS = _create_set_rule(
    "no-speakers",
    Severity.ERROR,
    "The second of three columns is no speaker",
    f"more different values than {SPEAKERS_SHARE:.0%} of the lines, or values that read like text",
    "With one speaker the columns are file|text; `python -m piper.train import` makes them.",
)
FEW_RECORDINGS = _create_set_rule(
    "few-recordings",
    Severity.ERROR,
    "Too few recordings for any voice",
    f"fewer than {FEWEST_RECORDINGS}",
    "Record more: a hundred sentences make a voice that starts from another one.",
)
LITTLE_SPEECH = _create_set_rule(
    "little-speech",
    Severity.WARNING,
    "Little speech",
    f"less than {FEW_HOURS * 60:.0f} minutes",
    "Record more, and start from another voice: --model.warmstart=FILE.",
)
SPEAKER_SPEECH = _create_set_rule(
    "speaker-speech",
    Severity.WARNING,
    "A speaker with little speech",
    f"less than {SPEAKER_HOURS * 60:.0f} minutes",
    "Record more of this speaker, or leave him out.",
)
BALANCE = _create_set_rule(
    "balance",
    Severity.NOTE,
    "A speaker with far less speech than another",
    f"{BALANCE_TIMES:g} times less than the one with most",
    "His voice will be learnt last; that can be as wanted.",
)
RARE_PHONEMES = _create_set_rule(
    "rare-phonemes",
    Severity.NOTE,
    "Phonemes that are hardly ever heard",
    f"fewer than {RARE_TIMES} times",
    "Record sentences with them, or expect them to sound odd.",
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
        issues += _check_speech_of_speakers(hours)
    for phoneme, count in sorted(count_phonemes(entries).items(), key=lambda item: item[1]):
        if count < RARE_TIMES and phoneme.isalpha():
            times = "once" if count == 1 else f"{count} times"
            message = f"{phoneme!r} {times}, in {_find_example(phoneme, entries)!r:.60}"
            issues.append(Issue(RARE_PHONEMES, message, score=-count))
    return issues


def _check_speech_of_speakers(hours: Mapping[str | None, float]) -> Iterator[Issue]:
    most = max(hours.values(), default=0.0)
    for speaker, own in sorted(hours.items(), key=lambda item: item[1]):
        if own < SPEAKER_HOURS:
            yield Issue(SPEAKER_SPEECH, f"{speaker}: {60 * own:.1f} minutes", score=-own)
        elif own * BALANCE_TIMES < most:
            yield Issue(BALANCE, f"{speaker}: {own:.2f} hours, another {most:.2f}", score=-own)


def _find_example(phoneme: str, entries: Sequence[Entry]) -> str:
    return next((e.text for e in entries if e.read and phoneme in e.read.phonemes), "")


def measure_hours(entries: Sequence[Entry]) -> dict[str | None, float]:
    """Return the hours of each speaker's recordings; under None where there is one."""
    seconds: defaultdict[str | None, float] = defaultdict(float)
    for entry in entries:
        if entry.audio:
            seconds[entry.speaker] += entry.audio.seconds
    return {speaker: count / 3600 for speaker, count in seconds.items()}


def count_phonemes(entries: Sequence[Entry]) -> Counter[str]:
    """Return how often each phoneme is heard, signs of stress and pauses included."""
    return Counter(phoneme for entry in entries if entry.read for phoneme in entry.read.phonemes)


def describe_set(entries: Sequence[Entry]) -> dict[str, str]:
    """Return what is good to know of a set, by name."""
    hours = measure_hours(entries)
    seconds = [entry.audio.seconds for entry in entries if entry.audio]
    total = sum(hours.values())
    counts = count_phonemes(entries)
    texts = [entry.read.phonemes for entry in entries if entry.read]
    pairs = Counter(pair for phonemes in texts for pair in pairwise(phonemes))
    recordings = {entry.audio_path: entry.audio for entry in entries if entry.audio}
    rates = Counter(audio.sample_rate for audio in recordings.values())
    return {
        "recordings": str(len(entries)),
        "hours": f"{total:.2f}",
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
    """Return a table of phonemes and how often they are heard, the rare ones first."""
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


_create_split_rule = partial(Rule, Group.SET)

UNTRAINED_SPEAKER = _create_split_rule(
    "untrained-speaker",
    Severity.WARNING,
    "A speaker of whom nothing is trained on",
    "all recordings are held out for validation",
    "Record more of this speaker, leave him out, or take another --data.seed.",
)
UNVALIDATED_SPEAKER = _create_split_rule(
    "unvalidated-speaker",
    Severity.WARNING,
    "A speaker who is not validated",
    "no recording is held out",
    "Record more of this speaker, or raise --data.validation_split.",
)
UNTRAINED_PHONEMES = _create_split_rule(
    "untrained-phonemes",
    Severity.NOTE,
    "Phonemes that training never hears",
    "only in recordings that are held out",
    "Record sentences with them, or take another --data.seed.",
)


def find_usable(entries: Sequence[Entry]) -> list[Entry]:
    """Return the lines whose recording and text can be used: training refuses a set with others.

    So the split is that of the set once those lines are mended or removed.
    """
    return [entry for entry in entries if entry.audio and entry.read]


def choose_held_out(usable: Sequence[Entry], settings: DataSettings) -> list[Entry]:
    """Return what training would hold out, in the order in which it is listened to."""
    names = [(_find_file_name(entry), find_trained_text(entry, settings)) for entry in usable]
    count = count_held_out(len(usable), settings.validation_split)
    return [usable[place] for place in rank_recordings(names, settings.seed)[:count]]


def _find_file_name(entry: Entry) -> str:
    return entry.audio_path.name if entry.audio_path is not None else entry.name


def find_in_split(training: Sequence[Entry], held_out: Sequence[Entry]) -> list[Issue]:
    """Return what one part of the split lacks."""
    if not held_out:
        return []
    return [*_check_split_of_speakers(training, held_out), *_check_phonemes(training, held_out)]


def _check_split_of_speakers(
    training: Sequence[Entry], held_out: Sequence[Entry]
) -> Iterator[Issue]:
    trained, validated = ({entry.speaker for entry in part} for part in (training, held_out))
    if not are_speakers(trained | validated, len(training) + len(held_out)):
        return
    for speaker in sorted(str(speaker) for speaker in validated - trained):
        yield Issue(UNTRAINED_SPEAKER, speaker)
    for speaker in sorted(str(speaker) for speaker in trained - validated):
        count = sum(str(entry.speaker) == speaker for entry in training)
        recordings = count_things(count, "recording")
        yield Issue(UNVALIDATED_SPEAKER, f"{speaker}: {recordings}", score=count)


def _check_phonemes(training: Sequence[Entry], held_out: Sequence[Entry]) -> Iterator[Issue]:
    trained = count_phonemes(training)
    unheard: dict[str, Entry] = {}
    for entry in held_out:
        for phoneme in entry.read.phonemes if entry.read else ():
            if phoneme not in trained and phoneme.isalpha():
                unheard.setdefault(phoneme, entry)
    for phoneme, entry in sorted(unheard.items()):
        yield Issue(UNTRAINED_PHONEMES, f"{phoneme!r} in {entry.text!r:.60}", name=entry.name)


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


HEADER_WORDS = frozenset(
    ("file", "filename", "file_name", "audio", "audio_file", "audio_path", "path", "wav", "id")
)
"""Names of a first column that make the first line a header."""


_create_structure_rule = partial(Rule, Group.STRUCTURE)


ENCODING = _create_structure_rule(
    "encoding",
    Severity.ERROR,
    "metadata.csv is not UTF-8",
    "any byte that is no UTF-8",
    "Save the file as UTF-8.",
)
BYTE_ORDER_MARK = _create_structure_rule(
    "byte-order-mark",
    Severity.NOTE,
    "metadata.csv begins with a byte order mark",
    "the bytes EF BB BF",
    "Other programs may take it for a part of the first name; save as UTF-8 without it.",
)
HEADER = _create_structure_rule(
    "header",
    Severity.ERROR,
    "The first line is a header",
    "the first column is a usual head, and no file of that name is there",
    "Remove the line; metadata.csv has none.",
)
DELIMITER = _create_structure_rule(
    "delimiter",
    Severity.ERROR,
    "No '|' in a line",
    "one column",
    "Separate the columns by '|', or make the folder with `python -m piper.train import`.",
)
COLUMNS = _create_structure_rule(
    "columns",
    Severity.ERROR,
    "Another number of columns than the other lines have",
    "not as most lines",
    "A text must not hold '|', and each line needs the same columns.",
)
EMPTY_NAME = _create_structure_rule(
    "empty-name",
    Severity.ERROR,
    "A line without a recording",
    "an empty first column",
    "Name the recording, or remove the line.",
)
OTHER_NAME = _create_structure_rule(
    "other-name",
    Severity.NOTE,
    "A recording that is found by another spelling of its name",
    "other capitals, another ending, a folder or a path of Windows that is not here",
    "Training finds it, too; a copy by --fix has names as they are on this disk.",
)
MISSING_FILE = _create_structure_rule(
    "missing-file",
    Severity.ERROR,
    "A recording is not there",
    "no file of that name, with or without .wav",
    "Put the recording into wavs/, mend the name, or remove the line.",
)
OUTSIDE_FILE = _create_structure_rule(
    "outside-file",
    Severity.WARNING,
    "A recording outside the dataset",
    "the name leads out of the dataset's folder and out of that of the recordings",
    "It is trained on, and this report plays it; of a dataset that somebody else made, make sure "
    "that it is meant before you give anything of it away.",
)
UNREFERENCED_FILE = _create_structure_rule(
    "unreferenced-file",
    Severity.WARNING,
    "A recording that no line names",
    "an audio file in the folder of the recordings",
    "Write a line for it, or remove it.",
)
DUPLICATE_NAME = _create_structure_rule(
    "duplicate-name",
    Severity.ERROR,
    "A recording in two lines",
    "the same file, with the same text or another",
    "Remove one of the two lines.",
)
DUPLICATE_TEXT = _create_structure_rule(
    "duplicate-text",
    Severity.WARNING,
    "The same text in several lines",
    "equal but for case, spaces and punctuation, of one speaker",
    "Make sure that each recording says its text; one of them may be a retake.",
)
QUOTES = _create_structure_rule(
    "quotes",
    Severity.WARNING,
    "A text in quotes, as a spreadsheet writes it",
    'the text begins and ends with ", or has "" inside',
    "Quotes are part of the text here; save without quoting.",
)
CONTROL_CHARACTERS = _create_structure_rule(
    "control-characters",
    Severity.WARNING,
    "Invisible characters in a text",
    "tabs, control and formatting characters, the sign of a decoding error",
    "Remove them.",
)


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
        csv_path: Lines `file|text`, `file|speaker|text`, or another layout of `data.layout`.
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
            entries.append(_create_entry(number, columns, layout, folders))
    for entry in entries:
        issues += _check_entry(entry, folders)
    issues += _find_duplicates(entries)
    issues += _find_unreferenced(entries, audio_dir)
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


def _create_entry(
    number: int, columns: tuple[str, ...], layout: Layout, folders: Sequence[Path]
) -> Entry:
    name = columns[0]
    place = layout.find(SPEAKER)
    speaker = None if place is None else columns[place]
    text = columns[layout.text] or columns[layout.names.index(TEXT)]
    path = find_audio(name, folders)
    return Entry(number, name, path, speaker, text)


def _check_entry(entry: Entry, folders: Sequence[Path]) -> Iterator[Issue]:
    if not entry.name:
        yield Issue(EMPTY_NAME, f"the text is {entry.text!r:.60}", entry.line)
    elif entry.audio_path is None:
        message = f"{entry.name:.60} is not in {folders[0].name}/"
        yield Issue(MISSING_FILE, message, entry.line, entry.name)
    elif find_named(entry.name, folders) is None:
        message = f"{entry.name:.60}: {entry.audio_path.name} is there"
        yield Issue(OTHER_NAME, message, entry.line, entry.name)
    elif not is_below(entry.audio_path, folders):
        yield Issue(OUTSIDE_FILE, f"{entry.audio_path}"[:200], entry.line, entry.name)
    text = entry.text
    if len(text) > 1 and ((text[0] == text[-1] == '"') or '""' in text):
        yield Issue(QUOTES, f"the text is {text!r:.60}", entry.line, entry.name)
    odd = sorted(
        {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn") or c == "\ufffd"}
    )
    if odd:
        named = ", ".join(f"U+{ord(character):04X}" for character in odd)
        yield Issue(CONTROL_CHARACTERS, f"{named} in {text!r:.60}", entry.line, entry.name)


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
                message = f"already in line {first.line}, with {how}"
                yield Issue(DUPLICATE_NAME, message, entry.line, entry.name)
                continue
        if entry.spoken[1]:
            first = texts.setdefault(entry.spoken, entry)
            if first is not entry:
                message = f"as line {first.line} ({first.name}): {entry.text!r:.60}"
                yield Issue(DUPLICATE_TEXT, message, entry.line, entry.name)


def _find_unreferenced(entries: Sequence[Entry], audio_dir: Path) -> Iterator[Issue]:
    named = {entry.audio_path for entry in entries}
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in walk_recordings(audio_dir):
        if path not in named:
            folders[path.parent].append(path)
    for paths in folders.values():
        for path in paths:
            yield Issue(
                UNREFERENCED_FILE, "no line names it", None, str(path.relative_to(audio_dir))
            )
