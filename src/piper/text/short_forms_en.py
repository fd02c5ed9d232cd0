"""Rules that write out English short forms; knows no numbers."""

from __future__ import annotations

import re

from piper.text.numerals import Rule, create_rule

_TITLES = {
    "Mr": "Mister",
    "Mrs": "Missis",
    "Ms": "Miz",
    "Dr": "Doctor",
    "Prof": "Professor",
    "St": "Saint",
    "Gen": "General",
    "Capt": "Captain",
    "Lt": "Lieutenant",
    "Rev": "Reverend",
    "Mt": "Mount",
    "Sgt": "Sergeant",
    "Gov": "Governor",
    "Sen": "Senator",
}
_STREETS = {"St": "Street", "Ave": "Avenue", "Rd": "Road", "Blvd": "Boulevard", "Dr": "Drive"}
_PHRASES = {
    r"e\.\s?g": "for example",
    r"i\.\s?e": "that is",
    "etc": "et cetera",
    "vs": "versus",
    "approx": "approximately",
    "Jr": "Junior",
    "Sr": "Senior",
    "Inc": "Incorporated",
    "Ltd": "Limited",
    "Corp": "Corporation",
    "dept": "department",
}


def _keep_dot(match: re.Match[str]) -> str:
    """Return the dot of a short form where it ends the sentence too."""
    rest = match.string[match.end() :].lstrip(' ”")')
    return "." if not rest or rest[0].isupper() or rest[0] == "\n" else ""


def _street_rule(short: str, words: str) -> Rule:
    return create_rule(
        rf"(?<=[A-Za-z] ){short}\.(?! [A-Z][a-z])|(?<=\d[a-z][a-z] ){short}\.",
        lambda match: words + _keep_dot(match),
    )


def _title_rule(short: str, words: str) -> Rule:
    return create_rule(rf"\b{short}\.(?= [A-Z]| and\b)", lambda _: words)


def _phrase_rule(short: str, words: str) -> Rule:
    is_middle = words in ("for example", "that is", "versus", "approximately")
    return create_rule(
        rf"(?<![\w.]){short}\.", lambda match: words + ("" if is_middle else _keep_dot(match))
    )


RULES: list[Rule] = [
    create_rule(r"\bNo\. ?(?=\d)", lambda match: "number "),
    *(_street_rule(short, words) for short, words in _STREETS.items()),
    *(_title_rule(short, words) for short, words in _TITLES.items()),
    *(_phrase_rule(short, words) for short, words in _PHRASES.items()),
]
"""Earlier rules count before later ones."""
