"""A recording to the samples that are trained on: decode, mix down, resample, trim.

A FLAC of ten hours of silence has 1.9 MB, and one wrong byte makes a rate of 1 Hz, which resampling
would blow up 22,050 times: so headers are checked before samples are read.

Trimming needs no network. Levels are taken every 10 ms over 20 ms, in dB of full scale, and a
median over five of them (50 ms) ignores clicks. Speech begins and ends where the level crosses
`floor + 8 dB`, the floor being the 5th percentile of the levels; the threshold stays between 35
and 20 dB below the loudest level, so that neither a quiet room (floor 70 dB below) lets breaths
count as speech nor a recording without pauses (the floor is then speech) loses its quiet sounds.
Against the hand-made labels of festvox-ru (620 recordings, 16 kHz): the start lies 2 ms early in
the median, between 42 ms early and 28 ms late in nine of ten, at worst 68 ms late; the end at
worst 92 ms early; both well inside the quarter second that is kept. With 45 dB instead of 35, one
start in twenty lay more than 0.41 s early, at a breath.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from piper.errors import ConfigError, DatasetError
from piper.train import storage

if TYPE_CHECKING:
    import soundfile

MAX_UTTERANCE_SECONDS = 600.0
"""An utterance has some ten; more than ten minutes is a recording that was not cut yet."""
RATES = (4_000, 768_000)
"""Hertz of recordings that there are."""
MAX_CHANNELS = 32
BLOCK_FRAMES = 1 << 18
CUT_IT = "cut it into sentences (`python -m piper.train split` does it by its text)"
FloatArray = npt.NDArray[np.float32]
LevelArray = npt.NDArray[np.float64]

LEVEL_HOP_SECONDS = 0.01
MEDIAN_LEVELS = 5
MIN_LEVEL_DB = -100.0
SILENCE_DB = -60.0
"""A recording whose loudest 50 ms are below this is silence: speech is 20 dB and more above."""
FLOOR_PERCENTILE = 5
ABOVE_FLOOR_DB = 8.0
BELOW_LOUD_DB = (35.0, 20.0)
HEAD_BYTES = 16
MAX_PEAK = 100.0
"""Of float files: those of whole numbers, to 32,768, and damaged ones are far above."""
BLOCK_SECONDS = 0.4
"""What the standard measures at a time; a shorter recording has no loudness by it."""
PEAK = 0.99
"""The highest a sample may come to: where peaks would be higher, a recording gets less gain."""
TRAINED_RATES = (16000, 22050)
"""Hertz."""
_CONTAINERS = (
    (4, b"ftyp", "M4A", "mov"),
    (0, b"\x1aE\xdf\xa3", "WebM", "matroska"),
    (0, b"\xff\xf1", "AAC", "aac"),
    (0, b"\xff\xf9", "AAC", "aac"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "WMA", "asf"),
)


def find_container(head: bytes) -> tuple[str, str]:
    """Return what a file is by its first bytes, whatever its ending, and FFmpeg's name for it.

    Both are empty for files that libsndfile reads, and for those that nobody knows.
    """
    for place, magic, name, format_name in _CONTAINERS:
        if head[place : place + len(magic)] == magic:
            return name, format_name
    return "", ""


def read_samples(file: soundfile.SoundFile, dtype: str) -> Any:
    """Return all samples of an open file, (S, C).

    Raises:
        DatasetError: It is longer than an utterance can be, or its header cannot be true; the text
            goes on after the file's name.
        soundfile.SoundFileError: It is damaged.
    """
    check_header(file.samplerate, file.channels)
    most = int(MAX_UTTERANCE_SECONDS * file.samplerate)
    blocks, count = [], 0
    # Not all at once: a header may promise 2^63 samples, or none.
    while count <= most and file.frames <= most:
        block = file.read(min(BLOCK_FRAMES, most + 1 - count), dtype=dtype, always_2d=True)
        if not len(block):
            break
        blocks.append(block)
        count += len(block)
    if count > most or file.frames > most:
        refuse_length(max(count, file.frames) / file.samplerate)
    return np.concatenate(blocks) if blocks else np.zeros((0, file.channels), dtype)


def check_header(sample_rate: int, channels: int) -> None:
    """Refuse what no recording has."""
    if not RATES[0] <= sample_rate <= RATES[1]:
        raise DatasetError(
            f"has {sample_rate:,} Hz, but recordings have {RATES[0]:,} to {RATES[1]:,}; replace it"
        )
    if channels > MAX_CHANNELS:
        raise DatasetError(f"has {channels} channels, more than {MAX_CHANNELS}; replace it")


def refuse_length(seconds: float) -> None:
    """Refuse a recording that is longer than an utterance can be."""
    length = f"{seconds / 3600:,.1f} hours" if seconds < 1e7 else "more than a hundred days"
    if seconds <= MAX_UTTERANCE_SECONDS + 1:
        length = f"more than {MAX_UTTERANCE_SECONDS / 60:.0f} minutes"
    raise DatasetError(
        f"has {length}, and an utterance at most {MAX_UTTERANCE_SECONDS / 60:.0f} minutes; {CUT_IT}"
    )


@dataclass(frozen=True)
class DecodedAudio:
    """A file's samples as they are.

    Attributes:
        samples: (S, C) float32, 1 is full scale; at least one of them, and no NaN.
        sample_rate: Hertz.
        subtype: libsndfile's name of the samples' format, such as `PCM_16`.
        promised_samples: S as the file's header has it, so far as libsndfile says.
    """

    samples: FloatArray
    sample_rate: int
    subtype: str
    promised_samples: int

    def mix(self) -> FloatArray:
        """Return the mean of the channels, (S,)."""
        return np.asarray(self.samples.mean(axis=1, dtype=np.float32))


@dataclass(frozen=True)
class TrimSettings:
    """How much silence stays around the speech; `is_on=False` leaves recordings as they are."""

    is_on: bool = True
    keep_seconds_before: float = 0.25
    keep_seconds_after: float = 0.25


def load_recording(
    path: Path, sample_rate: int, trim: TrimSettings, content: bytes | None = None
) -> tuple[FloatArray, int]:
    """Decode a recording, mix its channels, resample and trim it.

    Args:
        path: Where it lies.
        sample_rate: Hertz of the result.
        trim: How much silence stays.
        content: Its bytes, where they were read already.

    Returns:
        Samples, (S,), -1 to 1; and the rate of the file in hertz.
    """
    decoded = decode(path, content)
    samples, source_rate = decoded.mix(), decoded.sample_rate
    if source_rate != sample_rate:
        import soxr

        samples = soxr.resample(samples, source_rate, sample_rate)
    levels = smooth_levels(measure_levels(samples, sample_rate))
    if levels.max() < SILENCE_DB:
        raise DatasetError(
            f"{storage.plain_address(path)} holds only silence (below {SILENCE_DB:.0f} dB); "
            "replace the recording."
        )
    if trim.is_on:
        samples = trim_silence(samples, sample_rate, trim, levels)
    return np.ascontiguousarray(samples, dtype=np.float32), source_rate


def trim_silence(
    samples: FloatArray, sample_rate: int, trim: TrimSettings, levels: LevelArray | None = None
) -> FloatArray:
    """Cut the silence before and after the speech down to what `trim` keeps.

    Args:
        samples: (S,), at `sample_rate` hertz.
        sample_rate: Hertz.
        trim: How much stays.
        levels: The smoothed levels, where they were measured already.
    """
    start, end = find_speech(samples, sample_rate, levels)
    start = max(0, start - round(trim.keep_seconds_before * sample_rate))
    end = min(len(samples), end + round(trim.keep_seconds_after * sample_rate))
    return samples[start:end]


def find_speech(
    samples: FloatArray, sample_rate: int, levels: LevelArray | None = None
) -> tuple[int, int]:
    """Return where speech begins and ends, in samples; the whole where none stands out.

    Args:
        samples: (S,), at `sample_rate` hertz.
        sample_rate: Hertz.
        levels: The smoothed levels, where they were measured already.
    """
    if levels is None:
        levels = smooth_levels(measure_levels(samples, sample_rate))
    active = np.flatnonzero(levels > find_speech_threshold(levels))
    if len(active) == 0:
        return 0, len(samples)
    hop = level_hop(sample_rate)
    # A level covers two hops; the last one may reach past the end.
    return int(active[0]) * hop, min(len(samples), (int(active[-1]) + 2) * hop)


def find_speech_threshold(levels: LevelArray) -> float:
    """Return the level above which there is speech, from a recording's smoothed levels."""
    loud = float(levels.max())
    floor = float(np.percentile(levels, FLOOR_PERCENTILE))
    below_loud = (loud - BELOW_LOUD_DB[0], loud - BELOW_LOUD_DB[1])
    return float(np.clip(floor + ABOVE_FLOOR_DB, *below_loud))


