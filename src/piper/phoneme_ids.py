"""Import path that other programs use; the id rule lives in `piper.text.frontend`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from piper.text import frontend
from piper.text.frontend import BOS, DEFAULT_PHONEME_ID_MAP, EOS, PAD

__all__ = ["BOS", "DEFAULT_PHONEME_ID_MAP", "EOS", "PAD", "phonemes_to_ids"]


def phonemes_to_ids(
    phonemes: Sequence[str], id_map: Mapping[str, Sequence[int]] | None = None
) -> list[int]:
    """Return the ids of one sentence, from BOS to EOS; None takes the default map.

    Raises:
        PhonemizeError: The map lacks BOS, PAD or EOS.
    """
    return frontend.phonemes_to_ids(phonemes, DEFAULT_PHONEME_ID_MAP if id_map is None else id_map)
