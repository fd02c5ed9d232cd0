"""A text that comes in parts and is spoken meanwhile."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from enum import Enum, auto
from http import HTTPStatus

from piper.audio.chunk import StreamChunk
from piper.server.settings import RequestError
from piper.server.speech import (
    Job,
    JobClosedError,
    Patience,
    QueueFullError,
    SpeechRequest,
    SpeechService,
    find_text_options,
)
from piper.text.frontend import Sentence
from piper.voice.incoming import IncomingDocument
from piper.voice.synthesizer import PacedSentence
from piper.voice.voice import PiperVoice
from piper.voices import VoiceFiles

_MAX_WAIT_SECONDS = 30.0
"""So long a sentence waits for a place in the queue."""
_RETRY_SECONDS = 0.05


class Mark(Enum):
    """What stands between chunks."""

    FLUSHED = auto()
    """All that was there at a flush has been spoken."""
    CANCELLED = auto()
    """What was not spoken yet has been forgotten."""


class LiveSpeech:
    """Speaks a text while it is still being written; to be closed.

    One task gives the text, another one takes the sound. Each group of sentences is a job of its
    own in the server's queue, so that no thread waits for whoever writes. Of the loaded voice only
    what divides a text is kept, lest every connection hold a network in memory.
    """

    def __init__(
        self, service: SpeechService, request: SpeechRequest, files: VoiceFiles, voice: PiperVoice
    ) -> None:
        self.voice_name = files.model.stem
        self.sample_rate = voice.config.sample_rate
        self._service = service
        self._request = request
        self._files = files
        options = find_text_options(request, voice.frontend)
        frontend = voice.frontend if options is None else voice.frontend.with_options(options)
        self._incoming = IncomingDocument(frontend, service.find_format(request))
        self._config = replace(service.defaults.config, **request.settings)
        self._waiting: deque[PacedSentence | Mark] = deque()
        self._changed = asyncio.Event()
        self._has_ended = False
        self._previous: Sentence | None = None
        """The last one that was spoken, whole; None where no pause is to follow."""
        self._job: Job | None = None
        self._patience = Patience(service.limits.max_idle_seconds)
        self._turn = 0
        """Counts what was cancelled."""

    @classmethod
    async def open(cls, service: SpeechService, request: SpeechRequest) -> LiveSpeech:
        """Return one that is ready."""
        request = replace(request, text="", is_streamed=True)
        files = await service.find(request.voice)
        loaded: list[PiperVoice] = []

        def load(_: Job) -> Iterator[StreamChunk]:
            loaded.append(service.load(files))
            # A speaker that is not there shows now, not at the first sentence.
            service.create_config(request, files, loaded[0])
            yield from ()

        # A turn like any other: who opens voice after voice must not hold up the others.
        job = await _wait_for_place(lambda: service.queue.add(load))
        try:
            await job.take()
        finally:
            job.close()
        return cls(service, request, files, loaded[0])

    async def add(self, text: str) -> None:
        """Take the next part of the text, cut anywhere."""
        limits = self._service.limits
        rest = len(self._incoming.rest) + len(text)
        if rest > limits.max_text_characters:
            raise RequestError(
                f"More than {limits.max_text_characters} characters cannot be spoken at once; "
                "send the text in smaller parts.",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )
        unspoken = sum(
            len(item.sentence.text) for item in self._waiting if isinstance(item, PacedSentence)
        )
        if unspoken + rest > limits.max_unspoken_characters:
            raise RequestError(
                f"More than {limits.max_unspoken_characters} characters are not spoken yet; "
                "send the text more slowly.",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )
        # espeak-ng takes milliseconds where a sentence may have ended.
        self._put(await asyncio.to_thread(self._incoming.add, text))

    async def flush(self) -> None:
        """Speak what is there though no sentence has ended; then comes `Mark.FLUSHED`."""
        self._put(await asyncio.to_thread(self._incoming.finish))
        self._put([Mark.FLUSHED])

    async def end(self) -> None:
        """Speak what is there; no text follows."""
        self._put(await asyncio.to_thread(self._incoming.finish))
        self._has_ended = True
        self._changed.set()

    def cancel(self) -> None:
        """Forget what is not spoken yet; then comes `Mark.CANCELLED`."""
        self._forget()
        self._put([Mark.CANCELLED])

    def close(self) -> None:
        """End all work."""
        self._forget()
        self._has_ended = True
        self._changed.set()

    def _forget(self) -> None:
        self._turn += 1
        self._incoming.forget()
        self._waiting.clear()
        self._previous = None
        if self._job is not None:
            self._job.close()

    async def chunks(self) -> AsyncIterator[StreamChunk | Mark]:
        """Yield the sound as it is made, until the text has ended and all is spoken."""
        while True:
            if not self._waiting:
                if self._has_ended:
                    return
                self._changed.clear()
                await self._changed.wait()
            elif isinstance(mark := self._waiting[0], Mark):
                self._waiting.popleft()
                yield mark
            else:
                async for chunk in self._speak_next():
                    yield chunk

    def _put(self, items: list[PacedSentence] | list[Mark]) -> None:
        self._waiting.extend(items)
        self._changed.set()

    async def _speak_next(self) -> AsyncIterator[StreamChunk]:
        """Speak the next sentences that wait, up to a mark."""
        turn = self._turn
        sentences = self._take_group()
        last = sentences[-1].sentence
        self._previous = None if last.goes_on else last
        try:
            job = self._job = await _wait_for_place(
                lambda: self._service.start(self._request, self._files, sentences, self._patience),
                is_wanted=lambda: turn == self._turn,
            )
            async for chunk in job.take_all():
                yield chunk
        except JobClosedError:
            # Cancelled; if not, then nobody has taken anything for too long, or the server ends.
            if turn == self._turn:
                raise
        finally:
            if self._job is not None:
                self._job.close()

    def _take_group(self) -> list[PacedSentence]:
        """Return the sentences of the next job, of bounded length: the text may last for hours."""
        group: list[PacedSentence] = []
        ids_left = self._service.limits.max_group_ids
        while self._waiting and isinstance(paced := self._waiting[0], PacedSentence):
            ids_left -= len(paced.sentence.ids)
            if group and ids_left < 0:
                break
            # Between sentences of one job there are pauses anyway.
            silence = paced.silence_before_seconds + (0.0 if group else self._find_pause(paced))
            group.append(replace(paced, silence_before_seconds=silence))
            self._waiting.popleft()
        return group

    def _find_pause(self, paced: PacedSentence) -> float:
        """Return the seconds between the last job's last sentence and the next one."""
        if self._previous is None:
            return 0.0
        config = self._config
        is_paragraph = self._previous.ends_paragraph or paced.begins_paragraph
        pause = config.paragraph_silence_seconds if is_paragraph else None
        return config.sentence_silence_seconds if pause is None else pause


async def _wait_for_place(
    add: Callable[[], Job], is_wanted: Callable[[], bool] = lambda: True
) -> Job:
    """Add a job as soon as the queue has a place, or raise where it has none for long."""
    now = asyncio.get_running_loop().time
    end = now() + _MAX_WAIT_SECONDS
    while True:
        try:
            return add()
        except QueueFullError:
            if now() > end:
                raise
        await asyncio.sleep(_RETRY_SECONDS)
        if not is_wanted():
            raise JobClosedError
