"""The one way from text to phoneme ids, with the one registry of phonemizers; knows no audio."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from piper.config import PhonemeType, Phonemizer, VoiceConfig
from piper.errors import PhonemizeError
from piper.text import ids as phoneme_ids
from piper.text.espeak import Espeak
from piper.text.markup import TextPart, split_raw_phonemes
from piper.text.sentence import join_clauses


@dataclass(frozen=True)
class Sentence:
    """One sentence of a text.

    Attributes:
        phonemes: P phonemes, single code points (NFD).
        ids: Their ids, from BOS to EOS.
    """

    phonemes: list[str]
    ids: list[int]


class TextPhonemizer(Protocol):
    """What turns a text into sentences of phonemes."""

    phonemizer: Phonemizer

    def split_phonemes(self, text: str) -> list[str]:
        """Return one string of phonemes a sentence; empty ones are allowed."""
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

    def split_phonemes(self, text: str) -> list[str]:
        """Return one string of phonemes a sentence.

        Raw phonemes end no sentence: what stands before and after them is one with them, and of the
        text beside them one space is kept on each side where there is any.
        """
        sentences: list[str] = []
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

    def _part_to_sentences(self, part: TextPart, *, after_raw: bool, before_raw: bool) -> list[str]:
        if part.is_phonemes:
            return [part.content]
        sentences = join_clauses(self._espeak.translate(self._voice, part.content)) or [""]
        if after_raw and part.content.startswith(" "):
            sentences[0] = " " + sentences[0]
        if before_raw and part.content.endswith(" "):
            sentences[-1] += " "
        return sentences


class CodePointPhonemizer:
    """Phonemes that are the text's own code points, in one sentence."""

    phonemizer = Phonemizer("text", "NFD")

    def split_phonemes(self, text: str) -> list[str]:
        """Return the text."""
        return [text]


class Frontend:
    """From text to phoneme ids, as a voice was trained.

    Args:
        phoneme_type: How text becomes phonemes.
        espeak_voice: Voice (language) for espeak-ng; other types do not read it.
        phoneme_id_map: Phoneme (one code point) to its ids.
        phoneme_map: Phoneme (one code point) to the phonemes that replace it.
        espeak: The espeak-ng to use; None takes the one that `Espeak()` finds.

    Attributes:
        phonemizer: The program that makes the phonemes, and its version.
        missing: Phonemes that the id map lacked so far; each has been warned about once.

    Raises:
        PhonemizeError: espeak-ng lacks the voice or cannot be loaded, or the phoneme type is not
            supported.
    """

    def __init__(
        self,
        phoneme_type: PhonemeType,
        espeak_voice: str,
        phoneme_id_map: Mapping[str, Sequence[int]],
        phoneme_map: Mapping[str, Sequence[str]] | None = None,
        *,
        espeak: Espeak | None = None,
    ) -> None:
        self._text_phonemizer = _create_text_phonemizer(phoneme_type, espeak_voice, espeak)
        self.phonemizer = self._text_phonemizer.phonemizer
        self._phoneme_id_map = phoneme_id_map
        self._phoneme_map = {
            unicodedata.normalize("NFD", phoneme): unicodedata.normalize("NFD", "".join(others))
            for phoneme, others in (phoneme_map or {}).items()
        }
        self.missing: Counter[str] = Counter()

    def text_to_phonemes(self, text: str) -> list[list[str]]:
        """Return the phonemes of a text, one list of single code points (NFD) a sentence.

        A text without anything to say has no sentences.
        """
        sentences = []
        for phonemes in self._text_phonemizer.split_phonemes(text):
            if phonemes.strip():
                code_points = unicodedata.normalize("NFD", phonemes)
                sentences.append(
                    [new for old in code_points for new in self._phoneme_map.get(old, old)]
                )
        return sentences

    def phonemes_to_ids(self, phonemes: Sequence[str]) -> list[int]:
        """Return the ids of one sentence, from BOS to EOS.

        Raises:
            PhonemizeError: The voice's id map lacks BOS, PAD or EOS.
        """
        return phoneme_ids.phonemes_to_ids(phonemes, self._phoneme_id_map, self.missing)

    def text_to_sentences(self, text: str) -> list[Sentence]:
        """Return the sentences of a text, phonemes and ids."""
        return [
            Sentence(phonemes, self.phonemes_to_ids(phonemes))
            for phonemes in self.text_to_phonemes(text)
        ]


def create_frontend(config: VoiceConfig) -> Frontend:
    """Create the frontend that a voice's JSON asks for.

    Raises:
        PhonemizeError: espeak-ng lacks the voice or cannot be loaded, or the phoneme type is not
            supported.
    """
    return Frontend(
        config.phoneme_type, config.espeak_voice, config.phoneme_id_map, config.phoneme_map
    )


def sentences_to_ids(sentences: Iterable[Sentence]) -> list[int]:
    """Return the ids of a training row: the complete ids of its sentences, one after the other."""
    return [phoneme_id for sentence in sentences for phoneme_id in sentence.ids]


def _create_text_phonemizer(
    phoneme_type: PhonemeType, espeak_voice: str, espeak: Espeak | None
) -> TextPhonemizer:
    if phoneme_type == PhonemeType.ESPEAK:
        return EspeakTextPhonemizer(espeak_voice, espeak)
    if phoneme_type == PhonemeType.TEXT:
        return CodePointPhonemizer()
    raise PhonemizeError(
        f'The phoneme type "{phoneme_type}" is not supported; '
        f'use a voice with the type "{PhonemeType.ESPEAK}" or "{PhonemeType.TEXT}".'
    )
