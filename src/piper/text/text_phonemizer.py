"""What every kind of phonemizer can do, and `[[ raw phonemes ]]` in texts; knows no languages."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Container
from typing import Protocol

from piper.config import Phonemizer
from piper.text import words
from piper.text.markup import TextPart, split_raw_phonemes
from piper.text.sentence import SpokenClause


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
        return words.find_words(source)

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
