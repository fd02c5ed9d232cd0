"""Patterns that all rules of Russian numbers and short forms share; knows no words for them."""

from __future__ import annotations

import re

from piper.text import numerals

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
    if _SMALLER_UNIT.match(match.string, match.end()):
        return ""
    return numerals.keep_dot(match)
