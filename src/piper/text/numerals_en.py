"""Rules that write out English numbers, dates, money, units and short forms; knows no phonemes."""

from __future__ import annotations

import re

from piper.text.numerals import Rule, create_rule, parse_number

_WHOLE = r"\d{1,3}(?:,\d{3})+(?!\d)|\d{1,15}"
_NUMBER = (
    rf"(?P<minus>(?<![\w\d])[−-])?(?<![\w.,/:])(?<!\d-)(?P<whole>{_WHOLE})(?:\.(?P<places>\d+))?"
)
_END = r"(?![\w]|[.,:/]\d)"
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
_MONTH = "|".join([*_MONTHS, *(rf"{month[:3]}\." for month in _MONTHS)])
_CURRENCIES = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
_SCALES = ("thousand", "million", "billion", "trillion")
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
_TITLES = {
    "Mr": "Mister",
    "Mrs": "Missis",
    "Ms": "Miz",
    "Dr": "Doctor",
    "Prof": "Professor",
    "St": "Saint",
    "Gen": "General",
    "Capt": "Captain",
    "Lt": "Lieutenant",
    "Rev": "Reverend",
    "Mt": "Mount",
    "Sgt": "Sergeant",
    "Gov": "Governor",
    "Sen": "Senator",
}
_STREETS = {"St": "Street", "Ave": "Avenue", "Rd": "Road", "Blvd": "Boulevard", "Dr": "Drive"}
_PHRASES = {
    r"e\.\s?g": "for example",
    r"i\.\s?e": "that is",
    "etc": "et cetera",
    "vs": "versus",
    "approx": "approximately",
    "Jr": "Junior",
    "Sr": "Senior",
    "Inc": "Incorporated",
    "Ltd": "Limited",
    "Corp": "Corporation",
    "dept": "department",
}
_YEAR_WORDS = "in|since|until|till|by|from|before|after|of|during|year|circa|around"


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


def _write_plural(noun: str, *, is_one: bool) -> str:
    first, _, rest = noun.partition(" ")
    first = first if is_one else _PLURALS.get(first, f"{first}s")
    return f"{first} {rest}".strip()


def _write_number(match: re.Match[str]) -> str:
    words = write_cardinal(parse_number(match["whole"]))
    if len(match["whole"]) > 1 and match["whole"].startswith("0"):
        words = " ".join(write_cardinal(int(digit)) for digit in match["whole"])
    if match["places"]:
        words += " point " + " ".join(write_cardinal(int(digit)) for digit in match["places"])
    return ("minus " if match["minus"] else "") + words


def _is_one(match: re.Match[str]) -> bool:
    return match["whole"] == "1" and not match["places"]


def _write_money(match: re.Match[str]) -> str:
    major, minor = _CURRENCIES[match["sign"]]
    scale, places = match["scale"], match["places"] or ""
    if scale or len(places) not in (0, 2):
        middle = f" {scale}" if scale else ""
        return f"{_write_number(match)}{middle} {_write_plural(major, is_one=False)}"
    whole = parse_number(match["whole"])
    words = f"{write_cardinal(whole)} {_write_plural(major, is_one=whole == 1)}"
    if int(places or 0):
        plural = _write_plural(minor, is_one=int(places) == 1)
        words += f" and {write_cardinal(int(places))} {plural}"
    return words


def _write_measure(match: re.Match[str]) -> str:
    unit = _UNITS[match["unit"]]
    return f"{_write_number(match)} {_write_plural(unit, is_one=_is_one(match))}"


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


def _write_time(match: re.Match[str]) -> str | None:
    hours, minutes = int(match["hours"]), int(match["minutes"])
    if hours > 24 or minutes > 59:
        return None
    half = match["half"]
    end = f" {half[0].upper()} M" if half else ""
    if minutes == 0:
        return write_cardinal(hours) + (end or " o'clock")
    oh = "oh " if minutes < 10 else ""
    return f"{write_cardinal(hours)} {oh}{write_cardinal(minutes)}{end}"


def _write_decade(match: re.Match[str]) -> str:
    words = write_year(int(match["year"]))
    return words[:-1] + "ies" if words.endswith("y") else f"{words}s"


def _keep_dot(match: re.Match[str]) -> str:
    """Return the dot of a short form where it ends the sentence too."""
    rest = match.string[match.end() :].lstrip(' ”")')
    return "." if not rest or rest[0].isupper() or rest[0] == "\n" else ""


def _street_rule(short: str, words: str) -> Rule:
    return create_rule(
        rf"(?<=[A-Za-z] ){short}\.(?! [A-Z][a-z])|(?<=\d[a-z][a-z] ){short}\.",
        lambda match: words + _keep_dot(match),
    )


def _title_rule(short: str, words: str) -> Rule:
    return create_rule(rf"\b{short}\.(?= [A-Z]| and\b)", lambda _: words)


def _phrase_rule(short: str, words: str) -> Rule:
    is_middle = words in ("for example", "that is", "versus", "approximately")
    return create_rule(
        rf"(?<![\w.]){short}\.", lambda match: words + ("" if is_middle else _keep_dot(match))
    )


RULES: list[Rule] = [
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
        r"(?<![\w:.,])(?P<hours>\d{1,2}):(?P<minutes>\d{2})(?: ?(?P<half>[ap]m|[AP]M|[ap]\.m\.))?"
        r"(?![\w:]|\.\d)",
        _write_time,
    ),
    create_rule(
        rf"(?P<sign>[$£€]){_NUMBER}(?: ?(?P<scale>{'|'.join(_SCALES)})\b)?{_END}", _write_money
    ),
    create_rule(rf"{_NUMBER} ?%", lambda match: f"{_write_number(match)} percent"),
    create_rule(rf"{_NUMBER} ?(?P<unit>{_UNIT})(?![\w/])", _write_measure),
    create_rule(
        r"(?<![\w.,])(?P<number>\d{1,9})(?:st|nd|rd|th)\b",
        lambda match: write_ordinal(int(match["number"])),
    ),
    create_rule(r"(?<![\w.,])(?P<year>(?:1[1-9]|20)\d0)s\b", _write_decade),
    create_rule(
        rf"(?i:\b(?P<word>{_YEAR_WORDS})) (?P<year>1[1-9]\d\d|20\d\d){_END}(?! [a-z]+s\b)",
        lambda match: f"{match['word']} {write_year(int(match['year']))}",
    ),
    create_rule(r"\bNo\. ?(?=\d)", lambda match: "number "),
    *(_street_rule(short, words) for short, words in _STREETS.items()),
    *(_title_rule(short, words) for short, words in _TITLES.items()),
    *(_phrase_rule(short, words) for short, words in _PHRASES.items()),
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
