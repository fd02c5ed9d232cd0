"""Sentences to pieces of an answer: whole sentences of full range, or a stream.

Knows no requests, and nothing of HTTP.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus

import numpy as np

from piper.audio.chunk import FloatArray, Int16Array, float_to_int16, scale_audio
from piper.config import SynthesisConfig
from piper.server.errors import RequestError
from piper.server.queue import Job
from piper.server.request import SentenceTimes, SpeechPiece
from piper.server.settings import SpeechLimits
from piper.text.frontend import Sentence
from piper.voice.incoming import PacedSentence
from piper.voice.narrator import Narrator
from piper.voice.session import SpokenSentence
from piper.voice.voice import PiperVoice

_MAX_PIECE_SAMPLES = 1 << 15
"""A slow client shows that it is alive every so often."""
_MAX_PLANNED_IDS = 2000
"""About 50 seconds; their durations take a tenth of the work, which the first sound waits for."""


class Speaking:
    """One request that is being spoken.

    Args:
        voice: Speaks it.
        config: How.
        limits: How much at most.
        job: Looked at often: whether anybody wants the rest.
    """

    def __init__(
        self,
        voice: PiperVoice,
        config: SynthesisConfig,
        limits: SpeechLimits,
        job: Job[SpeechPiece],
    ) -> None:
        self._config = config
        self._limits = limits
        self._job = job
        self._rate = voice.config.sample_rate
        self._narrator = Narrator(voice.network, voice.config, is_shared=True)
        self._samples_left = round(limits.max_audio_seconds * self._rate)

    def speak(self, sentences: Sequence[PacedSentence]) -> Iterator[SpeechPiece]:
        """Yield sentence after sentence, each of full range; the length of all is known first.

        Raises:
            RequestError: There is nothing to speak, or too much.
        """
        self._check(sentences)
        spoken = self._plan(sentences)
        total = sum(sentence.num_samples for sentence in spoken)
        while spoken:
            audio = self._collect(spoken.popleft())
            samples = float_to_int16(scale_audio(audio, normalize=True, volume=self._config.volume))
            for start in range(0, len(samples), _MAX_PIECE_SAMPLES):
                piece = samples[start : start + _MAX_PIECE_SAMPLES]
                yield SpeechPiece(piece, self._rate, total)

    def stream(self, sentences: Sequence[PacedSentence]) -> Iterator[SpeechPiece]:
        """Yield the sound while sentences are in the making; of short texts the length is known.

        Raises:
            RequestError: As `speak`; that there is too much may show on the way.
        """
        self._check(sentences)
        total = None
        spoken: Iterable[tuple[Sentence, SpokenSentence]] = self._narrator.speak(
            sentences, self._config, is_streamed=True
        )
        if sum(len(paced.sentence.ids) for paced in sentences) <= _MAX_PLANNED_IDS:
            spoken = list(spoken)
            total = sum(sound.num_samples for _, sound in spoken)
        for sentence, sound in spoken:
            times: SentenceTimes | None = SentenceTimes(sentence.text)
            for audio in sound.audio:
                samples = scale_audio(audio, normalize=False, volume=self._config.volume)
                yield from self._divide(float_to_int16(samples), total, times)
                times = None

    def stream_with_times(self, sentences: Sequence[PacedSentence]) -> Iterator[SpeechPiece]:
        """Yield the sound as `stream` does, and when phonemes and words of it are spoken.

        Raises:
            RequestError: As `stream`.
        """
        self._check(sentences)
        for chunk in self._narrator.stream(sentences, self._config, "off", include_alignments=True):
            times = None
            if chunk.is_first:
                times = SentenceTimes(chunk.text, chunk.phoneme_alignments, chunk.word_timings)
            yield from self._divide(chunk.audio_int16_array, None, times)

    def _divide(
        self, samples: Int16Array, total: int | None, times: SentenceTimes | None
    ) -> Iterator[SpeechPiece]:
        """Yield pieces of bounded size: a voice's own graph gives a whole sentence at a time."""
        self._job.check()
        self._count(len(samples))
        for start in range(0, max(1, len(samples)), _MAX_PIECE_SAMPLES):
            piece = samples[start : start + _MAX_PIECE_SAMPLES]
            yield SpeechPiece(piece, self._rate, total, times if start == 0 else None)

    def _check(self, sentences: Sequence[PacedSentence]) -> None:
        if not sentences:
            raise RequestError("There is nothing to speak in the text; give one with words.")

    def _plan(self, sentences: Sequence[PacedSentence]) -> deque[SpokenSentence]:
        """Return the sentences, whose sound is not yet made.

        Durations are a tenth of the work. With them an answer's length stands in its header, and
        the first sentence is on its way before the second one is spoken.
        """
        planned: deque[SpokenSentence] = deque()
        for _, spoken in self._narrator.speak(sentences, self._config, is_streamed=False):
            self._job.check()
            planned.append(spoken)
            self._count(spoken.num_samples)
        return planned

    def _count(self, num_samples: int) -> None:
        self._samples_left -= num_samples
        if self._samples_left < 0:
            raise RequestError(
                f"The speech would last more than {self._limits.max_audio_seconds:g} seconds; "
                "divide the text.",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )

    def _collect(self, spoken: SpokenSentence) -> FloatArray:
        """Return the sound of a sentence; a window is made at a time, with a look at the job."""

        def pieces() -> Iterator[FloatArray]:
            for piece in spoken.audio:
                self._job.check()
                yield piece

        return np.concatenate(list(pieces()))
