"""Numbers and short forms written out as words: what all languages share.

The words come from num2words, Russian cases from pymorphy3 (extra `numbers`). A rule that does not
know leaves the text as it is, and espeak-ng reads it as before.

`2024-05-12` is one. So is `25/12/2024`, since there is no 25th month, but not `12/05/2024`, which
is May in one country and December in another: it is left to espeak-ng.

`1/2` can be a fraction, a date, a house or a score, so the languages' rules take it only before
what it is a part of. `½` is always a fraction.
"""

from __future__ import annotations

import importlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date
from os.path import commonprefix

from piper.errors import PhonemizeError
from piper.text.sentence import Edit

Writer = Callable[[re.Match[str]], str | None]
Rule = tuple[re.Pattern[str], Writer]
"""A pattern, and what is written in place of a match; None leaves it as it is."""

_LANGUAGES = {
    "ru": ("russian", ("num2words", "pymorphy3")),
    "en": ("english", ("num2words",)),
}


def find_writer(language: str) -> Callable[[str], list[Edit]] | None:
    """Return what writes out the numbers of a language, an espeak-ng voice, if there is one."""
    name, libraries = _LANGUAGES.get(language.partition("-")[0], ("", ()))
    if not name:
        return None
    for library in libraries:
        try:
            importlib.import_module(library)
        except ImportError:
            raise PhonemizeError(
                f"Writing out numbers needs the library {library}; install the extra with "
                "`pip install piper-workshop[numbers]`, or turn it off with write_numbers=False."
            ) from None
    rules: Sequence[Rule] = importlib.import_module(f"piper.text.numbers.{name}").RULES
    return lambda text: apply_rules(text, rules)


def create_table(text: str) -> dict[str, str]:
    """Return short forms and their words: `kg kilogram; km/h kilometer per hour`."""
    entries = (entry.strip().partition(" ") for entry in text.split(";"))
    return {short: words for short, _, words in entries}


def create_rule(pattern: str, write: Writer, flags: int = 0) -> Rule:
    """Create a rule of a pattern as text."""
    return re.compile(pattern, flags), write


def keep(match: re.Match[str]) -> str:
    """Write what stands there, so that no later rule takes a part of it."""
    return str(match[0])


def keep_dot(match: re.Match[str]) -> str:
    """Return the dot of a short form where it ends the sentence too."""
    rest = match.string[match.end() :].lstrip(' \u00a0”"»)')
    return "." if not rest or rest[0].isupper() or rest[0].isdigit() or rest[0] == "\n" else ""


def apply_rules(text: str, rules: Sequence[Rule]) -> list[Edit]:
    """Return the edits of all rules; where two match, the earlier rule counts."""
    edits: list[Edit] = []
    taken: list[tuple[int, int]] = []
    for pattern, write in rules:
        for match in pattern.finditer(text):
            start, end = match.span()
            if any(first < end and start < last for first, last in taken):
                continue
            words = write(match)
            if words == match[0]:
                taken.append((start, end))
            elif words is not None:
                # The word before a number, which a rule reads, stays and is not a part of it.
                same = _count_same(match[0], words)
                taken.append((start + same, end))
                edits.append(Edit(start + same, end, words[same:]))
    return sorted(edits, key=lambda edit: edit.start)


def _count_same(old: str, new: str) -> int:
    """Return how many characters the words are long that both begin with."""
    return old.rfind(" ", 0, len(commonprefix((old, new)))) + 1  # noqa: RUF071 (as wanted)


def parse_number(digits: str) -> int:
    """Return the number that digits with spaces, apostrophes or commas between them are."""
    return int(re.sub(r"\D", "", digits))


ISO_DATE = r"(?P<year>[12]\d{3})-(?P<month>\d{2})-(?P<day>\d{2})(?![\w-])"
SLASH_DATE = (
    r"(?P<first>\d{1,2})(?P<sign>[/.])(?P<second>\d{1,2})(?P=sign)(?P<year>[12]\d{3})(?!\w)"
)


def create_date(year: int, month: int, day: int) -> date | None:
    """Return a date, or None where the calendar has no such day."""
    with suppress(ValueError):
        return date(year, month, day)
    return None


def parse_date(match: re.Match[str]) -> date | None:
    """Return the date that a match of one of the patterns above is, if it can only be one."""
    groups = match.groupdict()
    year = int(groups["year"])
    if "first" not in groups:
        return create_date(year, int(groups["month"]), int(groups["day"]))
    first, second = int(groups["first"]), int(groups["second"])
    dates = {create_date(year, second, first), create_date(year, first, second)} - {None}
    return dates.pop() if len(dates) == 1 else None


_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_PARTS = (
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
)
# Russian keyboards have letters that look the same.
_LOOKALIKES = str.maketrans("ХІС", "XIC")

ROMAN = "[IVXLCХІ]+"
"""Pattern of a Roman number up to 399, in Latin letters or those that look the same."""


def parse_roman(text: str) -> int | None:
    """Return the number, or None where the letters are none (`IIX`)."""
    text = text.translate(_LOOKALIKES)
    values = [_VALUES[letter] for letter in text]
    number = sum(
        -value if value < following else value
        for value, following in zip(values, [*values[1:], 0], strict=True)
    )
    written, rest = "", number
    for value, letters in _PARTS:
        written += letters * (rest // value)
        rest %= value
    return number if 0 < number < 400 and written == text else None


SIGNS = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
STROKE_FRACTION = r"\d{1,2}[/⁄]\d{1,3}"
AFTER_STROKE = r"(?![\d/⁄]|[.,:–-]\d)"
_DENOMINATORS = frozenset((*range(2, 11), 12, 16, 20, 25, 32, 50, 64, 100))


def parse_fraction(text: str) -> tuple[int, int] | None:
    """Return numerator and denominator, or None for what is hardly meant as a fraction."""
    parts = re.split("[/⁄]", unicodedata.normalize("NFKC", text))
    numerator, denominator = int(parts[0]), int(parts[1])
    is_fraction = 0 < numerator < denominator and denominator in _DENOMINATORS
    return (numerator, denominator) if is_fraction and parts[0][0] != "0" else None
