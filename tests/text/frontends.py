"""Frontends of espeak-ng's voices, and what they make of a text in a form to compare."""

from __future__ import annotations

from typing import Any

from piper.config import PhonemeType
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.text.frontend import Frontend, Sentence


def create_espeak(voice: str = "en-us", **options: Any) -> Frontend:
    return Frontend(PhonemeType.ESPEAK, voice, DEFAULT_PHONEME_ID_MAP, **options)


def to_strings(frontend: Frontend, text: str) -> list[str]:
    """Return the phonemes of each sentence."""
    return ["".join(phonemes) for phonemes in frontend.text_to_phonemes(text)]


def to_pairs(sentence: Sentence) -> list[tuple[str, str]]:
    """Return the words as written, each with its phonemes."""
    return [
        (word.text, "".join(sentence.phonemes[word.first_phoneme : word.last_phoneme]))
        for word in sentence.words
    ]
