"""metadata.csv to rows, with every mistake named. Knows nothing of audio's contents or phonemes.

The file is `|` separated without a header and without quoting: in `a.wav|"Hello," she said.` the
quotes belong to the text, and an unbalanced one swallows nothing.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from piper.errors import DatasetError
from piper.json_reader import read_bounded
from piper.train.data.layout import (
    FILE,
    IDS,
    NORMALISED,
    SPEAKER,
    TEXT,
    UTF_8,
    Layout,
    are_quoted,
    are_speakers,
    create_layout,
    decode_text,
    find_bad_line,
    find_layout,
    remove_quotes,
)
from piper.train.data.names import find_named, find_similar
from piper.train.data.remote_dataset import RemoteRecordings

_LOGGER = logging.getLogger(__name__)

PHONEME_IDS = "phoneme_ids"
DATASET_TYPES = ("text", PHONEME_IDS)
LINES_TO_TELL = 10
"""From so many on, a column of which nearly all values differ is no speaker's, whatever a flag."""
NAMED_AT_MOST = 5
"""How many missing files or speakers an error names before it says how many more there are."""

# festvox-ru writes `вол+ос`: the mark stands before the stressed vowel. A sum is left alone: `2+2`,
# `x+а`, `C++а`. Vowels are those of Russian, Ukrainian and Belarusian.
_STRESS_MARK = re.compile(r"(?<![0-9A-Za-z+])\+(?=[аеёиоуыэюяіїєАЕЁИОУЫЭЮЯІЇЄ])")
_ID = re.compile(r"[0-9]{1,9}")
OTHER_DELIMITERS = {"\t": "a tab", ";": "';'", ",": "','"}
"""What other programs separate columns by, and how a sentence says it."""


@dataclass(frozen=True)
class Row:
    """One utterance, as the CSV states it.

    Attributes:
        line: Line of the CSV, counted from 1.
        audio_path: The recording; it exists. Of one in a storage `plain_address` gives the address.
        text: What is said; stress marks (`+`) only where they are to be honoured.
        speaker: Name of the speaker where there are several, else None.
        ids: Phoneme ids where the dataset gives them, else None.
        version: Of a recording in a storage what tells it from an earlier one, else empty.
    """

    line: int
    audio_path: Path
    text: str
    speaker: str | None
    ids: list[int] | None
    version: str = ""


def load_metadata(
    csv_path: Path,
    audio_dir: Path,
    *,
    num_speakers: int = 1,
    dataset_type: str = "text",
    has_stress_marks: bool = False,
    recordings: RemoteRecordings | None = None,
) -> list[Row]:
    """Read metadata.csv.

    Args:
        csv_path: Lines `file|text`; with several speakers `file|speaker|text`; with
            `dataset_type="phoneme_ids"` one more column at the end, ids separated by spaces.
            Columns of others that their values tell (LJSpeech's `id|text|normalised text`, a
            length or the speaker after the text) are read, and said.
        audio_dir: Folder of the recordings; names are looked for here, then beside the CSV. The
            ending `.wav` may be left out of a name; capitals, backslashes and folders of another
            machine do not matter where one recording only can be meant.
        num_speakers: The speaker column counts only where this is above 1.
        dataset_type: `text` or `phoneme_ids`.
        has_stress_marks: Whether each `+` before a vowel stays in the texts.
        recordings: Where they lie in a storage, instead of `audio_dir`.

    Raises:
        DatasetError: A file is missing or a line is wrong; the text names file and line.
    """
    if dataset_type not in DATASET_TYPES:
        raise DatasetError(
            f'--data.dataset_type is "{dataset_type}", but only text and phoneme_ids are known.'
        )
    lines = _read_lines(csv_path)
    if not lines:
        raise DatasetError(f"{csv_path} is empty; write one line `file.wav|Text.` a recording.")
    if are_quoted([line.split("|") for _, line in lines]):
        unquoted = [(n, [remove_quotes(one) for one in line.split("|")]) for n, line in lines]
        lines = [(number, "|".join(columns)) for number, columns in unquoted]
    layout = _choose_layout(csv_path, lines, num_speakers, dataset_type)
    folders = (audio_dir, csv_path.parent)
    rows, missing = [], []
    for number, line in lines:
        columns = [column.strip() for column in line.split("|")]
        if recordings is not None:
            audio_path, version = recordings.find(columns[0]) or (None, "")
        else:
            audio_path, version = find_audio(columns[0], folders), ""
        if audio_path is None:
            missing.append((number, columns[0]))
            continue
        row = _parse_row(csv_path, number, columns, audio_path, layout)
        text = row.text if has_stress_marks else remove_stress_marks(row.text)
        rows.append(replace(row, text=text, version=version))
    where = recordings.address if recordings is not None else str(audio_dir)
    _check_missing(csv_path, where, missing, len(lines))
    _check_duplicates(csv_path, rows)
    _check_speakers(csv_path, rows, num_speakers)
    return rows


