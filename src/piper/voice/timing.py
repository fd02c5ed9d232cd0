"""Durations of ids to durations of phonemes. Knows nothing of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from piper.audio.chunk import PhonemeAlignment
from piper.text.ids import BOS, EOS, PAD


def ids_to_alignments(
    phonemes: Sequence[str],
    ids: Sequence[int],
    id_samples: npt.NDArray[np.int64],
    id_map: Mapping[str, Sequence[int]],
) -> list[PhonemeAlignment] | None:
    """Say how long each phoneme of a sentence lasts, BOS and EOS included.

    Args:
        phonemes: The sentence's phonemes; those that the map lacks were dropped and get nothing.
        ids: (P,) what the phonemes became.
        id_samples: (P,) samples of each id.
        id_map: Phoneme to ids.

    Returns:
        One entry a phoneme, the pads after it counted in; their samples add up to the sentence's.
        None where the ids are not those of the phonemes.
    """
    if len(ids) != len(id_samples):
        return None
    pad = list(id_map.get(PAD, ()))
    alignments: list[PhonemeAlignment] = []
    start = 0
    for symbol in (BOS, *(phoneme for phoneme in phonemes if phoneme in id_map), EOS):
        own = list(id_map.get(symbol, ()))
        end = start + len(own)
        if list(ids[start:end]) != own:
            return None
        while pad and list(ids[end : end + len(pad)]) == pad:
            end += len(pad)
        alignments.append(
            PhonemeAlignment(symbol, list(ids[start:end]), int(id_samples[start:end].sum()))
        )
        start = end
    return alignments if start == len(ids) else None
