"""Russian numbers and nouns in the case that a sentence wants; knows no short forms.

Cases have num2words' letters: n, g, d, a, i, p (nominative to prepositional).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from piper.text.numerals import parse_number

_PYMORPHY_CASES = {"n": "nomn", "g": "gent", "d": "datv", "a": "accs", "i": "ablt", "p": "loct"}
_CASES_OF_TAGS = {
    **{tag: letter for letter, tag in _PYMORPHY_CASES.items()},
    "gen2": "g",
    "loc2": "p",
    "acc2": "a",
}
_GENDERS = {"masc": "m", "femn": "f", "neut": "n"}
# The word before a number, and the case that it asks for.
_GOVERNORS = {
    word: case
    for case, words in {
        "g": "до от из без около более менее свыше больше меньше старше моложе после для у против "
        "ниже выше порядка кроме с ото изо безо вокруг",
        "d": "к ко благодаря согласно равно равна равен равны",
        "i": "между над перед",
        "p": "о об обо при",
        "a": "в во на за через по про под спустя",
    }.items()
    for word in words.split()
}
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

    words = str(
        num2words(
            number,
            lang="ru",
            to="ordinal",
            case=case,
            gender=gender,
            plural=is_plural,
            animate=False,
        )
    )
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
    """Return the forms that a noun can be: case, whether plural, gender.

    Args:
        words: A noun, or an adjective and its noun.
    """
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
