"""What is seen and heard of a recording on a page: a spectrogram as PNG, audio as MP3.

MP3 because every browser plays it (Opus in Ogg: Safari since 18.4
only), libsndfile keeps its length exact, and it takes a third of FLAC's bytes: 47 kbit/s at 16 kHz
(festvox-ru), written in 4.4 ms a second; Opus, 27 kbit/s, takes five times as long.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from PIL import Image

from piper.errors import DatasetError
from piper.train.data.audio import MAX_UTTERANCE_SECONDS, check_header

FloatArray = npt.NDArray[np.float32]

MAX_SECONDS = 30.0
"""Of a longer recording, as much around what is wrong with it."""
PICTURE_COLUMNS = 320
PICTURE_ROWS = 80
WINDOW_SECONDS = 0.03
HOP_SECONDS = 0.01
FRAMES_AT_ONCE = 4096
"""41 s; ten minutes at 48 kHz would take 700 MB at once."""
FAINT_DB = -50.0
"""Of a full-scale sine, what is brightest in a picture at least: noise at -79 dB must look dark."""
RANGE_DB = 80.0
"""Below the loudest spot all is black: 16 bits at a usual level have no more."""
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
PALETTE = bytes.fromhex(
    "440154 481a6c 472f7d 414487 39568c 31688e 2a788e 23888e "
    "1f988b 22a884 35b779 54c568 7ad151 a5db36 d2e21b fde725"
)
"""Sixteen steps of matplotlib's `viridis` (CC0), dark to bright."""


@dataclass(frozen=True)
class Excerpt:
    """Which part of which recording; the whole where it is not too long."""

    path: Path
    start_seconds: float
    seconds: float


@dataclass(frozen=True)
class Media:
    """What is shown of an excerpt.

    Attributes:
        picture: PNG of the spectrogram, from 0 Hz to half the sample rate.
        audio: MP3, one channel; None where there was no room for it.
    """

    picture: bytes
    top_hertz: float
    audio: bytes | None


def find_excerpt(path: Path, seconds: float, span: tuple[float, float] | None) -> Excerpt:
    """Return the part of a recording to show: all of it, or what lies around a span."""
    if seconds <= MAX_SECONDS:
        return Excerpt(path, 0.0, seconds)
    middle = (span[0] + span[1]) / 2 if span else 0.0
    start = min(max(0.0, middle - MAX_SECONDS / 2), seconds - MAX_SECONDS)
    return Excerpt(path, round(start, 1), MAX_SECONDS)


def collect_media(excerpts: Iterable[Excerpt], budget_bytes: int) -> dict[Excerpt, Media]:
    """Decode each excerpt once; those that cannot be decoded are left out.

    Args:
        excerpts: The most important ones first.
        budget_bytes: Of encoded audio; from the first that does not fit, there is none.
    """
    media: dict[Excerpt, Media] = {}
    has_room = True
    for excerpt in dict.fromkeys(excerpts):
        decoded = decode_excerpt(excerpt)
        if decoded is None:
            continue
        samples, rate = decoded
        audio = samples_to_audio(samples, rate) if has_room else None
        if audio is not None:
            budget_bytes -= count_base64(audio)
            has_room = budget_bytes >= 0
        picture = levels_to_png(samples_to_levels(samples, rate))
        media[excerpt] = Media(picture, rate / 2, audio if has_room else None)
    return media


def decode_excerpt(excerpt: Excerpt) -> tuple[FloatArray, int] | None:
    """Return an excerpt's samples, shape (S,), the mean of its channels, and their rate in hertz.

    None where the recording cannot be decoded, or has nothing there.
    """
    try:
        with soundfile.SoundFile(excerpt.path) as file:
            rate = int(file.samplerate)
            check_header(rate, file.channels)
            file.seek(min(file.frames, round(excerpt.start_seconds * rate)))
            count = round(min(MAX_UTTERANCE_SECONDS, excerpt.seconds) * rate)
            samples = file.read(count, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, RuntimeError, DatasetError):
        return None
    if len(samples) == 0:
        return None
    return np.nan_to_num(samples.mean(axis=1, dtype=np.float32)), rate


