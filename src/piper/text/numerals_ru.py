"""Rules that write out Russian numbers: all kinds in their order, and those without a unit.

Left to espeak-ng is what can be read in more than one way: `12/05/2024`, `12.05`, `12.05.24`, a
lone `1/2`, scores (`3:2`), versions and addresses (`1.2.3`), `1.200` (thousand or decimal), Roman
numbers that stand alone, and foreign telephone numbers.
"""

from __future__ import annotations

import re

from piper.text import cases_ru as cases
from piper.text import dates_ru, fractions_ru, short_forms_ru, units_ru
from piper.text.numerals import Rule, create_rule, parse_number
from piper.text.patterns_ru import BEFORE, END, NOUN, NUMBER, RANGE, SPACE, split_governor

# Suffix → case, gender, plural.
_SUFFIXES = {
    "й": ("n", "m", False),
    "ый": ("n", "m", False),
    "ой": ("n", "m", False),
    "я": ("n", "f", False),
    "ая": ("n", "f", False),
    "ю": ("a", "f", False),
    "ую": ("a", "f", False),
    "е": ("n", "n", False),
    "ое": ("n", "n", False),
    "го": ("g", "m", False),
    "ого": ("g", "m", False),
    "му": ("d", "m", False),
    "ому": ("d", "m", False),
    "м": ("p", "m", False),
    "ом": ("p", "m", False),
    "ым": ("i", "m", False),
    "ые": ("n", "m", True),
    "х": ("g", "m", True),
    "ых": ("g", "m", True),
    "ми": ("i", "m", True),
    "ыми": ("i", "m", True),
}
_COMPOUND = r"лет|комнат|этаж|дневн|час|метр|процент|литр|тонн|секунд|минут|мест|кратн|дюйм|месяч"
# `15%-е` can be one thing or several.
_PERCENT_ENDINGS = {"й": "ный", "го": "ного", "му": "ному", "я": "ная", "ю": "ную"}
_PERCENT_ENDINGS |= {"х": "ных", "ми": "ными", "м": "ном"}
_COMPOUND_STARTS = {1: "одно", 90: "девяносто", 100: "сто", 1000: "тысяче"}


def _write_suffixed(match: re.Match[str]) -> str | None:
    case, gender, is_plural = _SUFFIXES[match["suffix"]]
    number, noun = int(match["whole"]), match["noun"] or ""
    forms = cases.find_noun_form(noun) if noun else []
    if match["suffix"] in ("й", "ой") and forms and forms[0][2] == "f":
        case, gender = forms[0][0], "f"
    elif match["suffix"] in ("е", "х") and any(form[1] for form in forms[:1]):
        case, is_plural = forms[0][0], True
    elif match["suffix"] == "е" and not noun and number % 10 == 0 < number:
        is_plural = True  # the nineties
    elif match["suffix"] == "м" and forms and forms[0][0] in "ip":
        case = forms[0][0]
    return cases.write_ordinal(number, case, gender, is_plural=is_plural)


def _write_compound(match: re.Match[str]) -> str | None:
    start = _find_compound_start(int(match["whole"]))
    return start + match["rest"] if start else None


def _find_compound_start(number: int) -> str | None:
    if number > 1000:
        return None
    return _COMPOUND_STARTS.get(number) or cases.write_cardinal(number, "g").replace(" ", "")


def _write_percentage(match: re.Match[str]) -> str | None:
    """Write `15%-ный` and `15%-го` as one word."""
    number, rest = int(match["whole"]), match["rest"]
    start = _find_compound_start(number)
    return f"{start}процент{_PERCENT_ENDINGS.get(rest, rest)}" if start else None


def _write_counted(match: re.Match[str]) -> str | None:
    """Write a number in the case that the noun after it shows: `с 5 друзьями`, `2 книги`."""
    governor, kept = split_governor(match)
    number = parse_number(match["whole"])
    governed = cases.find_governed_case(governor)
    case, gender = governed or "n", "m"
    forms = cases.find_noun_form(match["noun"]) if match["noun"] else []
    ends_in_one = number % 10 == 1 and number % 100 != 11
    fitting = [form for form in forms if form[1] != ends_in_one and form[0] in "dip"]
    counted = [form for form in forms if form[0] == "g" or (ends_in_one and form[0] in "na")]
    if forms:
        gender = (counted or forms)[0][2]
    if ends_in_one and forms:
        singular = [form for form in forms if not form[1]]
        wanted = [form for form in singular if form[0] == governed] or singular or forms
        case, gender = wanted[0][0], wanted[0][2]
    elif counted:
        case = governed if governed in ("g", "a") else "n"
        if case == "n" and 2 <= number % 10 <= 4 and counted[0][1] and number % 100 // 10 != 1:
            case = "g"  # двух книг
    elif fitting:
        wanted = [form for form in fitting if form[0] == governed] or fitting
        case, gender = wanted[0][0], wanted[0][2]
    if match["places"]:
        words = cases.write_decimal(match["whole"], match["places"], case)
    elif _is_code(match["whole"]):
        words = " ".join(cases.write_cardinal(int(digit)) for digit in match["whole"])
    else:
        words = cases.write_cardinal(number, case, gender)
    if match["from"]:
        words = f"{cases.write_cardinal(int(match['from']), case, gender)}-{words}"
    return f"{kept}{'минус ' if match['minus'] else ''}{words}"


def _write_dotted(match: re.Match[str]) -> str:
    """Write `-1.2`, which is no date and no time."""
    governor, kept = split_governor(match)
    case = cases.find_governed_case(governor) or "n"
    words = cases.write_decimal(match["whole"], match["places"], "n" if case == "a" else case)
    return f"{kept}минус {words}"


def _is_code(digits: str) -> bool:
    return len(digits) > 12 or (len(digits) > 1 and digits.startswith("0"))


RULES: list[Rule] = [
    *short_forms_ru.TELEPHONES,
    *dates_ru.RULES,
    *fractions_ru.RULES,
    create_rule(rf"(?<![\w.,])(?P<whole>\d+)-(?P<rest>(?:{_COMPOUND})[а-яё]*)", _write_compound),
    create_rule(
        rf"(?<![\w.,])(?P<whole>\d+){SPACE}?%-(?P<rest>н[а-яё]+|{'|'.join(_PERCENT_ENDINGS)})(?!\w)",
        _write_percentage,
    ),
    create_rule(
        rf"(?<![\w.,])(?P<whole>\d{{1,6}})-(?P<suffix>{'|'.join(_SUFFIXES)})(?![\w-])"
        rf"(?={SPACE}+(?P<noun>{NOUN}))?",
        _write_suffixed,
    ),
    *units_ru.RULES,
    create_rule(rf"{BEFORE}[−–-](?P<whole>\d{{1,9}})\.(?P<places>\d{{1,3}}){END}", _write_dotted),
    *short_forms_ru.RULES,
    create_rule(
        rf"{BEFORE}{RANGE}{NUMBER}{END}(?={SPACE}+(?P<noun>{NOUN}))?(?!-\w)", _write_counted
    ),
]
"""Earlier rules count before later ones."""
