"""Speech to files, FLAC or Opus. Speaks nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from piper.files import replace_on_success

OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
"""Hertz that Opus knows (RFC 6716, section 2)."""


def write_opus(path: Path, samples: npt.NDArray[np.float32], rate: int) -> None:
    """Write speech as Opus, at the next rate that it knows: about 4 kB a second at 16 kHz."""
    wanted = next(known for known in (*OPUS_RATES, OPUS_RATES[-1]) if known >= rate)
    if wanted != rate:
        samples = soxr.resample(samples, rate, wanted)
    with replace_on_success(path) as temporary:
        soundfile.write(temporary, np.clip(samples, -1, 1), wanted, format="OGG", subtype="OPUS")


def write_flac(path: Path, samples: npt.NDArray[np.float32], rate: int) -> None:
    """Write speech as FLAC of 16 bits."""
    with replace_on_success(path) as temporary:
        soundfile.write(temporary, np.clip(samples, -1, 1), rate, format="FLAC", subtype="PCM_16")
