"""metadata.csv to rows, with every mistake named.

The file is `|` separated without a header and without quoting: in `a.wav|"Hello," she said.` the
quotes belong to the text, and an unbalanced one swallows nothing. Lists come from other machines,
too: with backslashes, folders that are not here, other capitals, another ending, more columns, and
with quotes around each text.
"""

from __future__ import annotations

import codecs
import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import pairwise
from pathlib import Path, PurePosixPath
from statistics import StatisticsError, correlation, mean

from piper.errors import DatasetError, name_some
from piper.files import read_bounded, replace_on_success
from piper.train.data.remote_dataset import RemoteRecordings

_LOGGER = logging.getLogger(__name__)

AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".g722", ".aif", ".aiff", ".au", ".caf"),
    *(".m4a", ".mp4", ".aac", ".webm", ".mka", ".wma"),
)
"""Endings of recordings, in the order in which they are looked for where a name has none."""
AUDIO_FOLDERS = ("wavs", "wav", "audio", "clips", "recordings")
"""Folders that datasets keep recordings in, in whatever capitals."""
MAX_INDEXED = 1_000_000
"""Files and folders below a folder that are looked through: it may be somebody's whole disk."""

PHONEME_IDS = "phoneme_ids"
DATASET_TYPES = ("text", PHONEME_IDS)
LINES_TO_TELL = 10
"""From so many on, a column of which nearly all values differ is no speaker's, whatever a flag."""
OTHER_DELIMITERS = {"\t": "a tab", ";": "';'", ",": "','"}
"""What other programs separate columns by, and how a sentence says it."""

FILE = "file"
TEXT = "text"
NORMALISED = "normalised text"
SPEAKER = "speaker"
LENGTH = "length"
IDS = "phoneme ids"
SPEAKERS_SHARE = 0.5
"""Of the lines: so many different names in a column are no speakers."""
MAX_OF = 0.9
"""Of a column's values, since a few may be wrong; and of two words that are the same."""
MIN_WORDS = 3.0
"""A speaker's name has fewer, a sentence more; in the mean."""
LIKE = 0.5
"""How much two spellings of one sentence are alike at least (`SequenceMatcher.ratio`): LJSpeech's
"in 1455" and "in fourteen fifty-five" 0.6, two sentences 0.3."""
VERSIONS_SHARE = 0.6
"""Of the lines whose third column is the second one in other words."""
ROWS_LOOKED_AT = 200
CHARACTERS_LOOKED_AT = 120
"""Of a text: comparing takes the square of it."""
MAX_BARS = 8
"""Within the texts of a line: more are looked at no further."""
LENGTHS_AGREE = 0.8
"""Correlation from which on a number beside a text is its length."""
MIN_LENGTHS = 4
"""Different numbers from which on a correlation says something."""
UTF_8 = "UTF-8"
_HIGH = re.compile(rb"[\x80-\xff]")
_HIGH_RUN = re.compile(rb"[\x80-\xff]{2,}")
_NUMBER = re.compile(r"\d+([.,]\d+)?( ?s)?")
_QUOTED = re.compile(r'"(?:[^"]|"")*"', re.DOTALL)
_IDS = re.compile(r"\d+( \d+)+")
_ENDS = tuple('.!?…。！？।؟"»”')
# festvox-ru writes `вол+ос`: the mark stands before the stressed vowel. A sum is left alone: `2+2`,
# `x+а`, `C++а`. Vowels are those of Russian, Ukrainian and Belarusian.
_STRESS_MARK = re.compile(r"(?<![0-9A-Za-z+])\+(?=[аеёиоуыэюяіїєАЕЁИОУЫЭЮЯІЇЄ])")
_ID = re.compile(r"([0-9]{1,9})(?::([0-9]{1,5}))?")


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
        durations: Frames of each id, where the dataset gives them, too, else None.
    """

    line: int
    audio_path: Path
    text: str
    speaker: str | None
    ids: list[int] | None
    version: str = ""
    durations: list[int] | None = None


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
            `dataset_type="phoneme_ids"` one more column at the end, ids separated by spaces, each
            alone or with its frames (`20:7`).
            Columns of others that their values tell (LJSpeech's `id|text|normalised text`, a
            length or the speaker after the text) are read, and said.
        audio_dir: Folder of the recordings; names are looked for here, then beside the CSV. The
            ending `.wav` may be left out of a name; capitals, backslashes and folders of another
            machine do not matter where one recording only can be meant.
        num_speakers: The speaker column counts only where this is above 1.
        dataset_type: `text` or `phoneme_ids`.
        has_stress_marks: Whether each `+` before a vowel stays in the texts.
        recordings: Where they lie in a storage, instead of `audio_dir`.
    """
    if dataset_type not in DATASET_TYPES:
        raise DatasetError(
            f'--data.dataset_type is "{dataset_type}", but only text and phoneme_ids are known.'
        )
    parser = _Parser(csv_path, num_speakers, dataset_type)
    lines = parser.read_lines()
    layout = parser.choose_layout(lines)
    folders = (audio_dir, csv_path.parent)
    rows, missing = [], []
    for number, columns in lines:
        version = ""
        if recordings is not None:
            audio_path, version = recordings.find(columns[0]) or (None, "")
        else:
            audio_path = find_audio(columns[0], folders)
        if audio_path is None:
            missing.append(f"{columns[0] or '(no name)'} (line {number})")
            continue
        text, speaker, ids, durations = parser.parse_columns(number, columns, layout)
        text = text if has_stress_marks else remove_stress_marks(text)
        rows.append(Row(number, audio_path, text, speaker, ids, version, durations))
    if missing:
        where = recordings.address if recordings is not None else audio_dir
        raise DatasetError(
            f"{csv_path}: {len(missing)} of {len(lines)} recordings are not in {where}: "
            f"{name_some(missing)}; pass the right folder with --data.audio_dir, or remove the "
            "lines."
        )
    parser.check_rows(rows)
    return rows