def decode(path: Path, content: bytes | None = None) -> DecodedAudio:
    """Decode an utterance's file, or a recording in a storage, which is read into memory.

    Args:
        path: Where it lies.
        content: Its bytes, where they were read already.
    """
    name = storage.plain_address(path)
    import soundfile

    try:
        if content is None and storage.is_remote(path):
            content = storage.read_file(path)
        with soundfile.SoundFile(path if content is None else BytesIO(content)) as file:
            promised = file.frames
            try:
                samples = read_samples(file, "float32")
            except DatasetError as error:
                raise DatasetError(f"{name} {error}.") from None
            source_rate, subtype = int(file.samplerate), str(file.subtype)
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        if content == b"" or (path.is_file() and path.stat().st_size == 0):
            raise DatasetError(f"{name} is empty (0 bytes); replace the recording.") from None
        reason = str(error).rsplit(": ", maxsplit=1)[-1].rstrip(".")
        if kind := find_container(content[:HEAD_BYTES] if content else _read_head(path))[0]:
            raise DatasetError(
                f"{name} is {kind} by its content; `python -m piper.train import` makes WAVs of a "
                "folder of such recordings."
            ) from None
        raise DatasetError(
            f"{name} cannot be decoded ({reason}); convert it to a 16-bit WAV or replace it."
        ) from None
    if len(samples) == 0:
        raise DatasetError(f"{name} is empty (no samples); replace the recording.")
    if not np.isfinite(samples).all():
        raise DatasetError(f"{name} holds samples that are no numbers (NaN); replace it.")
    if (peak := float(np.abs(samples).max())) > MAX_PEAK:
        raise DatasetError(
            f"{name} holds samples of up to {peak:.3g}, where full scale is 1; make it quieter, or "
            "replace it."
        )
    return DecodedAudio(samples, source_rate, subtype, promised)


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def level_hop(sample_rate: int) -> int:
    """Return the samples from one level to the next."""
    return max(1, round(LEVEL_HOP_SECONDS * sample_rate))


