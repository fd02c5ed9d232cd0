"""Rules that write out Russian dates, times, years and centuries; knows no other numbers."""

from __future__ import annotations

import re

from piper.text import cases_ru as cases
from piper.text.calendar_dates import ISO_DATE, SLASH_DATE, create_date, parse_date
from piper.text.numerals import Rule, create_rule
from piper.text.patterns_ru import BEFORE, RANGE, SPACE, keep_dot, split_governor
from piper.text.roman import ROMAN, parse_roman

_MONTHS = [
    "января",
    "февраля",
    "марта",
    "апреля",
    "мая",
    "июня",
    "июля",
    "августа",
    "сентября",
    "октября",
    "ноября",
    "декабря",
]
_MONTH = "|".join(_MONTHS)
_YEAR = r"1\d{3}|20\d{2}"
_YEAR_END = rf"(?:{SPACE}?(?:года|г\.))?"
_YEAR_CASES = {"год": "n", "года": "g", "году": "p", "годом": "i", "годе": "p"}
_DASH = rf"{SPACE}?[–—-]{SPACE}?"
_CENTURY = r"(?P<word>вв?\.|век\w*|столети\w*)"
_LAST_CENTURY = 40
_A_LEAP_YEAR = 2000


def _find_day_case(governor: str) -> str:
    return {"к": "d", "ко": "d", "на": "n", "по": "n"}.get(governor.lower(), "g")


def _write_figures(match: re.Match[str]) -> str | None:
    """Write a date in figures: `12.05.2024`, `2024-05-12`, `25/12/2024`."""
    governor, kept = split_governor(match)
    if match.groupdict().get("sign") == ".":  # in Russian the day comes first
        date = create_date(int(match["year"]), int(match["second"]), int(match["first"]))
    else:
        date = parse_date(match)
    if date is None:
        return None
    day = cases.write_ordinal(date.day, _find_day_case(governor), "n")
    year = cases.write_ordinal(date.year, "g")
    dot = keep_dot(match) if match[0].endswith(".") else ""
    return f"{kept}{day} {_MONTHS[date.month - 1]} {year} года{dot}"


def _write_day(match: re.Match[str]) -> str | None:
    """Write days of a month: `5 мая`, `1–5 мая 2024 года`, `с 1 по 5 мая`."""
    governor, kept = split_governor(match)
    month = _MONTHS.index(match["month"].lower()) + 1
    days = [int(day) for day in (match["from"], match["day"]) if day]
    if not all(create_date(int(match["year"] or _A_LEAP_YEAR), month, day) for day in days):
        return None
    case = _find_day_case(governor)
    if match["till"] in ("по", "на", "до"):
        day_cases = ["g", _find_day_case(match["till"])]
    else:
        day_cases = [case] * len(days)
    ordinals = [cases.write_ordinal(*pair, "n") for pair in zip(days, day_cases, strict=True)]
    words = (f" {match['till']} " if match["till"] else " — ").join(ordinals)
    words = f"{kept}{words} {match['month']}"
    if match["year"]:
        dot = keep_dot(match) if match[0].endswith(".") else ""
        words += f" {cases.write_ordinal(int(match['year']), 'g')} года{dot}"
    return words


def _write_time(match: re.Match[str]) -> str | None:
    governor, kept = split_governor(match)
    is_range = bool(match["first"])
    case = {"с": "g", "со": "g"}.get(governor.lower()) or cases.find_governed_case(governor)
    times = [time.split(":") for time in (match["first"], match["last"]) if time]
    if any(int(hours) > 24 or int(minutes) > 59 for hours, minutes in times):
        return None
    case = "n" if is_range or case in (None, "a", "p") else case
    return kept + " — ".join(_write_clock(int(h), int(m), case) for h, m in times)


def _write_clock(hours: int, minutes: int, case: str) -> str:
    words = cases.write_cardinal(hours, case)
    if minutes == 0:
        return f"{words} ноль ноль"
    return f"{words} {'ноль ' if minutes < 10 else ''}{cases.write_cardinal(minutes, case)}"


def _write_year(match: re.Match[str]) -> str | None:
    governor, kept = split_governor(match)
    year, word = int(match["year"]), match["word"].lower()
    governed = cases.find_governed_case(governor)
    if word in ("гг.", "годы", "годах", "годов"):
        case = {"годы": "n", "годах": "p", "годов": "g"}.get(word, "p" if governed == "a" else "n")
        noun = {"n": "годы", "p": "годах", "g": "годов"}[case]
        first = f"{cases.write_ordinal(int(match['from']), case)} — " if match["from"] else ""
        return f"{kept}{first}{cases.write_ordinal(year, case)} {noun}"
    if match["from"]:
        return None
    if word == "г.":
        default = "g" if governor else "n"
        case = "p" if governor.lower() in ("в", "во") else governed or default
        noun = {"n": "год", "a": "год", "g": "года", "d": "году", "i": "годом", "p": "году"}[case]
        return f"{kept}{cases.write_ordinal(year, case)} {noun}{keep_dot(match)}"
    case = _YEAR_CASES[word]
    if word == "году" and governed == "d":
        case = "d"
    return f"{kept}{cases.write_ordinal(year, case)} {match['word']}"