def remove_stress_marks(text: str) -> str:
    """Take out each `+` that marks the Cyrillic vowel after it as stressed.

    espeak-ng 1.52 reads the sign aloud as a word; `2+2` and `x+а` stay as they are.
    """
    return _STRESS_MARK.sub("", text)


def write_metadata(folder: Path, rows: Iterable[Sequence[str | None]]) -> bytes:
    """Write a dataset's metadata.csv, and return what is in it.

    Args:
        folder: The dataset.
        rows: Name of the recording, speaker (None where there is one only), text, and ids where
            the dataset has some; no `|` and no line end in them.
    """
    lines = ["|".join(cell for cell in row if cell is not None) + "\n" for row in rows]
    content = "".join(lines).encode("utf-8")
    with replace_on_success(folder / "metadata.csv") as temporary:
        temporary.write_bytes(content)
    return content


@dataclass(frozen=True)
class _Parser:
    """Lines to what rows hold, as the flags and the values of the columns say."""

    csv_path: Path
    num_speakers: int
    dataset_type: str

    def read_lines(self) -> list[tuple[int, list[str]]]:
        """Return the numbers and columns of all lines that are not empty."""
        path = self.csv_path
        try:
            data = read_bounded(path, "metadata.csv")
        except FileNotFoundError:
            raise DatasetError(
                f"{path} does not exist; pass the dataset's folder with --data.dataset_dir, "
                "or the CSV with --data.csv_path."
            ) from None
        except OSError as error:
            raise DatasetError(f"{path} cannot be read ({error.strerror}).") from None
        text, encoding = decode_text(data)
        if encoding != UTF_8:
            raise DatasetError(
                f"{path} line {find_bad_line(data)}: the text is not UTF-8, it seems to be "
                f"{encoding}; save the file as UTF-8, or let `python -m piper.train import` read "
                "it."
            )
        lines = split_lines(text)
        if not lines:
            raise DatasetError(f"{path} is empty; write one line `file.wav|Text.` a recording.")
        return lines

    def choose_layout(self, lines: Sequence[tuple[int, Sequence[str]]]) -> Layout:
        """Return what the columns hold: what the flags say, unless the values say otherwise."""
        layout = create_layout(self.num_speakers, has_ids=self.dataset_type == PHONEME_IDS)
        counts = Counter(len(columns) for _, columns in lines)
        count = counts.most_common(1)[0][0]
        if count > 2 and self.dataset_type == "text":
            rows = [columns for _, columns in lines if len(columns) == count]
            found = find_layout(rows)
            if found is None:
                self._refuse_no_speakers(rows)
            elif found != layout:
                self._check_found(found, rows)
                layout = found
        for number, columns in lines:
            if len(columns) != len(layout.names):
                self._refuse_line(number, columns, layout)
        return layout

    def _refuse_no_speakers(self, rows: Sequence[Sequence[str]]) -> None:
        """Refuse a second column that cannot be the speaker, if there are enough lines to tell."""
        speakers = {row[1] for row in rows}
        is_clear = len(rows) >= LINES_TO_TELL and not are_speakers(speakers, len(rows))
        if self.num_speakers > 1 and not is_clear:
            return
        raise DatasetError(
            f"{self.csv_path} has {len(rows[0])} columns, and what they hold is not clear: the "
            f"second has {len(speakers)} different values in {len(rows)} lines, such as "
            f"{rows[0][1]!r:.40}, so it is no speaker; write file|text, or file|speaker|text with "
            "--model.num_speakers=N."
        )

    def _check_found(self, found: Layout, rows: Sequence[Sequence[str]]) -> None:
        """Check that a layout which was found can be trained on as the flags are."""
        path = self.csv_path
        if (place := found.find(IDS)) is not None:
            raise DatasetError(
                f"{path}: the columns look like {found} (the last is {rows[0][place]!r:.40}"
                "); pass --data.dataset_type=phoneme_ids."
            )
        if (place := found.find(SPEAKER)) is None:
            if self.num_speakers > 1:
                raise DatasetError(
                    f"{path}: the columns look like {found}, and name no speakers; leave out "
                    f"--model.num_speakers={self.num_speakers} (and num_speakers in config.json)."
                )
        elif self.num_speakers <= 1:
            count = len({row[place] for row in rows})
            if count == 1:
                raise DatasetError(
                    f"{path}: {len(found.names)} columns, but {FILE}|{TEXT} is wanted; the columns "
                    f"look like {found}, so remove that of the speaker, since all rows name the "
                    "same one (several would need --model.num_speakers=N)."
                )
            raise DatasetError(
                f"{path}: {len(found.names)} columns, but {FILE}|{TEXT} is wanted; the columns "
                f"look like {found}, so pass --model.num_speakers={count}."
            )
        said = found.names[found.text]
        _LOGGER.info("%s is read as %s; %s is what is said.", path, found, said)

    def _refuse_line(self, number: int, columns: Sequence[str], layout: Layout) -> None:
        where = f"{self.csv_path} line {number}:"
        if len(columns) == 1:
            seen = next((name for sign, name in OTHER_DELIMITERS.items() if sign in columns[0]), "")
            hint = f" (it seems to use {seen})" if seen else ""
            raise DatasetError(f"{where} no '|' found{hint}; separate the columns as {layout}.")
        raise DatasetError(
            f"{where} {len(columns)} columns, but {len(layout.names)} are wanted ({layout}, "
            f"--model.num_speakers={self.num_speakers}, --data.dataset_type={self.dataset_type}); "
            "a text must not hold '|'."
        )

    def parse_columns(
        self, number: int, columns: Sequence[str], layout: Layout
    ) -> tuple[str, str | None, list[int] | None, list[int] | None]:
        """Return the text, speaker, phoneme ids and their frames of a line."""
        where = f"{self.csv_path} line {number}:"
        values = dict(zip(layout.names, columns, strict=True))
        ids, durations = _parse_ids(where, values[IDS]) if IDS in values else (None, None)
        text, speaker = values.get(NORMALISED) or values[TEXT], values.get(SPEAKER)
        if speaker == "":
            raise DatasetError(f"{where} the speaker is empty; name one, or remove the line.")
        if not text and ids is None:
            raise DatasetError(
                f"{where} the text is empty; write what is said, or remove the line."
            )
        return text, speaker, ids, durations

    def check_rows(self, rows: Sequence[Row]) -> None:
        """Refuse recordings that are listed twice, and more speakers than the flags say."""
        first_lines: dict[Path, int] = {}
        for row in rows:
            first = first_lines.setdefault(row.audio_path, row.line)
            if first != row.line:
                raise DatasetError(
                    f"{self.csv_path} line {row.line}: {row.audio_path.name} is already in line "
                    f"{first}; remove one of the two lines."
                )
        speakers = list(dict.fromkeys(row.speaker for row in rows if row.speaker is not None))
        if len(speakers) > self.num_speakers:
            raise DatasetError(
                f"{self.csv_path} has {len(speakers)} speakers ({name_some(speakers)}), but "
                f"--model.num_speakers={self.num_speakers}; pass "
                f"--model.num_speakers={len(speakers)}."
            )


