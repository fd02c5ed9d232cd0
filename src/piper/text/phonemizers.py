"""The one registry of what turns texts into phonemes."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Container
from typing import Protocol

from piper.config import PhonemeType, Phonemizer
from piper.errors import PhonemizeError
from piper.text import sentence
from piper.text.espeak import Espeak
from piper.text.markup import TextPart, split_raw_phonemes
from piper.text.sentence import SpokenClause, group_clauses


class TextPhonemizer(Protocol):
    """What turns a text into sentences of phonemes.

    Attributes:
        phonemizer: The program and its version, as a voice's JSON has it.
        padded: Phonemes that PAD follows in the ids, none after BOS; None: all of them, and BOS.
    """

    phonemizer: Phonemizer
    padded: Container[str] | None

    def split_clauses(self, text: str) -> list[list[SpokenClause]]:
        """Return the clauses of each sentence; sentences that say nothing are allowed."""
        ...

    def speak_alone(self, word: str) -> str:
        """Return the phonemes of a word that stands alone."""
        ...

    def find_words(self, source: str) -> list[tuple[int, int]]:
        """Return start and end of each word of a clause, without the punctuation around it."""
        ...

    def split_phonemes(self, phonemes: str) -> list[str]:
        """Return the phonemes that a voice's `phoneme_id_map` has ids for, one by one."""
        ...


class CodePointPhonemes:
    """Phonemes that are single code points (NFD), and words with spaces between them."""

    padded: Container[str] | None = None

    def find_words(self, source: str) -> list[tuple[int, int]]:
        """Return start and end of what stands between spaces."""
        return sentence.find_words(source)

    def split_phonemes(self, phonemes: str) -> list[str]:
        """Return the code points."""
        return list(unicodedata.normalize("NFD", phonemes))


class MarkedTextPhonemizer(CodePointPhonemes, ABC):
    """A phonemizer of texts in which `[[ raw phonemes ]]` are taken as they are."""

    def split_clauses(self, text: str) -> list[list[SpokenClause]]:
        """Return the clauses of each sentence.

        Raw phonemes end no sentence: what stands before and after them is one with them.
        """
        sentences: list[list[SpokenClause]] = []
        parts = split_raw_phonemes(text)
        for index, part in enumerate(parts):
            is_joined = index > 0
            if part.is_phonemes:
                new = [[SpokenClause(part.source, part.start, part.content, is_raw=True)]]
            else:
                new = self._split_part(part, after_raw=is_joined, before_raw=index + 1 < len(parts))
            if is_joined and sentences and new:
                sentences[-1] += new.pop(0)
            sentences.extend(new)
        return sentences

    @abstractmethod
    def _split_part(
        self, part: TextPart, *, after_raw: bool, before_raw: bool
    ) -> list[list[SpokenClause]]:
        """Return the clauses of each sentence of a part without raw phonemes.

        Args:
            part: The part; its places count from the start of the whole text.
            after_raw: Whether raw phonemes stand before it.
            before_raw: Whether raw phonemes follow, so that its last sentence goes on.
        """


# The languages of phoneme types whose libraries need a compiler or a download, or are not kept up.
_UNSUPPORTED = {PhonemeType.HEBREW: "Hebrew", PhonemeType.THAI: "Thai"}


class EspeakTextPhonemizer(MarkedTextPhonemizer):
    """Phonemes by espeak-ng, with `[[ raw phonemes ]]` taken as they are.

    Raises:
        PhonemizeError: espeak-ng cannot be loaded, or lacks the voice.
    """

    def __init__(self, espeak_voice: str, espeak: Espeak | None = None) -> None:
        self._espeak = espeak or Espeak()
        self._voice = espeak_voice
        self._espeak.check_voice(espeak_voice)
        self.phonemizer = Phonemizer("espeak-ng", self._espeak.version)

    def speak_alone(self, word: str) -> str:
        """Return the phonemes of a word that stands alone."""
        clauses = self._espeak.translate(self._voice, word)
        return " ".join(clause.phonemes for clause in clauses)

    def _split_part(
        self, part: TextPart, *, after_raw: bool, before_raw: bool
    ) -> list[list[SpokenClause]]:
        """Return the clauses; beside raw phonemes one space is kept where there is any."""
        clauses = self._espeak.translate(self._voice, part.content)
        sentences = group_clauses(clauses, part.start) or [[]]
        if after_raw and part.content.startswith(" "):
            sentences[0].insert(0, SpokenClause("", part.start, "", " "))
        if before_raw and part.content.endswith(" "):
            end = part.start + len(part.content)
            sentences[-1].append(SpokenClause("", end, "", " "))
        return sentences


