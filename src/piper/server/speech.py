"""Accepts requests for speech and has them spoken, off the event loop.

Shapes: S samples.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Protocol

import numpy as np

from piper.audio.chunk import (
    FloatArray,
    Int16Array,
    PhonemeAlignment,
    WordTiming,
    float_to_int16,
    scale_audio,
)
from piper.config import SynthesisConfig, VoiceConfig
from piper.errors import PiperError
from piper.server.queue import Job, JobQueue, Patience
from piper.server.settings import RequestError, Silences, SpeechDefaults, SpeechLimits
from piper.server.store import VoiceStore
from piper.text.frontend import Frontend, Sentence, Stress, TextOptions
from piper.text.markup import parse_text
from piper.voice.incoming import PacedSentence, pace_sentences
from piper.voice.session import SpokenSentence
from piper.voice.settings import find_speaker, parse_speaker_mix
from piper.voice.synthesizer import Narrator
from piper.voice.voice import PiperVoice
from piper.voices import VoiceFiles

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """How a text is read; what it leaves open, the server's options and the voice say.

    Attributes:
        input_format: `markdown`, `ssml`, or `plain`, which is also called `text`.
        options: How texts are prepared; its lexicon adds to the server's.
        silences: Pauses.
    """

    input_format: str | None = None
    options: TextOptions = field(default_factory=TextOptions)
    silences: Silences = field(default_factory=Silences)


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
        pitch: Semitones that are added.
        speed: Durations are divided by it, whatever else they are scaled by.
        is_streamed: Give the sound while a sentence is in the making, as loud as the voice makes
            it; otherwise each sentence has full range, and the answer's length is known first.
        has_times: Say when phonemes and words are spoken; of a streamed answer only.
        reading: How the text is read.
    """

    text: str
    voice: str | None = None
    speaker: int | str | None = None
    length_scale: float | None = None
    noise_scale: float | None = None
    noise_w_scale: float | None = None
    pitch: float | None = None
    speed: float = 1.0
    is_streamed: bool = False
    has_times: bool = False
    reading: Reading = field(default_factory=Reading)


@dataclass(frozen=True)
class SentenceTimes:
    """What is known of a sentence when its first sound is there.

    Attributes:
        text: The sentence.
        phonemes: How long each phoneme lasts, BOS and EOS included; None where it was not asked
            for, or the voice does not say.
        words: Likewise, when each word is spoken, from the sentence's beginning.
    """

    text: str
    phonemes: list[PhonemeAlignment] | None = None
    words: list[WordTiming] | None = None


@dataclass(frozen=True)
class SpeechPiece:
    """The next samples of an answer.

    Attributes:
        samples: (S,) 16-bit.
        sample_rate: Hertz.
        total_samples: Of the whole answer, where that is known before the first sample is.
        sentence: With the first piece of each sentence of a streamed answer.
    """

    samples: Int16Array
    sample_rate: int
    total_samples: int | None = None
    sentence: SentenceTimes | None = None

    @property
    def seconds(self) -> float:
        """How long it sounds."""
        return len(self.samples) / self.sample_rate


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

    speaker = _ignore_speaker(request.speaker, config)
    if speaker is None and is_default:
        speaker = defaults.speaker
    mix = None
    if isinstance(speaker, str) and ":" in speaker and speaker not in config.speaker_id_map:
        mix = parse_speaker_mix(config, speaker)
    length_scale = choose(request.length_scale, defaults.length_scale)
    if request.speed != 1.0:
        length_scale = (config.length_scale if length_scale is None else length_scale) / (
            request.speed
        )
    silences = request.reading.silences.fill(defaults.silences)
    return SynthesisConfig(
        speaker_id=None if mix else find_speaker(config, speaker),
        speaker_mix=mix,
        length_scale=length_scale,
        noise_scale=choose(request.noise_scale, defaults.noise_scale),
        noise_w_scale=choose(request.noise_w_scale, defaults.noise_w_scale),
        pitch=defaults.pitch if request.pitch is None else request.pitch,
        volume=defaults.volume,
        sentence_silence_seconds=silences.sentence or 0.0,
        paragraph_silence_seconds=silences.paragraph,
        clause_silence_seconds=silences.clause or 0.0,
        ellipsis_silence_seconds=silences.ellipsis,
    )


def find_input_format(request: SpeechRequest, defaults: SpeechDefaults) -> str:
    """Return the kind of markup that a request's text has, one of `MARKUP_KINDS`."""
    kind = request.reading.input_format or defaults.input_format
    return "plain" if kind == "text" else kind


def create_request_frontend(request: SpeechRequest, frontend: Frontend) -> Frontend:
    """Return what reads a request's text.

    Args:
        request: What the client says.
        frontend: The voice's, with what the server was told.

    Raises:
        RequestError: It wants what only the server's own options may bring into memory.
    """
    options = request.reading.options
    if options == TextOptions():
        return frontend
    if options.stress == Stress.SILERO and frontend.options.stress != Stress.SILERO:
        raise RequestError(
            "silero-stress is not loaded for a request; start the server with --stress silero."
        )
    if options.lexicon is not None and frontend.options.lexicon is not None:
        options = replace(options, lexicon=frontend.options.lexicon.extend(options.lexicon))
    return frontend.with_options(options)


