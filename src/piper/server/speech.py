"""Accepts requests for speech and has them spoken in threads: so much at once, so much waiting.

A request goes `SpeechService.accept` → `start` → `JobQueue.add`, which makes it a `Job`; threads of
the queue make its chunks, one at a time (`SpeechService._make_chunks`), and whoever answers takes
them.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from piper.audio.chunk import StreamChunk
from piper.config import SynthesisConfig
from piper.errors import PiperError
from piper.server.settings import RequestError, SpeechDefaults, SpeechLimits
from piper.server.store import VoiceStore
from piper.text.frontend import Frontend, Stress, TextOptions
from piper.text.markup import parse_text
from piper.voice.synthesizer import PacedSentence, resolve_speaker
from piper.voice.voice import PiperVoice
from piper.voices import VoiceFiles

_LOGGER = logging.getLogger(__name__)

_SHARE_OF_LAST_JOB = 0.2
"""How much the last job counts in the mean time of a job."""
_SLOWEST_SHARE = 0.5
"""How fast chunks are to be taken, beside how fast they are played."""
MAX_UNREAD_CHUNKS = 16
"""A job that has so many lying rests until half of them are taken: who reads slowly costs neither
a thread nor the memory of his whole answer."""
_MAX_CHUNK_SAMPLES = 1 << 15
"""A slow client shows that it is alive every so often."""
_MAX_PLANNED_IDS = 2000
"""About 50 seconds; their durations take a tenth of the work, which the first sound waits for."""


class QueueFullError(RequestError):
    """There is as much to do as may be waiting."""

    def __init__(self, retry_after_seconds: int) -> None:
        sentence = "The server has too much to do; try again later."
        super().__init__(sentence, HTTPStatus.SERVICE_UNAVAILABLE, retry_after_seconds)


class JobClosedError(Exception):
    """Nobody wants the result any more, or the server is about to end."""


class Patience:
    """How long threads' work may lie before the one who takes it asks for more.

    A place in the queue is not for whoever takes a byte now and then: chunks must be taken at half
    of the speed at which they are played, but for a pause.

    Args:
        max_idle_seconds: Of one pause, and of all that are not earned by chunks.
    """

    def __init__(self, max_idle_seconds: float) -> None:
        self._max_idle_seconds = max_idle_seconds
        self._left_seconds = max_idle_seconds
        self._given_at = 0.0

    def give(self, seconds: float) -> float:
        """Note that a chunk of so many seconds is given; return when patience will be at an end."""
        self._given_at = time.monotonic()
        self._left_seconds += seconds / _SLOWEST_SHARE
        return max(0.0, min(self._max_idle_seconds, self._left_seconds))

    def end_pause(self) -> None:
        """Note that the next chunk is asked for."""
        self._left_seconds -= time.monotonic() - self._given_at


class Job:
    """Chunks that threads make, one at a time, and an event loop takes.

    Several threads may go on with the work, one after another.
    """

    def __init__(
        self, work: Callable[[Job], Iterator[StreamChunk]], queue: JobQueue, patience: Patience
    ) -> None:
        self.busy_seconds = 0.0
        """What making the chunks has taken."""
        self.due: float | None = None
        """When the next chunk is needed, by the clock that nobody sets; None: the first, now."""
        self._steps = work(self)
        self._queue = queue
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[StreamChunk | Exception | None] = asyncio.Queue()
        self._is_closed = threading.Event()
        self._lock = threading.Lock()
        self._num_unread = 0
        self._is_resting = False
        self._watchdog: asyncio.TimerHandle | None = None

    # In the threads.

    def check(self) -> None:
        """Raise JobClosedError where the work is wanted no more; to be called often."""
        if self._is_closed.is_set():
            raise JobClosedError

    def advance(self) -> bool:
        """Make the next chunk; return whether another one is wanted now.

        The work's error is raised where the chunks are taken.
        """
        start = time.monotonic()
        try:
            self.check()
            chunk = next(self._steps, None)
        except JobClosedError:
            self._steps.close()  # type: ignore[attr-defined] # a generator, by `JobQueue.add`
            return False
        except Exception as error:  # whatever it is, the one who waits must hear of it
            self._send(error)
            return False
        finally:
            self.busy_seconds += time.monotonic() - start
        if chunk is None:
            self._send(None)
            return False
        self.due = (self.due or time.monotonic()) + chunk.duration_seconds
        with self._lock:
            self._num_unread += 1
            # Decided before it is sent, lest it be taken meanwhile and nobody wake the job.
            self._is_resting = is_resting = self._num_unread >= MAX_UNREAD_CHUNKS
        self._send(chunk)
        return not is_resting

    def _send(self, chunk: StreamChunk | Exception | None) -> None:
        # A loop that has ended has nobody left who waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)

    # In the event loop.

    async def take(self) -> StreamChunk | None:
        """Return the next chunk, None after the last; what the work raises is raised here."""
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
            self._patience.end_pause()
        self.check()
        chunk = await self._chunks.get()
        self.check()
        if isinstance(chunk, Exception):
            self.close()
            raise chunk
        if chunk is None:
            self.close()
        else:
            seconds = self._patience.give(chunk.duration_seconds)
            self._watchdog = self._loop.call_later(seconds, self.close)
            self._wake(MAX_UNREAD_CHUNKS // 2, num_taken=1)
        return chunk

    async def take_all(self, first: StreamChunk | None = None) -> AsyncIterator[StreamChunk]:
        """Yield the first chunk, if it has been taken, and all others."""
        chunk = await self.take() if first is None else first
        while chunk is not None:
            yield chunk
            chunk = await self.take()

    def _wake(self, most_unread: int, num_taken: int = 0) -> None:
        with self._lock:
            self._num_unread -= num_taken
            if not self._is_resting or self._num_unread > most_unread:
                return
            self._is_resting = False
        self._queue.go_on(self)

    def close(self) -> None:
        """End the work at its next check and forget the chunks; closing again does nothing."""
        if self._is_closed.is_set():
            return
        self._is_closed.set()
        if self._watchdog is not None:
            self._watchdog.cancel()
        forgotten, self._chunks = self._chunks, asyncio.Queue()
        forgotten.put_nowait(None)  # wakes the one who waits in take()
        self._queue.forget(self)
        self._wake(MAX_UNREAD_CHUNKS)  # to end what it holds


class JobQueue:
    """Runs jobs in threads, a chunk at a time; next is the one whose chunk is needed first.

    A job's first chunk is needed when it is added, the next when those that were made have been
    played (earliest deadline first; Liu and Layland 1973). So a long job does not hold up a short
    one, and with more jobs than the threads can keep up with, the earlier ones are kept whole.

    Args:
        at_once: Threads.
        max_waiting: Jobs beyond those that are accepted; a job counts until its last chunk is
            taken or it is closed.
        max_idle_seconds: A job is closed when nothing is taken for so long although there is
            something; see `Patience`.
    """

    def __init__(self, at_once: int, max_waiting: int, max_idle_seconds: float) -> None:
        self._max_idle_seconds = max_idle_seconds
        self._at_once = at_once
        self._max_jobs = at_once + max_waiting
        self._jobs: set[Job] = set()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="piper-speech")
        self._lock = threading.Lock()
        self._ready: list[tuple[float, int, Job]] = []
        self._numbers = itertools.count()
        self._mean_seconds = 1.0

    def __len__(self) -> int:
        """Return how many jobs are accepted and not done."""
        return len(self._jobs)

    def add(
        self, work: Callable[[Job], Iterator[StreamChunk]], patience: Patience | None = None
    ) -> Job:
        """Accept a job, by a generator function; call it in the event loop, and close the job.

        `patience` may be shared by jobs that one client takes after each other.
        """
        if len(self._jobs) >= self._max_jobs:
            seconds = self._mean_seconds * len(self._jobs) / self._at_once
            raise QueueFullError(max(1, math.ceil(seconds)))
        job = Job(work, self, patience or Patience(self._max_idle_seconds))
        self._jobs.add(job)
        self.go_on(job)
        return job

    def go_on(self, job: Job) -> None:
        """Let a thread make the job's next chunk when it is its turn."""
        with self._lock:
            due = time.monotonic() if job.due is None else job.due
            heapq.heappush(self._ready, (due, next(self._numbers), job))
        # After the end there are no threads, and nobody who waits.
        with suppress(RuntimeError):
            self._threads.submit(self._advance_next)

    def _advance_next(self) -> None:
        with self._lock:
            _, _, job = heapq.heappop(self._ready)
        if job.advance():
            self.go_on(job)

    def forget(self, job: Job) -> None:
        """Count a job no more."""
        self._jobs.discard(job)
        self._mean_seconds += _SHARE_OF_LAST_JOB * (job.busy_seconds - self._mean_seconds)

    def close_jobs(self) -> None:
        """Close all jobs."""
        for job in list(self._jobs):
            job.close()

    async def close(self) -> None:
        """Close all jobs and wait until their threads have ended."""
        self.close_jobs()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)


