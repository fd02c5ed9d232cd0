"""What a voice gives: the speech of a sentence, or a piece of it, with its times; and its samples.

Shapes: S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Int16Array = npt.NDArray[np.int16]
Samples = FloatArray | Int16Array
"""(S,), float between -1 and 1, or 16-bit."""

_MAX_INT16 = 32767
SAMPLE_WIDTH_BYTES = 2
SAMPLE_CHANNELS = 1


def float_to_int16(samples: npt.ArrayLike) -> Int16Array:
    """Turn samples between -1 and 1 into 16-bit ones; what lies outside is clipped.

    Full scale is 32,767 on both sides, so that silence stays 0 and a sign's flip is exact.
    """
    scaled = np.rint(np.asarray(samples, dtype=np.float32) * _MAX_INT16)
    return np.clip(scaled, -_MAX_INT16, _MAX_INT16).astype(np.int16)


def int16_to_float(samples: Int16Array) -> FloatArray:
    """Turn 16-bit samples into float ones between -1 and 1."""
    return samples.astype(np.float32) / np.float32(_MAX_INT16)


def to_int16(samples: Samples) -> Int16Array:
    """Return samples as 16-bit ones."""
    array = np.asarray(samples)
    return array.astype(np.int16, copy=False) if array.dtype.kind == "i" else float_to_int16(array)


def samples_to_pcm(samples: Samples) -> bytes:
    """Return samples as little-endian 16-bit bytes."""
    return to_int16(samples).astype("<i2", copy=False).tobytes()


@dataclass(frozen=True)
class PhonemeAlignment:
    """How long one phoneme lasts.

    Attributes:
        phoneme: The phoneme, one code point.
        phoneme_ids: The ids that stand for it, the pad after it included.
        num_samples: Its length in samples.
    """

    phoneme: str
    phoneme_ids: Sequence[int]
    num_samples: int


@dataclass(frozen=True)
class WordTiming:
    """When one word is spoken, in seconds from the beginning of its sentence."""

    text: str
    start_seconds: float
    end_seconds: float


class _Sound:
    """What chunks of both kinds make of their float samples."""

    sample_rate: int
    audio_float_array: FloatArray

    @cached_property
    def duration_seconds(self) -> float:
        """Length in seconds."""
        return len(self.audio_float_array) / self.sample_rate

    @cached_property
    def audio_int16_array(self) -> Int16Array:
        """(S,) 16-bit samples."""
        return float_to_int16(self.audio_float_array)

    @cached_property
    def audio_int16_bytes(self) -> bytes:
        """The 16-bit samples as little-endian bytes."""
        return samples_to_pcm(self.audio_int16_array)


@dataclass
class AudioChunk(_Sound):
    """The speech of one sentence.

    Attributes:
        sample_rate: Hertz.
        sample_width: Bytes of a sample in `audio_int16_bytes`.
        sample_channels: Channels; a voice gives one.
        audio_float_array: (S,) float32 between -1 and 1.
        phonemes: The sentence's phonemes.
        phoneme_ids: The ids that the network was given, BOS … EOS.
        phoneme_id_samples: (P,) int64, samples of each id, where the voice gives durations and
            they were asked for.
        phoneme_alignments: The same for each phoneme.
        text: The sentence's text, where it is known.
        word_timings: When each of its words is spoken, where the voice gives durations and they
            were asked for.
    """

    sample_rate: int
    sample_width: int
    sample_channels: int
    audio_float_array: FloatArray
    phonemes: list[str]
    phoneme_ids: list[int]
    phoneme_id_samples: npt.NDArray[np.int64] | None = None
    phoneme_alignments: list[PhonemeAlignment] | None = None
    text: str = ""
    word_timings: list[WordTiming] | None = None


@dataclass(frozen=True)
class StreamChunk(_Sound):
    """The next piece of speech, a part of a sentence.

    Attributes:
        sample_rate: Hertz.
        audio_float_array: (S,) float32 between -1 and 1.
        sentence: Number of the sentence that it belongs to, from 0.
        is_first: Whether it begins that sentence.
        text: The sentence's text, where it is known.
        phoneme_alignments: With the first piece, where asked for and the voice says them: how long
            each phoneme of the whole sentence lasts.
        word_timings: Likewise, when each word is spoken, from the sentence's beginning.
        total_samples: Of the whole text, where they were planned.
    """

    sample_rate: int
    audio_float_array: FloatArray
    sentence: int
    is_first: bool
    text: str = ""
    phoneme_alignments: list[PhonemeAlignment] | None = None
    word_timings: list[WordTiming] | None = None
    total_samples: int | None = None
