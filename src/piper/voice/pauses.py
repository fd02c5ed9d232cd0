"""Silence around sentences and between clauses, put into their sound. Knows no networks."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from piper.audio.chunk import FloatArray
from piper.config import SynthesisConfig
from piper.text.frontend import Sentence
from piper.voice.incoming import PacedSentence
from piper.voice.session import SpokenSentence
from piper.voice.settings import check_silence
from piper.voice.timing import find_phoneme_ends


class Pauses:
    """The pauses of one text, asked for sentence by sentence.

    Args:
        config: Their lengths.
        sample_rate: Hertz.
        id_map: Phoneme to ids.

    Raises:
        PiperError: A length makes no sense.
    """

    def __init__(
        self, config: SynthesisConfig, sample_rate: int, id_map: Mapping[str, Sequence[int]]
    ) -> None:
        def to_samples(name: str, seconds: float) -> int:
            check_silence(name, seconds)
            return round(seconds * sample_rate)

        self._sample_rate = sample_rate
        sentence, clause = config.sentence_silence_seconds, config.clause_silence_seconds
        paragraph, ellipsis = config.paragraph_silence_seconds, config.ellipsis_silence_seconds
        self._sentence = to_samples("sentence_silence_seconds", sentence)
        self._clause = to_samples("clause_silence_seconds", clause)
        self._paragraph = to_samples(
            "paragraph_silence_seconds", sentence if paragraph is None else paragraph
        )
        self._ellipsis = to_samples(
            "ellipsis_silence_seconds", clause if ellipsis is None else ellipsis
        )
        self._id_map = id_map
        self._previous: Sentence | None = None

    def add(self, paced: PacedSentence, spoken: SpokenSentence) -> SpokenSentence:
        """Put silence around the next sentence and inside it.

        What stands before it counts as a part of BOS, what stands after it as a part of EOS, what
        stands after a clause as a part of the clause's last phoneme, so that the ids' samples
        still add up to the sentence's.
        """
        before = round(paced.silence_before_seconds * self._sample_rate)
        after = round(paced.silence_after_seconds * self._sample_rate)
        if self._previous is not None:
            if self._previous.goes_on:
                before += self._clause
            elif self._previous.ends_paragraph or paced.begins_paragraph:
                before += self._paragraph
            else:
                before += self._sentence
        self._previous = paced.sentence
        # How long the sound is shows only at its end.
        places = Counter({0: before, sys.maxsize: after})
        id_samples = spoken.id_samples
        if id_samples is None:
            total = spoken.num_samples + places.total()
            return SpokenSentence(_insert_silence(spoken.audio, places), None, total)
        ends = np.cumsum(id_samples)
        longer = id_samples.copy()
        longer[0] += before
        longer[-1] += after
        for index, samples in self._find_inside(paced.sentence).items():
            longer[index] += samples
            places[int(ends[index])] += samples
        total = spoken.num_samples + places.total()
        return SpokenSentence(_insert_silence(spoken.audio, places), longer, total)

    def _find_inside(self, sentence: Sentence) -> dict[int, int]:
        """Return the index of the last id before each pause, and the pause's samples."""
        if not (self._clause or self._ellipsis) or not sentence.clause_breaks:
            return {}
        ends = find_phoneme_ends(sentence.phonemes, sentence.ids, self._id_map)
        if ends is None:
            return {}
        ellipses = set(sentence.ellipses)
        return {
            ends[phoneme + 1] - 1: self._ellipsis if phoneme in ellipses else self._clause
            for phoneme in sentence.clause_breaks
        }


def _insert_silence(
    pieces: Iterator[FloatArray], places: Mapping[int, int]
) -> Iterator[FloatArray]:
    """Put silence into sound that comes in pieces.

    Args:
        pieces: (S,) each.
        places: Samples of sound before a silence, and the samples of that silence.
    """
    waiting = sorted((place, length) for place, length in places.items() if length)
    start = 0
    for piece in pieces:
        parts: list[npt.NDArray[np.float32]] = []
        cut = 0
        while waiting and waiting[0][0] < start + len(piece):
            place, length = waiting.pop(0)
            parts += [piece[cut : place - start], np.zeros(length, dtype=np.float32)]
            cut = place - start
        parts.append(piece[cut:])
        yield np.concatenate(parts) if len(parts) > 1 else piece
        start += len(piece)
    for _, length in waiting:
        yield np.zeros(length, dtype=np.float32)