def _parse_ids(where: str, column: str) -> tuple[list[int], list[int] | None]:
    """Return the ids, and their frames where all of them have some."""
    found = [_ID.fullmatch(word) for word in column.split()]
    words = [match.groups() for match in found if match]
    with_frames = sum(frames is not None for _, frames in words)
    if not words or len(words) < len(found) or with_frames not in (0, len(words)):
        raise DatasetError(
            f"{where} the last column is {column!r:.60}, but phoneme ids are wanted: "
            "whole numbers separated by spaces, none or all of them with frames (20:7)."
        )
    return [int(number) for number, _ in words], (
        [int(frames) for _, frames in words] if with_frames else None
    )


def decode_text(data: bytes) -> tuple[str, str]:
    """Return a text file's content with `\\n` at the ends of lines, and its encoding.

    What is not UTF-8 is guessed to be UTF-16, Windows-1251 where letters beyond ASCII follow each
    other, or Windows-1252 where they stand alone; what cannot be decoded becomes U+FFFD.
    """
    encoding = UTF_8
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "UTF-16"
    else:
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            high = len(_HIGH.findall(data))
            runs = sum(len(run) for run in _HIGH_RUN.findall(data))
            encoding = "Windows-1251" if 2 * runs >= high else "Windows-1252"
    text = data.decode("utf-8-sig" if encoding == UTF_8 else encoding, "replace")
    # A lone carriage return is a line end of old spreadsheets; not splitlines(), which would also
    # cut a text at U+2028 or U+0085.
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


