"""OpenAI's speech endpoint and list of models, so that its clients speak by our voices.

Source: https://platform.openai.com/docs/api-reference/audio/createSpeech
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from piper.audio.chunk import StreamChunk
from piper.audio.output import OutputFormat, StreamEncoder
from piper.config import VoiceConfig, load_voice_config
from piper.errors import VoiceNotFoundError
from piper.server.http import (
    GUARDS,
    Body,
    JobResponse,
    Name,
    ReadingBody,
    Semitones,
    describe_statuses,
    first_chunk,
)
from piper.server.settings import MAX_ECHO
from piper.server.speech import SpeechService
from piper.server.store import VoiceStore
from piper.voices import VoiceFiles

PREFIX = "/v1"
ANY_MODEL = "tts-1"
"""Listed for clients that let only listed models be chosen; it means the default voice."""
_STOCK_VOICES = frozenset(
    (
        *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
        *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
    )
)
"""OpenAI's own, which programs have built in; here they all are the default voice."""
_PCM_RATE = 24000
"""Clients know no other one, and raw samples do not say theirs."""
_EVENTS = "text/event-stream"


@dataclass(frozen=True)
class _Format:
    encoding: OutputFormat
    media_type: str
    sample_rate: int | None = None


_FORMATS = {
    "mp3": _Format(OutputFormat.MP3, "audio/mpeg"),
    "opus": _Format(OutputFormat.OPUS, "audio/ogg"),
    "aac": _Format(OutputFormat.AAC, "audio/aac"),
    "flac": _Format(OutputFormat.FLAC, "audio/flac"),
    "wav": _Format(OutputFormat.WAV, "audio/wav"),
    "pcm": _Format(OutputFormat.RAW, "audio/pcm", _PCM_RATE),
}


class VoiceId(Body):
    """A voice, as some clients name it."""

    id: Name


class SpeechBody(ReadingBody):
    """What `/v1/audio/speech` takes; other keys, `instructions` among them, are let pass."""

    input: str
    voice: Name | VoiceId | None = None
    model: Name | None = None
    speed: Annotated[float, Field(ge=0.25, le=4.0, allow_inf_nan=False)] = 1.0
    pitch: Semitones | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    stream_format: Literal["audio", "sse"] = "audio"

    @property
    def voice_name(self) -> str:
        """The voice, however it is named."""
        return self.voice.id if isinstance(self.voice, VoiceId) else self.voice or ""


class Model(BaseModel):
    """A voice, in the list of models."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "piper"


class ModelList(BaseModel):
    """What `/v1/models` says."""

    object: Literal["list"] = "list"
    data: list[Model]


class VoiceEntry(BaseModel):
    """A voice, in the list of voices."""

    id: str
    name: str
    language: str
    speakers: list[str]


class VoiceList(BaseModel):
    """What `/v1/audio/voices` says, as other servers of this kind do."""

    voices: list[VoiceEntry]


class OpenAIError(BaseModel):
    """What is wrong, as OpenAI's clients read it."""

    message: str
    type: str
    param: None = None
    code: None = None


class OpenAIMistake(BaseModel):
    """The body of every answer under `/v1` that is not what was asked for."""

    error: OpenAIError


def describe_openai_mistake(status: int, sentence: str) -> dict[str, Any]:
    """Return the body of an answer that is not what was asked for."""
    is_ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    kind = "server_error" if is_ours else "invalid_request_error"
    return OpenAIMistake(error=OpenAIError(message=sentence, type=kind)).model_dump()


_MISTAKES = describe_statuses(400, 404, 408, 413, 422, 500, model=OpenAIMistake)
_AUDIO: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The speech",
        "content": {kind.media_type: {} for kind in _FORMATS.values()} | {"text/event-stream": {}},
    }
}


def create_openai_router(service: SpeechService) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(prefix=PREFIX, responses=describe_statuses(*GUARDS, model=OpenAIMistake))
    _add_speech(router, service)
    _add_lists(router, service.voices)
    return router