def measure_levels(samples: FloatArray, sample_rate: int) -> LevelArray:
    """Return levels every 10 ms over 20 ms, in dB of full scale; at least one."""
    hop = level_hop(sample_rate)
    count = max(2, -(-len(samples) // hop))
    padded = np.zeros(count * hop, dtype=np.float64)
    # A constant offset of the microphone is no sound.
    padded[: len(samples)] = samples - samples.mean() if len(samples) else 0.0
    np.square(padded, out=padded)
    blocks = padded.reshape(count, hop).mean(axis=1)
    power = (blocks[:-1] + blocks[1:]) / 2
    return 10 * np.log10(power + 10 ** (MIN_LEVEL_DB / 10))


def smooth_levels(levels: LevelArray) -> LevelArray:
    """Return each level's median with its neighbours, over 50 ms, which ignores clicks."""
    padded = np.pad(levels, MEDIAN_LEVELS // 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, MEDIAN_LEVELS)
    return np.asarray(np.median(windows, axis=1))


def normalise_loudness(samples: FloatArray, sample_rate: int, loudness: float) -> FloatArray:
    """Return a recording at a loudness, or as near to it as its peaks allow.

    Args:
        samples: (S,), 1 is full scale.
        sample_rate: Hertz.
        loudness: LUFS.
    """
    measured = measure_loudness(samples, sample_rate)
    peak = float(np.abs(samples).max(initial=0.0))
    if not math.isfinite(measured) or peak == 0.0:
        return samples
    gain = min(10 ** ((loudness - measured) / 20), PEAK / peak)
    return np.asarray(samples * np.float32(gain))


def measure_loudness(samples: FloatArray, sample_rate: int) -> float:
    """Return a recording's loudness in LUFS; minus infinity where all of it is below -70.

    What is shorter than a block is measured as if it were repeated: silence around it would make a
    word of 0.2 s seem 3 dB quieter than it is.
    """
    try:
        import pyloudnorm
    except ImportError:
        raise ConfigError(
            "--data.loudness needs the library pyloudnorm, which is not installed: "
            "pip install 'piper-workshop[train]', or leave out the flag."
        ) from None
    block_samples = math.ceil(BLOCK_SECONDS * sample_rate)
    if 0 < len(samples) < block_samples:
        samples = np.tile(samples, -(-block_samples // len(samples)))
    return float(pyloudnorm.Meter(sample_rate).integrated_loudness(samples))


def find_trained_rate(sample_rate: int) -> int:
    """Return the rate that a voice of recordings with this one should have, in hertz."""
    # Up from 22,050 Hz, nothing that a voice of that rate has is missing.
    return TRAINED_RATES[sample_rate >= TRAINED_RATES[-1]]