def find_bad_line(data: bytes) -> int:
    """Return the first line that is not UTF-8, counted from 1."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return data.count(b"\n", 0, error.start) + 1
    return 1


def split_lines(text: str) -> list[tuple[int, list[str]]]:
    """Return numbers and columns of the lines that are not empty.

    Quotes that a spreadsheet has put around texts, nearly all of them, are no part of these.
    """
    # Not splitlines(), which would also cut a text at U+2028 or U+0085.
    numbered = enumerate(text.split("\n"), start=1)
    rows = [(number, line.split("|")) for number, line in numbered if line.strip()]
    clean = remove_quotes if are_quoted([row for _, row in rows]) else str.strip
    return [(number, [clean(column) for column in row]) for number, row in rows]


@dataclass(frozen=True)
class Layout:
    """What each column holds.

    Attributes:
        names: Of the columns, the file's included: `("file", "speaker", "text")`.
    """

    names: tuple[str, ...]

    def __str__(self) -> str:
        return "|".join(self.names)

    @property
    def text(self) -> int:
        """Place of the text that is spoken: the normalised one where there are two."""
        return self.names.index(NORMALISED if NORMALISED in self.names else TEXT)

    def find(self, name: str) -> int | None:
        """Return the place of a column, None where there is none of this name."""
        return self.names.index(name) if name in self.names else None


LJSPEECH = Layout((FILE, TEXT, NORMALISED))


def create_layout(num_speakers: int, *, has_ids: bool) -> Layout:
    """Return the documented layout."""
    speaker = (SPEAKER,) if num_speakers > 1 else ()
    return Layout((FILE, *speaker, TEXT, *((IDS,) if has_ids else ())))


def find_layout(rows: Sequence[Sequence[str]]) -> Layout | None:
    """Return what columns hold; None where their values do not tell.

    Args:
        rows: Columns of each line, in equal number, two and more.
    """
    step = -(-len(rows) // ROWS_LOOKED_AT)
    columns = [[value.strip() for value in column] for column in zip(*rows[::step], strict=True)]
    found: dict[int, str] = {0: FILE}
    rest = list(range(1, len(columns)))
    if len(rest) > 1 and _are_mostly(columns[-1], _IDS):
        found[rest.pop()] = IDS
    if len(rest) > 1:
        versions = [pair for pair in pairwise(rest) if _are_versions(columns, *pair)]
        if versions:
            first, second = versions[0]
            found |= {first: TEXT, second: NORMALISED}
            rest = [place for place in rest if place not in (first, second)]
    texts = [place for place in rest if reads_like_text(columns[place])]
    if len(rest) > 1 and (length := _find_length(columns, rest)) is not None:
        found[length] = LENGTH
        rest.remove(length)
    needs_text = TEXT not in found.values()
    if len(rest) == needs_text + 1:
        # The column that can be no text: of two that could be names the first, as is documented.
        names = [
            place
            for place in rest
            if place not in texts and are_speakers(set(columns[place]), len(columns[place]))
        ]
        if not names or (len(names) > 1 and rest[0] not in names):
            return None
        found[names[0]] = SPEAKER
        rest.remove(names[0])
    if needs_text and len(rest) == 1:
        found[rest.pop()] = TEXT
    return None if rest else Layout(tuple(found[place] for place in range(len(columns))))


def are_quoted(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether a spreadsheet has put texts into quotes: nearly all of them."""
    texts = [row[-1].strip() for row in rows if len(row) > 1]
    return len(texts) > 1 and _are_mostly(texts, _QUOTED)


