"""Rules that write out English fractions, `½` and `2/3 of`; knows no other numbers.

A fraction with a stroke is taken for one after a whole number, or before `of` or a unit. `1/2`
alone is left to espeak-ng.
"""

from __future__ import annotations

import re

from piper.text.cardinals_en import write_cardinal, write_ordinal
from piper.text.numerals import Rule, create_rule
from piper.text.vulgar_fractions import AFTER_STROKE, SIGNS, STROKE_FRACTION, parse_fraction

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
    if not match["whole"]:
        is_half_a = re.match(r" an?\b", match.string[match.end() :])
        return words.removeprefix("one ") if is_half_a else words
    if parts[0] == 1:
        part = words.removeprefix("one ")
        words = f"{'an' if part[0] == 'e' else 'a'} {part}"
    return f"{write_cardinal(int(match['whole']))} and {words}"


RULES: list[Rule] = [
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
