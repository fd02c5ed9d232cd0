"""metadata.csv to rows, with every mistake named. Knows nothing of audio's contents or phonemes.

The file is `|` separated without a header and without quoting: in `a.wav|"Hello," she said.` the
quotes belong to the text, and an unbalanced one swallows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from piper.errors import DatasetError
from piper.train.data.remote_dataset import RemoteRecordings

PHONEME_IDS = "phoneme_ids"
DATASET_TYPES = ("text", PHONEME_IDS)
NAMED_AT_MOST = 5
"""How many missing files or speakers an error names before it says how many more there are."""

# festvox-ru writes `вол+ос`: the mark stands before the stressed vowel. A sum is left alone: `2+2`,
# `x+а`, `C++а`. Vowels are those of Russian, Ukrainian and Belarusian.
_STRESS_MARK = re.compile(r"(?<![0-9A-Za-z+])\+(?=[аеёиоуыэюяіїєАЕЁИОУЫЭЮЯІЇЄ])")
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
        audio_dir: Folder of the recordings; names are looked for here, then beside the CSV. The
            ending `.wav` may be left out of a name.
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
    _check_columns(csv_path, lines, num_speakers, dataset_type)
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
        row = _parse_row(csv_path, number, columns, audio_path, num_speakers, dataset_type)
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
        data = csv_path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(
            f"{csv_path} does not exist; pass the dataset's folder with --data.dataset_dir, "
            "or the CSV with --data.csv_path."
        ) from None
    except OSError as error:
        raise DatasetError(f"{csv_path} cannot be read ({error.strerror}).") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"{csv_path} line {line}: the text is not UTF-8; save the file as UTF-8 "
            "(Excel and Windows often write Windows-1251 or UTF-16)."
        ) from None
    # Not splitlines(), which would also cut a text at U+2028 or U+0085.
    numbered = enumerate(text.replace("\r\n", "\n").split("\n"), start=1)
    return [(number, line) for number, line in numbered if line.strip()]


def _check_columns(
    csv_path: Path, lines: Sequence[tuple[int, str]], num_speakers: int, dataset_type: str
) -> None:
    names = ["file", "speaker", "text", "phoneme ids"]
    if num_speakers <= 1:
        names.remove("speaker")
    if dataset_type == "text":
        names.remove("phoneme ids")
    layout = "|".join(names)
    for number, line in lines:
        count = line.count("|") + 1
        if count == len(names):
            continue
        where = f"{csv_path} line {number}:"
        if count == 1:
            seen = next((name for sign, name in OTHER_DELIMITERS.items() if sign in line), None)
            hint = f" (it seems to use {seen})" if seen else ""
            raise DatasetError(f"{where} no '|' found{hint}; separate the columns as {layout}.")
        if count == len(names) + 1 and num_speakers <= 1 and dataset_type == "text":
            speakers = len({other.split("|")[1].strip() for _, other in lines if "|" in other})
            if speakers == 1:
                raise DatasetError(
                    f"{where} {count} columns, but {layout} is wanted; if the second column is "
                    "the speaker, remove it, since all rows name the same one (several would need "
                    "--model.num_speakers=N)."
                )
            raise DatasetError(
                f"{where} {count} columns, but {layout} is wanted; if the second column "
                f"({speakers} different values) is the speaker, pass "
                f"--model.num_speakers={speakers}, otherwise remove a column."
            )
        raise DatasetError(
            f"{where} {count} columns, but {len(names)} are wanted ({layout}, "
            f"--model.num_speakers={num_speakers}, --data.dataset_type={dataset_type}); "
            "a text must not hold '|'."
        )


def find_audio(name: str, folders: Sequence[Path]) -> Path | None:
    """Return the recording of a name, with or without `.wav`, in the first folder that has it."""
    if not name:
        return None
    for folder in folders:
        for candidate in (folder / name, folder / f"{name}.wav"):
            if candidate.is_file():
                return candidate
    return None


def _parse_row(
    csv_path: Path,
    number: int,
    columns: Sequence[str],
    audio_path: Path,
    num_speakers: int,
    dataset_type: str,
) -> Row:
    where = f"{csv_path} line {number}:"
    ids = _parse_ids(where, columns[-1]) if dataset_type == PHONEME_IDS else None
    speaker = columns[1] if num_speakers > 1 else None
    text = columns[2 if num_speakers > 1 else 1]
    if speaker == "":
        raise DatasetError(f"{where} the speaker is empty; name one, or remove the line.")
    if not text and ids is None:
        raise DatasetError(f"{where} the text is empty; write what is said, or remove the line.")
    return Row(number, audio_path, text, speaker, ids)


def _parse_ids(where: str, column: str) -> list[int]:
    words = column.split()
    if not words or not all(word.isascii() and word.isdigit() for word in words):
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
