"""Rules that write out English short forms; knows no numbers."""

from __future__ import annotations

import re

from piper.text.cardinals_en import write_cardinal, write_ordinal
from piper.text.numerals import Rule, create_rule, keep_dot
from piper.text.roman import parse_roman

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

# A king's number is an ordinal, all other ones are cardinals.
_RULERS = (
    "Alexander|Alfonso|Benedict|Boniface|Catherine|Charles|Christian|Clement|Constantine|Edward|"
    "Elizabeth|Ferdinand|Francis|Frederick|George|Gregory|Gustav|Haakon|Harald|Henry|Innocent|Ivan|"
    "Jacques|James|John|Joseph|Leo|Leopold|Louis|Mary|Max|Maximilian|Mehmed|Michael|Murad|Napoleon|"
    "Nicholas|Otto|Paul|Peter|Philip|Pius|Ptolemy|Ramesses|Ramses|Richard|Robert|Rudolf|Selim|"
    "Sigismund|Stephen|Thutmose|Urban|Victor|Wilhelm|William|Xerxes|Darius|Mahmud|Umberto|Juan|Carlos"
)
_NUMBERED = (
    "War|Chapter|Part|Book|Volume|Act|Scene|Section|Article|Appendix|Phase|Stage|Level|Type|Class|"
    "Grade|Table|Figure|Unit|Bowl|Mark|Division|Tier|Schedule|Title|Lesson|Canto"
)
# After a name `I` is a number, unless it begins a clause: `Henry, I think`, `Henry I was told`.
_ROMAN = r"(?P<roman>[VX][IVXL]*|I[IVX]+|I(?! [a-z])|I(?= (?:of|and|to|in|on)\b))(?!['’\w-])"
# `The IV drip`, `My II`.
_NO_NAMES = (
    "The|This|That|An|My|Your|His|Her|Our|Their|In|On|At|For|With|And|But|Or|If|When|By|To|Of"
)


def _write_ruler(match: re.Match[str]) -> str | None:
    number = parse_roman(match["roman"])
    return f"{match['name']} the {write_ordinal(number).title()}" if number else None


def _write_numbered(match: re.Match[str]) -> str | None:
    number = parse_roman(match["roman"])
    return f"{match['name']} {write_cardinal(number)}" if number else None


def _street_rule(short: str, words: str) -> Rule:
    return create_rule(
        rf"(?<=[A-Za-z] ){short}\.(?! [A-Z][a-z])|(?<=\d[a-z][a-z] ){short}\.",
        lambda match: words + keep_dot(match),
    )


def _title_rule(short: str, words: str) -> Rule:
    return create_rule(rf"\b{short}\.(?= [A-Z]| and\b)", lambda _: words)


def _phrase_rule(short: str, words: str) -> Rule:
    is_middle = words in ("for example", "that is", "versus", "approximately")
    return create_rule(
        rf"(?<![\w.]){short}\.", lambda match: words + ("" if is_middle else keep_dot(match))
    )


RULES: list[Rule] = [
    create_rule(rf"\b(?P<name>{_RULERS}) {_ROMAN}", _write_ruler),
    create_rule(rf"\b(?P<name>{_NUMBERED}) (?P<roman>[IVX][IVXL]*)(?!['’\w-])", _write_numbered),
    create_rule(rf"\b(?P<name>(?i:{_NUMBERED})) {_ROMAN}", _write_numbered),
    create_rule(
        rf"\b(?!(?:{_NO_NAMES}) )(?P<name>[A-Z][a-z]+) (?P<roman>[IVX]{{2,}})(?![\w-])",
        _write_numbered,
    ),
    create_rule(r"\bNo\. ?(?=\d)", lambda match: "number "),
    *(_street_rule(short, words) for short, words in _STREETS.items()),
    *(_title_rule(short, words) for short, words in _TITLES.items()),
    *(_phrase_rule(short, words) for short, words in _PHRASES.items()),
]
"""Earlier rules count before later ones."""