def remove_stress_marks(text: str) -> str:
    """Take out each `+` that marks the Cyrillic vowel after it as stressed.

    espeak-ng 1.52 reads the sign aloud as a word; `2+2` and `x+а` stay as they are.
    """
    return _STRESS_MARK.sub("", text)


def _read_lines(csv_path: Path) -> list[tuple[int, str]]:
    try:
        data = read_bounded(csv_path, "metadata.csv")
    except FileNotFoundError:
        raise DatasetError(
            f"{csv_path} does not exist; pass the dataset's folder with --data.dataset_dir, "
            "or the CSV with --data.csv_path."
        ) from None
    except OSError as error:
        raise DatasetError(f"{csv_path} cannot be read ({error.strerror}).") from None
    text, encoding = decode_text(data)
    if encoding != UTF_8:
        line = find_bad_line(data)
        raise DatasetError(
            f"{csv_path} line {line}: the text is not UTF-8, it seems to be {encoding}; save the "
            "file as UTF-8, or let `python -m piper.train import` read it."
        )
    numbered = enumerate(text.split("\n"), start=1)
    return [(number, line) for number, line in numbered if line.strip()]


def _choose_layout(
    csv_path: Path, lines: Sequence[tuple[int, str]], num_speakers: int, dataset_type: str
) -> Layout:
    """Return what the columns hold: what the flags say, unless the values say otherwise."""
    wanted = create_layout(num_speakers, has_ids=dataset_type == PHONEME_IDS)
    counts = Counter(line.count("|") + 1 for _, line in lines)
    count = counts.most_common(1)[0][0]
    layout = wanted
    if count > len(create_layout(1, has_ids=False).names) and dataset_type == "text":
        rows = [line.split("|") for _, line in lines if line.count("|") + 1 == count]
        found = find_layout(rows)
        if found is None:
            _refuse_no_speakers(csv_path, rows, num_speakers)
        elif found != wanted:
            layout = _check_found(csv_path, found, rows, num_speakers)
    _check_columns(csv_path, lines, layout, num_speakers, dataset_type)
    return layout


def _refuse_no_speakers(csv_path: Path, rows: Sequence[Sequence[str]], num_speakers: int) -> None:
    """Refuse a second column that cannot be the speaker, if there are enough lines to tell."""
    speakers = {row[1].strip() for row in rows}
    if num_speakers > 1 and (len(rows) < LINES_TO_TELL or are_speakers(speakers, len(rows))):
        return
    example = f"{rows[0][1].strip()!r:.40}"
    raise DatasetError(
        f"{csv_path} has {len(rows[0])} columns, and what they hold is not clear: the second has "
        f"{len(speakers)} different values in {len(rows)} lines, such as {example}, so it is no "
        "speaker; write file|text, or file|speaker|text with --model.num_speakers=N."
    )


def _check_found(
    csv_path: Path, found: Layout, rows: Sequence[Sequence[str]], num_speakers: int
) -> Layout:
    """Return a layout that was found where it can be trained on as the flags are.

    Raises:
        DatasetError: It takes another flag; the text says which.
    """
    if (place := found.find(IDS)) is not None:
        raise DatasetError(
            f"{csv_path}: the columns look like {found} (the last is {rows[0][place].strip()!r:.40}"
            "); pass --data.dataset_type=phoneme_ids."
        )
    if (place := found.find(SPEAKER)) is not None:
        count = len({row[place].strip() for row in rows})
        if count == 1 and num_speakers <= 1:
            raise DatasetError(
                f"{csv_path}: {len(found.names)} columns, but {FILE}|{TEXT} is wanted; the columns "
                f"look like {found}, so remove that of the speaker, since all rows name the same "
                "one (several would need --model.num_speakers=N)."
            )
        if num_speakers <= 1:
            raise DatasetError(
                f"{csv_path}: {len(found.names)} columns, but {FILE}|{TEXT} is wanted; the columns "
                f"look like {found}, so pass --model.num_speakers={count}."
            )
    elif num_speakers > 1:
        raise DatasetError(
            f"{csv_path}: the columns look like {found}, and name no speakers; leave out "
            f"--model.num_speakers={num_speakers} (and num_speakers in config.json)."
        )
    _LOGGER.info("%s is read as %s; %s is what is said.", csv_path, found, found.names[found.text])
    return found


