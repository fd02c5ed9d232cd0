"""What the columns of a file separated by `|` hold, told by their values; and its encoding.

Reads no files.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from statistics import StatisticsError, correlation, mean

FILE = "file"
TEXT = "text"
NORMALISED = "normalised text"
SPEAKER = "speaker"
LENGTH = "length"
IDS = "phoneme ids"

SPEAKERS_SHARE = 0.5
"""Of the lines: so many different names in a column are no speakers."""
MOST_OF = 0.9
"""Of a column's values, since a few may be wrong; and of two words that are the same."""
LEAST_WORDS = 3.0
"""A speaker's name has fewer, a sentence more; in the mean."""
LIKE = 0.5
"""How much two spellings of one sentence are alike at least (`SequenceMatcher.ratio`): LJSpeech's
"in 1455" and "in fourteen fifty-five" 0.6, two sentences 0.3."""
VERSIONS_SHARE = 0.6
"""Of the lines whose third column is the second one in other words."""
ROWS_LOOKED_AT = 200
CHARACTERS_LOOKED_AT = 120
"""Of a text: comparing takes the square of it."""
MOST_BARS = 8
"""Within the texts of a line: more are looked at no further."""
LENGTHS_AGREE = 0.8
"""Correlation from which on a number beside a text is its length."""
LENGTHS_LEAST = 4
"""Different numbers from which on a correlation says something."""
UTF_8 = "UTF-8"
_HIGH = re.compile(rb"[\x80-\xff]")
_HIGH_RUN = re.compile(rb"[\x80-\xff]{2,}")
_NUMBER = re.compile(r"\d+([.,]\d+)?( ?s)?")
_QUOTED = re.compile(r'"(?:[^"]|"")*"', re.DOTALL)
_IDS = re.compile(r"\d+( \d+)+")
_ENDS = tuple('.!?…。！？।؟"»”')


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
    return num_ended >= 0.5 * len(values) or mean(len(v.split()) for v in values) >= LEAST_WORDS


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
    if not 2 <= len(values) <= MOST_BARS:
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
    return sum(pattern.fullmatch(value) is not None for value in values) >= MOST_OF * len(values)


def _are_versions(columns: Sequence[Sequence[str]], first: int, second: int) -> bool:
    """Return whether a column is another one in other words; where it is empty, it may be."""
    pairs = [(a, b) for a, b in zip(columns[first], columns[second], strict=True) if a]
    if not any(b for _, b in pairs):
        return bool(pairs)
    # A speaker's name may stand in many texts, and a text of one word is spelt in one way.
    least = LIKE if reads_like_text(columns[first]) else MOST_OF
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
    if len({number for number, _ in pairs}) < LENGTHS_LEAST:
        return False
    try:
        return correlation(*zip(*pairs, strict=True)) >= LENGTHS_AGREE
    except StatisticsError:  # all texts are of one length
        return False
