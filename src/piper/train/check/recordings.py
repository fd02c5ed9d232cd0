"""What is measured of one recording. Knows no rules and no thresholds.

One decode a file; 10 s at 16 kHz take some 4 ms of one core.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from piper.errors import DatasetError
from piper.train.check.bandwidth import find_bandwidth
from piper.train.check.containers import has_all_data
from piper.train.check.entries import AudioMeasures
from piper.train.data.audio import (
    FLOOR_PERCENTILE,
    MIN_LEVEL_DB,
    DecodedAudio,
    FloatArray,
    LevelArray,
    decode,
    find_speech_threshold,
    level_hop,
    measure_levels,
    smooth_levels,
)

FULL_SCALE = 0.999
"""32 of 32,768 steps below it: where limiters and converters of 8 bits to 16 stop."""
OWN_SCALE = 0.9995
"""Of the peak: a clipped recording that was turned down has its flat tops there. In 1,763 real
recordings (festvox-ru and telephone prompts) not one sample is in a run so near to its peak."""
LEAST_PEAK = 0.05
"""In quieter recordings one step of 16 bits is wider than what `OWN_SCALE` leaves."""
CLIPPED_RUN = 3
LEVELS = 30
"""Steps of level that samples are counted in, up to a fifth above all but the loudest of them."""
LOUDEST_PART = 1000
LEAST_SHARE = 0.002
"""Of the samples, in a step of level that counts: rarer ones rise by chance."""
CROWDING_SECONDS = 2.0
"""Of 2,114 stretches of half a second of real speech 5 % crowd by chance at more than 1.15, of 544
of two seconds none."""
OUTLINE_PIECES = 300
OUTLINE_DIGITS = 3


def measure_recording(path: Path) -> AudioMeasures:
    """Measure a recording.

    Raises:
        DatasetError: The file cannot be decoded, is empty, or holds NaN.
    """
    decoded = decode(path)
    try:
        is_whole = has_all_data(path, decoded)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); replace it.") from None
    return measure_decoded(decoded, is_whole=is_whole)


def measure_decoded(decoded: DecodedAudio, *, is_whole: bool = True) -> AudioMeasures:
    """Measure a recording that was decoded.

    Args:
        decoded: Its samples.
        is_whole: Whether the file holds all that its header promises.
    """
    samples, rate = decoded.mix(), decoded.sample_rate
    levels = measure_levels(samples, rate)
    smooth = smooth_levels(levels)
    active = np.flatnonzero(smooth > find_speech_threshold(smooth))
    hop = level_hop(rate)
    start, end = int(active[0]) * hop, min(len(samples), (int(active[-1]) + 2) * hop)
    silence, silence_start = _find_inner_silence(active, hop)
    offset = float(samples.mean(dtype=np.float64))
    crowding, crowded_level = _find_crowding(samples - offset, rate)
    return AudioMeasures(
        seconds=len(samples) / rate,
        sample_rate=rate,
        channels=decoded.samples.shape[1],
        subtype=decoded.subtype,
        has_all_data=is_whole,
        digest=_digest(samples, rate),
        peak=float(np.abs(decoded.samples).max()),
        clipped_share=_find_clipped_share(decoded),
        crowding=crowding,
        crowded_level=crowded_level,
        dc_offset=offset,
        loud_db=float(smooth.max()),
        floor_db=float(np.percentile(smooth, FLOOR_PERCENTILE)),
        speech_db=_mean_level(levels[active]),
        start_silence_seconds=start / rate,
        end_silence_seconds=(len(samples) - end) / rate,
        inner_silence_seconds=silence / rate,
        inner_silence_start=silence_start / rate,
        start_edge_db=_measure_level(samples[:hop] - offset),
        end_edge_db=_measure_level(samples[-hop:] - offset),
        bandwidth_hertz=find_bandwidth(samples, rate),
        outline=_draw_outline(samples),
    )


def _find_inner_silence(active: npt.NDArray[np.int64], hop: int) -> tuple[int, int]:
    """Return length and start of the longest silence between active levels, in samples."""
    if len(active) < 2:
        return 0, 0
    gaps = np.diff(active)
    longest = int(gaps.argmax())
    # A level covers two hops: speech ends two hops after the start of its last one.
    length = max(0, int(gaps[longest]) - 2) * hop
    return length, (int(active[longest]) + 2) * hop if length else 0


def _digest(samples: FloatArray, sample_rate: int) -> str:
    digest = hashlib.blake2b(str(sample_rate).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(samples).data)
    return digest.hexdigest()


def _find_clipped_share(decoded: DecodedAudio) -> float:
    """Return the share of samples in runs of three and more at full scale, of all channels.

    One sample at full scale is a peak; three in a row are a flat top. Full scale is the file's, or
    the recording's own peak where it was turned down after clipping.
    """
    sizes = np.abs(decoded.samples)
    peak = float(sizes.max())
    if peak < LEAST_PEAK or len(sizes) < CLIPPED_RUN:
        return 0.0
    is_full = sizes >= min(FULL_SCALE, OWN_SCALE * peak)
    if np.count_nonzero(is_full) < CLIPPED_RUN:
        return 0.0
    runs = is_full[:-2] & is_full[1:-1] & is_full[2:]
    in_run = np.zeros_like(is_full)
    for offset in range(CLIPPED_RUN):
        in_run[offset : offset + len(runs)] |= runs
    return float(in_run.mean())


def _find_crowding(samples: FloatArray, sample_rate: int) -> tuple[float, float]:
    """Return how many times more samples there are at a loud level than at a quieter one; and it.

    Of speech there are ever fewer samples the louder they are. Where tops were cut they crowd at
    one level, and still do after an encoder, a resampler or a gain, which leave no two equal.
    """
    sizes = np.abs(samples)
    if len(sizes) < CROWDING_SECONDS * sample_rate:
        return 1.0, 0.0
    place = len(sizes) - 1 - len(sizes) // LOUDEST_PART
    loud = float(np.partition(sizes, place)[place])
    if loud < LEAST_PEAK / 2:
        return 1.0, 0.0
    width = 1.2 * loud / LEVELS
    counts = np.bincount(np.minimum(sizes / width, LEVELS).astype(np.intp), minlength=LEVELS + 1)
    smooth = np.convolve(counts[:LEVELS], (0.25, 0.5, 0.25), mode="valid")
    rises = smooth / np.maximum(np.minimum.accumulate(smooth), 1.0)
    rises[smooth < LEAST_SHARE * len(sizes)] = 1.0
    highest = int(rises.argmax())
    return float(rises[highest]), (highest + 1.5) * width


def _measure_level(samples: FloatArray) -> float:
    power = float(np.mean(samples.astype(np.float64) ** 2))
    return float(10 * np.log10(power + 10 ** (MIN_LEVEL_DB / 10)))


def _mean_level(levels: LevelArray) -> float:
    """Return the level of the mean power: quiet sounds count for less than loud ones."""
    return float(10 * np.log10(np.mean(10 ** (levels / 10))))


def _draw_outline(samples: FloatArray) -> tuple[float, ...]:
    pieces = min(OUTLINE_PIECES, len(samples))
    starts = np.arange(pieces) * len(samples) // pieces
    peaks = np.minimum(np.maximum.reduceat(np.abs(samples), starts), 1.0)
    return tuple(round(float(peak), OUTLINE_DIGITS) for peak in peaks)