def _ignore_speaker(speaker: int | str | None, config: VoiceConfig) -> int | str | None:
    """Return the speaker; None where it means nothing: no name, or a number where there is one.

    Clients that speak by several voices send the number of a speaker with each of them.
    """
    is_number = isinstance(speaker, int) or (speaker is not None and speaker.isdecimal())
    if speaker == "" or (is_number and config.num_speakers <= 1):
        if speaker not in ("", "0", 0):
            _logger.info("The speaker %r is ignored: the voice has one.", speaker)
        return None
    return speaker


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


class SpeechMeter(Protocol):
    """Counts what is spoken; called from several threads."""

    def count_piece(self, piece: SpeechPiece, waited_seconds: float | None) -> None:
        """Count a piece; with the first one of a request, the time since it was accepted."""
        ...


class SpeechService:
    """Speaks requests by the voices of a store; each on its own.

    Args:
        voices: The voices.
        defaults: How to speak where a request does not say.
        limits: How much may be asked for.
        meter: Counts what is spoken.
    """

    def __init__(
        self,
        voices: VoiceStore,
        defaults: SpeechDefaults,
        limits: SpeechLimits,
        meter: SpeechMeter | None = None,
    ) -> None:
        self.voices = voices
        self.limits = limits
        self.defaults = defaults
        self.queue = JobQueue[SpeechPiece](
            limits.at_once,
            limits.max_waiting,
            limits.max_idle_seconds,
            find_seconds=lambda piece: piece.seconds,
        )
        self._meter = meter

    def prepare(self) -> None:
        """Load the default voice and check the defaults; blocking.

        Raises:
            PiperError: The voice cannot be loaded, or has no such speaker.
        """
        files = self.voices.default
        voice = self.voices.load(files)
        self.create_config(SpeechRequest(""), files, voice)
        # A library that an option needs is missed now, too.
        parse_text("1", self.defaults.input_format)
        voice.frontend.text_to_phonemes("1")

    async def submit(self, request: SpeechRequest) -> Job[SpeechPiece]:
        """Accept a request; close the job in any case.

        Raises:
            RequestError: The text is empty or too long.
            VoiceNotFoundError: There is no such voice.
            QueueFullError: Too many requests are waiting.
        """
        self._check_text(request.text)
        files = await self.find(request.voice)
        kind = find_input_format(request, self.defaults)

        def find_sentences(voice: PiperVoice) -> Sequence[PacedSentence]:
            frontend = create_request_frontend(request, voice.frontend)
            return list(pace_sentences(frontend, parse_text(request.text, kind).text))

        return self._submit(request, files, find_sentences)

    def submit_sentences(
        self,
        request: SpeechRequest,
        files: VoiceFiles,
        sentences: Sequence[PacedSentence],
        patience: Patience,
    ) -> Job[SpeechPiece]:
        """Accept a request whose text has been divided already; as `submit`.

        Args:
            request: How to speak; its text is not read.
            files: Its voice, by `find`.
            sentences: By the frontend of that voice.
            patience: With the one who takes the sound of this request and of others.

        Raises:
            QueueFullError: Too many requests are waiting.
        """
        return self._submit(request, files, lambda _: sentences, patience)

    async def find(self, name: str | None) -> VoiceFiles:
        """Return the files of a voice; None means the default one.

        Raises:
            VoiceNotFoundError: There is no such voice.
        """
        # Reading folders takes time on slow disks.
        return await asyncio.to_thread(self.voices.find, name)

    def load(self, files: VoiceFiles) -> PiperVoice:
        """Return a voice, ready to speak; blocking.

        Raises:
            RequestError: It cannot be loaded; not the client's mistake.
        """
        try:
            return self.voices.load(files)
        except PiperError as error:
            # The files' places are not the client's business.
            _logger.error("A voice cannot be loaded: %s", error)
            raise RequestError(
                f"The voice {files.model.stem} cannot be loaded; the server's log says why.",
                HTTPStatus.INTERNAL_SERVER_ERROR,
            ) from error

    def create_config(
        self, request: SpeechRequest, files: VoiceFiles, voice: PiperVoice
    ) -> SynthesisConfig:
        """Return how a voice is to speak.

        Raises:
            PiperError: It has no such speaker.
        """
        is_default = files == self.voices.default
        if files == self.voices.fallback and not self.voices.is_name_of(files, request.voice):
            # The speaker is one of the voice that is not there.
            request = replace(request, speaker=None)
        return create_config(request, self.defaults, voice.config, is_default=is_default)

    def _submit(
        self,
        request: SpeechRequest,
        files: VoiceFiles,
        find_sentences: Callable[[PiperVoice], Sequence[PacedSentence]],
        patience: Patience | None = None,
    ) -> Job[SpeechPiece]:
        start = time.monotonic()

        def work(job: Job[SpeechPiece]) -> Iterator[SpeechPiece]:
            voice = self.load(files)
            job.check()
            config = self.create_config(request, files, voice)
            speaking = Speaking(voice, config, self.limits, job)
            sentences = find_sentences(voice)
            if not request.is_streamed:
                speak = speaking.speak
            else:
                speak = speaking.stream_with_times if request.has_times else speaking.stream
            for number, piece in enumerate(speak(sentences)):
                if self._meter is not None:
                    self._meter.count_piece(piece, None if number else time.monotonic() - start)
                yield piece

        return self.queue.submit(work, patience)

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