def _write_year_span(match: re.Match[str]) -> str:
    """Write `с 1941 по 1945 год`."""
    last = cases.write_ordinal(int(match["year"]), "g" if match["till"] == "до" else "n")
    word = match["word"] if match["word"] != "г." else "года" if match["till"] == "до" else "год"
    dot = keep_dot(match) if match[0].endswith(".") else ""
    return f"с {cases.write_ordinal(int(match['from']), 'g')} {match['till']} {last} {word}{dot}"


def _write_century(match: re.Match[str]) -> str | None:
    """Write centuries: `XIX век`, `в XIX–XX вв.`, `с XVIII по XX век`."""
    governor, kept = split_governor(match)
    numbers = [parse_roman(roman) for roman in (match["from"], match["roman"]) if roman]
    if not all(number and number <= _LAST_CENTURY for number in numbers):
        return None
    word = match["word"]
    noun = word if word[-1] != "." else "век"
    case, gender = _find_century_form(governor, word, is_range=len(numbers) > 1)
    if match["till"]:
        case = "g" if match["till"] == "до" else "n"
    words = [cases.write_ordinal(number or 0, case, gender) for number in numbers]
    if match["till"]:
        words = [cases.write_ordinal(numbers[0] or 0, "g", gender), match["till"], words[1]]
    if word in ("в.", "вв."):
        is_plural = word == "вв."
        noun = "веке" if (case, is_plural) == ("p", False) else ""
        noun = (noun or cases.inflect("век", case, is_plural=is_plural)) + keep_dot(match)
    return f"{kept}{(' ' if match['till'] else ' — ').join(words)} {noun}"


def _find_century_form(governor: str, word: str, *, is_range: bool) -> tuple[str, str]:
    """Return case and gender of the ordinals before a word for centuries."""
    if word in ("в.", "вв."):
        if governor.lower() in ("в", "во"):
            return "p", "m"
        default = "g" if governor and not is_range else "n"
        return cases.find_governed_case(governor) or default, "m"
    gender = "n" if word.startswith("столет") else "m"  # `век` is a form of the neuter `веко` too
    forms = [form for form in cases.find_noun_form(word) if form[2] == gender]
    # `века` is one century's genitive or several centuries.
    plural = [form for form in forms if form[1]] if is_range else []
    return (plural or forms or [("n", False, gender)])[0][0], gender


RULES: list[Rule] = [
    create_rule(rf"{BEFORE}{SLASH_DATE}{_YEAR_END}", _write_figures),
    create_rule(rf"{BEFORE}{ISO_DATE}{_YEAR_END}", _write_figures),
    create_rule(
        rf"{BEFORE}(?:(?P<from>\d{{1,2}})(?:{_DASH}|{SPACE}+(?P<till>по|до|на|и){SPACE}+))?"
        rf"(?P<day>\d{{1,2}}){SPACE}+(?P<month>{_MONTH})"
        rf"(?:{SPACE}+(?P<year>\d{{4}}){SPACE}*(?:года|г\.))?(?!\w)",
        _write_day,
        re.IGNORECASE,
    ),
    create_rule(
        rf"{BEFORE}(?:(?P<first>\d{{1,2}}:\d{{2}}){_DASH})?(?P<last>\d{{1,2}}:\d{{2}})(?![\w:]|\.\d)",
        _write_time,
    ),
    create_rule(
        rf"(?<!\w)с{SPACE}+(?P<from>{_YEAR}){SPACE}+(?P<till>по|до){SPACE}+(?P<year>{_YEAR}){SPACE}*"
        r"(?P<word>год[а-я]*|г\.)",
        _write_year_span,
    ),
    create_rule(
        rf"{BEFORE}{RANGE}(?P<year>{_YEAR}){SPACE}*"
        r"(?P<word>год(?:а|у|ом|е|ы|ах|ов)?(?!\w)|гг\.|г\.)",
        _write_year,
    ),
    create_rule(
        rf"{BEFORE}(?:(?P<from>{ROMAN})(?:{_DASH}|{SPACE}+(?P<till>по|до){SPACE}+))?"
        rf"(?P<roman>{ROMAN}){SPACE}+{_CENTURY}",
        _write_century,
    ),
]
"""Earlier rules count before later ones."""
