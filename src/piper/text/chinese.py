"""Phonemes of Chinese voices: figures as characters, characters as pinyin (extra `zh`).

The table is the `phoneme_id_map` of the published voices (zh_CN-chaowen, zh_CN-xiao_ya).

pypinyin reads words as its dictionary has them, so `银行` and `重庆` come out right; a character
that stands alone gets its most frequent reading. 一 and 不 change their tone before others; a third
tone before a third one does not, as in the phonemes that the published voices were trained on.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterator
from functools import cache
from itertools import groupby
from typing import Any

from piper.config import Phonemizer
from piper.errors import PhonemizeError
from piper.phoneme_ids import BOS, EOS, PAD
from piper.text.numbers.engine import Rule, apply_rules, create_rule
from piper.text.phonemizers import (
    MarkedTextPhonemizer,
    ends_with_blank_line,
    split_at_pauses,
    split_sentences,
)
from piper.text.pieces import TextPart
from piper.text.sentence import ELLIPSIS, Edit, RewrittenText, SpokenClause

NO_INITIAL = "Ø"
_INITIALS = "b p m f d t n l g k h j q x zh ch sh r z c s y w"
_FINALS = (
    "a o e ai ei ao ou an en ang eng ong i ia ie iao iu ian in iang ing iong u ua uo uai ui uan un "
    "uang ueng v ve van vn er ue"
)
INITIALS = (NO_INITIAL, *_INITIALS.split())
FINALS = tuple(_FINALS.split())
TONES = "12345"
# Marks with one id each, and those that share one: they are pauses of the same kind.
_MARKS = ("。.", "？?", "！!", "—…、，,：:；; ")
MARKS = "".join(_MARKS)
PADDED = frozenset((*TONES, *MARKS))
"""What PAD follows in the ids; between the parts of a syllable there is none."""

PINYIN_PHONEME_ID_MAP: dict[str, list[int]] = {
    symbol: [number]
    for number, symbols in enumerate(
        [*((symbol,) for symbol in (PAD, BOS, EOS, *INITIALS, *FINALS, *TONES)), *_MARKS]
    )
    for symbol in symbols
}

_SYLLABLE = re.compile("(?P<initial>zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw])?(?P<final>[a-zê]+)?")
# Interjections that are no syllables with a vowel of the table.
_FINALS_OF_OTHERS = {"ê": "ei", "": "en", "g": "en", "m": "en", "ng": "eng"}


def split_syllable(pinyin: str) -> tuple[str, str, str]:
    """Return initial, final and tone of a syllable such as `zhong1`, `ai4`, `lve4`."""
    letters, tone = (pinyin[:-1], pinyin[-1]) if pinyin[-1:] in TONES else (pinyin, "5")
    match = _SYLLABLE.fullmatch(letters)
    initial, final = (match["initial"] or "", match["final"] or "") if match else ("", "")
    if final not in FINALS:
        initial = "" if initial == "n" or final == "ê" else initial
        final = _FINALS_OF_OTHERS.get(final, "en")
    return initial or NO_INITIAL, final, tone


def split_phonemes(phonemes: str) -> list[str]:
    """Return the symbols of pinyin with tones: `ni3hao3，` is n, i, 3, h, ao, 3, ，."""
    symbols: list[str] = []
    for part in re.findall(rf"{NO_INITIAL}?[a-zê]+[{TONES}]?|.", phonemes, re.DOTALL):
        if part[0] == NO_INITIAL or part[0].islower():
            initial, final, tone = split_syllable(part.removeprefix(NO_INITIAL))
            symbols += [initial, final, tone]
        else:
            symbols.append(part)
    return symbols


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


_ENDS = r"[。！？…]|[.!?](?=\s|$)"
_PAUSES = r"[、，,：:；;—]"
_SILENT = "\n\r\t\u3000\"'“”‘’「」『』（）()《》【】[]<>-–·~～"
_NUMERALS = "零一二三四五六七八九十"
# Where they stand alone: particles, and what is said more often than what the dictionary has.
_READINGS = {"得": "de5", "地": "de5", "谁": "shei2"}


class PinyinPhonemizer(MarkedTextPhonemizer):
    """Phonemes by pypinyin: initials, finals and tones, `ni3hao3` for 你好."""

    padded: Container[str] | None = PADDED

    def __init__(self) -> None:
        # Not above: every command that reads a dataset looks into this module for its symbols.
        from importlib import metadata

        try:
            import pypinyin  # type: ignore[import-not-found, unused-ignore]
            import unicode_rbnf  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
            from pypinyin.seg.mmseg import seg  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise PhonemizeError(
                "Chinese voices need the libraries pypinyin and unicode-rbnf; "
                "install the extra with `pip install piper-workshop[zh]`."
            ) from None
        self._pypinyin: Any = pypinyin
        self._segment: Any = seg
        self.phonemizer = Phonemizer("pypinyin", metadata.version("pypinyin"))

    def split_phonemes(self, phonemes: str) -> list[str]:
        """Return initials, finals, tones and marks."""
        return split_phonemes(phonemes)

    def speak_alone(self, word: str) -> str:
        """Return the phonemes of a word that stands alone."""
        return self._speak(write_out(word).text)

    def find_words(self, source: str) -> list[tuple[int, int]]:
        """Return start and end of the words that pypinyin finds; a number is one."""
        written = write_out(source)
        words: list[tuple[int, int]] = []
        place = 0
        for word in self._cut(written.text):
            start, end = written.find_source(place, place + len(word))
            place += len(word)
            if not _is_han(word[0]):
                continue
            if words and start < words[-1][1]:
                words[-1] = (words[-1][0], max(end, words[-1][1]))
            else:
                words.append((start, end))
        return words

    def _split_part(
        self, part: TextPart, *, after_raw: bool, before_raw: bool
    ) -> list[list[SpokenClause]]:
        """Return the clauses of each sentence."""
        return [
            self._speak_sentence(part.content[start:end], part.start + start)
            for start, end in split_sentences(part.content, _ENDS)
        ]

    def _speak_sentence(self, source: str, start: int) -> list[SpokenClause]:
        clauses: list[SpokenClause] = []
        # Figures first: a colon can be a time's, a comma a number's.
        written = write_out(source)
        end = 0
        for first, last in split_at_pauses(written.text, _PAUSES):
            is_last = last == len(written.text)
            begin, end = end, len(source) if is_last else written.find_source(first, last)[1]
            body, marks = _cut_marks(written.text[first:last])
            phonemes = self._speak(body)
            if not any(map(_is_han, body)):
                phonemes = marks = ""
            clauses.append(
                SpokenClause(
                    source[begin:end],
                    start + begin,
                    phonemes,
                    marks.rstrip() if is_last else marks,
                    is_break=bool(phonemes) and not is_last,
                    is_ellipsis=bool(phonemes) and not is_last and ELLIPSIS in marks,
                    ends_paragraph=is_last and ends_with_blank_line(source),
                )
            )
        return clauses

    def _speak(self, text: str) -> str:
        """Return the phonemes of a text in characters, with the marks that voices know."""
        units: list[tuple[str, str]] = []
        for word in self._cut(text):
            if _is_han(word[0]):
                units += zip(word, self._read_word(word), strict=True)
            else:
                units += [(mark, "") for mark in word if mark in MARKS]
        return "".join(
            "".join(split_syllable(_find_reading(units, index))) if reading else character
            for index, (character, reading) in enumerate(units)
        )

    def _cut(self, text: str) -> Iterator[str]:
        """Yield the words, and what stands between them."""
        for is_han, characters in groupby(text, _is_han):
            stretch = "".join(characters)
            yield from self._segment.cut(stretch) if is_han else [stretch]

    def _read_word(self, word: str) -> list[str]:
        """Return the reading of each character; empty for one that pypinyin does not know."""
        if word in _READINGS:
            return [_READINGS[word]]
        readings: list[str] = self._pypinyin.lazy_pinyin(
            [word],
            style=self._pypinyin.Style.TONE3,
            neutral_tone_with_five=True,
            errors=lambda unknown: [""] * len(unknown),
        )
        return [reading if reading[:-1].islower() else "" for reading in readings]


def write_out(source: str) -> RewrittenText:
    """Return a text with its figures and Latin letters in characters."""
    half_width = [
        Edit(place, place + 1, unicodedata.normalize("NFKC", character))
        for place, character in enumerate(source)
        if "\uff01" <= character <= "\uff5e" and (character.isalnum() or character == "％")
    ]
    rewritten = RewrittenText(source).replace(half_width)
    return rewritten.replace(find_edits(rewritten.text))


def _cut_marks(text: str) -> tuple[str, str]:
    """Return a clause without what stands around its words, and the marks after them."""
    body = text.rstrip(f"{MARKS}{_SILENT}")
    marks = "".join(mark for mark in text[len(body) :] if mark in MARKS)
    return body.lstrip(f" {_SILENT}"), marks


def _find_reading(units: list[tuple[str, str]], index: int) -> str:
    """Return the reading of a character in its place: 一 and 不 change their tone."""
    character, reading = units[index]
    before = units[index - 1][0] if index else ""
    after, reading_after = units[index + 1] if index + 1 < len(units) else ("", "")
    tone_after = reading_after[-1:]
    if character == "不" and reading != "bu5":
        return "bu2" if tone_after == "4" else "bu4"
    if character == "一":
        if not tone_after or before in (*_NUMERALS, "第") or after in (*_NUMERALS, *"月号"):
            return "yi1"
        if before == after:  # 看一看
            return "yi5"
        return "yi2" if tone_after in "45" else "yi4"
    return reading


def _is_han(character: str) -> bool:
    return character == "〇" or unicodedata.category(character) == "Lo"
