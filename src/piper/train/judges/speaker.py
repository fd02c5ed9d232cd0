"""Whose voice it is: an embedding of speech by Resemblyzer, and how near two are.

Resemblyzer is the encoder of "Generalized End-to-End Loss for Speaker Verification" (Wan and others
2018), trained on thousands of English speakers at 16 kHz. Knows no files, no texts, no voices.
"""

from __future__ import annotations

import importlib
import logging
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

from piper.train.judges.folder import (
    RESEMBLYZER,
    is_judge_here,
    say_how_to_get,
    stand_in_for,
)

_LOGGER = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]

SAMPLE_RATE = 16000
FFT_SAMPLES = 400
HOP_SAMPLES = 160
MEL_CHANNELS = 40
WINDOWS_A_SECOND = 1.3
"""Resemblyzer's default: windows of 1.6 s that overlap by half."""
LEVEL_DB = -20.0
"""Resemblyzer only raises speech below -30 dB, so a recording beside itself 20 dB quieter had a
similarity of 0.85 to 0.92; at one level it has 1, and other speakers are not nearer (0.46 to 0.64,
with the package's own rule 0.47 to 0.66)."""
LEAST_COVERAGE = 0.75
"""Of the last window, likewise."""
LEAST_LENGTH = 1e-12
"""Of a vector before it gets length 1: embeddings of what is no sound may be all zero."""
LEAST_SAMPLES = 480
"""The shortest that its detector of speech looks at, 30 ms."""


def load_speaker_encoder() -> SpeakerEncoder | None:
    """Return Resemblyzer, or None where it is not installed or cannot be used."""
    if not is_judge_here(RESEMBLYZER):
        return None
    try:
        # Only its reading of files and its spectrograms want librosa, which would bring numba.
        with stand_in_for("librosa"):
            package: Any = importlib.import_module("resemblyzer")
        return SpeakerEncoder(package, package.VoiceEncoder("cpu", verbose=False).eval())
    except (ImportError, AttributeError, RuntimeError, OSError, pickle.UnpicklingError) as error:
        _LOGGER.warning(
            "Resemblyzer is installed but cannot be used (%s), so speakers are not compared; "
            "install it anew by %s.",
            error,
            say_how_to_get(RESEMBLYZER),
        )
        return None


class SpeakerEncoder:
    """Speech to what tells a speaker from others.

    Args:
        package: The module resemblyzer.
        network: Its encoder, on the CPU.
    """

    def __init__(self, package: Any, network: Any) -> None:
        self._package = package
        self._network = network

    def embed(self, samples: FloatArray, rate: int) -> FloatArray:
        """Return the embedding of some speech, (256,), none below 0, of length 1.

        Its long pauses are left out. Speech of less than 1.6 s is padded with silence, and says
        less of the speaker.

        Args:
            samples: (S,), 1 is full scale.
            rate: Hertz.
        """
        import torch

        speech = self._prepare(samples, rate)
        samples_of, frames_of = self._network.compute_partial_slices(
            len(speech), WINDOWS_A_SECOND, LEAST_COVERAGE
        )
        speech = np.pad(speech, (0, max(0, samples_of[-1].stop - len(speech))))
        mels = _extract_mels(speech)
        windows = torch.stack([mels[frames] for frames in frames_of])
        with torch.inference_mode():
            embeddings = self._network(windows).numpy()
        return _normalise(embeddings.mean(axis=0))

    def _prepare(self, samples: FloatArray, rate: int) -> FloatArray:
        """Return speech as the network likes it: 16 kHz, at one level, without long pauses."""
        import soxr

        speech = np.asarray(samples, dtype=np.float32)
        if rate != SAMPLE_RATE:
            speech = soxr.resample(speech, rate, SAMPLE_RATE)
        if not speech.any():
            return speech
        audio = self._package.audio
        loud = audio.normalize_volume(speech, LEVEL_DB).clip(-1.0, 1.0)
        if len(loud) < LEAST_SAMPLES:
            return np.asarray(loud, dtype=np.float32)
        without_pauses = audio.trim_long_silences(loud)
        # Whispers and noise may have no speech for the detector; then all of it is embedded.
        return np.asarray(without_pauses if len(without_pauses) else loud, dtype=np.float32)


def create_reference(embeddings: FloatArray) -> FloatArray:
    """Return what a speaker is like, from recordings: their mean direction, (256,) of length 1.

    Args:
        embeddings: (N, 256) of at least one recording.
    """
    return _normalise(embeddings.mean(axis=0))


def compare_with_others(embeddings: FloatArray) -> FloatArray:
    """Return each recording's similarity to the reference of all others, (N,).

    The ceiling for a voice: a recording in its own reference would come too near to it.

    Args:
        embeddings: (N, 256) of at least two recordings.
    """
    total = embeddings.sum(axis=0)
    others = [_normalise(total - own) for own in embeddings]
    return np.asarray(np.sum(embeddings * np.stack(others), axis=1), dtype=np.float32)


def measure_similarity(embedding: FloatArray, reference: FloatArray) -> float:
    """Return the cosine of two embeddings, 0 to 1.

    In the mean, sentences have 0.93 to 0.96 with the reference of their speaker's others, and 0.46
    to 0.64 with another's (festvox-ru, telephone prompts, espeak-ng).

    Args:
        embedding: (256,) of length 1.
        reference: Likewise.
    """
    return float(embedding @ reference)


def _extract_mels(speech: FloatArray) -> Any:
    """Return mel energies as librosa's `melspectrogram` has them, (T, M): power, centred frames."""
    import torch

    from piper.train.vits.mel import mel_filterbank

    bins = torch.stft(
        torch.from_numpy(speech),
        FFT_SAMPLES,
        hop_length=HOP_SAMPLES,
        window=torch.hann_window(FFT_SAMPLES),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    filters = mel_filterbank(SAMPLE_RATE, FFT_SAMPLES, MEL_CHANNELS, 0.0, SAMPLE_RATE / 2)
    return (filters @ (bins.real.square() + bins.imag.square())).T


def _normalise(vector: FloatArray) -> FloatArray:
    length = max(float(np.linalg.norm(vector)), LEAST_LENGTH)
    return np.asarray(vector / length, dtype=np.float32)
