"""One Wyoming client: its events to speech, and speech to events. Knows nothing of sockets' places.

Whatever goes wrong with a request, the client hears of it and the connection goes on; only bytes
that are no events end it. An error is followed by what ends the answer, because Home Assistant
waits for that and knows no errors.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, async_write_event
from wyoming.ping import Pong
from wyoming.tts import SynthesizeStopped

from piper.audio.chunk import SAMPLE_CHANNELS, SAMPLE_WIDTH_BYTES
from piper.audio.encode import samples_to_pcm
from piper.errors import PiperError
from piper.server.errors import RequestError, to_request_error
from piper.server.live import LiveSpeech, Mark
from piper.server.queue import Job, JobClosedError
from piper.server.request import SpeechPiece
from piper.server.settings import WyomingSettings
from piper.server.speech import SpeechService
from piper.server.wyoming.frames import FrameError, read_event
from piper.server.wyoming.info import create_info
from piper.server.wyoming.request import create_request, read_text

_logger = logging.getLogger(__name__)

_LAST_WORD_SECONDS = 1.0
_MAX_ECHO = 60
"""Characters of a client's own words in the log."""
_CODES = {
    HTTPStatus.NOT_FOUND: "voice-not-found",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too-long",
    HTTPStatus.SERVICE_UNAVAILABLE: "busy",
    HTTPStatus.INTERNAL_SERVER_ERROR: "failed",
}
_OTHER_CODE = "bad-request"


@dataclass
class _TextStream:
    """A text that comes in pieces.

    Attributes:
        live: What speaks it.
        has_text: Whether a piece has come.
        spare_text: The whole text, as clients send it for servers that know no pieces.
    """

    live: LiveSpeech | None
    has_text: bool = False
    spare_text: str = ""


