"""Russian numbers, dates, fractions, units and short forms as words in the right case.

Cases have num2words' letters: n, g, d, a, i, p (nominative to prepositional).

Left to espeak-ng is what can be read in more than one way: `12/05/2024`, `12.05`, `12.05.24`, a
lone `1/2`, scores (`3:2`), versions and addresses (`1.2.3`), `1.200` (thousand or decimal), Roman
numbers that stand alone, and foreign telephone numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from piper.text.numbers import engine
from piper.text.numbers.engine import (
    AFTER_STROKE,
    ISO_DATE,
    ROMAN,
    SIGNS,
    SLASH_DATE,
    STROKE_FRACTION,
    Rule,
    create_date,
    create_rule,
    create_table,
    keep,
    parse_date,
    parse_fraction,
    parse_number,
    parse_roman,
)

SPACE = r"[ \u00a0\u202f]"
BEFORE = rf"(?<![\w.,/:+\-])(?:(?P<governor>[а-яёА-ЯЁ]+){SPACE}+)?(?<![\d\w])"
"""The word before a number, which may ask for a case."""

WHOLE = rf"\d{{1,3}}(?:{SPACE}\d{{3}})+(?!\d)|\d{{1,15}}"
NUMBER = rf"(?P<minus>[−–-](?=\d))?(?P<whole>{WHOLE})(?:,(?P<places>\d+))?"
RANGE = rf"(?:(?P<from>\d{{1,4}}){SPACE}?[–—-]{SPACE}?)?"
NOUN = rf"[а-яё]{{2,}}(?:{SPACE}+[а-яё]{{2,}})?"
END = r"(?![\w]|[.,:/]\d)"
_SMALLER_UNIT = re.compile(r"[ \u00a0\u202f]*\d+[ \u00a0\u202f]*(?:коп|мин|сек|см|мм|м|кг|г)\b")


def split_governor(match: re.Match[str]) -> tuple[str, str]:
    """Return the word before the number, and the text up to the number, to be kept."""
    governor = match["governor"] or ""
    text: str = match[0]
    return governor, re.match(rf"{governor}{SPACE}*", text)[0]  # type: ignore[index]


def keep_dot(match: re.Match[str]) -> str:
    """Return the dot of a short form where it ends the sentence too: not in `5 руб. 50 коп.`"""
    if not match[0].endswith(".") or _SMALLER_UNIT.match(match.string, match.end()):
        return ""
    return engine.keep_dot(match)


def _spread(text: str) -> dict[str, str]:
    """Return what belongs to each word: of `g до от; d к ко` the case of `до` is `g`."""
    lists = create_table(text)
    return {word: key for key, words in lists.items() for word in words.split()}


_PYMORPHY_CASES = {"n": "nomn", "g": "gent", "d": "datv", "a": "accs", "i": "ablt", "p": "loct"}
_CASES_OF_TAGS = {tag: letter for letter, tag in _PYMORPHY_CASES.items()}
_CASES_OF_TAGS |= {"gen2": "g", "loc2": "p", "acc2": "a"}
_GENDERS = {"masc": "m", "femn": "f", "neut": "n"}
# The word before a number, and the case that it asks for.
_GOVERNORS = _spread(
    "g до от из без около более менее свыше больше меньше старше моложе после для у против "
    "ниже выше порядка кроме с ото изо безо вокруг; d к ко благодаря согласно равно равна равен "
    "равны; i между над перед; p о об обо при; a в во на за через по про под спустя"
)
_DECIMAL_PLACES = {1: "десятая", 2: "сотая", 3: "тысячная"}


@cache
def _load_morphology() -> Any:
    import pymorphy3  # type: ignore[import-untyped, unused-ignore]

    return pymorphy3.MorphAnalyzer(lang="ru")


def write_cardinal(number: int, case: str = "n", gender: str = "m") -> str:
    """Return a whole number as words; the accusative is that of things, not of persons."""
    from num2words import num2words  # type: ignore[import-untyped, unused-ignore]

    return str(num2words(number, lang="ru", case=case, gender=gender, animate=False))


def write_ordinal(
    number: int, case: str = "n", gender: str = "m", *, is_plural: bool = False
) -> str:
    """Return an ordinal as words; the accusative is that of things."""
    from num2words import num2words

    form = {"case": case, "gender": gender, "plural": is_plural, "animate": False}
    words = str(num2words(number, lang="ru", to="ordinal", **form))
    return words.removeprefix("одна ") if 1000 < number < 2000 else words


def write_decimal(whole: str, places: str, case: str = "n") -> str:
    """Return `1,5` as `одна целая пять десятых`; longer fractions digit by digit."""
    number = parse_number(whole)
    if len(places) not in _DECIMAL_PLACES:
        digits = " ".join(write_cardinal(int(digit)) for digit in places)
        return f"{write_cardinal(number)} запятая {digits}"
    part = int(places)
    return (
        f"{write_whole(number, case)} {write_cardinal(part, case, 'f')} "
        f"{_agree_adjective(_DECIMAL_PLACES[len(places)], part, case)}"
    )


def write_whole(number: int, case: str = "n") -> str:
    """Return the whole part before a fraction: 2 is `две целых`."""
    return f"{write_cardinal(number, case, 'f')} {_agree_adjective('целая', number, case)}"


def find_gender(noun: str) -> str:
    """Return the gender of a noun's basic form: m, f or n."""
    return _GENDERS.get(str(_parse_noun(noun).tag.gender), "m")


