"""Accepts requests for speech and has them spoken, off the event loop.

Knows nothing of HTTP and encodings.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Protocol

from piper.config import SynthesisConfig
from piper.errors import PiperError
from piper.server.errors import RequestError
from piper.server.queue import Job, JobQueue, Patience
from piper.server.request import (
    SpeechPiece,
    SpeechRequest,
    create_config,
    create_request_frontend,
    find_input_format,
)
from piper.server.settings import SpeechDefaults, SpeechLimits
from piper.server.speaking import Speaking
from piper.server.store import VoiceStore
from piper.text.documents import parse_text
from piper.voice.incoming import PacedSentence, pace_sentences
from piper.voice.voice import PiperVoice
from piper.voices import VoiceFiles

_logger = logging.getLogger(__name__)


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
