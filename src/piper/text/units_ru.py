"""Rules that write out Russian numbers with their units and money; knows no other numbers."""

from __future__ import annotations

import re

from piper.text import cases_ru as cases
from piper.text.numerals import Rule, create_rule, parse_number
from piper.text.patterns_ru import (
    BEFORE,
    END,
    NUMBER,
    SPACE,
    WHOLE,
    keep_dot,
    split_governor,
)

_SCALES = {"тыс": "тысяча", "млн": "миллион", "млрд": "миллиард", "трлн": "триллион"}
_CURRENCIES = {"$": "доллар", "€": "евро", "£": "фунт", "¥": "иена", "₽": "рубль"}
_UNITS = {
    "руб": "рубль",
    "р": "рубль",
    "коп": "копейка",
    "долл": "доллар",
    "%": "процент",
    **_CURRENCIES,
    "кг": "килограмм",
    "мг": "миллиграмм",
    "г": "грамм",
    "км": "километр",
    "м": "метр",
    "см": "сантиметр",
    "мм": "миллиметр",
    "л": "литр",
    "мл": "миллилитр",
    "га": "гектар",
    "ч": "час",
    "мин": "минута",
    "сек": "секунда",
    "шт": "штука",
    "кВт": "киловатт",
    "Вт": "ватт",
    "Гц": "герц",
    "кГц": "килогерц",
    "МБ": "мегабайт",
    "Мб": "мегабайт",
    "ГБ": "гигабайт",
    "Гб": "гигабайт",
    "т": "тонна",
    "°": "градус",
    "чел": "человек",
    "стр": "страница",
    "экз": "экземпляр",
}
_TAILS = {"км/ч": ("км", " в час"), "м/с": ("м", " в секунду"), "м²": ("м", " квадратных")}
_TAILS |= {"°C": ("°", " Цельсия"), "°С": ("°", " Цельсия"), "м³": ("м", " кубических")}
_TAILS |= {"°F": ("°", " Фаренгейта")}
UNIT = "|".join(re.escape(unit) for unit in sorted([*_UNITS, *_TAILS], key=len, reverse=True))
# With a dot in the number these could be a time, a date or a page.
_UNITS_WITHOUT_DOTS = frozenset(["ч", "мин", "сек", "г", "м", "т", "р", "стр", "чел", "экз", "шт"])
_SIGN = r"(?:(?P<plus>\+)(?=\d)|(?P<minus>[−–-])(?=\d))?"
_NUMBER = rf"{_SIGN}(?P<whole>{WHOLE})(?:,(?P<places>\d+)|\.(?P<dotted>\d{{1,2}}))?"
_RANGE = rf"(?:(?P<from>\d{{1,4}})(?:,(?P<from_places>\d+))?{SPACE}?[–—-]{SPACE}?)?"
_SCALE = rf"(?P<scale>{'|'.join(_SCALES)})(?!\w)\.?"


def find_unit(short: str) -> tuple[str, str]:
    """Return the noun of a unit, and what follows the noun, such as ` в час`."""
    unit, tail = _TAILS.get(short, (short, ""))
    return _UNITS[unit], tail


def _write_measure(match: re.Match[str]) -> str | None:
    """Write a number with its unit: `до 1 200 руб.`, `5 млн руб.`, `1,5 кг`, `$5`."""
    governor, kept = split_governor(match)
    groups = match.groupdict()
    unit = groups.get("unit") or groups.get("sign") or ""
    noun, tail = find_unit(unit) if unit else ("", "")
    scale = _SCALES.get(groups.get("scale") or "", "")
    places = match["places"] or groups.get("dotted")
    if groups.get("dotted") and unit in _UNITS_WITHOUT_DOTS and not match["minus"]:
        return None
    case = _find_case(governor, unit)
    if places:
        words = cases.write_decimal(match["whole"], places, case)
        first = cases.inflect(scale or noun, "g")  # a part of something
        gender = "f"
    else:
        number = parse_number(match["whole"])
        gender = cases.find_gender(scale or noun)
        words = cases.write_cardinal(number, case, gender)
        first = cases.agree_noun(scale or noun, number, case)
    if match["from_places"]:
        words = f"{cases.write_decimal(match['from'], match['from_places'], case)} — {words}"
    elif match["from"]:
        words = f"{cases.write_cardinal(int(match['from']), case, gender)}-{words}"
    sign = "минус " if match["minus"] else "плюс " if groups.get("plus") else ""
    rest = f" {cases.inflect(noun, 'g', is_plural=True)}" if scale and noun else ""
    if tail in (" квадратных", " кубических"):
        rest, tail = f"{tail} {first}", ""
        first = ""
    dot = keep_dot(match) if match[0].endswith(".") else ""
    return f"{kept}{sign}{words} {first}{rest}{tail}{dot}".replace("  ", " ")


def _find_case(governor: str, unit: str) -> str:
    case = cases.find_governed_case(governor) or "n"
    if case == "a" and governor.lower() in ("в", "во") and unit in ("км", "м", "см"):
        return "p"  # в пяти километрах от города
    return case


RULES: list[Rule] = [
    create_rule(
        rf"{BEFORE}(?P<sign>[$€£¥₽]){SPACE}?{_RANGE}{NUMBER}(?:{SPACE}*{_SCALE})?{END}",
        _write_measure,
    ),
    create_rule(
        rf"{BEFORE}{_RANGE}{_NUMBER}{SPACE}*(?:{_SCALE}{SPACE}*)?"
        rf"(?:(?P<unit>{UNIT})(?!\w|-\w))\.?",
        _write_measure,
    ),
    create_rule(rf"{BEFORE}{_RANGE}{_NUMBER}{SPACE}*{_SCALE}", _write_measure),
]
"""Earlier rules count before later ones."""
