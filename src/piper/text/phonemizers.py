"""What turns texts into clauses of phonemes, and the one registry of it; knows no ids."""

from __future__ import annotations

from typing import Protocol

from piper.config import PhonemeType, Phonemizer
from piper.errors import PhonemizeError
from piper.text.espeak import Espeak
from piper.text.markup import TextPart, split_raw_phonemes
from piper.text.sentence import SpokenClause, group_clauses


class TextPhonemizer(Protocol):
    """What turns a text into sentences of phonemes."""

    phonemizer: Phonemizer

    def split_clauses(self, text: str) -> list[list[SpokenClause]]:
        """Return the clauses of each sentence; sentences that say nothing are allowed."""
        ...

    def speak_alone(self, word: str) -> str:
        """Return the phonemes of a word that stands alone."""
        ...


class EspeakTextPhonemizer:
    """Phonemes by espeak-ng, with `[[ raw phonemes ]]` taken as they are.

    Raises:
        PhonemizeError: espeak-ng cannot be loaded, or lacks the voice.
    """

    def __init__(self, espeak_voice: str, espeak: Espeak | None = None) -> None:
        self._espeak = espeak or Espeak()
        self._voice = espeak_voice
        self._espeak.check_voice(espeak_voice)
        self.phonemizer = Phonemizer("espeak-ng", self._espeak.version)

    def split_clauses(self, text: str) -> list[list[SpokenClause]]:
        """Return the clauses of each sentence.

        Raw phonemes end no sentence: what stands before and after them is one with them, and of the
        text beside them one space is kept on each side where there is any.
        """
        sentences: list[list[SpokenClause]] = []
        parts = split_raw_phonemes(text)
        for index, part in enumerate(parts):
            is_joined = index > 0
            new = self._part_to_sentences(
                part,
                after_raw=is_joined and parts[index - 1].is_phonemes,
                before_raw=index + 1 < len(parts) and parts[index + 1].is_phonemes,
            )
            if is_joined and sentences and new:
                sentences[-1] += new.pop(0)
            sentences.extend(new)
        return sentences

    def speak_alone(self, word: str) -> str:
        """Return the phonemes of a word that stands alone."""
        clauses = self._espeak.translate(self._voice, word)
        return " ".join(clause.phonemes for clause in clauses)

    def _part_to_sentences(
        self, part: TextPart, *, after_raw: bool, before_raw: bool
    ) -> list[list[SpokenClause]]:
        if part.is_phonemes:
            return [[SpokenClause(part.source, part.start, part.content, is_raw=True)]]
        clauses = self._espeak.translate(self._voice, part.content)
        sentences = group_clauses(clauses, part.start) or [[]]
        if after_raw and part.content.startswith(" "):
            sentences[0].insert(0, SpokenClause("", part.start, "", " "))
        if before_raw and part.content.endswith(" "):
            end = part.start + len(part.content)
            sentences[-1].append(SpokenClause("", end, "", " "))
        return sentences


class CodePointPhonemizer:
    """Phonemes that are the text's own code points, in one sentence."""

    phonemizer = Phonemizer("text", "NFD")

    def split_clauses(self, text: str) -> list[list[SpokenClause]]:
        """Return the text as one clause."""
        return [[SpokenClause(text, 0, text)]]

    def speak_alone(self, word: str) -> str:
        """Return the word."""
        return word


def create_phonemizer(
    phoneme_type: PhonemeType, espeak_voice: str, espeak: Espeak | None
) -> TextPhonemizer:
    """Create the phonemizer of a phoneme type.

    Raises:
        PhonemizeError: espeak-ng lacks the voice or cannot be loaded, or the phoneme type is not
            supported.
    """
    if phoneme_type == PhonemeType.ESPEAK:
        return EspeakTextPhonemizer(espeak_voice, espeak)
    if phoneme_type == PhonemeType.TEXT:
        return CodePointPhonemizer()
    raise PhonemizeError(
        f'The phoneme type "{phoneme_type}" is not supported; '
        f'use a voice with the type "{PhonemeType.ESPEAK}" or "{PhonemeType.TEXT}".'
    )