@dataclass(frozen=True)
class SpeechRequest:
    """What is to be spoken and how; None takes the server's default, then the voice's.

    Attributes:
        text: One or more sentences.
        voice: A voice's name, or its files where they have been found.
        speaker: Number or name, or a mixture like `3:0.7,5:0.3`.
        speed: Durations are divided by it, whatever else they are scaled by.
        settings: Fields of `SynthesisConfig` that the client says.
        input_format: `markdown`, `ssml`, or `plain`, which is also called `text`.
        text_options: How the text is prepared; its lexicon adds to the server's.
        is_streamed: Give the sound while a sentence is in the making, as loud as the voice makes
            it; otherwise each sentence has full range, and the answer's length is known first.
        has_times: Say when phonemes and words are spoken; of a streamed answer only.
    """

    text: str
    voice: str | VoiceFiles | None = None
    speaker: int | str | None = None
    speed: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    input_format: str | None = None
    text_options: TextOptions | None = None
    is_streamed: bool = False
    has_times: bool = False


class SpeechService:
    """Speaks requests by the voices of a store; each on its own.

    From several threads it calls `count_sound` with the seconds of each chunk of sound, and
    `count_wait` with those from accepting a request to its first chunk.
    """

    def __init__(
        self,
        voices: VoiceStore,
        defaults: SpeechDefaults,
        limits: SpeechLimits,
        count_sound: Callable[[float], None] = lambda seconds: None,
        count_wait: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.voices = voices
        self.limits = limits
        self.defaults = defaults
        self.queue = JobQueue(limits.at_once, limits.max_waiting, limits.max_idle_seconds)
        self._count_sound = count_sound
        self._count_wait = count_wait

    def prepare(self) -> None:
        """Load the default voice and check the defaults; blocking."""
        files = self.voices.default
        voice = self.voices.load(files)
        request = SpeechRequest("1")
        self.create_config(request, files, voice)
        # A library that an option needs is missed now, too.
        parse_text(request.text, self.find_format(request))
        voice.frontend.text_to_phonemes(request.text)

    async def accept(self, request: SpeechRequest) -> Job:
        """Accept a request; close the job in any case."""
        if not request.text.strip():
            raise RequestError("There is nothing to speak; give a text.")
        most = self.limits.max_text_characters
        if len(request.text) > most:
            raise RequestError(
                f"The text has {len(request.text)} characters, but at most {most} can be spoken at "
                "once; divide it.",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )
        return self.start(request, await self.find(request.voice))

    async def find(self, voice: str | VoiceFiles | None) -> VoiceFiles:
        """Return the files of a request's voice."""
        if isinstance(voice, VoiceFiles):
            return voice
        # Reading folders takes time on slow disks.
        return await asyncio.to_thread(self.voices.find, voice)

    def start(
        self,
        request: SpeechRequest,
        files: VoiceFiles,
        sentences: Sequence[PacedSentence] | None = None,
        patience: Patience | None = None,
    ) -> Job:
        """Let a request wait for its turn; `sentences` are spoken in place of its text.

        `patience` is with the client who takes the sound of this request and of others.
        """
        start = time.monotonic()
        return self.queue.add(
            lambda job: self._make_chunks(job, request, files, sentences, start), patience
        )

    def _make_chunks(
        self,
        job: Job,
        request: SpeechRequest,
        files: VoiceFiles,
        sentences: Sequence[PacedSentence] | None,
        start: float,
    ) -> Iterator[StreamChunk]:
        voice = self.load(files)
        samples_left = round(self.limits.max_audio_seconds * voice.config.sample_rate)

        def watch(num_samples: int) -> None:
            nonlocal samples_left
            job.check()
            samples_left -= num_samples
            if samples_left < 0:
                raise RequestError(
                    f"The speech would last more than {self.limits.max_audio_seconds:g} "
                    "seconds; divide the text.",
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                )

        if request.is_streamed:
            max_planned_ids = 0 if request.has_times else _MAX_PLANNED_IDS
        else:
            max_planned_ids = sys.maxsize
        job.check()
        chunks = voice.synthesize_stream(
            sentences or parse_text(request.text, self.find_format(request)).text,
            self.create_config(request, files, voice),
            request.has_times,
            text_options=find_text_options(request, voice.frontend),
            max_planned_ids=max_planned_ids,
            watch=watch,
        )
        is_first = True
        for chunk in _divide(chunks):
            if is_first:
                self._count_wait(time.monotonic() - start)
            is_first = False
            self._count_sound(chunk.duration_seconds)
            yield chunk
        if is_first:
            raise RequestError("There is nothing to speak in the text; give one with words.")

    def load(self, files: VoiceFiles) -> PiperVoice:
        """Return a voice, ready to speak; blocking."""
        try:
            return self.voices.load(files)
        except PiperError as error:
            # The files' places are not the client's business.
            _LOGGER.error("A voice cannot be loaded: %s", error)
            raise RequestError(
                f"The voice {files.model.stem} cannot be loaded; the server's log says why.",
                HTTPStatus.INTERNAL_SERVER_ERROR,
            ) from error

    def find_format(self, request: SpeechRequest) -> str:
        """Return the kind of markup that a request's text has, one of `MARKUP_KINDS`."""
        kind = request.input_format or self.defaults.input_format
        return "plain" if kind == "text" else kind

    def create_config(
        self, request: SpeechRequest, files: VoiceFiles, voice: PiperVoice
    ) -> SynthesisConfig:
        """Return how a voice is to speak: as the client says, else the server, else the voice."""
        config = voice.config
        speaker = request.speaker
        name = None if isinstance(request.voice, VoiceFiles) else request.voice
        if name and files == self.voices.fallback and not self.voices.is_name_of(files, name):
            speaker = None  # it is one of the voice that is not there
        # Clients that speak by several voices send the number of a speaker with each of them.
        is_number = isinstance(speaker, int) or (speaker is not None and speaker.isdecimal())
        if speaker == "" or (is_number and config.num_speakers <= 1):
            if speaker not in ("", "0", 0):
                _LOGGER.info("The speaker %r is ignored: the voice has one.", speaker)
            speaker = None
        if speaker is None and files == self.voices.default:
            speaker = self.defaults.speaker
        wanted = replace(self.defaults.config, **request.settings)
        if request.speed != 1.0:
            length_scale = wanted.length_scale
            length_scale = config.length_scale if length_scale is None else length_scale
            wanted = replace(wanted, length_scale=length_scale / request.speed)
        return replace(
            wanted,
            **resolve_speaker(config, speaker),
            normalize="off" if request.is_streamed else "sentence",
        )


def find_text_options(request: SpeechRequest, frontend: Frontend) -> TextOptions | None:
    """Return how a request's text is prepared; None leaves it to the frontend."""
    options = request.text_options
    if options is None:
        return None
    if options.stress == Stress.SILERO and frontend.options.stress != Stress.SILERO:
        raise RequestError(
            "silero-stress is not loaded for a request; start the server with --stress silero."
        )
    if options.lexicon is not None and frontend.options.lexicon is not None:
        options = replace(options, lexicon=frontend.options.lexicon.extend(options.lexicon))
    return options


def _divide(chunks: Iterable[StreamChunk]) -> Iterator[StreamChunk]:
    """Yield parts of bounded size: a voice's own graph gives a whole sentence at a time."""
    for chunk in chunks:
        audio = chunk.audio_float_array
        if len(audio) <= _MAX_CHUNK_SAMPLES:
            yield chunk
            continue
        for start in range(0, len(audio), _MAX_CHUNK_SAMPLES):
            part = audio[start : start + _MAX_CHUNK_SAMPLES]
            if start:
                chunk = replace(chunk, is_first=False, phoneme_alignments=None, word_timings=None)
            yield replace(chunk, audio_float_array=part)
