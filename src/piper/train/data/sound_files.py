"""A sound file of others, read within bounds: whatever its header says, memory and time end.

A FLAC of ten hours of silence has 1.9 MB, and one wrong byte makes a rate of 1 Hz, which resampling
would blow up 22,050 times. Knows neither levels nor texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from piper.errors import DatasetError

if TYPE_CHECKING:
    import soundfile

MOST_SECONDS = 600.0
"""An utterance has some ten; more than ten minutes is a recording that was not cut yet."""
RATES = (4_000, 768_000)
"""Hertz of recordings that there are."""
MOST_CHANNELS = 32
BLOCK_FRAMES = 1 << 18
CUT_IT = "cut it into sentences (`python -m piper.train split` does it by its text)"


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
    most = int(MOST_SECONDS * file.samplerate)
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
    """Refuse what no recording has.

    Raises:
        DatasetError: Rate or channels are beyond it.
    """
    if not RATES[0] <= sample_rate <= RATES[1]:
        raise DatasetError(
            f"has {sample_rate:,} Hz, but recordings have {RATES[0]:,} to {RATES[1]:,}; replace it"
        )
    if channels > MOST_CHANNELS:
        raise DatasetError(f"has {channels} channels, more than {MOST_CHANNELS}; replace it")


def refuse_length(seconds: float) -> None:
    """Refuse a recording that is longer than an utterance can be.

    Raises:
        DatasetError: Always.
    """
    length = f"{seconds / 3600:,.1f} hours" if seconds < 1e7 else "more than a hundred days"
    if seconds <= MOST_SECONDS + 1:
        length = f"more than {MOST_SECONDS / 60:.0f} minutes"
    raise DatasetError(
        f"has {length}, and an utterance at most {MOST_SECONDS / 60:.0f} minutes; {CUT_IT}"
    )
