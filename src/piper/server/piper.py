"""The endpoints of the existing Piper server, for programs that know them.

Its answers differ where that one's were mistakes: WAV is `audio/wav`, a mistake is 4xx with a
sentence, an unknown voice is 404, and nobody reads what another one has had spoken.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import json
from collections.abc import AsyncIterator
from functools import cache
from http import HTTPStatus
from importlib import resources
from typing import Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from pydantic import BaseModel, ValidationError

from piper.audio.chunk import SAMPLE_WIDTH_BYTES, StreamChunk
from piper.audio.output import create_wav_header
from piper.config import load_voice_config
from piper.server.http import (
    Body,
    JobResponse,
    Name,
    VoiceBody,
    describe_statuses,
    first_chunk,
    parse_json,
)
from piper.server.settings import RequestError, SpeechDefaults, SpeechLimits
from piper.server.speech import Job, SpeechService
from piper.server.store import Downloader

_SCRIPTS = (
    "language.js",
    "sound.js",
    "reader.js",
    "speech.js",
    "controls.js",
    "upload.js",
    "page.js",
)
"""In the order in which they run: what one of them says at once, the next ones may use."""
_MISTAKES = describe_statuses(400, 404, 408, 413, 415, 422, 500, 503)
_WAV: dict[int | str, dict[str, Any]] = {
    200: {"description": "The speech", "content": {"audio/wav": {}}}
}
_VOICE_NAME: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The voice's name",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}


def create_page(
    defaults: SpeechDefaults, limits: SpeechLimits, *, can_upload: bool = False
) -> tuple[str, dict[str, str]]:
    """Return the page and the headers of the answer.

    The page loads nothing. Only its own style and script may run, by their digests, and only its
    own server is asked.
    """
    facts = {
        "most_characters": limits.max_text_characters,
        "max_upload_bytes": limits.max_upload_bytes if can_upload else None,
        "speaker": defaults.speaker,
        "length_scale": defaults.config.length_scale,
        "noise_scale": defaults.config.noise_scale,
        "noise_w_scale": defaults.config.noise_w_scale,
        "pitch": defaults.config.pitch,
    }
    style = f"\n{_read('page.css')}"
    script = '\n"use strict";\n' + "\n".join(map(_read, _SCRIPTS))
    page = _read("page.html")
    for empty, full in (
        ("<body>", f'<body data-server="{html.escape(json.dumps(facts))}">'),
        ("<style></style>", f"<style>{style}</style>"),
        ("<script></script>", f"<script>{script}</script>"),
    ):
        assert page.count(empty) == 1
        page = page.replace(empty, full)
    # A WebSocket to the own server is 'self', too.
    policy = (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        # After an update of the server a script of the old page would speak to the new one.
        "Cache-Control": "no-cache",
    }
    return page, headers


def _read(name: str) -> str:
    return resources.files("piper.server").joinpath("web", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


class SynthesizeBody(VoiceBody):
    """What `/synthesize` takes; other keys are let pass, as clients send them."""

    text: str
    speaker_id: int | None = None


class DownloadBody(Body):
    """What `/download` takes."""

    voice: Name
    force_redownload: bool = False


class DefaultVoice(BaseModel):
    """The voice that speaks where none is named."""

    name: str
    language: str
    num_speakers: int


class Info(BaseModel):
    """What `/info` says."""

    voice: DefaultVoice
    last: None = None
    """There for clients that look for it; what others have had spoken is nobody's business."""


def create_piper_router(
    service: SpeechService, downloader: Downloader, *, can_upload: bool = False
) -> APIRouter:
    """Return the endpoints; the page shows whether voices can be sent."""
    router = APIRouter()
    _add_speech(router, service, can_upload)
    _add_voices(router, service, downloader)
    return router


