"""Rules that write out English dates, times, years and centuries; knows no other numbers."""

from __future__ import annotations

import re

from piper.text.calendar_dates import ISO_DATE, SLASH_DATE, parse_date
from piper.text.cardinals_en import write_cardinal, write_ordinal, write_year
from piper.text.numerals import Rule, create_rule, keep_dot
from piper.text.roman import ROMAN, parse_roman

_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_MONTH = "|".join([*_MONTHS, *(rf"{month[:3]}\." for month in _MONTHS if month != "May")])
_YEAR_WORDS = "in|since|until|till|by|from|before|after|of|during|year|circa|around"
_YEAR = r"1[1-9]\d\d|20\d\d"
_END = r"(?![\w]|[.,:/]\d)"
_LAST_CENTURY = 40


def _find_month(name: str) -> str:
    return next(month for month in _MONTHS if month.startswith(name.rstrip(".")))


def _write_month_day(match: re.Match[str]) -> str | None:
    if not 1 <= int(match["day"]) <= 31:
        return None
    year = f", {write_year(int(match['year']))}" if match["year"] else ""
    return f"{_find_month(match['month'])} {write_ordinal(int(match['day']))}{year}"


def _write_day_month(match: re.Match[str]) -> str | None:
    if not 1 <= int(match["day"]) <= 31:
        return None
    year = f" {write_year(int(match['year']))}" if match["year"] else ""
    article = "" if match["article"] else "the "
    day = write_ordinal(int(match["day"]))
    return f"{match['article'] or ''}{article}{day} of {_find_month(match['month'])}{year}"


def _write_figures(match: re.Match[str]) -> str | None:
    """Write a date in figures: `2024-05-12`, `12/25/2024`."""
    date = parse_date(match)
    if date is None:
        return None
    return f"{_MONTHS[date.month - 1]} {write_ordinal(date.day)}, {write_year(date.year)}"


def _write_time(match: re.Match[str]) -> str | None:
    half = match["half"]
    words = _write_clock(match["hours"], match["minutes"], half)
    if words is None:
        return None
    if half and half.endswith("."):
        words += keep_dot(match)
    if match["from"]:
        first = _write_clock(*match["from"].split(":"))
        return f"{first} to {words}" if first else None
    return words


def _write_clock(hours: str, minutes: str, half: str | None = None) -> str | None:
    if int(hours) > 24 or int(minutes) > 59:
        return None
    end = f" {half[0].upper()}M" if half else ""
    words = write_cardinal(int(hours))
    if int(minutes) == 0:
        return words + (end or " o'clock")
    oh = "oh " if int(minutes) < 10 else ""
    return f"{words} {oh}{write_cardinal(int(minutes))}{end}"


def _write_decade(match: re.Match[str]) -> str:
    words = write_year(int(match["year"]))
    return words[:-1] + "ies" if words.endswith("y") else f"{words}s"


def _write_years(match: re.Match[str]) -> str | None:
    first, last = int(match["first"]), int(match["last"])
    return f"{write_year(first)} to {write_year(last)}" if first < last else None


def _write_century(match: re.Match[str]) -> str | None:
    numbers = [parse_roman(roman) for roman in (match["first"], match["last"]) if roman]
    if not all(number and number <= _LAST_CENTURY for number in numbers):
        return None
    words = " to ".join(write_ordinal(number or 0) for number in numbers)
    return f"{words} {match['word']}"


RULES: list[Rule] = [
    create_rule(rf"(?<![\w.,/:-]){ISO_DATE}", _write_figures),
    create_rule(rf"(?<![\w.,/:-]){SLASH_DATE}", _write_figures),
    create_rule(
        rf"\b(?P<month>{_MONTH}) (?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<year>\d{{4}}))?{_END}",
        _write_month_day,
    ),
    create_rule(
        rf"(?<![\w.,/])(?P<article>[Tt]he )?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? "
        rf"(?P<month>{_MONTH})(?:,? (?P<year>\d{{4}}))?{_END}",
        _write_day_month,
    ),
    create_rule(
        r"(?<![\w:.,])(?:(?P<from>\d{1,2}:\d{2}) ?[–-] ?)?(?P<hours>\d{1,2}):(?P<minutes>\d{2})"
        r"(?: ?(?P<half>[ap]\.? ?m\.|[AP]\.? ?M\.|[ap]m|[AP]M))?(?![\w:]|\.\d)",
        _write_time,
    ),
    create_rule(
        rf"(?<![\w.,/:-])(?P<first>{_YEAR})[–-](?P<last>{_YEAR})(?![\w/–-]|[.,:]\d)", _write_years
    ),
    create_rule(
        rf"(?<!\w)(?:(?P<first>{ROMAN})[–-])?(?P<last>{ROMAN}) (?P<word>centur(?:y|ies)\b)",
        _write_century,
    ),
]
"""Earlier rules count before later ones."""

YEAR_RULES: list[Rule] = [
    create_rule(r"(?<![\w.,])(?P<year>(?:1[1-9]|20)\d0)s\b", _write_decade),
    create_rule(
        rf"(?i:\b(?P<word>{_YEAR_WORDS})) (?P<year>1[1-9]\d\d|20\d\d){_END}(?! [a-z]+s\b)",
        lambda match: f"{match['word']} {write_year(int(match['year']))}",
    ),
]
"""Years without a month; they come after measures, so that `in 2000 km` is none."""
