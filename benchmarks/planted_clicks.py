"""How many planted clicks `evaluate/signal` finds, and how often it errs: a table, then JSON.

Into each recording of a dataset, or each of its sentences as a voice speaks it, a click is planted
at a random place of its middle: one sample, or a step that fades away in 10 ms. Its size is a share
of the recording's peak. Once it is looked for anywhere, once as if pieces were joined there. False
alarms are recordings in which a click is found though none was planted, and joints without one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from piper.train.data.audio import decode
from piper.train.data.metadata import load_metadata
from piper.train.evaluate.measuring import measure_signal

SIZES = (0.05, 0.1, 0.2, 0.4)
FADING_SECONDS = 0.01
FOUND_SECONDS = 0.001
FloatArray = npt.NDArray[np.float32]


def plant(samples: FloatArray, rate: int, place: int, size: float, kind: str) -> FloatArray:
    """Return a recording with a click of a share of its peak."""
    spoilt = samples.copy()
    height = np.float32(size * np.abs(samples).max())
    if kind == "sample":
        spoilt[place] += height
    else:
        times = np.arange(len(samples) - place, dtype=np.float32) / rate
        spoilt[place:] += height * np.exp(-times / np.float32(FADING_SECONDS))
    return spoilt


def read_speech(dataset: Path, limit: int, model: Path | None) -> Iterator[tuple[FloatArray, int]]:
    """Yield recordings, or their texts as a voice speaks them, and their rates."""
    rows = load_metadata(dataset / "metadata.csv", dataset / "wavs")[:limit]
    if model is None:
        for row in rows:
            decoded = decode(row.audio_path)
            yield decoded.mix(), decoded.sample_rate
        return
    from piper import PiperVoice

    voice = PiperVoice.load(model)
    for row in rows:
        chunks = [chunk.audio_float_array for chunk in voice.synthesize(row.text)]
        yield np.concatenate(chunks), voice.config.sample_rate


def measure(speech: Iterator[tuple[FloatArray, int]]) -> dict[str, int]:
    """Return counts by name."""
    counts: Counter[str] = Counter()
    random = np.random.default_rng(1)
    for samples, rate in speech:
        place = int(random.uniform(0.15, 0.85) * len(samples))
        seconds = place / rate
        own = len(measure_signal(samples, rate).clicks_seconds)
        counts["recordings"] += 1
        counts["false alarms"] += own > 0
        at_joint = len(measure_signal(samples, rate, [seconds]).clicks_seconds)
        counts["false alarms at joints"] += at_joint > own
        for kind in ("sample", "step"):
            for size in SIZES:
                spoilt = plant(samples, rate, place, size, kind)
                for name, joints in (("", ()), (" at a joint", (seconds,))):
                    clicks = measure_signal(spoilt, rate, joints).clicks_seconds
                    is_found = any(abs(click - seconds) < FOUND_SECONDS for click in clicks)
                    counts[f"{kind} of {size:.2f}{name}"] += is_found
    return dict(counts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True, help="config.json, metadata.csv")
    parser.add_argument("--limit", type=int, default=100, help="default: %(default)s recordings")
    parser.add_argument("--model", type=Path, help="a voice that speaks the texts instead")
    args = parser.parse_args()
    counts = measure(read_speech(args.dataset, args.limit, args.model))
    for name, count in counts.items():
        share = f"  {100 * count / counts['recordings']:5.1f} %" if name != "recordings" else ""
        print(f"{name:28}{count:6}{share}")
    print(json.dumps(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
