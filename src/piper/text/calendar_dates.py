"""Dates in figures that can be read in one way only; knows no language.

`2024-05-12` is one. So is `25/12/2024`, since there is no 25th month, but not `12/05/2024`, which
is May in one country and December in another: it is left to espeak-ng.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass

ISO_DATE = r"(?P<year>[12]\d{3})-(?P<month>\d{2})-(?P<day>\d{2})(?![\w-])"
SLASH_DATE = (
    r"(?P<first>\d{1,2})(?P<sign>[/.])(?P<second>\d{1,2})(?P=sign)(?P<year>[12]\d{3})(?!\w)"
)


@dataclass(frozen=True)
class Date:
    """A day of the calendar; months count from 1."""

    year: int
    month: int
    day: int


def create_date(year: int, month: int, day: int) -> Date | None:
    """Return a date, or None where the calendar has no such day."""
    if not 1 <= month <= 12 or not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return Date(year, month, day)


def parse_date(match: re.Match[str]) -> Date | None:
    """Return the date that a match of one of the patterns above is, if it can only be one."""
    groups = match.groupdict()
    year = int(groups["year"])
    if "first" not in groups:
        return create_date(year, int(groups["month"]), int(groups["day"]))
    first, second = int(groups["first"]), int(groups["second"])
    dates = {create_date(year, second, first), create_date(year, first, second)} - {None}
    return dates.pop() if len(dates) == 1 else None