def agree_noun(noun: str, number: int, case: str = "n") -> str:
    """Return a noun as it stands after a number: 2 рубля, 5 рублей, пятью рублями."""
    last, is_teen = number % 10, 10 < number % 100 < 20
    if last == 1 and not is_teen:
        return inflect(noun, case)
    if case in "na":
        return inflect(noun, "g", is_plural=not (2 <= last <= 4 and not is_teen))
    return inflect(noun, case, is_plural=True)


def inflect(noun: str, case: str, *, is_plural: bool = False) -> str:
    """Return a noun's basic form in a case."""
    wanted = {_PYMORPHY_CASES[case], "plur" if is_plural else "sing"}
    form = _parse_noun(noun).inflect(wanted)
    return str(form.word) if form else noun


def find_governed_case(word: str) -> str | None:
    """Return the case that a word before a number asks for, if it is known to ask for one."""
    return _GOVERNORS.get(word.lower())


def find_noun_form(words: str) -> list[tuple[str, bool, str]]:
    """Return case, whether plural and gender that a noun, or an adjective and its noun, can be."""
    forms: list[tuple[str, bool, str]] = []
    first, _, second = words.partition(" ")
    morphology = _load_morphology()
    parses = morphology.parse(first)
    if second and parses[0].tag.POS in ("ADJF", "PRTF"):
        parses = morphology.parse(second.strip())
    if parses[0].tag.POS != "NOUN":
        return []
    for parse in parses:
        case = _CASES_OF_TAGS.get(str(parse.tag.case))
        if case and parse.tag.POS == "NOUN":
            form = (case, parse.tag.number == "plur", _GENDERS.get(str(parse.tag.gender), "m"))
            if form not in forms:
                forms.append(form)
    return forms


def find_numbered_form(noun: str, genders: Mapping[str, str]) -> tuple[str, str] | None:
    """Return case and gender of a first name, or of one of some nouns, that a number follows."""
    for parse in _load_morphology().parse(noun):
        case = _CASES_OF_TAGS.get(str(parse.tag.case))
        is_name = noun[0].isupper() and "Name" in parse.tag
        gender = genders.get(parse.normal_form) or _GENDERS.get(str(parse.tag.gender), "m")
        if case and parse.tag.number == "sing" and (is_name or parse.normal_form in genders):
            return case, gender
    return None


def _agree_adjective(adjective: str, number: int, case: str) -> str:
    tag = _PYMORPHY_CASES[case]
    if number % 10 == 1 and number % 100 != 11:
        wanted = {tag, "sing", "femn"}
    else:
        wanted = {"gent" if case in "na" else tag, "plur"}
    parses = _load_morphology().parse(adjective)
    form = next((parse for parse in parses if {"ADJF"} in parse.tag), parses[0]).inflect(wanted)
    return str(form.word) if form else adjective


@cache
def _parse_noun(noun: str) -> Any:
    parses = _load_morphology().parse(noun)
    return next((parse for parse in parses if {"NOUN", "nomn", "sing"} in parse.tag), parses[0])


_MONTH = "января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря"
_MONTHS = _MONTH.split("|")
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
    day = write_ordinal(date.day, _find_day_case(governor), "n")
    year = write_ordinal(date.year, "g")
    return f"{kept}{day} {_MONTHS[date.month - 1]} {year} года{keep_dot(match)}"


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
    ordinals = [write_ordinal(*pair, "n") for pair in zip(days, day_cases, strict=True)]
    words = (f" {match['till']} " if match["till"] else " — ").join(ordinals)
    words = f"{kept}{words} {match['month']}"
    if match["year"]:
        words += f" {write_ordinal(int(match['year']), 'g')} года{keep_dot(match)}"
    return words


