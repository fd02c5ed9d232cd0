"""Rules that write out Russian fractions, `½` and `2/3 голосов`; knows no other numbers.

A fraction with a stroke is taken for one after a whole number, or before a unit or a noun in the
genitive. `1/2` alone is left to espeak-ng.
"""

from __future__ import annotations

import re

from piper.text import cases_ru as cases
from piper.text.numerals import Rule, create_rule
from piper.text.patterns_ru import BEFORE, NOUN, SPACE, keep_dot, split_governor
from piper.text.units_ru import UNIT, find_unit
from piper.text.vulgar_fractions import AFTER_STROKE, SIGNS, STROKE_FRACTION, parse_fraction

_PARTS = {3: "треть", 4: "четверть"}


def write_fraction(numerator: int, denominator: int, case: str = "n") -> str:
    """Return `1/2` as `одна вторая`, `2/3` as `две трети`."""
    words = cases.write_cardinal(numerator, case, "f")
    if denominator in _PARTS:
        return f"{words} {cases.agree_noun(_PARTS[denominator], numerator, case)}"
    if numerator % 10 == 1 and numerator % 100 != 11:
        return f"{words} {cases.write_ordinal(denominator, case, 'f')}"
    plural_case = "g" if case in "na" else case
    return f"{words} {cases.write_ordinal(denominator, plural_case, is_plural=True)}"


def _write_fraction(match: re.Match[str]) -> str | None:
    governor, kept = split_governor(match)
    parts = parse_fraction(match["fraction"])
    groups = match.groupdict()
    is_alone = not groups.get("whole") and not groups.get("unit")
    if parts is None or (is_alone and "noun" in groups and not _is_genitive(groups["noun"] or "")):
        return None
    case = {"с": "i", "со": "i"}.get(governor.lower()) or cases.find_governed_case(governor) or "n"
    words = write_fraction(*parts, case)
    if groups.get("whole"):
        words = f"{cases.write_whole(int(groups['whole']), case)} {words}"
    if not groups.get("unit"):
        return kept + words
    noun, tail = find_unit(groups["unit"])
    dot = keep_dot(match) if match[0].endswith(".") else ""
    return f"{kept}{words} {cases.inflect(noun, 'g')}{tail}{dot}"


def _is_genitive(noun: str) -> bool:
    return any(form[0] == "g" for form in cases.find_noun_form(noun)) if noun else False


_MEASURE = rf"(?:{SPACE}*(?P<unit>{UNIT})(?!\w|-\w)\.?)?"
RULES: list[Rule] = [
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
