"""Phonemes to the units that are aligned: letters of IPA, in groups. Knows no audio, no network.

Signs of stress, length and palatalisation are left out: they stand beside a letter, take no time
of their own, and a network that sees a fifth of a second around each frame hears them anyway.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

Groups = tuple[tuple[str, ...], ...]
"""The units of words that follow each other; between two groups there may be silence."""

SILENCE = ""
"""The unit of everything that is no speech; always the first of an inventory."""


def phonemes_to_groups(phonemes: Sequence[str]) -> Groups:
    """Return the units of phonemes, a group for what stands between spaces and marks.

    Args:
        phonemes: P single code points (NFD), as `Frontend.text_to_phonemes` gives them.
    """
    groups: list[list[str]] = [[]]
    for phoneme in phonemes:
        if is_unit(phoneme):
            groups[-1].append(phoneme)
        elif not is_beside(phoneme) and groups[-1]:
            groups.append([])
    return tuple(tuple(group) for group in groups if group)


def is_unit(phoneme: str) -> bool:
    """Tell whether a phoneme takes time of its own: a letter, but no modifier."""
    category = unicodedata.category(phoneme[:1]) if phoneme else ""
    return category[:1] == "L" and category != "Lm"


def is_beside(phoneme: str) -> bool:
    """Tell whether a sign belongs to the letter next to it: stress, length, nasality."""
    return unicodedata.category(phoneme[:1]) in ("Lm", "Sk", "Mn", "Mc", "Nd")


def create_inventory(transcripts: Sequence[Groups]) -> list[str]:
    """Return the units of these texts, silence first."""
    units = {unit for groups in transcripts for group in groups for unit in group}
    return [SILENCE, *sorted(units)]