def _write_time(match: re.Match[str]) -> str | None:
    governor, kept = split_governor(match)
    is_range = bool(match["first"])
    case = {"с": "g", "со": "g"}.get(governor.lower()) or find_governed_case(governor)
    times = [time.split(":") for time in (match["first"], match["last"]) if time]
    if any(int(hours) > 24 or int(minutes) > 59 for hours, minutes in times):
        return None
    case = "n" if is_range or case in (None, "a", "p") else case
    return kept + " — ".join(_write_clock(int(h), int(m), case) for h, m in times)


def _write_clock(hours: int, minutes: int, case: str) -> str:
    words = write_cardinal(hours, case)
    if minutes == 0:
        return f"{words} ноль ноль"
    return f"{words} {'ноль ' if minutes < 10 else ''}{write_cardinal(minutes, case)}"


def _write_year(match: re.Match[str]) -> str | None:
    governor, kept = split_governor(match)
    year, word = int(match["year"]), match["word"].lower()
    governed = find_governed_case(governor)
    if word in ("гг.", "годы", "годах", "годов"):
        case = {"годы": "n", "годах": "p", "годов": "g"}.get(word, "p" if governed == "a" else "n")
        noun = {"n": "годы", "p": "годах", "g": "годов"}[case]
        first = f"{write_ordinal(int(match['from']), case)} — " if match["from"] else ""
        return f"{kept}{first}{write_ordinal(year, case)} {noun}"
    if match["from"]:
        return None
    if word == "г.":
        default = "g" if governor else "n"
        case = "p" if governor.lower() in ("в", "во") else governed or default
        noun = {"n": "год", "a": "год", "g": "года", "d": "году", "i": "годом", "p": "году"}[case]
        return f"{kept}{write_ordinal(year, case)} {noun}{keep_dot(match)}"
    case = _YEAR_CASES[word]
    if word == "году" and governed == "d":
        case = "d"
    return f"{kept}{write_ordinal(year, case)} {match['word']}"


def _write_year_span(match: re.Match[str]) -> str:
    """Write `с 1941 по 1945 год`."""
    last = write_ordinal(int(match["year"]), "g" if match["till"] == "до" else "n")
    word = match["word"] if match["word"] != "г." else "года" if match["till"] == "до" else "год"
    first = write_ordinal(int(match["from"]), "g")
    return f"с {first} {match['till']} {last} {word}{keep_dot(match)}"


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
    words = [write_ordinal(number or 0, case, gender) for number in numbers]
    if match["till"]:
        words = [write_ordinal(numbers[0] or 0, "g", gender), match["till"], words[1]]
    if word in ("в.", "вв."):
        is_plural = word == "вв."
        noun = "веке" if (case, is_plural) == ("p", False) else ""
        noun = (noun or inflect("век", case, is_plural=is_plural)) + keep_dot(match)
    return f"{kept}{(' ' if match['till'] else ' — ').join(words)} {noun}"


def _find_century_form(governor: str, word: str, *, is_range: bool) -> tuple[str, str]:
    """Return case and gender of the ordinals before a word for centuries."""
    if word in ("в.", "вв."):
        if governor.lower() in ("в", "во"):
            return "p", "m"
        default = "g" if governor and not is_range else "n"
        return find_governed_case(governor) or default, "m"
    gender = "n" if word.startswith("столет") else "m"  # `век` is a form of the neuter `веко` too
    forms = [form for form in find_noun_form(word) if form[2] == gender]
    # `века` is one century's genitive or several centuries.
    plural = [form for form in forms if form[1]] if is_range else []
    return (plural or forms or [("n", False, gender)])[0][0], gender