class Connection:
    """A client, from its first event to its last.

    Args:
        service: What speaks.
        reader: Where its events come from.
        writer: Where ours go to.
        settings: How it is answered.
    """

    def __init__(
        self,
        service: SpeechService,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        settings: WyomingSettings,
    ) -> None:
        self._service = service
        self._reader = reader
        self._writer = writer
        self._settings = settings
        self._write_lock = asyncio.Lock()
        self._last_event_at = time.monotonic()
        self._is_given_up = False
        self._speech: asyncio.Task[None] | None = None
        self._stream: _TextStream | None = None
        self._handlers = {
            "describe": self._describe,
            "ping": self._ping,
            "synthesize": self._synthesize,
        }
        if settings.is_streaming:
            self._handlers |= {
                "synthesize-start": self._start_stream,
                "synthesize-chunk": self._add_to_stream,
                "synthesize-stop": self._stop_stream,
            }

    @property
    def idle_since(self) -> float | None:
        """When its last event came, by the clock that nobody sets; None: it has something to do."""
        is_busy = self._is_given_up or self._stream is not None or self._is_speaking()
        return None if is_busy else self._last_event_at

    async def run(self) -> None:
        """Answer events until the client goes away."""
        limits = self._service.limits
        try:
            while True:
                event = await read_event(
                    self._reader, limits.max_body_bytes, limits.max_idle_seconds
                )
                if event is None:
                    break
                self._last_event_at = time.monotonic()
                _logger.debug("An event came: %r", event.type[:_MAX_ECHO])
                handler = self._handlers.get(event.type)
                if handler is not None:  # others are those of other services, or of later versions
                    await self._tell_mistakes(partial(handler, event.data))
            if self._settings.is_patient:
                await self._tell_mistakes(partial(self._stop_stream, {}))
                await self._finish_speech()
        except FrameError as error:
            _logger.info("A client is told: %r", str(error))
            await self._refuse(Error(str(error), _OTHER_CODE))
        except (OSError, JobClosedError):  # the client has gone, or takes nothing any more
            pass
        finally:
            await self._close()

    async def end(self, grace_seconds: float) -> None:
        """End the connection, with a little time for what is being spoken."""
        if self._speech is not None:
            await asyncio.wait([self._speech], timeout=grace_seconds)
        self.give_up()

    def give_up(self) -> None:
        """End the connection, whatever is on its way."""
        self._is_given_up = True
        self._writer.transport.abort()
        self._reader.feed_eof()

    async def _refuse(self, error: Error) -> None:
        """Send an error and no more; what the client is still sending is thrown away.

        A connection that is closed with bytes unread is reset, and a reset takes back what the
        client has not read yet.
        """
        with suppress(OSError):
            await self._send(error.event())
            self._writer.write_eof()
            async with asyncio.timeout(_LAST_WORD_SECONDS):
                while await self._reader.read(1 << 16):
                    pass

    async def _close(self) -> None:
        if self._speech is not None:
            self._speech.cancel()
            with suppress(asyncio.CancelledError, Exception):  # its own callback has told of it
                await self._speech
        self._writer.close()
        transport = self._writer.transport
        if transport.get_write_buffer_size():
            # What its client does not read would keep a connection for ever.
            seconds = self._service.limits.max_idle_seconds
            asyncio.get_running_loop().call_later(seconds, transport.abort)

    # What a client may send.

    async def _describe(self, _: Mapping[str, Any]) -> None:
        info = await asyncio.to_thread(
            create_info, self._service.voices, is_streaming=self._settings.is_streaming
        )
        await self._send(info.event())

    async def _ping(self, data: Mapping[str, Any]) -> None:
        await self._send(Pong(data.get("text")).event())

    async def _synthesize(self, data: Mapping[str, Any]) -> None:
        if self._stream is not None:
            # The same text once more, for servers that know no pieces.
            self._stream.spare_text = read_text(data)
            return
        await self._finish_speech()
        speaking = partial(self._speak, data)
        self._begin_speech(self._tell_mistakes(speaking, AudioStop().event()))

    async def _start_stream(self, data: Mapping[str, Any]) -> None:
        if self._stream is not None:
            raise RequestError("A text in pieces has begun; send synthesize-stop before another.")
        await self._finish_speech()
        # Where it cannot be spoken, its pieces are still to be passed over.
        self._stream = _TextStream(None)
        opening = partial(self._open_stream, data)
        await self._tell_mistakes(opening, SynthesizeStopped().event())

    async def _open_stream(self, data: Mapping[str, Any]) -> None:
        request = await create_request({**data, "text": ""}, self._service.voices)
        live = await LiveSpeech.open(self._service, request)
        self._stream = _TextStream(live)
        self._begin_speech(self._speak_stream(live))

    async def _add_to_stream(self, data: Mapping[str, Any]) -> None:
        if self._stream is None:
            raise RequestError("No text in pieces has begun; send synthesize-start first.")
        if self._stream.live is not None and self._is_speaking():
            self._stream.has_text = True
            await _add_text(self._stream.live, read_text(data))

    async def _stop_stream(self, _: Mapping[str, Any]) -> None:
        stream, self._stream = self._stream, None
        if stream is None or stream.live is None or not self._is_speaking():
            return
        if not stream.has_text and stream.spare_text:
            await _add_text(stream.live, stream.spare_text)
        await stream.live.end()

    # What it gets.

    async def _speak(self, data: Mapping[str, Any]) -> None:
        request = await create_request(data, self._service.voices)
        job = await self._service.submit(request)
        try:
            await self._send_speech(_take_all(job))
        finally:
            job.close()

    async def _speak_stream(self, live: LiveSpeech) -> None:
        try:
            speaking = partial(self._send_speech, live.pieces())
            await self._tell_mistakes(speaking, AudioStop().event())
        finally:
            live.close()
        await self._send(SynthesizeStopped().event())

    async def _send_speech(self, pieces: AsyncIterator[SpeechPiece | Mark]) -> None:
        most = self._settings.samples_per_chunk
        num_samples = 0
        async for piece in pieces:
            if isinstance(piece, Mark):
                continue
            rate, width, channels = piece.sample_rate, SAMPLE_WIDTH_BYTES, SAMPLE_CHANNELS
            for start in range(0, len(piece.samples), most):
                if not num_samples:
                    await self._send(AudioStart(rate, width, channels, timestamp=0).event())
                samples = piece.samples[start : start + most]
                audio = samples_to_pcm(samples)
                milliseconds = num_samples * 1000 // rate
                await self._send(AudioChunk(rate, width, channels, audio, milliseconds).event())
                num_samples += len(samples)
        if num_samples:
            await self._send(AudioStop().event())

    # How.

    def _begin_speech(self, speech: Coroutine[Any, Any, None]) -> None:
        """Speak beside reading, so that a client that goes away is noticed."""
        self._speech = asyncio.create_task(speech)
        self._speech.add_done_callback(self._end_with_speech)

    def _is_speaking(self) -> bool:
        return self._speech is not None and not self._speech.done()

    async def _finish_speech(self) -> None:
        if self._speech is not None:
            await self._speech

    def _end_with_speech(self, speech: asyncio.Task[None]) -> None:
        if not speech.cancelled() and speech.exception() is not None:
            self.give_up()

    async def _tell_mistakes(self, work: Callable[[], Awaitable[None]], *ends: Event) -> None:
        """Do what a client wants; tell it what went wrong, and what ends the answer then."""
        try:
            await work()
            return
        except (OSError, JobClosedError):
            raise  # there is nobody to be told
        except PiperError as error:
            mistake = to_request_error(error)
        except Exception:
            _logger.exception("A request has failed")
            mistake = RequestError(
                "The server has failed; its log says how.", HTTPStatus.INTERNAL_SERVER_ERROR
            )
        # Home Assistant shows no errors: whoever hears nothing finds out here.
        _logger.info("A client is told: %r", str(mistake))
        code = _CODES.get(HTTPStatus(mistake.status), _OTHER_CODE)
        for event in (Error(str(mistake), code).event(), *ends):
            await self._send(event)

    async def _send(self, event: Event) -> None:
        """Send an event.

        Raises:
            OSError: The client has gone, or has taken nothing for too long.
        """
        async with self._write_lock, asyncio.timeout(self._service.limits.max_idle_seconds):
            await async_write_event(event, self._writer)


async def _take_all(job: Job[SpeechPiece]) -> AsyncIterator[SpeechPiece]:
    while (piece := await job.take()) is not None:
        yield piece


async def _add_text(live: LiveSpeech, text: str) -> None:
    """Speak more; text that cannot be spoken ends all of it, lest the rest makes no sense."""
    try:
        await live.add(text)
    except PiperError:
        live.close()
        raise
