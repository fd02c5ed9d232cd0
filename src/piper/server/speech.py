"""A request for speech to its samples, off the event loop. Knows nothing of HTTP and encodings.

Shapes: S samples.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

import numpy as np

from piper.audio.chunk import FloatArray, Int16Array, float_to_int16, scale_audio
from piper.config import SynthesisConfig, VoiceConfig
from piper.errors import PiperError
from piper.server.errors import RequestError
from piper.server.queue import Job, JobQueue
from piper.server.settings import SpeechDefaults, SpeechLimits
from piper.server.store import VoiceStore
from piper.voice.incoming import PacedSentence, pace_sentences
from piper.voice.narrator import Narrator
from piper.voice.session import SpokenSentence
from piper.voice.speakers import find_speaker, parse_speaker_mix
from piper.voice.voice import PiperVoice
from piper.voices import VoiceFiles

_logger = logging.getLogger(__name__)

_MAX_PIECE_SAMPLES = 1 << 15
"""A slow client shows that it is alive every so often."""


@dataclass(frozen=True)
class SpeechRequest:
    """What is to be spoken and how; None takes the server's default, then the voice's.

    Attributes:
        text: One or more sentences.
        voice: A voice's name.
        speaker: Number or name, or a mixture like `3:0.7,5:0.3`.
        length_scale: Factor on durations.
        noise_scale: Deviation of the prior's noise.
        noise_w_scale: Deviation of the duration predictor's noise.
    """

    text: str
    voice: str | None = None
    speaker: int | str | None = None
    length_scale: float | None = None
    noise_scale: float | None = None
    noise_w_scale: float | None = None


@dataclass(frozen=True)
class SpeechPiece:
    """The next samples of an answer.

    Attributes:
        samples: (S,) 16-bit.
        sample_rate: Hertz.
        total_samples: Of the whole answer; known before the first sample is.
    """

    samples: Int16Array
    sample_rate: int
    total_samples: int


class SpeechService:
    """Speaks requests by the voices of a store; each on its own.

    Args:
        voices: The voices.
        defaults: How to speak where a request does not say.
        limits: How much may be asked for.
    """

    def __init__(self, voices: VoiceStore, defaults: SpeechDefaults, limits: SpeechLimits) -> None:
        self.voices = voices
        self.limits = limits
        self.queue = JobQueue[SpeechPiece](
            limits.at_once, limits.max_waiting, limits.max_idle_seconds
        )
        self._defaults = defaults

    def prepare(self) -> None:
        """Load the default voice and check the defaults; blocking.

        Raises:
            PiperError: The voice cannot be loaded, or has no such speaker.
        """
        config = self.voices.load(self.voices.default).config
        create_config(SpeechRequest(""), self._defaults, config, is_default=True)

    async def submit(self, request: SpeechRequest) -> Job[SpeechPiece]:
        """Accept a request; close the job in any case.

        Raises:
            RequestError: The text is empty or too long.
            VoiceNotFoundError: There is no such voice.
            QueueFullError: Too many requests are waiting.
        """
        self._check_text(request.text)
        # Reading folders takes time on slow disks.
        files = await asyncio.to_thread(self.voices.find, request.voice)
        return self.queue.submit(partial(self._speak, request, files))

    def _check_text(self, text: str) -> None:
        if not text.strip():
            raise RequestError("There is nothing to speak; give a text.")
        most = self.limits.max_text_characters
        if len(text) > most:
            raise RequestError(
                f"The text has {len(text)} characters, but at most {most} can be spoken at once; "
                "divide it.",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )

    def _speak(self, request: SpeechRequest, files: VoiceFiles, job: Job[SpeechPiece]) -> None:
        voice = self._load(files)
        job.check()
        is_default = files == self.voices.default
        config = create_config(request, self._defaults, voice.config, is_default=is_default)
        spoken = self._plan(voice, request.text, config, job)
        rate, total = voice.config.sample_rate, sum(count for _, count in spoken)
        while spoken:
            audio = _collect(spoken.popleft()[0], job)
            samples = float_to_int16(scale_audio(audio, normalize=True, volume=config.volume))
            for start in range(0, len(samples), _MAX_PIECE_SAMPLES):
                piece = samples[start : start + _MAX_PIECE_SAMPLES]
                job.put(SpeechPiece(piece, rate, total))

    def _load(self, files: VoiceFiles) -> PiperVoice:
        try:
            return self.voices.load(files)
        except PiperError as error:
            # Not the client's mistake, and the files' places are not the client's business.
            _logger.error("A voice cannot be loaded: %s", error)
            raise RequestError(
                f"The voice {files.model.stem} cannot be loaded; the server's log says why.",
                HTTPStatus.INTERNAL_SERVER_ERROR,
            ) from error

    def _plan(
        self, voice: PiperVoice, text: str, config: SynthesisConfig, job: Job[SpeechPiece]
    ) -> deque[tuple[SpokenSentence, int]]:
        """Return the sentences, whose sound is not yet made, and the samples of each.

        Durations are a tenth of the work. With them an answer's length stands in its header, and
        the first sentence is on its way before the second one is spoken.
        """
        sentences = list(pace_sentences(voice.frontend, text))
        self._check_sentences(sentences)
        planned: deque[tuple[SpokenSentence, int]] = deque()
        most = round(self.limits.max_audio_seconds * voice.config.sample_rate)
        narrator = Narrator(voice.session, voice.config)
        for _, spoken in narrator.speak(sentences, config, is_streamed=False):
            job.check()
            planned.append(_measure(spoken))
            most -= planned[-1][1]
            if most < 0:
                raise RequestError(
                    f"The speech would last more than {self.limits.max_audio_seconds:g} seconds; "
                    "divide the text.",
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                )
        return planned

    def _check_sentences(self, sentences: Sequence[PacedSentence]) -> None:
        if not sentences:
            raise RequestError("There is nothing to speak in the text; give one with words.")
        longest, most = max(len(paced.sentence.ids) for paced in sentences), self.limits
        if longest > most.max_sentence_ids:
            raise RequestError(
                f"A sentence of the text has {longest} phoneme ids, but at most "
                f"{most.max_sentence_ids} can be spoken in one; divide it with full stops.",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )


def create_config(
    request: SpeechRequest, defaults: SpeechDefaults, config: VoiceConfig, *, is_default: bool
) -> SynthesisConfig:
    """Return how a voice is to speak.

    Args:
        request: What the client says; it counts first.
        defaults: What the server was told.
        config: The voice.
        is_default: Whether it is the one that the server's speaker is meant for.

    Raises:
        PiperError: The voice has no such speaker.
    """

    def choose(value: float | None, default: float | None) -> float | None:
        return default if value is None else value

    speaker = request.speaker
    if speaker is None and is_default:
        speaker = defaults.speaker
    mix = None
    if isinstance(speaker, str) and ":" in speaker and speaker not in config.speaker_id_map:
        mix = parse_speaker_mix(config, speaker)
    return SynthesisConfig(
        speaker_id=None if mix else find_speaker(config, speaker),
        speaker_mix=mix,
        length_scale=choose(request.length_scale, defaults.length_scale),
        noise_scale=choose(request.noise_scale, defaults.noise_scale),
        noise_w_scale=choose(request.noise_w_scale, defaults.noise_w_scale),
        sentence_silence_seconds=defaults.sentence_silence_seconds,
    )


def _measure(spoken: SpokenSentence) -> tuple[SpokenSentence, int]:
    """Return a sentence and its samples."""
    if spoken.id_samples is not None:
        return spoken, int(spoken.id_samples.sum())
    # A voice whose own graph speaks, and which does not say durations, has the sound ready.
    audio = np.concatenate(list(spoken.audio))
    return SpokenSentence(iter([audio]), None), len(audio)


def _collect(spoken: SpokenSentence, job: Job[SpeechPiece]) -> FloatArray:
    """Return the sound of a sentence; a window is made at a time, with a look at the job."""

    def pieces() -> Iterator[FloatArray]:
        for piece in spoken.audio:
            job.check()
            yield piece

    return np.concatenate(list(pieces()))
