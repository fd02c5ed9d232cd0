"""English numbers, dates, times, fractions and short forms, written out.

Left to espeak-ng is what can be read in more than one way: `12/05/2024`, a lone `1/2`, scores
(`3:2`), versions and addresses (`1.2.3`), and telephone numbers.
"""

from __future__ import annotations

import re

from piper.text.numbers.engine import (
    AFTER_STROKE,
    ISO_DATE,
    ROMAN,
    SIGNS,
    SLASH_DATE,
    STROKE_FRACTION,
    Rule,
    create_rule,
    create_table,
    keep,
    keep_dot,
    parse_date,
    parse_fraction,
    parse_number,
    parse_roman,
)


def write_cardinal(number: int) -> str:
    """Return a whole number as words."""
    return _write(number, "cardinal")


def write_ordinal(number: int) -> str:
    """Return an ordinal as words."""
    return _write(number, "ordinal")


def write_year(year: int) -> str:
    """Return a year as it is read: 1905 is nineteen oh-five."""
    return _write(year, "year").replace(" and ", " ")


def _write(number: int, kind: str) -> str:
    from num2words import num2words  # type: ignore[import-untyped, unused-ignore]

    # Commas would be spoken as pauses.
    return str(num2words(number, lang="en", to=kind)).replace(",", "")


_MONTH_NAMES = (
    "January|February|March|April|May|June|July|August|September|October|November|December"
)
_MONTHS = _MONTH_NAMES.split("|")
_MONTH = "|".join([_MONTH_NAMES, *(rf"{month[:3]}\." for month in _MONTHS if month != "May")])
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


