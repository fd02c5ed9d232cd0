"""What is wrong with speech as a signal: clipping, clicks, an offset, silence inside words.

A click is a discontinuity of less than a millisecond. The fourth difference of the samples makes it
large beside speech, which has less and less sound the higher it gets, and it stands alone, whereas
the pulses of a voice come again within 20 ms, and the burst of a plosive or a fricative lasts. So
it is a click where the difference is several times as large as any other within 25 ms on each side.
A small click inside a loud fricative is not found, and hardly heard. Knows no files, no texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from piper.train.check.recordings import CLIPPED_RUN, FULL_SCALE
from piper.train.data.audio import (
    MIN_LEVEL_DB,
    FloatArray,
    LevelArray,
    find_speech_threshold,
    level_hop,
    measure_levels,
    smooth_levels,
)

CLICK_RATIO = 4.0
"""To the largest other difference around it: see docs/RESULTS.md, "Clicks"."""
JOINT_CLICK_RATIO = 2.0
"""At a joint, where a click is to be feared, half as much is enough."""
JOINT_SECONDS = 0.002
"""How near to a joint a click is one of it."""
NEAR_SECONDS = 0.0005
FAR_SECONDS = 0.025
LEAST_CLICK = 0.02
"""Of the speech's peak, -34 dB."""
IMPULSE_GAIN = 6.0
"""The fourth difference of a single sample of 1."""
LEAST_NEIGHBOUR = 1e-4
"""Three steps of 16 bits: rounding stands in for silence."""
LEAST_SILENCE_SECONDS = 0.2
"""Between the pauses of 150 recordings of festvox-ru, as people marked them, none is longer than
0.14 s: the closures of stops."""

Stretch = tuple[float, float]
"""Where something begins and ends, in seconds."""


@dataclass(frozen=True)
class SignalMeasures:
    """What is measured of speech as a signal.

    Attributes:
        clipped_share: Percent of the samples that are, or will be in 16 bits, at full scale: all
            beyond it, and those in runs of three and more.
        clicks_seconds: When there are clicks.
        dc_offset: Mean of the samples in percent of full scale.
        level_db: Of the speech without its pauses, in dB of full scale.
    """

    clipped_share: float
    clicks_seconds: tuple[float, ...]
    dc_offset: float
    level_db: float


def measure_signal(
    samples: FloatArray, rate: int, joints_seconds: Sequence[float] = ()
) -> SignalMeasures:
    """Measure speech as a signal.

    Args:
        samples: (S,), 1 is full scale; speech may go beyond it before it becomes 16 bits.
        rate: Hertz.
        joints_seconds: Where pieces were put together: less is a click there.
    """
    if len(samples) == 0:
        return SignalMeasures(0.0, (), 0.0, MIN_LEVEL_DB)
    levels = measure_levels(samples, rate)
    smooth = smooth_levels(levels)
    active = levels[smooth > find_speech_threshold(smooth)]
    power = np.mean(10 ** ((active if len(active) else levels) / 10))
    return SignalMeasures(
        clipped_share=100.0 * _find_clipped_share(samples),
        clicks_seconds=tuple(_find_clicks(samples, rate, joints_seconds)),
        dc_offset=100.0 * float(np.mean(samples, dtype=np.float64)),
        level_db=float(10 * np.log10(power)),
    )


def find_silent_speech(
    samples: FloatArray, rate: int, words: Sequence[Stretch]
) -> tuple[Stretch, ...]:
    """Return where words are silent for 0.2 s and more.

    Args:
        samples: (S,), 1 is full scale.
        rate: Hertz.
        words: Where each lies, in seconds.
    """
    if len(samples) == 0:
        return ()
    levels = smooth_levels(measure_levels(samples, rate))
    is_silent = levels <= find_speech_threshold(levels)
    hop_seconds = level_hop(rate) / rate
    found: list[Stretch] = []
    for start, end in words:
        first, last = (max(0, round(seconds / hop_seconds)) for seconds in (start, end))
        edges = np.flatnonzero(np.diff(is_silent[first:last].astype(int), prepend=0, append=0))
        for begin, stop in edges.reshape(-1, 2) + first:
            if (stop - begin) * hop_seconds >= LEAST_SILENCE_SECONDS:
                found.append((float(begin * hop_seconds), float(stop * hop_seconds)))
    return tuple(found)


def _find_clipped_share(samples: FloatArray) -> float:
    """Return the share of samples beyond full scale, or in runs at it."""
    sizes = np.abs(samples)
    is_clipped = sizes > 1.0
    is_full = sizes >= FULL_SCALE
    runs = len(samples) - CLIPPED_RUN + 1
    if runs > 0:
        is_run = np.lib.stride_tricks.sliding_window_view(is_full, CLIPPED_RUN).all(axis=1)
        for offset in range(CLIPPED_RUN):
            is_clipped[offset : offset + runs] |= is_run
    return float(is_clipped.mean())


def _find_clicks(samples: FloatArray, rate: int, joints_seconds: Sequence[float]) -> list[float]:
    """Return when there are clicks, in seconds."""
    peak = float(np.abs(samples).max())
    sizes, ratios = _isolate(np.asarray(samples, dtype=np.float64), rate)
    least = np.full(len(samples), CLICK_RATIO)
    reach = round(JOINT_SECONDS * rate)
    for joint in joints_seconds:
        middle = round(joint * rate)
        least[max(0, middle - reach) : middle + reach + 1] = JOINT_CLICK_RATIO
    places = np.flatnonzero((sizes > IMPULSE_GAIN * LEAST_CLICK * peak) & (ratios > least))
    # A click is a few samples.
    starts = places[np.diff(places, prepend=-rate) > NEAR_SECONDS * rate]
    return [float(start) / rate for start in starts]


def _isolate(samples: LevelArray, rate: int) -> tuple[LevelArray, npt.NDArray[np.float64]]:
    """Return fourth differences, (S,), and each beside the largest of those around it, (S,)."""
    from scipy.ndimage import maximum_filter1d

    # As if the sound went on as it begins and ends: its edges are no clicks.
    sizes = np.abs(np.diff(np.pad(samples, 2, mode="edge"), 4))
    near, far = round(NEAR_SECONDS * rate), round(FAR_SECONDS * rate)
    highest = np.pad(maximum_filter1d(sizes, far - near + 1, mode="constant"), far)
    middle = (near + far) // 2
    before = highest[far - middle : far - middle + len(sizes)]
    after = highest[far + middle : far + middle + len(sizes)]
    return sizes, sizes / (np.maximum(before, after) + LEAST_NEIGHBOUR)
