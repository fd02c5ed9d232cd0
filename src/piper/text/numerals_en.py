"""Rules that write out English numbers: all kinds in their order, and those with a unit or without.

Left to espeak-ng is what can be read in more than one way: `12/05/2024`, a lone `1/2`, scores
(`3:2`), versions and addresses (`1.2.3`), and telephone numbers.
"""

from __future__ import annotations

import re

from piper.text import dates_en, fractions_en, short_forms_en
from piper.text.cardinals_en import write_cardinal, write_ordinal
from piper.text.numerals import Rule, create_rule, keep, parse_number

_WHOLE = r"\d{1,3}(?:,\d{3})+(?!\d)|\d{1,15}"
_SIGN = r"(?:(?P<minus>(?<![\w.])[−–-])|(?P<plus>(?<![\w\d])\+))?"
_START = r"(?<![\w.,/:$£€])(?<!\d[-–])"
_END = r"(?![\w]|[.,:/]\d)"
_NUMBER = rf"(?P<minus>(?<![\w.])[−–-])?{_START}(?P<whole>{_WHOLE})(?:\.(?P<places>\d+))?"
_FROM = r"(?:(?P<from>\d{1,4}) ?[–-] ?)?"
_MONEY = (
    rf"(?P<minus>(?<![\w.])[−–-](?=[$£€]\d))?(?P<sign>(?<!\w)[$£€])(?P<below>[−–-])?{_FROM}"
    rf"(?P<whole>{_WHOLE})(?:\.(?P<places>\d+))?"
)
_MEASURED = rf"{_SIGN}{_START}{_FROM}(?P<whole>{_WHOLE})(?:\.(?P<places>\d+))?"
_CURRENCIES = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
_SCALES = ("thousand", "million", "billion", "trillion")
_SHORT_SCALES = {"k": "thousand", "m": "million", "mn": "million", "bn": "billion", "b": "billion"}
_UNITS = {
    "kg": "kilogram",
    "mg": "milligram",
    "g": "gram",
    "km": "kilometer",
    "cm": "centimeter",
    "mm": "millimeter",
    "m": "meter",
    "lb": "pound",
    "lbs": "pound",
    "oz": "ounce",
    "ft": "foot",
    "mi": "mile",
    "ml": "milliliter",
    "l": "liter",
    "L": "liter",
    "h": "hour",
    "hr": "hour",
    "hrs": "hour",
    "min": "minute",
    "mins": "minute",
    "sec": "second",
    "mph": "mile per hour",
    "km/h": "kilometer per hour",
    "kW": "kilowatt",
    "W": "watt",
    "Hz": "hertz",
    "kHz": "kilohertz",
    "MHz": "megahertz",
    "GHz": "gigahertz",
    "MB": "megabyte",
    "GB": "gigabyte",
    "TB": "terabyte",
    "°C": "degree Celsius",
    "°F": "degree Fahrenheit",
    "°": "degree",
}
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))
_PLURALS = {"foot": "feet", "penny": "pence", "hertz": "hertz"}


def _write_plural(noun: str, *, is_one: bool) -> str:
    first, _, rest = noun.partition(" ")
    first = first if is_one else _PLURALS.get(first, f"{first}s")
    return f"{first} {rest}".strip()


def _write_number(match: re.Match[str]) -> str:
    groups = match.groupdict()
    words = write_cardinal(parse_number(match["whole"]))
    if len(match["whole"]) > 1 and match["whole"].startswith("0"):
        words = " ".join(write_cardinal(int(digit)) for digit in match["whole"])
    if match["places"]:
        words += " point " + " ".join(write_cardinal(int(digit)) for digit in match["places"])
    if groups.get("from"):
        words = f"{write_cardinal(int(groups['from']))} to {words}"
    return ("minus " if groups.get("minus") else "plus " if groups.get("plus") else "") + words


def _is_one(match: re.Match[str]) -> bool:
    return match["whole"] == "1" and not match["places"]


def _write_money(match: re.Match[str]) -> str:
    major, minor = _CURRENCIES[match["sign"]]
    scale = match["scale"] or _SHORT_SCALES.get((match["short"] or "").lower())
    places = match["places"] or ""
    if scale or match["from"] or len(places) not in (0, 2):
        middle = f" {scale}" if scale else ""
        sign = "minus " if match["below"] else ""
        return f"{sign}{_write_number(match)}{middle} {_write_plural(major, is_one=False)}"
    whole = parse_number(match["whole"])
    words = f"{write_cardinal(whole)} {_write_plural(major, is_one=whole == 1)}"
    if int(places or 0):
        plural = _write_plural(minor, is_one=int(places) == 1)
        words += f" and {write_cardinal(int(places))} {plural}"
    return ("minus " if match["minus"] or match["below"] else "") + words


def _write_measure(match: re.Match[str]) -> str:
    unit = _UNITS[match["unit"]]
    return f"{_write_number(match)} {_write_plural(unit, is_one=_is_one(match))}"


RULES: list[Rule] = [
    create_rule(
        r"(?<![\w+])(?:\+?\d{1,3}[ .-])?(?:\(\d{3}\)|\d{3})[ .-]\d{3}[ .-]\d{4}(?![\w-])", keep
    ),
    create_rule(r"(?<![\w+])\+\d[\d ()-]{7,}\d(?!\w)", keep),
    *dates_en.RULES,
    *fractions_en.RULES,
    create_rule(
        rf"{_MONEY}(?: ?(?P<scale>{'|'.join(_SCALES)})\b|(?i:(?P<short>k|mn?|bn?))\b)?{_END}",
        _write_money,
    ),
    create_rule(rf"{_MEASURED} ?%(?!-?\w)", lambda match: f"{_write_number(match)} percent"),
    create_rule(rf"{_MEASURED} ?(?P<unit>{_UNIT})(?![\w/])", _write_measure),
    create_rule(
        r"(?<![\w.,])(?P<number>\d{1,9})(?:st|nd|rd|th)\b",
        lambda match: write_ordinal(int(match["number"])),
    ),
    *dates_en.YEAR_RULES,
    *short_forms_en.RULES,
    create_rule(
        # Not three digits and four, as in a telephone number.
        r"(?<![\w.,/:-])(?!\d{3}-\d{4})(?P<first>\d{1,4})[–-](?P<last>\d{1,4})(?![\w/–-]|[.,:]\d)",
        lambda match: (
            f"{write_cardinal(int(match['first']))} to {write_cardinal(int(match['last']))}"
        ),
    ),
    create_rule(rf"{_NUMBER}{_END}(?!-\d)(?<!\d{{3}}-\d{{4}})", _write_number),
]
"""Earlier rules count before later ones."""
