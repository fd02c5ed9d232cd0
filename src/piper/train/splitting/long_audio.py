"""A long recording at the aligner's rate, and where it is quiet. Knows no texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from piper.errors import DatasetError
from piper.train.aligner.features import FRAME_SECONDS, SAMPLE_RATE
from piper.train.data.audio import FloatArray, measure_levels, smooth_levels
from piper.train.data.sound_files import check_header

BLOCK_SECONDS = 60.0
LEAST_PAUSE_SECONDS = 0.15
"""Shorter ones are stops' closures and breaths within a phrase."""
LOUD_PERCENTILE = 95
FLOOR_PERCENTILE = 2
PAUSE_SHARE = 0.35
"""Of the way from floor to loud speech, in dB: below it there is a pause."""


@dataclass(frozen=True)
class LongRecording:
    """A recording of any length.

    Attributes:
        path: The file.
        samples: (S,) at `features.SAMPLE_RATE`, channels averaged.
        source_rate: Hertz of the file.
        source_frames: Its samples, for cutting at its own rate.
    """

    path: Path
    samples: FloatArray
    source_rate: int
    source_frames: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / SAMPLE_RATE


def load_long_recording(path: Path) -> LongRecording:
    """Read a recording block by block: of an hour, 230 MB are kept.

    Raises:
        DatasetError: It is missing, cannot be decoded, or is empty.
    """
    blocks: list[FloatArray] = []
    try:
        with soundfile.SoundFile(path) as file:
            rate, frames = int(file.samplerate), 0
            check_header(rate, file.channels)
            resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
            size = round(BLOCK_SECONDS * rate)
            while len(block := file.read(size, dtype="float32", always_2d=True)):
                frames += len(block)
                mixed = np.nan_to_num(block.mean(axis=1, dtype=np.float32))
                blocks.append(resampler.resample_chunk(mixed, last=False))
            blocks.append(resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True))
    except DatasetError as error:
        raise DatasetError(f"{path} {error}.") from None
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        if not path.is_file():
            raise DatasetError(f"{path} does not exist; name a recording.") from None
        reason = str(error).rsplit(": ", maxsplit=1)[-1].rstrip(".")
        raise DatasetError(f"{path} cannot be decoded ({reason}); convert it to WAV.") from None
    samples = np.concatenate(blocks)
    if len(samples) < SAMPLE_RATE:
        raise DatasetError(f"{path} is shorter than a second; name a long recording.")
    return LongRecording(path, samples, rate, frames)


def find_pauses(samples: FloatArray) -> list[tuple[float, float]]:
    """Return start and end of each pause, in seconds, the ends of the recording included.

    Args:
        samples: (S,) at `features.SAMPLE_RATE`.
    """
    levels = smooth_levels(measure_levels(samples, SAMPLE_RATE))
    floor, loud = np.percentile(levels, [FLOOR_PERCENTILE, LOUD_PERCENTILE])
    is_quiet = levels < floor + PAUSE_SHARE * (loud - floor)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_quiet.astype(np.int8), [0]])))
    hop = FRAME_SECONDS / 2
    return [
        (float(start) * hop, float(end) * hop)
        for start, end in zip(edges[::2], edges[1::2], strict=True)
        if (end - start) * hop >= LEAST_PAUSE_SECONDS
    ]
