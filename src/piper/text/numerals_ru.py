"""Rules that write out Russian numbers, dates, money, units and short forms; knows no phonemes."""

from __future__ import annotations

import re

from piper.text import cases_ru as cases
from piper.text import short_forms_ru
from piper.text.numerals import Rule, create_rule, parse_number
from piper.text.short_forms_ru import BEFORE, SPACE, keep_dot, split_governor

_WHOLE = rf"\d{{1,3}}(?:{SPACE}\d{{3}})+(?!\d)|\d{{1,15}}"
_NUMBER = rf"(?P<minus>[−-](?=\d))?(?P<whole>{_WHOLE})(?:,(?P<places>\d+))?"
_RANGE = rf"(?:(?P<from>\d{{1,4}}){SPACE}?[–—-]{SPACE}?)?"
_NOUN = rf"[а-яё]{{2,}}(?:{SPACE}+[а-яё]{{2,}})?"
_END = r"(?![\w]|[.,:/]\d)"
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
_YEAR_CASES = {"год": "n", "года": "g", "году": "p", "годом": "i", "годе": "p"}
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
_UNIT_TAILS = {"км/ч": ("км", " в час"), "м/с": ("м", " в секунду"), "м²": ("м", " квадратных")}
_UNIT_TAILS |= {"°C": ("°", " Цельсия"), "°С": ("°", " Цельсия"), "м³": ("м", " кубических")}
_UNIT = "|".join(re.escape(unit) for unit in sorted([*_UNITS, *_UNIT_TAILS], key=len, reverse=True))
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
_COMPOUND_STARTS = {1: "одно", 90: "девяносто", 100: "сто", 1000: "тысяче"}
_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}


def _write_date(match: re.Match[str]) -> str | None:
    governor, kept = split_governor(match)
    month = match["month"]
    number = int(month) if month.isdigit() else _MONTHS.index(month.lower()) + 1
    day = int(match["day"])
    if not (1 <= day <= 31 and 1 <= number <= 12):
        return None
    case = {"к": "d", "ко": "d", "на": "n", "по": "n"}.get(governor.lower(), "g")
    words = f"{kept}{cases.write_ordinal(day, case, 'n')} {_MONTHS[number - 1]}"
    if match["year"]:
        words += f" {cases.write_ordinal(int(match['year']), 'g')} года"
    return words


def _write_time(match: re.Match[str]) -> str | None:
    hours, minutes = int(match["hours"]), int(match["minutes"])
    if hours > 24 or minutes > 59:
        return None
    zero = "ноль " if minutes < 10 else ""
    return f"{cases.write_cardinal(hours)} {zero}{cases.write_cardinal(minutes)}"


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


def _write_century(match: re.Match[str]) -> str | None:
    governor, kept = split_governor(match)
    values = [_ROMAN[letter] for letter in match["roman"]]
    number = sum(
        -value if value < following else value
        for value, following in zip(values, [*values[1:], 0], strict=True)
    )
    word = match["word"]
    if word == "в.":
        is_in = governor.lower() in ("в", "во")
        case = "p" if is_in else cases.find_governed_case(governor) or ("g" if governor else "n")
        noun = "веке" if case == "p" else cases.inflect("век", case)
        return f"{kept}{cases.write_ordinal(number, case)} {noun}{keep_dot(match)}"
    forms = cases.find_noun_form(word)
    case, is_plural, _ = forms[0] if forms else ("n", False, "m")
    return f"{kept}{cases.write_ordinal(number, case, is_plural=is_plural)} {word}"


def _write_suffixed(match: re.Match[str]) -> str | None:
    case, gender, is_plural = _SUFFIXES[match["suffix"]]
    number, noun = int(match["whole"]), match["noun"] or ""
    forms = cases.find_noun_form(noun) if noun else []
    if match["suffix"] in ("й", "ой") and forms and forms[0][2] == "f":
        case, gender = forms[0][0], "f"
    elif match["suffix"] in ("е", "х") and any(form[1] for form in forms[:1]):
        case, is_plural = forms[0][0], True
    elif match["suffix"] == "м" and forms and forms[0][0] in "ip":
        case = forms[0][0]
    return cases.write_ordinal(number, case, gender, is_plural=is_plural)


def _write_compound(match: re.Match[str]) -> str | None:
    number = int(match["whole"])
    if number > 1000:
        return None
    start = _COMPOUND_STARTS.get(number) or cases.write_cardinal(number, "g").replace(" ", "")
    return start + match["rest"]


