"""What is seen and heard of a clip: a WAV, a spectrogram, a waveform. Decides nothing."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from piper.atomic import remove_folder
from piper.audio.encode import write_wav
from piper.errors import DatasetError
from piper.train.pages.excerpts import Excerpt, decode_excerpt, levels_to_png, samples_to_levels
from piper.train.review.clips import Clip

PICTURE_COLUMNS = 1000
PICTURE_ROWS = 160
OUTLINE_POINTS = 1000
KEPT_CLIPS = 32
"""As many are kept as WAV at a time: 10 MB of usual clips, 2 GB of ten minutes each."""


@dataclass(frozen=True)
class Media:
    """What is shown of a clip, between its limits.

    Attributes:
        wav_path: 16-bit WAV of one channel.
        picture: PNG of the spectrogram, 0 Hz to `top_hertz`.
        top_hertz: Half the sample rate.
        outline: Peaks, 0 to 1, from the first limit to the second.
    """

    wav_path: Path
    picture: bytes
    top_hertz: float
    outline: list[float]


def find_media_folder(cache_dir: Path, dataset: Path) -> Path:
    """Return where the WAVs of a dataset's review go.

    Several datasets may share a cache, and be reviewed at once; a folder that somebody made there
    has another name, since this one is emptied.
    """
    digest = hashlib.sha256(os.fsencode(dataset.absolute())).hexdigest()
    return cache_dir / f".review-{digest[:16]}"


@contextmanager
def create_media_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder for WAVs, which is gone after the block; also what a kill has left.

    Raises:
        OSError: It cannot be made.
    """
    remove_folder(folder)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        remove_folder(folder)


class MediaStore:
    """Makes media of clips, and keeps those that were asked for last. Threads may share it.

    Args:
        folder: For the WAVs; not the dataset's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: OrderedDict[str, Media] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    def find(self, clip: Clip) -> Media:
        """Return what is shown of a clip.

        Raises:
            DatasetError: There is nothing to be heard of it.
        """
        with self._lock:
            if clip.key not in self._kept:
                self._kept[clip.key] = self._create(clip)
            self._kept.move_to_end(clip.key)
            while len(self._kept) > KEPT_CLIPS:
                _, old = self._kept.popitem(last=False)
                old.wav_path.unlink(missing_ok=True)
            return self._kept[clip.key]

    def _create(self, clip: Clip) -> Media:
        low, high = clip.limits
        decoded = decode_excerpt(Excerpt(clip.path, low, high - low)) if clip.path else None
        if decoded is None:
            raise DatasetError(clip.obstacle or f"{clip.path} cannot be decoded; replace it.")
        samples, rate = decoded
        self._count += 1
        wav_path = self._folder / f"{self._count}.wav"
        write_wav(wav_path, np.clip(samples, -1, 1), rate)
        levels = samples_to_levels(samples, rate, columns=PICTURE_COLUMNS, rows=PICTURE_ROWS)
        starts = np.arange(OUTLINE_POINTS) * len(samples) // OUTLINE_POINTS
        outline = np.maximum.reduceat(np.abs(samples), starts)
        rounded = [round(float(peak), 3) for peak in outline]
        return Media(wav_path, levels_to_png(levels), rate / 2, rounded)
