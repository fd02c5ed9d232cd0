"""Phonemes of Chinese voices by pypinyin (extra `zh`); knows no ids.

pypinyin reads words as its dictionary has them, so `银行` and `重庆` come out right; a character
that stands alone gets its most frequent reading. 一 and 不 change their tone before others; a third
tone before a third one does not, as in the phonemes that the published voices were trained on.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Iterator
from importlib import metadata
from itertools import groupby
from typing import Any

from piper.config import Phonemizer
from piper.errors import PhonemizeError
from piper.text.chinese_numbers import find_edits
from piper.text.east_asian import ends_with_blank_line, split_at_pauses, split_sentences
from piper.text.markup import TextPart
from piper.text.pinyin_symbols import MARKS, PADDED, split_phonemes, split_syllable
from piper.text.rewrite import Edit, RewrittenText
from piper.text.sentence import ELLIPSIS, SpokenClause
from piper.text.text_phonemizer import MarkedTextPhonemizer

_ENDS = r"[。！？…]|[.!?](?=\s|$)"
_PAUSES = r"[、，,：:；;—]"
_SILENT = "\n\r\t\u3000\"'“”‘’「」『』（）()《》【】[]<>-–·~～"
_NUMERALS = "零一二三四五六七八九十"
# Where they stand alone: particles, and what is said more often than what the dictionary has.
_READINGS = {"得": "de5", "地": "de5", "谁": "shei2"}


class PinyinPhonemizer(MarkedTextPhonemizer):
    """Phonemes by pypinyin: initials, finals and tones, `ni3hao3` for 你好.

    Raises:
        PhonemizeError: The libraries are not installed.
    """

    padded: Container[str] | None = PADDED

    def __init__(self) -> None:
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
