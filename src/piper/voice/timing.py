"""Durations of ids to times of phonemes and words. Knows nothing of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from piper.audio.chunk import PhonemeAlignment, WordTiming
from piper.text.ids import BOS, EOS, PAD
from piper.text.words import Word


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


def find_phoneme_ends(
    phonemes: Sequence[str], ids: Sequence[int], id_map: Mapping[str, Sequence[int]]
) -> list[int] | None:
    """Return for BOS and each phoneme the number of ids up to its end, pads after it included.

    A phoneme that the map lacks ends where the one before it ends. None where the ids are not
    those of the phonemes.
    """
    alignments = ids_to_alignments(phonemes, ids, np.zeros(len(ids), dtype=np.int64), id_map)
    if alignments is None:
        return None
    lengths = iter([len(alignment.phoneme_ids) for alignment in alignments])
    own = [next(lengths), *(next(lengths) if p in id_map else 0 for p in phonemes)]
    return [int(end) for end in np.cumsum(own)]


def words_to_timings(
    words: Sequence[Word],
    phoneme_ends: Sequence[int],
    id_samples: npt.NDArray[np.int64],
    sample_rate: int,
) -> list[WordTiming]:
    """Say when each word of a sentence is spoken.

    Args:
        words: The words with their phonemes.
        phoneme_ends: As `find_phoneme_ends` returned them.
        id_samples: (P,) samples of each id.
        sample_rate: Hertz.
    """
    seconds = np.concatenate([[0], np.cumsum(id_samples)]) / sample_rate
    return [
        WordTiming(
            word.text,
            float(seconds[phoneme_ends[word.first_phoneme]]),
            float(seconds[phoneme_ends[word.last_phoneme]]),
        )
        for word in words
    ]
