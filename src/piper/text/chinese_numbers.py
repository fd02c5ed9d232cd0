"""Figures and Latin letters in Chinese texts as characters, by unicode-rbnf; knows no phonemes."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from piper.text.numerals import Rule, apply_rules, create_rule
from piper.text.rewrite import Edit

_DIGITS = "零一二三四五六七八九"
_LARGEST = 10**15
_LETTER_NAMES = (
    "诶 比 西 弟 衣 艾弗 吉 艾尺 艾 杰 开 艾勒 艾姆 "  # a to m
    "恩 欧 批 扣 阿儿 艾斯 提 优 维 达不溜 艾克斯 歪 贼"
)
_LETTERS = dict(zip("abcdefghijklmnopqrstuvwxyz", _LETTER_NAMES.split(), strict=True))
_UNITS = {"%": "百分之", "％": "百分之", "‰": "千分之"}
_CURRENCIES = {"$": "美元", "¥": "元", "￥": "元", "€": "欧元", "£": "英镑"}
# Nouns of measure before which two is 两.
_MEASURES = "个位只条张本家次倍块件种天岁遍趟双套座层"
_NUMBER = (
    r"(?P<minus>(?<![\w.,])[−-])?(?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.(?P<places>\d+))?"
)


@cache
def _load_engine() -> Any:
    from unicode_rbnf import RbnfEngine  # type: ignore[import-not-found, unused-ignore]

    return RbnfEngine.for_language("zh")


def _write_digits(digits: str) -> str:
    return "".join(_DIGITS[int(digit)] for digit in digits)


def _write_cardinal(digits: str) -> str:
    number = int(digits.replace(",", ""))
    # Telephone numbers, codes and numbers beyond all names are read digit by digit.
    if number >= _LARGEST or (len(digits) > 8 and "," not in digits):
        return _write_digits(digits.replace(",", ""))
    if len(digits) > 1 and digits[0] == "0":
        return _write_digits(digits)
    return str(_load_engine().format_number(number).text).replace("〇", "零")


def _write_number(match: re.Match[str]) -> str:
    words = _write_cardinal(match["whole"])
    if match["places"]:
        words += f"点{_write_digits(match['places'])}"
    return f"负{words}" if match["minus"] else words


def _write_counted(match: re.Match[str]) -> str:
    after = match.string[match.end() :].lstrip()[:1]
    is_two = match["whole"] == "2" and not match["places"] and not match["minus"]
    return "两" if is_two and after and after in _MEASURES else _write_number(match)


def _write_time(match: re.Match[str]) -> str | None:
    hours, minutes = int(match["hours"]), int(match["minutes"])
    if hours > 24 or minutes > 59:
        return None
    zero = "零" if 0 < minutes < 10 else ""
    end = f"{zero}{_write_cardinal(str(minutes))}分" if minutes else ""
    return f"{_write_cardinal(str(hours))}点{end}"


RULES: list[Rule] = [
    create_rule(r"(?<!\d)(?P<year>\d{4})(?=\s*年)", lambda match: _write_digits(match["year"])),
    create_rule(r"(?<![\d:])(?P<hours>\d{1,2})[:：](?P<minutes>\d{2})(?![\d:])", _write_time),
    create_rule(
        rf"{_NUMBER}\s?(?P<unit>[%％‰])", lambda m: f"{_UNITS[m['unit']]}{_write_number(m)}"
    ),
    create_rule(rf"{_NUMBER}\s?(?:℃|°C|°)", lambda match: f"{_write_number(match)}度"),
    create_rule(
        rf"(?P<sign>[$¥￥€£])\s?{_NUMBER}",
        lambda match: f"{_write_number(match)}{_CURRENCIES[match['sign']]}",
    ),
    create_rule(
        r"(?<![\d/])(?P<part>\d{1,2})/(?P<of>\d{1,2})(?![\d/])",
        lambda match: f"{_write_cardinal(match['of'])}分之{_write_cardinal(match['part'])}",
    ),
    create_rule(_NUMBER, _write_counted),
    create_rule(
        "[A-Za-z]+", lambda match: "".join(_LETTERS[letter] for letter in match[0].lower())
    ),
]
"""Earlier rules count before later ones."""


def find_edits(text: str) -> list[Edit]:
    """Return what is to be written in characters."""
    return apply_rules(text, RULES)
