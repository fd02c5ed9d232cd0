"""English numbers as words, by num2words; knows no rules."""

from __future__ import annotations


def write_cardinal(number: int) -> str:
    """Return a whole number as words, without the commas that would be spoken as pauses."""
    from num2words import num2words  # type: ignore[import-untyped, unused-ignore]

    return str(num2words(number, lang="en")).replace(",", "")


def write_ordinal(number: int) -> str:
    """Return an ordinal as words."""
    from num2words import num2words

    return str(num2words(number, lang="en", to="ordinal")).replace(",", "")


def write_year(year: int) -> str:
    """Return a year as it is read: 1905 is nineteen oh-five."""
    from num2words import num2words

    return str(num2words(year, lang="en", to="year")).replace(" and ", " ").replace(",", "")