class CodePointPhonemizer(CodePointPhonemes):
    """Phonemes that are the text's own code points, in one sentence."""

    phonemizer = Phonemizer("text", "NFD")

    def split_clauses(self, text: str) -> list[list[SpokenClause]]:
        """Return the text as one clause."""
        return [[SpokenClause(text, 0, text)]]

    def speak_alone(self, word: str) -> str:
        """Return the word."""
        return word


class RawPhonemizer(MarkedTextPhonemizer):
    """Phonemes that are given as `[[ raw phonemes ]]`; any other text is refused.

    Args:
        language: Whose texts they are.
    """

    phonemizer = Phonemizer("raw", "NFD")

    def __init__(self, language: str) -> None:
        self._language = language

    def speak_alone(self, word: str) -> str:
        """Return nothing: no word has phonemes by itself."""
        return ""

    def _split_part(
        self, part: TextPart, *, after_raw: bool, before_raw: bool
    ) -> list[list[SpokenClause]]:
        """Return the part, which is to hold no letters, as a clause that says nothing.

        Raises:
            PhonemizeError: It holds letters.
        """
        if any(character.isalnum() for character in part.content):
            raise PhonemizeError(
                f"{self._language} texts cannot be turned into phonemes here; write the phonemes "
                "that the voice was trained on between double brackets, as in [[ʃalˈom]]."
            )
        return [[SpokenClause(part.content, part.start, "")]]


def create_phonemizer(
    phoneme_type: PhonemeType, espeak_voice: str, espeak: Espeak | None
) -> TextPhonemizer:
    """Create the phonemizer of a phoneme type.

    Raises:
        PhonemizeError: espeak-ng lacks the voice or cannot be loaded, or the library of the phoneme
            type is not installed.
    """
    if phoneme_type == PhonemeType.TEXT:
        return CodePointPhonemizer()
    if phoneme_type == PhonemeType.PINYIN:
        from piper.text.chinese import PinyinPhonemizer

        return PinyinPhonemizer()
    if phoneme_type == PhonemeType.JAPANESE:
        from piper.text.japanese import JapanesePhonemizer

        return JapanesePhonemizer()
    if phoneme_type in _UNSUPPORTED:
        return RawPhonemizer(_UNSUPPORTED[phoneme_type])
    return EspeakTextPhonemizer(espeak_voice, espeak)


_BLANK_LINE = r"\n[^\S\n]*\n\s*"
_CLOSERS = r"[\s\"'”’」』）)】》〉〕\]}]"


def split_sentences(text: str, ends: str) -> list[tuple[int, int]]:
    """Return start and end of each sentence; together they are the text.

    Args:
        text: The text.
        ends: A pattern of what ends a sentence; a blank line always does.
    """
    sentences: list[tuple[int, int]] = []
    start = 0
    for match in re.finditer(rf"(?:{ends})+{_CLOSERS}*|{_BLANK_LINE}", text):
        sentences.append((start, match.end()))
        start = match.end()
    return [*sentences, (start, len(text))] if start < len(text) else sentences


def ends_with_blank_line(source: str) -> bool:
    """Tell whether a blank line ends a stretch of text."""
    return re.search(rf"{_BLANK_LINE}$", source) is not None


def split_at_pauses(source: str, pauses: str) -> list[tuple[int, int]]:
    """Return start and end of the pieces of a sentence; a piece ends with its pause.

    Args:
        source: The sentence.
        pauses: A pattern of what stands between two pieces.
    """
    pieces: list[tuple[int, int]] = []
    start = 0
    for match in re.finditer(rf"(?:{pauses})+[^\S\n]*", source):
        if re.search(r"\w", source[start : match.start()]) and re.search(
            r"\w", source[match.end() :]
        ):
            pieces.append((start, match.end()))
            start = match.end()
    return [*pieces, (start, len(source))]