DATES: list[Rule] = [
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
_PLACES = create_table(
    "г город; ул улица; пл площадь; просп проспект; пер переулок; р река; оз озеро; пос посёлок; "
    "обл область"
)
_PLACE_CASES = _spread("p в во на о; d по к ко; i под; g из от до около у без для с")
_NUMBERED = create_table(
    "д дом; кв квартира; стр страница; гл глава; рис рисунок; корп корпус; табл таблица; "
    "№ номер; тел телефон; п пункт"
)
_PHRASES = {
    r"т\.\s?е": "то есть",
    r"т\.\s?к": "так как",
    r"т\.\s?н": "так называемый",
    r"и\s+т\.\s?д": "и так далее",
    r"и\s+т\.\s?п": "и тому подобное",
    **create_table(r"и\s+др и другие; и\s+пр и прочее; до\s+н\.\s?э до нашей эры"),
    r"н\.\s?э": "нашей эры",
    **create_table("напр например; см смотри; проф профессор; акад академик; им имени"),
    **create_table("руб рублей; тыс тысяч"),
}


def _write_place(match: re.Match[str]) -> str | None:
    governor, kept = split_governor(match)
    case = _PLACE_CASES.get(governor.lower(), "n")
    return f"{kept}{inflect(_PLACES[match['short'].lower()], case)}"


def _write_phrase(words: str, match: re.Match[str]) -> str:
    if match[0][0].isupper():
        words = words[0].upper() + words[1:]
    return words + (keep_dot(match) if words != "смотри" and words not in _TITLES else "")


_TITLES = ("профессор", "академик", "имени", "например", "то есть", "так как")

# What a Roman number stands after; rulers and popes beside them.
_NUMBERED_NOUNS = _spread(
    "f глава часть книга сцена песнь категория группа степень статья таблица серия фаза стадия; "
    "m том раздел акт этап тур квартал класс тип уровень параграф рисунок сезон курс; "
    "n действие тысячелетие поколение"
)


def _write_roman_after(match: re.Match[str]) -> str | None:
    """Write `Пётр I`, `в главе IV`."""
    noun, number = match["noun"], parse_roman(match["roman"])
    form = find_numbered_form(noun, _NUMBERED_NOUNS)
    if number is None or form is None:
        return None
    return f"{noun} {write_ordinal(number, *form)}"


def _write_roman_before(match: re.Match[str]) -> str | None:
    """Write `II мировая война`, `на XX съезде`."""
    number, forms = parse_roman(match["roman"]), find_noun_form(match["noun"])
    if number is None or not forms:
        return None
    governed = find_governed_case(match["governor"] or "")
    case, is_plural, gender = next((form for form in forms if form[0] == governed), forms[0])
    kept = match[0][: match.start("roman") - match.start()]
    return kept + write_ordinal(number, case, gender, is_plural=is_plural)


def _write_telephone(match: re.Match[str]) -> str:
    groups = re.findall(r"\d+", match[0])
    return ", ".join(
        " ".join(["ноль"] * (len(group) - len(group.lstrip("0")) - (int(group) == 0)))
        + " " * (group[0] == "0" and int(group) > 0)
        + write_cardinal(int(group))
        for group in groups
    )


def _create_numbered(short: str, noun: str) -> Rule:
    return create_rule(
        rf"(?<!\w)(?<!т\.)(?<!т\. ){re.escape(short)}\.?{SPACE}*(?=\d)", lambda _: f"{noun} "
    )


def _create_phrase(short: str, words: str) -> Rule:
    return create_rule(
        rf"(?<![\w.-]){short}\.", lambda match: _write_phrase(words, match), re.IGNORECASE
    )


TELEPHONES: list[Rule] = [
    create_rule(
        rf"(?<![\w+])(?:\+?7|8)[ -]\(?\d{{3}}\)?[ -]\d{{3}}[ -]\d\d[ -]\d\d(?!{SPACE}?\d)",
        _write_telephone,
    ),
    create_rule(r"(?<![\w+])\+\d[\d ()-]{7,}\d(?!\w)", keep),
    create_rule(r"(?<![\w+-])\d{2,3}-\d\d-\d\d(?![\w-])", keep),
]
"""Russian telephone numbers, group by group; others stay. They come before all other numbers."""

SHORT_FORMS: list[Rule] = [
    create_rule(
        rf"(?<!\w)(?P<noun>[А-ЯЁа-яё]{{3,}}){SPACE}(?P<roman>[IVX]+)(?![\w-])", _write_roman_after
    ),
    create_rule(
        rf"(?<![\w-])(?:(?P<governor>[а-яё]+){SPACE})?(?P<roman>[IVX]{{2,}})"
        rf"(?={SPACE}(?P<noun>{NOUN}))",
        _write_roman_before,
    ),
    create_rule(rf"№№{SPACE}*(?=\d)", lambda _: "номера "),
    *(_create_numbered(short, noun) for short, noun in _NUMBERED.items()),
    create_rule(rf"{BEFORE}(?P<short>{'|'.join(_PLACES)})\.(?={SPACE}*[А-ЯЁ][а-яё])", _write_place),
    *(_create_phrase(short, words) for short, words in _PHRASES.items()),
]
"""Earlier rules count before later ones."""
_SCALES = create_table("тыс тысяча; млн миллион; млрд миллиард; трлн триллион")
_UNITS = create_table(
    "руб рубль; р рубль; коп копейка; долл доллар; % процент; $ доллар; € евро; £ фунт; ¥ иена; "
    "₽ рубль; кг килограмм; мг миллиграмм; г грамм; км километр; м метр; см сантиметр; "
    "мм миллиметр; л литр; мл миллилитр; га гектар; ч час; мин минута; сек секунда; шт штука; "
    "кВт киловатт; Вт ватт; Гц герц; кГц килогерц; МБ мегабайт; Мб мегабайт; ГБ гигабайт; "
    "Гб гигабайт; т тонна; ° градус; чел человек; стр страница; экз экземпляр"
)
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
        words = write_decimal(match["whole"], places, case)
        first = inflect(scale or noun, "g")  # a part of something
        gender = "f"
    else:
        number = parse_number(match["whole"])
        gender = find_gender(scale or noun)
        words = write_cardinal(number, case, gender)
        first = agree_noun(scale or noun, number, case)
    if match["from_places"]:
        words = f"{write_decimal(match['from'], match['from_places'], case)} — {words}"
    elif match["from"]:
        words = f"{write_cardinal(int(match['from']), case, gender)}-{words}"
    sign = "минус " if match["minus"] else "плюс " if groups.get("plus") else ""
    rest = f" {inflect(noun, 'g', is_plural=True)}" if scale and noun else ""
    if tail in (" квадратных", " кубических"):
        rest, tail = f"{tail} {first}", ""
        first = ""
    return f"{kept}{sign}{words} {first}{rest}{tail}{keep_dot(match)}".replace("  ", " ")


def _find_case(governor: str, unit: str) -> str:
    case = find_governed_case(governor) or "n"
    if case == "a" and governor.lower() in ("в", "во") and unit in ("км", "м", "см"):
        return "p"  # в пяти километрах от города
    return case


UNITS: list[Rule] = [
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
_PARTS = {3: "треть", 4: "четверть"}


def write_fraction(numerator: int, denominator: int, case: str = "n") -> str:
    """Return `1/2` as `одна вторая`, `2/3` as `две трети`."""
    words = write_cardinal(numerator, case, "f")
    if denominator in _PARTS:
        return f"{words} {agree_noun(_PARTS[denominator], numerator, case)}"
    if numerator % 10 == 1 and numerator % 100 != 11:
        return f"{words} {write_ordinal(denominator, case, 'f')}"
    plural_case = "g" if case in "na" else case
    return f"{words} {write_ordinal(denominator, plural_case, is_plural=True)}"


def _write_fraction(match: re.Match[str]) -> str | None:
    governor, kept = split_governor(match)
    parts = parse_fraction(match["fraction"])
    groups = match.groupdict()
    is_alone = not groups.get("whole") and not groups.get("unit")
    if parts is None or (is_alone and "noun" in groups and not _is_genitive(groups["noun"] or "")):
        return None
    case = {"с": "i", "со": "i"}.get(governor.lower()) or find_governed_case(governor) or "n"
    words = write_fraction(*parts, case)
    if groups.get("whole"):
        words = f"{write_whole(int(groups['whole']), case)} {words}"
    if not groups.get("unit"):
        return kept + words
    noun, tail = find_unit(groups["unit"])
    return f"{kept}{words} {inflect(noun, 'g')}{tail}{keep_dot(match)}"


def _is_genitive(noun: str) -> bool:
    return any(form[0] == "g" for form in find_noun_form(noun)) if noun else False


_MEASURE = rf"(?:{SPACE}*(?P<unit>{UNIT})(?!\w|-\w)\.?)?"
FRACTIONS: list[Rule] = [
    create_rule(
        rf"{BEFORE}(?:(?P<whole>\d{{1,3}}){SPACE}?)?(?P<fraction>[{SIGNS}])(?!-\w){_MEASURE}",
        _write_fraction,
    ),
    create_rule(
        rf"{BEFORE}(?:(?P<whole>\d{{1,3}}){SPACE})?(?P<fraction>{STROKE_FRACTION}){AFTER_STROKE}"
        rf"{_MEASURE}(?:(?={SPACE}+(?P<noun>{NOUN})))?(?!\w|-\w)",
        _write_fraction,
    ),
]
"""Earlier rules count before later ones."""

# Suffix → case, gender, plural (+).
_SUFFIXES = {
    suffix: (form[0], form[1], form[2:] == "+")
    for suffix, form in _spread(
        "nm й ый ой; nf я ая; af ю ую; nn е ое; gm го ого; dm му ому; pm м ом; im ым; nm+ ые; "
        "gm+ х ых; im+ ми ыми"
    ).items()
}
_COMPOUND = r"лет|комнат|этаж|дневн|час|метр|процент|литр|тонн|секунд|минут|мест|кратн|дюйм|месяч"
# `15%-е` can be one thing or several.
_PERCENT_ENDINGS = {"й": "ный", "го": "ного", "му": "ному", "я": "ная", "ю": "ную"}
_PERCENT_ENDINGS |= {"х": "ных", "ми": "ными", "м": "ном"}
_COMPOUND_STARTS = {1: "одно", 90: "девяносто", 100: "сто", 1000: "тысяче"}


def _write_suffixed(match: re.Match[str]) -> str | None:
    case, gender, is_plural = _SUFFIXES[match["suffix"]]
    number, noun = int(match["whole"]), match["noun"] or ""
    forms = find_noun_form(noun) if noun else []
    if match["suffix"] in ("й", "ой") and forms and forms[0][2] == "f":
        case, gender = forms[0][0], "f"
    elif match["suffix"] in ("е", "х") and any(form[1] for form in forms[:1]):
        case, is_plural = forms[0][0], True
    elif match["suffix"] == "е" and not noun and number % 10 == 0 < number:
        is_plural = True  # the nineties
    elif match["suffix"] == "м" and forms and forms[0][0] in "ip":
        case = forms[0][0]
    return write_ordinal(number, case, gender, is_plural=is_plural)


def _write_compound(match: re.Match[str]) -> str | None:
    start = _find_compound_start(int(match["whole"]))
    return start + match["rest"] if start else None


def _find_compound_start(number: int) -> str | None:
    if number > 1000:
        return None
    return _COMPOUND_STARTS.get(number) or write_cardinal(number, "g").replace(" ", "")


def _write_percentage(match: re.Match[str]) -> str | None:
    """Write `15%-ный` and `15%-го` as one word."""
    number, rest = int(match["whole"]), match["rest"]
    start = _find_compound_start(number)
    return f"{start}процент{_PERCENT_ENDINGS.get(rest, rest)}" if start else None


def _write_counted(match: re.Match[str]) -> str | None:
    """Write a number in the case that the noun after it shows: `с 5 друзьями`, `2 книги`."""
    governor, kept = split_governor(match)
    number = parse_number(match["whole"])
    governed = find_governed_case(governor)
    case, gender = governed or "n", "m"
    forms = find_noun_form(match["noun"]) if match["noun"] else []
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
        words = write_decimal(match["whole"], match["places"], case)
    elif _is_code(match["whole"]):
        words = " ".join(write_cardinal(int(digit)) for digit in match["whole"])
    else:
        words = write_cardinal(number, case, gender)
    if match["from"]:
        words = f"{write_cardinal(int(match['from']), case, gender)}-{words}"
    return f"{kept}{'минус ' if match['minus'] else ''}{words}"


def _write_dotted(match: re.Match[str]) -> str:
    """Write `-1.2`, which is no date and no time."""
    governor, kept = split_governor(match)
    case = find_governed_case(governor) or "n"
    words = write_decimal(match["whole"], match["places"], "n" if case == "a" else case)
    return f"{kept}минус {words}"


def _is_code(digits: str) -> bool:
    return len(digits) > 12 or (len(digits) > 1 and digits.startswith("0"))


RULES: list[Rule] = [
    *TELEPHONES,
    *DATES,
    *FRACTIONS,
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
    *UNITS,
    create_rule(rf"{BEFORE}[−–-](?P<whole>\d{{1,9}})\.(?P<places>\d{{1,3}}){END}", _write_dotted),
    *SHORT_FORMS,
    create_rule(
        rf"{BEFORE}{RANGE}{NUMBER}{END}(?={SPACE}+(?P<noun>{NOUN}))?(?!-\w)", _write_counted
    ),
]
"""Earlier rules count before later ones."""