def _check_columns(
    csv_path: Path,
    lines: Sequence[tuple[int, str]],
    layout: Layout,
    num_speakers: int,
    dataset_type: str,
) -> None:
    for number, line in lines:
        count = line.count("|") + 1
        if count == len(layout.names):
            continue
        where = f"{csv_path} line {number}:"
        if count == 1:
            seen = next((name for sign, name in OTHER_DELIMITERS.items() if sign in line), None)
            hint = f" (it seems to use {seen})" if seen else ""
            raise DatasetError(f"{where} no '|' found{hint}; separate the columns as {layout}.")
        raise DatasetError(
            f"{where} {count} columns, but {len(layout.names)} are wanted ({layout}, "
            f"--model.num_speakers={num_speakers}, --data.dataset_type={dataset_type}); "
            "a text must not hold '|'."
        )


def find_audio(name: str, folders: Sequence[Path]) -> Path | None:
    """Return the recording of a name, with or without `.wav`, or of one that is spelt otherwise."""
    return find_named(name, folders) or find_similar(name, folders)


def _parse_row(
    csv_path: Path, number: int, columns: Sequence[str], audio_path: Path, layout: Layout
) -> Row:
    where = f"{csv_path} line {number}:"
    places = {name: place for place, name in enumerate(layout.names)}
    ids = _parse_ids(where, columns[places[IDS]]) if IDS in places else None
    speaker = columns[places[SPEAKER]] if SPEAKER in places else None
    text = (columns[places[NORMALISED]] if NORMALISED in places else "") or columns[places[TEXT]]
    if speaker == "":
        raise DatasetError(f"{where} the speaker is empty; name one, or remove the line.")
    if not text and ids is None:
        raise DatasetError(f"{where} the text is empty; write what is said, or remove the line.")
    return Row(number, audio_path, text, speaker, ids)


def _parse_ids(where: str, column: str) -> list[int]:
    words = column.split()
    if not words or not all(_ID.fullmatch(word) for word in words):
        raise DatasetError(
            f"{where} the last column is {column!r:.60}, but phoneme ids are wanted: "
            "whole numbers separated by spaces."
        )
    return [int(word) for word in words]


def _check_missing(
    csv_path: Path, audio_dir: str, missing: Sequence[tuple[int, str]], total: int
) -> None:
    if not missing:
        return
    named = ", ".join(
        f"{name or '(no name)'} (line {line})" for line, name in missing[:NAMED_AT_MOST]
    )
    more = f" and {len(missing) - NAMED_AT_MOST} more" if len(missing) > NAMED_AT_MOST else ""
    raise DatasetError(
        f"{csv_path}: {len(missing)} of {total} recordings are not in {audio_dir}: {named}{more}; "
        "pass the right folder with --data.audio_dir, or remove the lines."
    )


def _check_duplicates(csv_path: Path, rows: Sequence[Row]) -> None:
    first_lines: dict[Path, int] = {}
    for row in rows:
        first = first_lines.setdefault(row.audio_path, row.line)
        if first != row.line:
            raise DatasetError(
                f"{csv_path} line {row.line}: {row.audio_path.name} is already in line {first}; "
                "remove one of the two lines."
            )


def _check_speakers(csv_path: Path, rows: Sequence[Row], num_speakers: int) -> None:
    speakers = list(dict.fromkeys(row.speaker for row in rows if row.speaker is not None))
    if len(speakers) > num_speakers:
        named = ", ".join(speakers[:NAMED_AT_MOST])
        more = ", …" if len(speakers) > NAMED_AT_MOST else ""
        raise DatasetError(
            f"{csv_path} has {len(speakers)} speakers ({named}{more}), but "
            f"--model.num_speakers={num_speakers}; pass --model.num_speakers={len(speakers)}."
        )
