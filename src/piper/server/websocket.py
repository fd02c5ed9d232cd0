"""`/live`: a WebSocket that takes parts of a text and gives parts of its sound, with times.

The messages are described in docs/HTTP.md.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from itertools import accumulate, pairwise
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field, TypeAdapter, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from piper.audio.chunk import SAMPLE_CHANNELS, StreamChunk
from piper.phoneme_ids import BOS, EOS
from piper.server.http import ApiKey, Body, VoiceBody, describe_invalid, translate_for
from piper.server.live import LiveSpeech, Mark
from piper.server.settings import RequestError, to_request_error
from piper.server.speech import JobClosedError, SpeechService

# RFC 6455, section 7.4.1, and its registry.
_NORMAL, _POLICY_VIOLATION, _INTERNAL_ERROR, _TRY_AGAIN_LATER = 1000, 1008, 1011, 1013
_START_SECONDS = 20.0
"""So long a client may take to say how it wants to be spoken to."""


class _Start(VoiceBody):
    type: Literal["start"]
    api_key: str | None = None


class _Text(Body):
    type: Literal["text"]
    text: str


class _Order(Body):
    type: Literal["flush", "cancel", "end"]


_Message = Annotated[_Text | _Order, Field(discriminator="type")]
_MESSAGE: TypeAdapter[_Text | _Order] = TypeAdapter(_Message)
_START = TypeAdapter(_Start)


def create_live_router(service: SpeechService, key: ApiKey) -> APIRouter:
    """Return the endpoint."""
    router = APIRouter()

    @router.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        try:
            await _Conversation(socket, service, key).hold()
        except WebSocketDisconnect:
            return
        except JobClosedError:
            reason = "The sound was not taken for too long, or the server ends; try again later."
            await _refuse(socket, RequestError(reason, HTTPStatus.SERVICE_UNAVAILABLE))
        except Exception as error:
            await _refuse(socket, to_request_error(error))

    return router


class _Conversation:
    """One connection."""

    def __init__(self, socket: WebSocket, service: SpeechService, key: ApiKey) -> None:
        self._socket = socket
        self._service = service
        self._key = key
        self._samples_sent = 0
        self._sentences_sent = 0

    async def hold(self) -> None:
        """Listen and speak until one of both ends it."""
        live = await self._start()
        tasks = [asyncio.create_task(self._listen(live)), asyncio.create_task(self._speak(live))]
        try:
            # Listening ends by an error only, that of a client that has gone among them.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            live.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(self) -> LiveSpeech:
        try:
            message = await asyncio.wait_for(self._receive(_START), _START_SECONDS)
        except TimeoutError:
            raise RequestError('Nothing came; send {"type": "start"} first.') from None
        assert isinstance(message, _Start)
        if not (self._key.fits_headers(self._socket.headers) or self._key.fits(message.api_key)):
            raise RequestError(self._key.REFUSAL, HTTPStatus.UNAUTHORIZED)
        live = await LiveSpeech.open(
            self._service,
            message.to_request("", voice=message.voice, speaker=message.speaker, has_times=True),
        )
        await self._socket.send_json(
            {
                "type": "ready",
                "voice": live.voice_name,
                "sample_rate": live.sample_rate,
                "encoding": "pcm_s16le",
                "channels": SAMPLE_CHANNELS,
            }
        )
        return live

    async def _listen(self, live: LiveSpeech) -> None:
        """Take text and orders; after the text's end, too, what is spoken can be cancelled."""
        has_ended = False
        while True:
            message = await self._receive(_MESSAGE)
            if has_ended and (isinstance(message, _Text) or message.type == "flush"):
                raise RequestError("The text has ended; open another connection for more.")
            if isinstance(message, _Text):
                await live.add(message.text)
            elif message.type == "flush":
                await live.flush()
            elif message.type == "cancel":
                live.cancel()
            else:
                has_ended = True
                await live.end()

    async def _speak(self, live: LiveSpeech) -> None:
        async for chunk in live.chunks():
            if isinstance(chunk, Mark):
                await self._socket.send_json({"type": chunk.name.lower()})
                continue
            if chunk.is_first:
                await self._socket.send_json(self._describe(chunk))
                self._sentences_sent += 1
            await self._socket.send_bytes(chunk.audio_int16_bytes)
            self._samples_sent += len(chunk.audio_float_array)
        seconds = self._samples_sent / live.sample_rate
        await self._socket.send_json({"type": "end", "seconds": seconds})
        await self._socket.close(_NORMAL)

    async def _receive(self, adapter: TypeAdapter[Any]) -> Any:
        event = await self._socket.receive()
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code", _NORMAL))
        text = event.get("text")
        if text is None:
            raise RequestError("A message must be text, as JSON; none is binary.")
        try:
            return adapter.validate_json(text)
        except ValidationError as error:
            status, sentence = describe_invalid(error.errors())
            raise RequestError(sentence.replace("The body", "The message"), status) from None

    def _describe(self, chunk: StreamChunk) -> dict[str, Any]:
        """Return the message before a sentence's first sound; times count from the first of all."""
        start = self._samples_sent / chunk.sample_rate
        words = phonemes = None
        if chunk.word_timings is not None:
            words = [
                {
                    "text": word.text,
                    "start_seconds": start + word.start_seconds,
                    "end_seconds": start + word.end_seconds,
                }
                for word in chunk.word_timings
            ]
        if chunk.phoneme_alignments is not None:
            samples = (phoneme.num_samples for phoneme in chunk.phoneme_alignments)
            ends = [start + end / chunk.sample_rate for end in accumulate(samples, initial=0)]
            phonemes = [
                {"phoneme": phoneme.phoneme, "start_seconds": first, "end_seconds": end}
                for phoneme, (first, end) in zip(
                    chunk.phoneme_alignments, pairwise(ends), strict=True
                )
                if phoneme.phoneme not in (BOS, EOS)
            ]
        return {
            "type": "sentence",
            "number": self._sentences_sent,
            "text": chunk.text,
            "start_seconds": start,
            "words": words,
            "phonemes": phonemes,
        }


async def _refuse(socket: WebSocket, error: RequestError) -> None:
    message: dict[str, Any] = {
        "type": "error",
        "detail": translate_for(str(error), socket.headers),
    }
    if error.retry_after_seconds is not None:
        message["retry_after_seconds"] = error.retry_after_seconds
    code = _POLICY_VIOLATION
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        is_full = error.status == HTTPStatus.SERVICE_UNAVAILABLE
        code = _TRY_AGAIN_LATER if is_full else _INTERNAL_ERROR
    # Whoever is gone hears nothing of it.
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.send_json(message)
        await socket.close(code)
