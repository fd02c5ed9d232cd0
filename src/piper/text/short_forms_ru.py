"""Rules that write out Russian short forms and telephone numbers; knows no other numbers."""

from __future__ import annotations

import re

from piper.text import cases_ru as cases
from piper.text.numerals import Rule, create_rule, keep
from piper.text.patterns_ru import BEFORE, NOUN, SPACE, keep_dot, split_governor
from piper.text.roman import parse_roman

_PLACES = {"г": "город", "ул": "улица", "пл": "площадь", "просп": "проспект", "пер": "переулок"}
_PLACES |= {"р": "река", "оз": "озеро", "пос": "посёлок", "обл": "область"}
_PLACE_CASES = {
    "в": "p",
    "во": "p",
    "на": "p",
    "по": "d",
    "к": "d",
    "ко": "d",
    "о": "p",
    "под": "i",
}
_PLACE_CASES |= dict.fromkeys(["из", "от", "до", "около", "у", "без", "для", "с"], "g")
_NUMBERED = {"д": "дом", "кв": "квартира", "стр": "страница", "гл": "глава", "рис": "рисунок"}
_NUMBERED |= {"корп": "корпус", "табл": "таблица", "№": "номер", "тел": "телефон", "п": "пункт"}
_PHRASES = {
    r"т\.\s?е": "то есть",
    r"т\.\s?к": "так как",
    r"т\.\s?н": "так называемый",
    r"и\s+т\.\s?д": "и так далее",
    r"и\s+т\.\s?п": "и тому подобное",
    r"и\s+др": "и другие",
    r"и\s+пр": "и прочее",
    r"до\s+н\.\s?э": "до нашей эры",
    r"н\.\s?э": "нашей эры",
    r"напр": "например",
    r"см": "смотри",
    r"проф": "профессор",
    r"акад": "академик",
    r"им": "имени",
    r"руб": "рублей",
    r"тыс": "тысяч",
}


def _write_place(match: re.Match[str]) -> str | None:
    governor, kept = split_governor(match)
    case = _PLACE_CASES.get(governor.lower(), "n")
    return f"{kept}{cases.inflect(_PLACES[match['short'].lower()], case)}"


def _write_phrase(words: str, match: re.Match[str]) -> str:
    if match[0][0].isupper():
        words = words[0].upper() + words[1:]
    return words + (keep_dot(match) if words != "смотри" and words not in _TITLES else "")


_TITLES = ("профессор", "академик", "имени", "например", "то есть", "так как")


# What a Roman number stands after; rulers and popes beside them.
_NUMBERED_NOUNS = {
    **dict.fromkeys(["глава", "часть", "книга", "сцена", "песнь", "категория", "группа"], "f"),
    **dict.fromkeys(["степень", "статья", "таблица", "серия", "фаза", "стадия"], "f"),
    **dict.fromkeys(["том", "раздел", "акт", "этап", "тур", "квартал", "класс", "тип"], "m"),
    **dict.fromkeys(["уровень", "параграф", "рисунок", "сезон", "курс"], "m"),
    **dict.fromkeys(["действие", "тысячелетие", "поколение"], "n"),
}


def _write_roman_after(match: re.Match[str]) -> str | None:
    """Write `Пётр I`, `в главе IV`."""
    noun, number = match["noun"], parse_roman(match["roman"])
    form = cases.find_numbered_form(noun, _NUMBERED_NOUNS)
    if number is None or form is None:
        return None
    return f"{noun} {cases.write_ordinal(number, *form)}"


def _write_roman_before(match: re.Match[str]) -> str | None:
    """Write `II мировая война`, `на XX съезде`."""
    number, forms = parse_roman(match["roman"]), cases.find_noun_form(match["noun"])
    if number is None or not forms:
        return None
    governed = cases.find_governed_case(match["governor"] or "")
    case, is_plural, gender = next((form for form in forms if form[0] == governed), forms[0])
    kept = match[0][: match.start("roman") - match.start()]
    return kept + cases.write_ordinal(number, case, gender, is_plural=is_plural)


def _write_telephone(match: re.Match[str]) -> str:
    groups = re.findall(r"\d+", match[0])
    return ", ".join(
        " ".join(["ноль"] * (len(group) - len(group.lstrip("0")) - (int(group) == 0)))
        + " " * (group[0] == "0" and int(group) > 0)
        + cases.write_cardinal(int(group))
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

RULES: list[Rule] = [
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