def _write_measure(match: re.Match[str]) -> str | None:
    """Write a number with its unit: `до 1 200 руб.`, `5 млн руб.`, `1,5 кг`, `$5`."""
    governor, kept = split_governor(match)
    groups = match.groupdict()
    unit, tail = _UNIT_TAILS.get(groups["unit"] or "", (groups["unit"] or "", ""))
    noun = _UNITS.get(unit) or _CURRENCIES.get(groups.get("sign") or "", "")
    scale = _SCALES.get(groups["scale"] or "", "")
    if not (noun or scale):
        return None
    case = _find_case(governor, unit)
    if match["places"]:
        number = 2  # a part of something: the noun's genitive
        gender = "f"
        words = cases.write_decimal(match["whole"], match["places"], case)
        first = cases.inflect(scale or noun, "g")
    else:
        number = parse_number(match["whole"])
        gender = cases.find_gender(scale or noun)
        words = cases.write_cardinal(number, case, gender)
        first = cases.agree_noun(scale or noun, number, case)
    if groups.get("from"):
        words = f"{cases.write_cardinal(int(groups['from']), case, gender)}-{words}"
    minus = "минус " if match["minus"] else ""
    rest = f" {cases.inflect(noun, 'g', is_plural=True)}" if scale and noun else ""
    if tail in (" квадратных", " кубических"):
        rest, tail = f"{tail} {first}", ""
        first = ""
    dot = keep_dot(match) if match[0].endswith(".") else ""
    return f"{kept}{minus}{words} {first}{rest}{tail}{dot}".replace("  ", " ")


def _find_case(governor: str, unit: str) -> str:
    case = cases.find_governed_case(governor) or "n"
    if case == "a" and governor.lower() in ("в", "во") and unit in ("км", "м", "см"):
        return "p"  # в пяти километрах от города
    return case


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


def _is_code(digits: str) -> bool:
    return len(digits) > 12 or (len(digits) > 1 and digits.startswith("0"))


RULES: list[Rule] = [
    short_forms_ru.TELEPHONE,
    create_rule(
        rf"{BEFORE}(?P<day>\d{{1,2}})\.(?P<month>\d{{2}})\.(?P<year>\d{{4}})(?:{SPACE}?(?:года|г\.))?(?!\w)",
        _write_date,
    ),
    create_rule(
        rf"{BEFORE}(?P<day>\d{{1,2}}){SPACE}+(?P<month>{'|'.join(_MONTHS)})"
        rf"(?:{SPACE}+(?P<year>\d{{4}}){SPACE}*(?:года|г\.))?(?!\w)",
        _write_date,
        re.IGNORECASE,
    ),
    create_rule(r"(?<![\w:.,])(?P<hours>\d{1,2}):(?P<minutes>\d{2})(?![\w:]|\.\d)", _write_time),
    create_rule(
        rf"{BEFORE}{_RANGE}(?P<year>1\d{{3}}|20\d{{2}}){SPACE}*"
        r"(?P<word>год(?:а|у|ом|е|ы|ах|ов)?(?!\w)|гг\.|г\.)",
        _write_year,
    ),
    create_rule(rf"{BEFORE}(?P<roman>[IVXLC]+){SPACE}+(?P<word>в\.|век\w*)", _write_century),
    create_rule(rf"(?<![\w.,])(?P<whole>\d+)-(?P<rest>(?:{_COMPOUND})[а-яё]*)", _write_compound),
    create_rule(
        rf"(?<![\w.,])(?P<whole>\d{{1,6}})-(?P<suffix>{'|'.join(_SUFFIXES)})(?![\w-])"
        rf"(?={SPACE}+(?P<noun>{_NOUN}))?",
        _write_suffixed,
    ),
    create_rule(
        rf"{BEFORE}{_RANGE}{_NUMBER}{SPACE}*(?:(?P<scale>тыс|млн|млрд|трлн)(?!\w)\.?{SPACE}*)?"
        rf"(?:(?P<unit>{_UNIT})(?!\w))\.?(?P<sign>)",
        _write_measure,
    ),
    create_rule(
        rf"{BEFORE}{_RANGE}{_NUMBER}{SPACE}*(?P<scale>тыс|млн|млрд|трлн)(?!\w)\.?(?P<unit>)(?P<sign>)",
        _write_measure,
    ),
    create_rule(
        rf"{BEFORE}(?P<sign>[$€£¥₽]){SPACE}?{_NUMBER}(?:{SPACE}*(?P<scale>тыс|млн|млрд|трлн)(?!\w)\.?)?"
        rf"{_END}(?P<unit>)",
        _write_measure,
    ),
    *short_forms_ru.RULES,
    create_rule(
        rf"{BEFORE}{_RANGE}{_NUMBER}{_END}(?={SPACE}+(?P<noun>{_NOUN}))?(?!-\w)", _write_counted
    ),
]
"""Earlier rules count before later ones."""