def _add_speech(router: APIRouter, service: SpeechService, can_upload: bool) -> None:
    async def answer(request: Request, body: SynthesizeBody) -> Response:
        # A number of a speaker counts more than a name, as ever.
        speaker = body.speaker if body.speaker_id is None else body.speaker_id
        job = await service.accept(body.to_request(body.text, voice=body.voice, speaker=speaker))
        async with first_chunk(request, job) as first:
            return _create_wav_response(job, first)

    body = {"required": True, "content": {}}
    json_content = {"application/json": {"schema": SynthesizeBody.model_json_schema()}}

    @router.post(
        "/synthesize",
        response_class=Response,
        responses=_WAV | _MISTAKES,
        openapi_extra={"requestBody": body | {"content": json_content}},
    )
    async def synthesize(request: Request) -> Response:
        """Speak a text; the answer is a WAV file, sent as it is made."""
        # JSON whatever the content type says: browsers' fetch() calls a string text/plain.
        return await answer(request, parse_json(SynthesizeBody, await request.body()))

    @router.post(
        "/",
        response_class=Response,
        responses=_WAV | _MISTAKES,
        openapi_extra={
            "requestBody": body
            | {"content": {"text/plain": {"schema": {"type": "string"}}, **json_content}}
        },
    )
    async def synthesize_plain(request: Request) -> Response:
        """The same for clients of older servers: the body is the text, or JSON."""
        return await answer(request, _parse_body(request, await request.body()))

    create_own_page = cache(
        lambda: create_page(service.defaults, service.limits, can_upload=can_upload)
    )

    @router.get(
        "/", response_class=HTMLResponse, responses=_WAV | _MISTAKES, include_in_schema=False
    )
    async def page(request: Request) -> Response:
        """A page to try the voices; with `?text=…` a WAV file, as older servers answer."""
        if "text" in request.query_params:
            return await answer(request, _parse_query(request))
        html, headers = create_own_page()
        return HTMLResponse(html, headers=headers)


def _add_voices(router: APIRouter, service: SpeechService, downloader: Downloader) -> None:
    voices = service.voices

    @router.get("/info")
    async def info() -> Info:
        """The default voice."""
        config = await asyncio.to_thread(load_voice_config, voices.default.config)
        voice = DefaultVoice(
            name=voices.default_name,
            language=config.espeak_voice,
            num_speakers=config.num_speakers,
        )
        return Info(voice=voice)

    @router.get("/voices")
    async def list_voices() -> dict[str, dict[str, Any]]:
        """The voices that are here: a name to the voice's JSON."""
        listed = await asyncio.to_thread(voices.list)
        return {name: voice.data for name, voice in listed.items()}

    @router.get("/all-voices", responses=describe_statuses(503))
    async def list_published() -> dict[str, Any]:
        """The voices that are published, as the catalogue has them."""
        return await asyncio.to_thread(downloader.list_published)

    @router.post("/download", response_class=Response, responses=_VOICE_NAME | _MISTAKES)
    async def download(body: DownloadBody) -> PlainTextResponse:
        """Download a published voice; the answer is its name."""

        def fetch() -> str:
            if not body.force_redownload and body.voice in voices.find_all():
                return body.voice
            return downloader.download(body.voice, is_forced=body.force_redownload)

        return PlainTextResponse(await asyncio.to_thread(fetch))


def _create_wav_response(job: Job, first: StreamChunk) -> JobResponse:
    assert first.total_samples is not None, "only a streamed answer does not say"
    header = create_wav_header(first.total_samples, first.sample_rate)

    async def encode(chunks: AsyncIterator[StreamChunk]) -> AsyncIterator[bytes]:
        start = header
        async for chunk in chunks:
            yield start + chunk.audio_int16_bytes
            start = b""

    length = len(header) + first.total_samples * SAMPLE_WIDTH_BYTES
    return JobResponse(
        job, first, encode, media_type="audio/wav", headers={"Content-Length": str(length)}
    )


def _parse_body(request: Request, body: bytes) -> SynthesizeBody:
    """Return what a body of JSON or of plain text asks for."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        return parse_json(SynthesizeBody, body)
    if content_type.startswith("multipart/") or content_type.endswith("form-urlencoded"):
        raise RequestError(
            "A form is not understood; send the text as text/plain, or application/json.",
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        )
    try:
        return SynthesizeBody(text=body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise RequestError("The text is not UTF-8; convert it.", HTTPStatus.BAD_REQUEST) from None


def _parse_query(request: Request) -> SynthesizeBody:
    try:
        # A form in a page sends what is not filled in, too.
        given = {key: value for key, value in request.query_params.items() if value}
        return SynthesizeBody.model_validate({"text": "", **given})
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