def drop_audio(media: dict[Excerpt, Media], budget_bytes: int) -> dict[Excerpt, Media]:
    """Return the media with the audio of the last ones left out, as far as the budget asks for."""
    kept = {}
    for excerpt, item in media.items():
        budget_bytes -= count_base64(item.audio) if item.audio else 0
        kept[excerpt] = item if budget_bytes >= 0 else replace(item, audio=None)
    return kept


def count_base64(data: bytes) -> int:
    """Return how many bytes the data takes in base64."""
    return -(-len(data) // 3) * 4


def samples_to_audio(samples: FloatArray, rate: int, encoding: str | None = None) -> bytes:
    """Encode samples, shape (S,), without a change of their length in seconds.

    Args:
        samples: -1 to 1; what is beyond is cut.
        rate: Hertz; resampled to the next one that MP3 knows, or to the highest.
        encoding: `MP3` or `FLAC`; None takes FLAC where libsndfile is older than 1.1, whose first
            version it was to write MP3.
    """
    if encoding is None:
        encoding = "MP3" if "MP3" in soundfile.available_formats() else "FLAC"
    wanted = next((known for known in MP3_RATES if known >= rate), MP3_RATES[-1])
    if wanted != rate:
        samples = soxr.resample(samples, rate, wanted)
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1, 1), wanted, format=encoding)
    return file.getvalue()


def find_media_type(audio: bytes) -> str:
    """Return the media type of what `samples_to_audio` gave."""
    return "audio/flac" if audio.startswith(b"fLaC") else "audio/mpeg"


def samples_to_levels(
    samples: FloatArray, rate: int, *, columns: int = PICTURE_COLUMNS, rows: int = PICTURE_ROWS
) -> npt.NDArray[np.uint8]:
    """Return a spectrogram's levels, 0 to 15, shape (rows, columns); the highest pitch first.

    A pixel shows the strongest of what falls together in it, so that a click stays to be seen.

    Args:
        samples: (S,), of one channel.
    """
    window = max(16, round(WINDOW_SECONDS * rate))
    hop = max(1, min(round(HOP_SECONDS * rate), len(samples) // columns))
    padded = np.pad(samples, window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    weights = np.hanning(window).astype(np.float32)
    power = _pool(_pool_frames(frames, weights, columns).T, rows)[::-1]
    # 1e-13 of a full-scale sine's power: digital silence is black, not an infinity.
    full_scale = (weights.sum() / 2) ** 2
    decibels = 10 * np.log10(power / full_scale + 1e-13)
    steps = (decibels - max(decibels.max(), FAINT_DB)) / RANGE_DB + 1
    return np.asarray(np.round(15 * np.clip(steps, 0, 1)), dtype=np.uint8)


def levels_to_png(levels: npt.NDArray[np.uint8]) -> bytes:
    """Return a PNG of four bits a pixel, coloured by `PALETTE`."""
    image = Image.frombytes("P", levels.shape[::-1], levels.tobytes())
    image.putpalette(PALETTE)
    file = io.BytesIO()
    image.save(file, "PNG", bits=4)
    return file.getvalue()


def _pool_frames(frames: FloatArray, weights: FloatArray, columns: int) -> npt.NDArray[np.floating]:
    """Return the power of frames, the largest of those that fall together, (columns, bins)."""
    bounds = np.arange(columns + 1) * len(frames) // columns
    pooled = []
    for some in np.array_split(np.arange(columns), -(-len(frames) // FRAMES_AT_ONCE)):
        first, last = bounds[some[0]], bounds[some[-1]]
        power = np.abs(np.fft.rfft(frames[first : max(last + 1, bounds[some[-1] + 1])] * weights))
        pooled.append(np.maximum.reduceat(power**2, bounds[some] - first, axis=0))
    return np.concatenate(pooled)


def _pool(power: npt.NDArray[np.floating], count: int) -> npt.NDArray[np.floating]:
    """Take the largest of each of `count` runs of rows."""
    starts = np.arange(count) * len(power) // count
    return np.maximum.reduceat(power, starts, axis=0)