def remove_quotes(value: str) -> str:
    """Return a value without the quotes around it; those inside are no longer doubled."""
    value = value.strip()
    return value[1:-1].replace('""', '"').strip() if _QUOTED.fullmatch(value) else value


def are_speakers(names: Collection[str | None], num_lines: int) -> bool:
    """Return whether the different values of a column can be speakers."""
    if len(names) > max(2, SPEAKERS_SHARE * num_lines):
        return False
    return not reads_like_text([name for name in names if name])


def reads_like_text(values: Collection[str]) -> bool:
    """Return whether values read like sentences: by the stop at their ends, or many words."""
    values = [value for value in values if value]
    if not values:
        return False
    num_ended = sum(value.endswith(_ENDS) for value in values)
    return num_ended >= 0.5 * len(values) or mean(len(v.split()) for v in values) >= MIN_WORDS


def split_row(columns: Sequence[str], layout: Layout) -> list[str] | None:
    """Return a line's values in a layout's order; a `|` too many belongs to a text.

    Args:
        columns: Of one line, in any number.
        layout: Of most lines.

    Returns:
        As many values as the layout has columns; None where it is not clear what belongs where.
    """
    values = [column.strip() for column in columns]
    if layout == LJSPEECH:
        return _split_versions(values)
    if len(values) == len(layout.names):
        return values
    before, after = layout.text, len(layout.names) - layout.text - 1
    if len(values) < len(layout.names) or layout.find(NORMALISED) is not None:
        return None
    end = len(values) - after
    return [*values[:before], "|".join(values[before:end]), *values[end:]]


def _split_versions(values: list[str]) -> list[str] | None:
    """Return file, text and normalised text; of the latter two one may be all there is."""
    if not 2 <= len(values) <= MAX_BARS:
        return None
    name, *texts = values
    if len(texts) == 1:
        return [name, texts[0], ""]
    whole = "|".join(texts)
    best, place = max(
        (_measure_likeness("|".join(texts[:place]), "|".join(texts[place:])), place)
        for place in range(1, len(texts))
    )
    if best >= LIKE:
        return [name, "|".join(texts[:place]), "|".join(texts[place:])]
    if len(texts) == 2 and not (_has_words(texts[0]) and _has_words(texts[1])):
        return values  # "№ 3" and "Number three." share nothing
    return [name, whole, ""] if len(texts) > 1 else None


def _has_words(text: str) -> bool:
    """Return whether most of a text is words that have no other spelling."""
    words = text.split()
    return len(words) > 1 and 2 * sum(word.strip(".,!?;:—-\"'").isalpha() for word in words) > len(
        words
    )


def _are_mostly(values: Sequence[str], pattern: re.Pattern[str]) -> bool:
    return sum(pattern.fullmatch(value) is not None for value in values) >= MAX_OF * len(values)


def _are_versions(columns: Sequence[Sequence[str]], first: int, second: int) -> bool:
    """Return whether a column is another one in other words; where it is empty, it may be."""
    pairs = [(a, b) for a, b in zip(columns[first], columns[second], strict=True) if a]
    if not any(b for _, b in pairs):
        return bool(pairs)
    # A speaker's name may stand in many texts, and a text of one word is spelt in one way.
    least = LIKE if reads_like_text(columns[first]) else MAX_OF
    likenesses = [_measure_likeness(a, b) if b else 1.0 for a, b in pairs]
    return sum(likeness >= least for likeness in likenesses) >= VERSIONS_SHARE * len(pairs)


def _measure_likeness(one: str, other: str) -> float:
    """Return how much the beginnings of two texts are alike, from 0 to 1."""
    if one == other:
        return 1.0
    first, second = (text[:CHARACTERS_LOOKED_AT].lower() for text in (one, other))
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    return matcher.ratio() if matcher.quick_ratio() >= LIKE else 0.0