DATES: list[Rule] = [
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
_PARTS = {2: ("half", "halves"), 4: ("quarter", "quarters")}
_MEASURES = (
    "cups? teaspoons? tablespoons? tsp tbsp pints? quarts? gallons? ounces? oz pounds? lbs? inch "
    "inches feet foot ft yards? miles? acres? hours? hrs? minutes? days? weeks? months? years? "
    "meters? metres? kilometers? kilometres? liters? litres? kg km mi kilograms? grams? percent "
    "dozen full empty majority"
).replace(" ", "|")
_BEFORE = r"(?<![\w.,/:-])"


def write_fraction(numerator: int, denominator: int) -> str:
    """Return `1/2` as `one half`, `2/3` as `two thirds`."""
    one, many = _PARTS.get(denominator) or (
        write_ordinal(denominator),
        f"{write_ordinal(denominator)}s",
    )
    return f"{write_cardinal(numerator)} {one if numerator == 1 else many}"


def _write_fraction(match: re.Match[str]) -> str | None:
    parts = parse_fraction(match["fraction"])
    if parts is None:
        return None
    words = write_fraction(*parts)
    part = words.removeprefix("one ")
    if not match["whole"]:
        is_half_a = re.match(r" an?\b", match.string[match.end() :])
        return part if is_half_a else words
    if parts[0] == 1:
        words = f"{'an' if part[0] == 'e' else 'a'} {part}"
    return f"{write_cardinal(int(match['whole']))} and {words}"


FRACTIONS: list[Rule] = [
    create_rule(
        rf"{_BEFORE}(?:(?P<whole>\d{{1,3}}) ?)?(?P<fraction>[{SIGNS}])(?!-\w)", _write_fraction
    ),
    create_rule(
        rf"{_BEFORE}(?P<whole>\d{{1,3}})[ -](?P<fraction>{STROKE_FRACTION}){AFTER_STROKE}(?!\w)",
        _write_fraction,
    ),
    create_rule(
        rf"{_BEFORE}(?P<whole>)(?P<fraction>{STROKE_FRACTION}){AFTER_STROKE}"
        rf"(?= (?:of|an?|{_MEASURES})\b)",
        _write_fraction,
    ),
]
"""Earlier rules count before later ones."""
_TITLES = create_table(
    "Mr Mister; Mrs Missis; Ms Miz; Dr Doctor; Prof Professor; St Saint; Gen General; "
    "Capt Captain; Lt Lieutenant; Rev Reverend; Mt Mount; Sgt Sergeant; Gov Governor; Sen Senator"
)
_STREETS = create_table("St Street; Ave Avenue; Rd Road; Blvd Boulevard; Dr Drive")
_PHRASES = create_table(
    r"e\.\s?g for example; i\.\s?e that is; etc et cetera; vs versus; approx approximately; "
    "Jr Junior; Sr Senior; Inc Incorporated; Ltd Limited; Corp Corporation; dept department"
)

# A king's number is an ordinal, all other ones are cardinals.
_RULERS = (
    "Alexander|Alfonso|Benedict|Boniface|Catherine|Charles|Christian|Clement|Constantine|Edward|"
    "Elizabeth|Ferdinand|Francis|Frederick|George|Gregory|Gustav|Haakon|Harald|Henry|Innocent|Ivan|"
    "Jacques|James|John|Joseph|Leo|Leopold|Louis|Mary|Max|Maximilian|Mehmed|Michael|Murad|Napoleon|"
    "Nicholas|Otto|Paul|Peter|Philip|Pius|Ptolemy|Ramesses|Ramses|Richard|Robert|Rudolf|Selim|"
    "Sigismund|Stephen|Thutmose|Urban|Victor|Wilhelm|William|Xerxes|Darius|Mahmud|Umberto|Juan|Carlos"
)
_NUMBERED = (
    "War|Chapter|Part|Book|Volume|Act|Scene|Section|Article|Appendix|Phase|Stage|Level|Type|Class|"
    "Grade|Table|Figure|Unit|Bowl|Mark|Division|Tier|Schedule|Title|Lesson|Canto"
)
# After a name `I` is a number, unless it begins a clause: `Henry, I think`, `Henry I was told`.
_ROMAN = r"(?P<roman>[VX][IVXL]*|I[IVX]+|I(?! [a-z])|I(?= (?:of|and|to|in|on)\b))(?!['’\w-])"
# `The IV drip`, `My II`.
_NO_NAMES = (
    "The|This|That|An|My|Your|His|Her|Our|Their|In|On|At|For|With|And|But|Or|If|When|By|To|Of"
)


def _write_ruler(match: re.Match[str]) -> str | None:
    number = parse_roman(match["roman"])
    return f"{match['name']} the {write_ordinal(number).title()}" if number else None


def _write_numbered(match: re.Match[str]) -> str | None:
    number = parse_roman(match["roman"])
    return f"{match['name']} {write_cardinal(number)}" if number else None


_IN_MIDDLE = ("for example", "that is", "versus", "approximately")


def _create_street(short: str, words: str) -> Rule:
    return create_rule(
        rf"(?<=[A-Za-z] ){short}\.(?! [A-Z][a-z])|(?<=\d[a-z][a-z] ){short}\.",
        lambda match: words + keep_dot(match),
    )


def _create_phrase(short: str, words: str) -> Rule:
    return create_rule(
        rf"(?<![\w.]){short}\.",
        lambda match: words + ("" if words in _IN_MIDDLE else keep_dot(match)),
    )


SHORT_FORMS: list[Rule] = [
    create_rule(rf"\b(?P<name>{_RULERS}) {_ROMAN}", _write_ruler),
    create_rule(rf"\b(?P<name>{_NUMBERED}) (?P<roman>[IVX][IVXL]*)(?!['’\w-])", _write_numbered),
    create_rule(rf"\b(?P<name>(?i:{_NUMBERED})) {_ROMAN}", _write_numbered),
    create_rule(
        rf"\b(?!(?:{_NO_NAMES}) )(?P<name>[A-Z][a-z]+) (?P<roman>[IVX]{{2,}})(?![\w-])",
        _write_numbered,
    ),
    create_rule(r"\bNo\. ?(?=\d)", lambda match: "number "),
    *(_create_street(*street) for street in _STREETS.items()),
    create_rule(
        rf"\b(?P<title>{'|'.join(_TITLES)})\.(?= [A-Z]| and\b)",
        lambda match: _TITLES[match["title"]],
    ),
    *(_create_phrase(*phrase) for phrase in _PHRASES.items()),
]
"""Earlier rules count before later ones."""
_WHOLE = r"\d{1,3}(?:,\d{3})+(?!\d)|\d{1,15}"
_SIGN = r"(?:(?P<minus>(?<![\w.])[−–-])|(?P<plus>(?<![\w\d])\+))?"
_START = r"(?<![\w.,/:$£€])(?<!\d[-–])"
_NUMBER = rf"(?P<minus>(?<![\w.])[−–-])?{_START}(?P<whole>{_WHOLE})(?:\.(?P<places>\d+))?"
_FROM = r"(?:(?P<from>\d{1,4}) ?[–-] ?)?"
_MONEY = (
    rf"(?P<minus>(?<![\w.])[−–-](?=[$£€]\d))?(?P<sign>(?<!\w)[$£€])(?P<below>[−–-])?{_FROM}"
    rf"(?P<whole>{_WHOLE})(?:\.(?P<places>\d+))?"
)
_MEASURED = rf"{_SIGN}{_START}{_FROM}(?P<whole>{_WHOLE})(?:\.(?P<places>\d+))?"
_CURRENCIES = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
_SCALES = ("thousand", "million", "billion", "trillion")
_SHORT_SCALES = create_table("k thousand; m million; mn million; bn billion; b billion")
_UNITS = create_table(
    "kg kilogram; mg milligram; g gram; km kilometer; cm centimeter; mm millimeter; m meter; "
    "lb pound; lbs pound; oz ounce; ft foot; mi mile; ml milliliter; l liter; L liter; "
    "h hour; hr hour; hrs hour; min minute; mins minute; sec second; mph mile per hour; "
    "km/h kilometer per hour; kW kilowatt; W watt; Hz hertz; kHz kilohertz; MHz megahertz; "
    "GHz gigahertz; MB megabyte; GB gigabyte; TB terabyte; °C degree Celsius; "
    "°F degree Fahrenheit; ° degree"
)
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
    is_one = match["whole"] == "1" and not match["places"]
    return f"{_write_number(match)} {_write_plural(_UNITS[match['unit']], is_one=is_one)}"


RULES: list[Rule] = [
    create_rule(
        r"(?<![\w+])(?:\+?\d{1,3}[ .-])?(?:\(\d{3}\)|\d{3})[ .-]\d{3}[ .-]\d{4}(?![\w-])", keep
    ),
    create_rule(r"(?<![\w+])\+\d[\d ()-]{7,}\d(?!\w)", keep),
    *DATES,
    *FRACTIONS,
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
    *YEAR_RULES,
    *SHORT_FORMS,
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
