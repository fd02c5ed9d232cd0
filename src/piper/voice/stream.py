"""Speaks a sentence by the clean graph's parts, window by window. Knows no text and no files.

Text encoder and durations need the whole sentence, flow and decoder only a window of frames with
as much context to each side as their convolutions reach. (A quick voice's "flow" is what makes
latents of encoded phonemes.) The decoder's windows are smaller than the flow's, which needs more
context and less memory. Noise is drawn for the whole sentence before the first window, so the
windows' sizes change nothing in the sound. Shapes: P phonemes, C latent channels, G channels of a
speaker, T frames, S samples. Source: Kim et al. 2021 (VITS).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from piper.audio.chunk import (
    FloatArray,
    Int16Array,
    PhonemeAlignment,
    WordTiming,
    float_to_int16,
)
from piper.errors import PiperError
from piper.processes import available_cores
from piper.voice.latents import Feeds, Latents, QuickLatents, draw_noise
from piper.voice.runtime import BrokenModelError, Cuda, create_session, run_graph
from piper.voice.session import MAX_FRAMES, SpeechSettings, SpokenSentence
from piper.voice.windows import DecoderWindow, Window, WindowPlan, plan_windows
from piper.voice.workers import Job, Workers

if TYPE_CHECKING:
    import onnxruntime

EMPHASIS_SEMITONES = 1.5
EMPHASIS_LENGTH = 1.12
"""Of moderate emphasis; strong emphasis has them twice."""
MOST_WORKERS = 4
"""Each window at work takes about 30 MB."""


@dataclass(frozen=True)
class PartFiles:
    """The clean graph of a voice, in files.

    Attributes:
        text: ONNX of the phonemes' part.
        flow: ONNX of the flow.
        decoder: ONNX of the decoder.
        speakers: (number of speakers, G) as `.npy`; None with one speaker.
        flow_reach: Frames of context that the flow needs to each side.
        decoder_reach: Frames of context that the decoder needs to each side.
        hop_length: Samples per frame.
        is_optimized: Whether ONNX Runtime wrote the graphs, optimised for such a machine.
        mean_hertz: As a network's.
    """

    text: Path
    flow: Path
    decoder: Path
    speakers: Path | None
    flow_reach: int
    decoder_reach: int
    hop_length: int
    is_optimized: bool
    mean_hertz: float | None


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
        use_cuda: Run on an NVIDIA GPU, as for `create_session`.
        threads: Threads that speak one sentence; None takes a core each.

    Raises:
        PiperError: A file is missing or broken, or CUDA was asked for strictly and is not there.
    """

    has_durations = True
    can_mix_speakers = True
    can_seed = True

    def __init__(
        self, files: PartFiles, *, use_cuda: Cuda = False, threads: int | None = None
    ) -> None:
        self.files = files
        threads = threads or available_cores()
        # Windows at the same time use the cores better than the threads of one: of a height of 1
        # ONNX Runtime's blocked convolutions give no work to a second thread.
        self._workers = Workers(1 if use_cuda else min(threads, MOST_WORKERS))
        load = partial(create_session, use_cuda=use_cuda, is_optimized=files.is_optimized)
        share = max(1, threads // self._workers.size)
        self._flow = load(files.flow, threads=share)
        self._decoder = load(files.decoder, threads=share)
        self._text = load(files.text, threads=threads)
        self._shapes = {
            graph: {value.name: value.shape for value in graph.get_inputs()}
            for graph in (self._text, self._flow, self._decoder)
        }
        self._text_outputs = [value.name for value in self._text.get_outputs()]
        self._flow_outputs = [value.name for value in self._flow.get_outputs()]
        self.mean_hertz = files.mean_hertz
        # Some voices have a thousand speakers, and one is needed.
        self._speakers = None if files.speakers is None else np.load(files.speakers, mmap_mode="r")
        self.num_speakers: int | None = 1 if self._speakers is None else len(self._speakers)

    def speak(
        self,
        ids: Sequence[int],
        settings: SpeechSettings,
        random: np.random.Generator,
        *,
        is_streamed: bool,
        is_shared: bool = False,
    ) -> SpokenSentence:
        """Speak one sentence: durations now, sound when its pieces are asked for.

        Args:
            ids: (P,) phoneme ids, BOS … EOS.
            settings: How to speak.
            random: Source of all noise.
            is_streamed: Begin with a small window; else all windows are large.
            is_shared: Others speak at the same time: larger windows, whose contexts are less work.

        Raises:
            PiperError: It would be longer than `MAX_FRAMES`.
            BrokenModelError: The network cannot speak it.
        """
        speaker = self._mix_speakers(settings.speakers)
        latents = self._encode(ids, settings, speaker, random)
        plan = plan_windows(
            latents.size,
            reach=self.files.decoder_reach,
            workers=self._workers.size,
            is_streamed=is_streamed,
            is_shared=is_shared,
        )
        pieces = self._decode_windows(latents, plan, speaker)
        hop = self.files.hop_length
        return SpokenSentence(pieces, latents.durations * hop, latents.size * hop)

    def _mix_speakers(self, shares: Mapping[int, float]) -> FloatArray | None:
        """Return (G,), the speakers' embeddings by their shares."""
        if self._speakers is None:
            return None
        rows = [self._speakers[number] * np.float32(share) for number, share in shares.items()]
        return np.sum(rows, axis=0, dtype=np.float32)

    def _run(
        self,
        graph: onnxruntime.InferenceSession,
        outputs: list[str],
        feeds: Feeds,
        speaker: FloatArray | None,
    ) -> list[Any]:
        """Run a part with those of the values that it reads."""
        shapes = self._shapes[graph]
        if speaker is not None and "speaker" in shapes:
            # Each part wants the channels on the second axis.
            feeds = {**feeds, "speaker": speaker.reshape(1, -1, *shapes["speaker"][2:])}
        return run_graph(graph, outputs, {k: v for k, v in feeds.items() if k in shapes})

    def _encode(
        self,
        ids: Sequence[int],
        settings: SpeechSettings,
        speaker: FloatArray | None,
        random: np.random.Generator,
    ) -> Latents | QuickLatents:
        """Return how long the phonemes last, and what their sound is made of."""
        feeds: Feeds = {
            "input": np.asarray([ids], dtype=np.int64),
            "input_lengths": np.asarray([len(ids)], dtype=np.int64),
        }
        if axes := self._shapes[self._text].get("rhythm_noise"):
            shape = (*axes[:-1], len(ids))
            feeds["rhythm_noise"] = draw_noise(shape, settings.noise_w_scale, random)
        outputs = self._run(self._text, self._text_outputs, feeds, speaker)
        found = dict(zip(self._text_outputs, outputs, strict=True))
        durations = found["frames"].reshape(-1) * np.float32(settings.length_scale)
        is_quick = "encoded" in found
        emphasis = np.zeros(1, np.float32)
        if settings.emphasis is not None:
            emphasis = settings.emphasis[found["places"]] if is_quick else settings.emphasis
            durations *= np.float32(EMPHASIS_LENGTH) ** emphasis
        # A quick voice rounds, as its training does; VITS was trained to be rounded up.
        durations = np.ceil(np.maximum(durations - 0.5, 0.0) if is_quick else durations)
        # Written so that a NaN makes no sense, either.
        if not durations.min(initial=0) >= 0:
            raise BrokenModelError(
                "The voice's network gives durations that are no numbers of frames, so its weights "
                "are damaged; download or export the voice again."
            )
        if not durations.sum() <= MAX_FRAMES:
            raise PiperError(
                f"A sentence would take {durations.sum():.3g} frames of sound; "
                "lower the length scale and the noise w scale, or make the sentence shorter."
            )
        counts = durations.astype(np.int64)
        if not is_quick:
            return Latents(counts, found["statistics"][0], settings.noise_scale, random)
        noise = draw_noise((1, len(counts)), settings.noise_scale, random)
        places, encoded = found["places"], found["encoded"]
        semitones = np.full_like(noise, settings.pitch)
        if settings.semitones is not None:
            semitones[0] = settings.semitones[places]
        semitones += EMPHASIS_SEMITONES * emphasis
        return QuickLatents(counts, places, len(ids), encoded, semitones, noise)

    def _decode_windows(
        self, latents: Latents | QuickLatents, plan: WindowPlan, speaker: FloatArray | None
    ) -> Iterator[FloatArray]:
        """Yield the samples of the decoder's windows, working ahead by a window a worker."""
        flows = [
            (window, self._workers.defer(partial(self._run_flow, latents, window, speaker)))
            for window in plan.flow
        ]
        pending: deque[Job[FloatArray]] = deque()
        try:
            for window in plan.decoder:
                needed = [
                    number
                    for number, ((first, end), _) in enumerate(flows)
                    if first < window.right and end > window.left
                ]
                # Flows come before the windows that wait for them, lest all workers wait; and some
                # more of them, lest workers have nothing else to do.
                for _, flow in flows[: needed[-1] + self._workers.size]:
                    flow.begin()
                done = flows[: needed[-1] + 1]
                work = partial(self._decode, latents, done, window, speaker)
                pending.append(self._workers.defer(work))
                pending[-1].begin()
                if len(pending) == self._workers.size:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            jobs: list[Job[Any]] = [*pending, *(job for _, job in flows)]
            for job in jobs:
                job.cancel()

    def _run_flow(
        self, latents: Latents | QuickLatents, window: Window, speaker: FloatArray | None
    ) -> list[Any]:
        """Return the flow's values of some frames, T last; the first is z."""
        start, end = window
        left = max(0, start - self.files.flow_reach)
        right = min(latents.size, end + self.files.flow_reach)
        feeds = latents.flow_feeds(left, right)
        outputs = self._run(self._flow, self._flow_outputs, feeds, speaker)
        return [output[..., start - left : end - left] for output in outputs]

    def _decode(
        self,
        latents: Latents | QuickLatents,
        flows: list[tuple[Window, Job[list[Any]]]],
        window: DecoderWindow,
        speaker: FloatArray | None,
    ) -> FloatArray:
        """Return the samples (S,) of some frames, given the flow's values up to their end."""
        left, right = window.left, window.right
        parts = [
            job.result()[0][..., max(0, left - first) : right - first]
            for (first, end), job in flows
            if end > left
        ]
        z = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        before = [turns for _, job in flows for turns in job.result()[1:]]
        feeds = {"z": z, **latents.decoder_feeds(left, right, before)}
        [output] = self._run(self._decoder, ["output"], feeds, speaker)
        hop = self.files.hop_length
        inner = slice((window.start - window.left) * hop, (window.end - window.left) * hop)
        samples = np.asarray(output, np.float32).reshape(-1)[inner]
        # How long the sound is has been said to others already.
        if len(samples) != (window.end - window.start) * hop:
            raise BrokenModelError(
                "The voice's network gives less sound than its durations say; remove "
                f"{self.files.decoder.parent}, which is made anew at the next start."
            )
        return samples