def _find_length(columns: Sequence[Sequence[str]], places: Sequence[int]) -> int | None:
    """Return the column of numbers that are no speakers."""
    for place in reversed(places):
        numbers = columns[place]
        if _are_mostly(numbers, _NUMBER) and (
            not are_speakers(set(numbers), len(numbers))
            or any("." in number or "," in number for number in numbers)
            or any(_agree(numbers, columns[other]) for other in places if other != place)
        ):
            return place
    return None


def _agree(numbers: Sequence[str], texts: Sequence[str]) -> bool:
    """Return whether numbers are the lengths of texts, or follow them."""
    pairs = [
        (float(number.rstrip(" s").replace(",", ".")), float(len(text)))
        for number, text in zip(numbers, texts, strict=True)
        if _NUMBER.fullmatch(number)
    ]
    if all(number == length for number, length in pairs):
        return True
    if len({number for number, _ in pairs}) < MIN_LENGTHS:
        return False
    try:
        return correlation(*zip(*pairs, strict=True)) >= LENGTHS_AGREE
    except StatisticsError:  # all texts are of one length
        return False


def find_audio_folder(folder: Path) -> Path | None:
    """Return the folder of the recordings in a dataset's, None where there is none."""
    try:
        inner = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}
    except OSError:
        return None
    for name in AUDIO_FOLDERS:
        if name in inner:
            return inner[name]
        for other, path in inner.items():
            if other.lower() == name:
                return path
    return None


def find_named(
    name: str, folders: Sequence[Path], suffixes: Sequence[str] = (".wav",)
) -> Path | None:
    """Return the recording of exactly this name, or with one of the endings added to it.

    Args:
        name: As a list has it.
        folders: Where it is looked for, in order.
        suffixes: Endings that may be left out of a name.
    """
    if not name.strip():
        return None
    for folder in folders:
        path = folder / name
        for candidate in (path, *(Path(f"{path}{suffix}") for suffix in suffixes)):
            if is_file(candidate):
                return candidate
    return None


def _find_similar(name: str, folders: Sequence[Path]) -> Path | None:
    """Return the one recording below the folders that a name can mean, None for none or several.

    Folders before the name count only where several recordings have it.
    """
    wanted = PurePosixPath(name.strip().strip('"').replace("\\", "/").lower())
    if not wanted.name:
        return None
    for folder in folders:
        index = _index(folder, _find_time(folder))
        for key in (wanted.name, find_stem(wanted.name)):
            found = index.get(key, ())
            if len(found) == 1:
                return found[0]
            parts = wanted.with_name(key).parts[-2:]
            near = [path for path in found if _spell(path)[-2:] in (parts, wanted.parts[-2:])]
            if len(near) == 1:
                return near[0]
    return None


def _spell(path: Path) -> tuple[str, ...]:
    return (*(part.lower() for part in path.parts[:-1]), find_stem(path.name.lower()))


def _find_time(folder: Path) -> int:
    """Return when a folder changed, so that a list of it does not outlive that."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=8)
def _index(folder: Path, changed: int) -> Mapping[str, Sequence[Path]]:
    """Return the recordings below a folder by their names in small letters, also without ending."""
    found: dict[str, list[Path]] = {}
    for path in walk_recordings(folder, MAX_INDEXED):
        name = path.name.lower()
        for key in {name, find_stem(name)}:
            found.setdefault(key, []).append(path)
    return found


def walk_recordings(folder: Path, most: int | None = None) -> Iterator[Path]:
    """Return the recordings below a folder in order; hidden files and folders are left out.

    Args:
        folder: Where.
        most: Files and folders that are looked through; None: all.
    """
    count = 0
    for parent, inner, names in os.walk(folder):
        count += len(inner) + len(names)
        if most is not None and count > most:
            return
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES:
                yield Path(parent, name)


def find_stem(name: str) -> str:
    """Return a recording's name without folders, and without its ending where it has one."""
    base = name.replace("\\", "/").rsplit("/", maxsplit=1)[-1]
    ending = Path(base).suffix
    return base[: -len(ending)] if ending.lower() in AUDIO_SUFFIXES else base


def is_file(path: Path) -> bool:
    """Return whether a path is a file; names that no file can have are none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def find_audio(
    name: str, folders: Sequence[Path], suffixes: Sequence[str] = (".wav",)
) -> Path | None:
    """Return the recording of a name, with or without an ending, or of one spelt otherwise."""
    return find_named(name, folders, suffixes) or _find_similar(name, folders)
