"""Speaks a sentence by the clean graph's two parts, window by window. Knows no text and no files.

Text encoder and durations need the whole sentence, flow and decoder only a window of frames with
as much context to each side as their convolutions reach. Noise is drawn for the whole sentence
before the first window, so the windows' sizes change nothing in the sound. Shapes: P phonemes, C
latent channels, G channels of a speaker, T frames, S samples. Source: Kim et al. 2021 (VITS).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from piper.audio.chunk import (
    FloatArray,
    Int16Array,
    PhonemeAlignment,
    WordTiming,
    float_to_int16,
)
from piper.voice.session import SpeechSettings, SpokenSentence, create_session

FIRST_WINDOW_FRAMES = 16
"""0.19 s of sound at 22,050 Hz: enough to hide the making of the next window."""
LARGEST_WINDOW_FRAMES = 256
"""From here on the context's share of the work is no longer felt, and memory stays bounded."""
WINDOW_GROWTH = 2


@dataclass(frozen=True)
class PartFiles:
    """The clean graph of a voice, in files.

    Attributes:
        text: ONNX of the phonemes' part.
        frames: ONNX of the frames' part.
        speakers: (number of speakers, G) as `.npy`; None with one speaker.
        flow_reach: Frames of context that the flow needs to each side.
        decoder_reach: Frames of context that the decoder needs to each side.
        hop_length: Samples per frame.
    """

    text: Path
    frames: Path
    speakers: Path | None
    flow_reach: int
    decoder_reach: int
    hop_length: int


@dataclass(frozen=True)
class StreamChunk:
    """The next piece of speech, a part of a sentence.

    Attributes:
        sample_rate: Hertz.
        audio_float_array: (S,) float32 between -1 and 1.
        sentence: Number of the sentence that it belongs to, from 0.
        is_first: Whether it begins that sentence.
        text: The sentence's text, where it is known.
        phoneme_alignments: With the first piece, where asked for and the voice says them: how long
            each phoneme of the whole sentence lasts.
        word_timings: Likewise, when each word is spoken, from the sentence's beginning.
    """

    sample_rate: int
    audio_float_array: FloatArray
    sentence: int
    is_first: bool
    text: str = ""
    phoneme_alignments: list[PhonemeAlignment] | None = None
    word_timings: list[WordTiming] | None = None

    @cached_property
    def audio_int16_array(self) -> Int16Array:
        """(S,) 16-bit samples."""
        return float_to_int16(self.audio_float_array)

    @property
    def audio_int16_bytes(self) -> bytes:
        """The 16-bit samples as little-endian bytes."""
        return self.audio_int16_array.astype("<i2", copy=False).tobytes()


