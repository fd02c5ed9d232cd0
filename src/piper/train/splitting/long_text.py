"""A long text as words with their places, units and pauses. Knows no audio."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from piper.errors import DatasetError
from piper.text.frontend import Frontend, Sentence
from piper.train.aligner.units import Groups, is_unit


class Pause(IntEnum):
    """What follows a word; the longer the pause that readers make there, the higher."""

    NONE = 0
    CLAUSE = 1
    SENTENCE = 2
    PARAGRAPH = 3


@dataclass(frozen=True)
class LongWord:
    """A word of the text.

    Attributes:
        start: Place of its first character.
        end: Place after its last character.
        units: What of it takes time; empty where it is only written.
        pause: What follows it.
    """

    start: int
    end: int
    units: tuple[str, ...]
    pause: Pause


@dataclass(frozen=True)
class LongText:
    """A text and its words.

    Attributes:
        text: As it is in the file.
        words: In order, at least one.
    """

    text: str
    words: list[LongWord]

    @property
    def groups(self) -> Groups:
        """The words' units."""
        return tuple(word.units for word in self.words)

    @property
    def open_gaps(self) -> set[int]:
        """Words before which something may be said that the text lacks: after marks, at the ends.

        Elsewhere a short word would be found in speech that is not its own.
        """
        after_marks = (n + 1 for n, word in enumerate(self.words) if word.pause is not Pause.NONE)
        return {0, len(self.words), *after_marks}

    def excerpt(self, first: int, last: int) -> str:
        """Return the text of words `first` to `last - 1`, on one line, their punctuation included.

        A sign belongs to the word that it touches: what opens a quotation or a bracket to the word
        after it, all else to the word before.
        """
        start = 0 if first == 0 else self._find_border(first)
        end = len(self.text) if last == len(self.words) else self._find_border(last)
        # A dash that a line of speech begins with, or that stands between two pieces, is not said.
        return " ".join(self.text[start:end].split()).strip(" -–—")

    def _find_border(self, index: int) -> int:
        """Return where the text of the words from `index` on begins."""
        before, start = self.words[index - 1].end, self.words[index].start
        between = self.text[before:start]
        space = max(between.rfind(sign) for sign in (" ", "\n", "\t", "\u00a0"))
        return before + space + 1 if space >= 0 else start


def read_long_text(text: str, frontend: Frontend) -> LongText:
    """Return the words of a text.

    Args:
        text: Of any length.
        frontend: Of the language.

    Raises:
        DatasetError: Nothing in it is spoken.
    """
    words: list[LongWord] = []
    place = 0
    for sentence in frontend.text_to_sentences(text):
        place = text.find(sentence.text, place)
        words += _read_sentence(sentence, place)
        place += len(sentence.text)
    if not any(word.units for word in words):
        raise DatasetError("The text holds no words; write what is said in the recording.")
    return LongText(text, words)


def _read_sentence(sentence: Sentence, place: int) -> list[LongWord]:
    words = []
    for index, word in enumerate(sentence.words):
        phonemes = sentence.phonemes[word.first_phoneme : word.last_phoneme]
        units = tuple(phoneme for phoneme in phonemes if is_unit(phoneme))
        following = (
            sentence.words[index + 1].first_phoneme
            if index + 1 < len(sentence.words)
            else len(sentence.phonemes)
        )
        is_break = any(
            word.last_phoneme - 1 <= place_of_break < following
            for place_of_break in sentence.clause_breaks
        )
        pause = Pause.CLAUSE if is_break else Pause.NONE
        if index + 1 == len(sentence.words):
            pause = Pause.PARAGRAPH if sentence.ends_paragraph else Pause.SENTENCE
        words.append(LongWord(place + word.start, place + word.end, units, pause))
    return words
