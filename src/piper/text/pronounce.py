"""Gives words other phonemes than the phonemizer's, for stress and lexicon; knows no ids."""

from __future__ import annotations

import logging
from dataclasses import replace

from piper.text.prepare import PreparedText
from piper.text.sentence import SpokenClause
from piper.text.stress_vowels import VOWELS, move_stress
from piper.text.text_phonemizer import TextPhonemizer
from piper.text.words import share_phonemes

_LOGGER = logging.getLogger(__name__)


def pronounce(
    clause: SpokenClause, prepared: PreparedText, phonemizer: TextPhonemizer
) -> SpokenClause:
    """Return a clause with the phonemes and stresses that the prepared text asks for.

    Args:
        clause: A clause of the prepared text.
        prepared: The text with its stresses and given phonemes.
        phonemizer: What gave the clause its phonemes.
    """
    first, last = clause.start, clause.start + len(clause.source)
    stressed = [place - first for place in prepared.stressed if first <= place < last]
    given = [
        (edit.start - first, edit.end - first, edit.text)
        for edit in prepared.phonemes
        if first <= edit.start < last
    ]
    if clause.is_raw or not (stressed or given):
        return clause
    words = phonemizer.find_words(clause.source)
    alone = [phonemizer.speak_alone(clause.source[start:end]) for start, end in words]
    words = [word for word, spoken in zip(words, alone, strict=True) if spoken.strip()]
    shares = share_phonemes(clause.phonemes, [spoken for spoken in alone if spoken.strip()])
    said: dict[tuple[int, int], str] = {}
    result, end = "", 0
    for word, (share_start, share_end) in zip(words, shares, strict=True):
        old = clause.phonemes[share_start:share_end]
        new = _find_given(word, given)
        if new is None:
            new = _stress_word(clause.source[slice(*word)], word[0], old, stressed)
        if new != old:
            said[word] = new
        result += clause.phonemes[end:share_start] + new
        end = share_end
    return replace(clause, phonemes=result + clause.phonemes[end:], said=said)


def _find_given(word: tuple[int, int], given: list[tuple[int, int, str]]) -> str | None:
    """Return the phonemes that a word is given; of several words that are one entry the first."""
    for start, end, phonemes in given:
        if start < word[1] and word[0] < end:
            return phonemes if word[0] <= start else ""
    return None


def _stress_word(word: str, start: int, phonemes: str, stressed: list[int]) -> str:
    for place in stressed:
        if start <= place < start + len(word):
            before = sum(letter.lower() in VOWELS for letter in word[: place - start])
            moved = move_stress(word, phonemes, before)
            if moved is None:
                # Once for a word, and short: whose text this is may be a stranger.
                _LOGGER.warning(
                    "The stress of %.60r cannot be moved: its letters and phonemes (%.60s) do not "
                    "pair; write it as [[phonemes]].",
                    word,
                    phonemes,
                )
                break
            phonemes = moved
    return phonemes