class PartsSession:
    """The clean graph, loaded; safe to use from many threads.

    Args:
        files: What to load.
        use_cuda: Run on an NVIDIA GPU.
        threads: Threads of one run; None leaves it to ONNX Runtime.

    Raises:
        PiperError: A file is missing or broken, or CUDA was asked for and is not there.
    """

    has_durations = True
    can_mix_speakers = True
    can_seed = True

    def __init__(
        self, files: PartFiles, *, use_cuda: bool = False, threads: int | None = None
    ) -> None:
        self.files = files
        with ThreadPoolExecutor(1) as pool:
            text = pool.submit(create_session, files.text, use_cuda=use_cuda, threads=threads)
            self._frames = create_session(files.frames, use_cuda=use_cuda, threads=threads)
            self._text = text.result()
        self._has_rhythm_noise = any(
            value.name == "rhythm_noise" for value in self._text.get_inputs()
        )
        # Some voices have a thousand speakers, and one is needed.
        self._speakers = None if files.speakers is None else np.load(files.speakers, mmap_mode="r")

    def speak(
        self,
        ids: Sequence[int],
        settings: SpeechSettings,
        random: np.random.Generator,
        *,
        is_streamed: bool,
    ) -> SpokenSentence:
        """Speak one sentence: durations now, sound when its pieces are asked for.

        Args:
            ids: (P,) phoneme ids, BOS … EOS.
            settings: How to speak.
            random: Source of all noise.
            is_streamed: Begin with a small window; else all windows are large.
        """
        speaker = self._mix_speakers(settings.speakers)
        durations, statistics = self._encode(ids, settings, speaker, random)
        latents = _Latents(durations, statistics, settings.noise_scale, random)
        first = FIRST_WINDOW_FRAMES if is_streamed else LARGEST_WINDOW_FRAMES
        windows = plan_windows(latents.size, first)
        return SpokenSentence(
            (self._decode(latents, start, end, speaker) for start, end in windows),
            durations * self.files.hop_length,
        )

    def _mix_speakers(self, shares: Mapping[int, float]) -> FloatArray | None:
        """Return (G,), the speakers' embeddings by their shares."""
        if self._speakers is None:
            return None
        rows = [self._speakers[number] * np.float32(share) for number, share in shares.items()]
        return np.sum(rows, axis=0, dtype=np.float32)

    def _encode(
        self,
        ids: Sequence[int],
        settings: SpeechSettings,
        speaker: FloatArray | None,
        random: np.random.Generator,
    ) -> tuple[npt.NDArray[np.int64], FloatArray]:
        """Return durations in frames (P,) and the prior's statistics (2 C, P)."""
        feeds: dict[str, npt.NDArray[Any]] = {"input": np.asarray([ids], dtype=np.int64)}
        if self._has_rhythm_noise:
            feeds["rhythm_noise"] = _draw((1, 2, len(ids)), settings.noise_w_scale, random)
        if speaker is not None:
            feeds["speaker"] = speaker.reshape(1, -1, 1)
        frames, statistics = self._text.run(["frames", "statistics"], feeds)
        durations = np.ceil(frames[0, 0] * np.float32(settings.length_scale)).astype(np.int64)
        return durations, statistics[0]

    def _decode(
        self, latents: _Latents, start: int, end: int, speaker: FloatArray | None
    ) -> FloatArray:
        """Return the samples (S,) of some frames."""
        # The flow's result is needed as far as the decoder looks, and its input further still.
        left = max(0, start - self.files.decoder_reach)
        right = min(latents.size, end + self.files.decoder_reach)
        outer = max(0, left - self.files.flow_reach)
        feeds: dict[str, npt.NDArray[Any]] = {
            "latents": latents.window(outer, min(latents.size, right + self.files.flow_reach)),
            "crop": np.array([left - outer, right - outer], dtype=np.int64),
        }
        if speaker is not None:
            feeds["speaker"] = speaker.reshape(1, -1, 1, 1)
        [output] = self._frames.run(["output"], feeds)
        hop = self.files.hop_length
        return np.asarray(output, np.float32).reshape(-1)[(start - left) * hop : (end - left) * hop]


class _Latents:
    """The prior's sample z_p of a sentence, of which windows are asked for.

    Args:
        durations: (P,) frames of each phoneme.
        statistics: (2 C, P): mean above log deviation.
        noise_scale: Factor on the deviation.
        random: Source of the noise.
    """

    def __init__(
        self,
        durations: npt.NDArray[np.int64],
        statistics: FloatArray,
        noise_scale: float,
        random: np.random.Generator,
    ) -> None:
        self._phonemes = np.repeat(np.arange(len(durations)), durations)
        if not len(self._phonemes):
            # At least one frame, as in training's code; the decoder cannot take none.
            self._phonemes = np.zeros(1, dtype=np.int64)
        self._mean, logarithm = np.split(statistics, 2)
        self._deviation = np.exp(logarithm)
        self._noise = _draw((len(self._mean), self.size), noise_scale, random)

    @property
    def size(self) -> int:
        """Frames of the sentence."""
        return len(self._phonemes)

    def window(self, start: int, end: int) -> FloatArray:
        """Return some frames, (1, C, 1, T)."""
        phonemes = self._phonemes[start:end]
        noise = self._noise[:, start:end] * self._deviation[:, phonemes]
        return (self._mean[:, phonemes] + noise)[np.newaxis, :, np.newaxis]


def plan_windows(frames: int, first: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of growing windows over so many frames.

    A rest smaller than the smallest window is not left for a run of its own.
    """
    start, size = 0, first
    while start < frames:
        end = start + size
        if frames - end < FIRST_WINDOW_FRAMES:
            end = frames
        yield start, end
        start, size = end, min(size * WINDOW_GROWTH, LARGEST_WINDOW_FRAMES)


def _draw(shape: tuple[int, ...], scale: float, random: np.random.Generator) -> FloatArray:
    noise = random.standard_normal(shape, dtype=np.float32)
    noise *= np.float32(scale)
    return noise
