"""What is asked of a measurement, and what it says: plain data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from piper.files import parse_json_object


@dataclass(frozen=True)
class CostRequest:
    """A training whose cost is asked for.

    Attributes:
        quality: Name of the preset.
        sample_rate: Hertz.
        num_symbols: Rows of the phoneme embedding.
        num_speakers: 1 means no speaker embedding.
        batch_size: Utterances of a batch.
        mean_frames: Of the training utterances.
        longest_frames: Of the longest one: a batch is padded to its longest.
        ids_per_frame: Phoneme ids, padding included, to a frame.
    """

    quality: str
    sample_rate: int
    num_symbols: int
    num_speakers: int
    batch_size: int
    mean_frames: int
    longest_frames: int
    ids_per_frame: float

    def to_json(self) -> str:
        """Return it in one line."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> CostRequest:
        """Read what `to_json` wrote."""
        return cls(**parse_json_object(text, "a request"))


@dataclass(frozen=True)
class MeasuredStep:
    """One update that was taken.

    Attributes:
        utterances: Of its batch, all of the same length.
        frames: Of each.
        seconds: It took.
        processor_seconds: Of all cores; what a GPU does is not among them.
        peak_bytes: The most memory until then: of the process, or of the GPU's allocator; 0 where
            it cannot be told.
    """

    utterances: int
    frames: int
    seconds: float
    processor_seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Measurement:
    """What a process measured.

    Attributes:
        device: `cpu`, or the GPU's name.
        threads: That torch computes with on a CPU.
        total_bytes: The GPU's memory; 0 for a CPU, whose free memory changes.
        steps: In the order they were taken in; the first one only warms up.
    """

    device: str
    threads: int
    total_bytes: int
    steps: tuple[MeasuredStep, ...]