def _add_speech(router: APIRouter, service: SpeechService) -> None:
    @router.post("/audio/speech", response_class=Response, responses=_AUDIO | _MISTAKES)
    async def speech(request: Request, body: SpeechBody) -> Response:
        """Speak a text; the answer is sent as it is made."""
        files, speaker = await asyncio.to_thread(find_voice_and_speaker, body, service.voices)
        wanted = body.to_request(
            body.input, voice=files, speaker=speaker, speed=body.speed, is_streamed=True
        )
        job = await service.accept(wanted)
        kind = _FORMATS[body.response_format]
        async with first_chunk(request, job) as first:
            encoder = StreamEncoder(
                kind.encoding, first.sample_rate, kind.sample_rate, first.total_samples
            )

        async def encode(chunks: AsyncIterator[StreamChunk]) -> AsyncIterator[bytes]:
            async for chunk in chunks:
                # A second and a half of MP3 take some ten milliseconds.
                if data := await asyncio.to_thread(encoder.write, chunk.audio_int16_array):
                    yield data
            yield await asyncio.to_thread(encoder.finish)

        if body.stream_format == "sse":
            return JobResponse(job, first, lambda c: _to_events(encode(c)), media_type=_EVENTS)
        return JobResponse(job, first, encode, media_type=kind.media_type)


async def _to_events(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for block in blocks:
        audio = base64.b64encode(block).decode()
        yield _to_event({"type": "speech.audio.delta", "audio": audio})
    # Nothing is counted in tokens here, but clients look for the numbers.
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    yield _to_event({"type": "speech.audio.done", "usage": usage})


def _to_event(event: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(event)}\n\n".encode()


def find_voice_and_speaker(body: SpeechBody, voices: VoiceStore) -> tuple[VoiceFiles, str | None]:
    """Return what `voice` and `model` mean: a voice and a speaker of it; None is its default.

    Either may name a voice, the former also one with a speaker (`NAME:SPEAKER`). Where the model
    names the voice, or nothing does, `voice` is a speaker of it, unless it is one of OpenAI's.
    """
    names = voices.find_all()
    wanted = body.voice_name
    name, _, speaker = wanted.partition(":")
    if name in names:
        return names[name], speaker or None
    model = names.get(body.model or "")
    if wanted in _STOCK_VOICES or not wanted:
        return model or voices.default, None
    if model is None and wanted not in load_voice_config(voices.default.config).speaker_id_map:
        if voices.fallback is not None:
            return voices.find(wanted), None
        raise VoiceNotFoundError(
            f"There is no voice {wanted[:MAX_ECHO]!r} here; {PREFIX}/audio/voices lists those that "
            "there are."
        )
    return model or voices.default, wanted


def _add_lists(router: APIRouter, voices: VoiceStore) -> None:
    def list_all() -> dict[str, Model]:
        models = {name: _to_model(name, voice.files.model) for name, voice in voices.list().items()}
        return models | {ANY_MODEL: _to_model(ANY_MODEL, voices.default.model)}

    @router.get("/models")
    async def list_models() -> ModelList:
        """The voices, as models; `tts-1` means the default one."""
        return ModelList(data=list((await asyncio.to_thread(list_all)).values()))

    @router.get("/models/{model}", responses={404: {"model": OpenAIMistake}})
    async def find_model(model: str) -> Model:
        """One of them."""
        models = await asyncio.to_thread(list_all)
        if model not in models:
            raise VoiceNotFoundError(
                f"There is no model {model[:MAX_ECHO]!r} here; {PREFIX}/models lists those that "
                "there are."
            )
        return models[model]

    @router.get("/audio/voices")
    async def list_voices() -> VoiceList:
        """The voices, with their speakers; `voice` may be NAME or NAME:SPEAKER."""
        listed = await asyncio.to_thread(voices.list)
        return VoiceList(
            voices=[
                VoiceEntry(
                    id=name,
                    name=name,
                    language=_find_language(voice.config),
                    speakers=list(voice.config.speaker_id_map),
                )
                for name, voice in listed.items()
            ]
        )


def _to_model(name: str, path: Path) -> Model:
    try:
        created = int(path.stat().st_mtime)
    except OSError:  # deleted since it was listed
        created = 0
    return Model(id=name, created=created)


def _find_language(config: VoiceConfig) -> str:
    """Return the language that a voice's JSON states, or else the one of its phonemes."""
    code = config.language.get("code")
    return code if isinstance(code, str) else config.espeak_voice
