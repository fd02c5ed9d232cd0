"""What stands before all endpoints, and what they share.

Who may ask (names the server is asked by, a key, pages of other origins), bounded bodies, errors as
JSON, answers that end with a client. The review's page shares the rule for names and the errors.
"""

from __future__ import annotations

import asyncio
import fnmatch
import ipaddress
import logging
import math
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field, ValidationError, model_validator
from starlette.concurrency import iterate_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from piper.audio.chunk import StreamChunk
from piper.errors import PiperError
from piper.messages import LANGUAGES, translate
from piper.server.settings import FAILURE, MAX_ECHO, Access, to_request_error
from piper.server.speech import Job, JobClosedError, SpeechRequest
from piper.text.frontend import TextOptions
from piper.text.lexicon import parse_lexicon
from piper.voice.synthesizer import LARGEST_PITCH

_LOGGER = logging.getLogger(__name__)

# Beyond these the durations get out of hand: with a noise of 5 a word may last for hours.
Length = Annotated[float, Field(ge=0.1, le=10.0, allow_inf_nan=False)]
Noise = Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)]
Semitones = Annotated[float, Field(ge=-LARGEST_PITCH, le=LARGEST_PITCH, allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=200)]
Silence = Annotated[float, Field(ge=0.0, le=60.0, allow_inf_nan=False)]
_SETTINGS = {
    **{name: name for name in ("length_scale", "noise_scale", "noise_w_scale", "pitch")},
    **{
        f"{name}_silence": f"{name}_silence_seconds"
        for name in ("sentence", "paragraph", "clause", "ellipsis")
    },
}
"""Clients' names of numbers to those of `SynthesisConfig`."""
_TEXT_OPTIONS = {"write_numbers", "stress", "abbreviations"}
Parsed = TypeVar("Parsed", bound=BaseModel)
_IS_HEAD = "piper.is_head"
_CLIENT_GONE = 499
"""nginx's code for a client that did not wait; it is never read."""
_SENTENCES = {
    HTTPStatus.NOT_FOUND.phrase: "There is nothing here; /openapi.json lists what there is.",
    HTTPStatus.METHOD_NOT_ALLOWED.phrase: (
        "This method is not for this address; /openapi.json lists what there is."
    ),
}
GUARDS = (401, 403, 503)
"""What every endpoint may be answered with before it is asked."""
_PRIVATE_NAMES = ("*.local", "*.internal", "*.home.arpa")
"""Never of the public DNS (RFC 6762, RFC 8375, ICANN), so no stranger's page can have them."""
_OPEN_PATHS = ("/health",)
"""For a container's health check, which knows no key."""
_FOREIGN = (
    "Pages of this origin may not use the server; start it with --allow-origin, or let the proxy "
    "in front of it pass the Host header on."
)


class Body(BaseModel):
    """A JSON object of a client's; null is the same as no key, as clients send what they lack."""

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None}


class ReadingBody(Body):
    """How a text is to be read: the same keys wherever a text can be sent."""

    input_format: Literal["text", "plain", "markdown", "ssml"] | None = None
    write_numbers: bool | None = None
    stress: Literal["marks", "silero", "off"] | None = None
    abbreviations: bool | None = None
    lexicon: dict[Name, Annotated[str, Field(max_length=1000)]] | None = None
    sentence_silence: Silence | None = None
    paragraph_silence: Silence | None = None
    clause_silence: Silence | None = None
    ellipsis_silence: Silence | None = None

    def to_request(self, text: str, **more: Any) -> SpeechRequest:
        """Return what is to be spoken, with more fields of a `SpeechRequest`."""
        given = self.model_dump(include=set(_SETTINGS), exclude_none=True)
        options = self.model_dump(include=_TEXT_OPTIONS, exclude_none=True)
        if self.lexicon:
            options["lexicon"] = parse_lexicon(self.lexicon, '"lexicon":')
        return SpeechRequest(
            text,
            settings={_SETTINGS[name]: value for name, value in given.items()},
            input_format=self.input_format,
            text_options=TextOptions(**options) if options else None,
            **more,
        )


class VoiceBody(ReadingBody):
    """And how a voice is to speak."""

    voice: Name | None = None
    speaker: int | Name | None = None
    length_scale: Length | None = None
    noise_scale: Noise | None = None
    noise_w_scale: Noise | None = None
    pitch: Semitones | None = None


class Mistake(BaseModel):
    """The body of every answer that is not what was asked for."""

    detail: str
    """One sentence."""


def limit_bodies(
    app: ASGIApp,
    max_bytes: int,
    max_seconds: float = math.inf,
    is_exempt: Callable[[Scope], bool] = lambda scope: False,
) -> ASGIApp:
    """End requests whose body is longer than allowed, before it is in memory, or does not come."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_exempt(scope):
            await app(scope, receive, send)
            return
        received = 0
        is_whole = False
        end = asyncio.get_running_loop().time() + max_seconds

        async def receive_some() -> Message:
            nonlocal received, is_whole
            try:
                # After the body it is the client's going away that is waited for.
                async with asyncio.timeout_at(None if is_whole or math.isinf(end) else end):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(
                    HTTPStatus.REQUEST_TIMEOUT, "The body did not come; send the request again."
                ) from None
            is_whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > max_bytes:
                raise HTTPException(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"The body is longer than {max_bytes} bytes; divide the text.",
                )
            return message

        await app(scope, receive_some, send)

    return answer


def answer_head_as_get(app: ASGIApp) -> ASGIApp:
    """Let HEAD be answered as GET is; uvicorn sends no body. Media players ask so first."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await app(scope, receive, send)
            return
        # A copy, as uvicorn goes by the method in its own.
        asked = {**scope, "method": "GET", _IS_HEAD: True}

        async def send_head(message: Message) -> None:
            scope["route"] = asked.get("route")  # what counts answers is asked after us
            await send(message)

        await app(asked, receive, send_head)

    return answer


def describe_statuses(
    *statuses: int, model: type[BaseModel] = Mistake
) -> dict[int | str, dict[str, Any]]:
    """Return what the schema says of answers that are not what was asked for."""
    return {status: {"model": model} for status in statuses}


def describe_mistake(path: str, status: int, sentence: str) -> dict[str, Any]:
    """Return the body of a `Mistake`."""
    return {"detail": sentence}


def translate_for(sentence: str, headers: Headers) -> str:
    """Return a sentence in the language that a browser asks for first; programs get English."""
    language = headers.get("accept-language", "")[:2].lower()
    return translate(sentence, language) if language in LANGUAGES else sentence


def add_error_handlers(
    app: FastAPI, describe: Callable[[str, int, str], dict[str, Any]] = describe_mistake
) -> None:
    """Let every error be answered by one sentence, as JSON.

    `describe` makes the answer's body of path, status code and sentence.
    """

    def answer(
        request: Request, status: int, sentence: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        said = translate_for(sentence, request.headers)
        return JSONResponse(describe(request.url.path, status, said), status, headers)

    async def answer_mistake(request: Request, error: Exception) -> Response:
        assert isinstance(error, PiperError)
        known = to_request_error(error)
        wait = known.retry_after_seconds
        headers = {} if wait is None else {"Retry-After": str(wait)}
        return answer(request, known.status, str(known), headers)

    async def answer_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        sentence = _SENTENCES.get(error.detail, error.detail)
        return answer(request, error.status_code, sentence, error.headers)

    async def answer_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(request, *describe_invalid(error.errors()))

    async def answer_nobody(request: Request, error: Exception) -> Response:
        return answer(request, _CLIENT_GONE, "The client did not wait.")

    async def answer_failure(request: Request, error: Exception) -> Response:
        return answer(request, HTTPStatus.INTERNAL_SERVER_ERROR, FAILURE)

    app.add_exception_handler(PiperError, answer_mistake)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(ClientDisconnect, answer_nobody)
    app.add_exception_handler(JobClosedError, answer_nobody)
    app.add_exception_handler(Exception, answer_failure)


def parse_json(model: type[Parsed], body: bytes) -> Parsed:
    """Return a body of JSON as a model."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


def describe_invalid(errors: Any) -> tuple[int, str]:
    """Return status code and sentence of what validation has found first."""
    first = errors[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", first["msg"])
        return HTTPStatus.BAD_REQUEST, f"The body is not valid JSON ({reason}); correct it."
    if first["type"] == "model_attributes_type":
        # What is not sent as JSON comes here as bytes, and curl sends none unless it is told to.
        sentence = "The body is no JSON object; send one, with Content-Type: application/json."
        return HTTPStatus.UNPROCESSABLE_ENTITY, sentence
    # What follows the field's name are pydantic's names of the kinds that were tried.
    place = next((str(part) for part in first["loc"] if part not in ("body", "query")), "")
    subject = f'"{place}"' if place else "The body"
    reason = first["msg"][:1].lower() + first["msg"][1:]
    return HTTPStatus.UNPROCESSABLE_ENTITY, f"{subject} cannot be used: {reason}; correct it."


@asynccontextmanager
async def first_chunk(request: Request, job: Job) -> AsyncIterator[StreamChunk]:
    """Give the first chunk of a job, which is closed if the client goes away or the block raises.

    The request's body must have been read.
    """

    async def watch() -> None:
        with suppress(HTTPException):  # more body than allowed, from a client that goes on sending
            while (await request.receive())["type"] != "http.disconnect":
                pass
        job.close()

    watcher = asyncio.create_task(watch())
    try:
        first = await job.take()
        assert first is not None, "without sound there is an error"
        yield first
    except BaseException:
        job.close()
        raise
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher


class JobResponse(StreamingResponse):
    """Sends a job's chunks as they come; closes the job when it ends, whatever the reason."""

    def __init__(
        self,
        job: Job,
        first: StreamChunk,
        encode: Callable[[AsyncIterator[StreamChunk]], AsyncIterator[bytes]],
        *,
        media_type: str,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(encode(job.take_all(first)), headers=headers, media_type=media_type)
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        if _IS_HEAD in scope:  # what is not asked for is not to be spoken
            self.body_iterator = iterate_in_threadpool(())
        try:
            await super().__call__(scope, receive, send)
        except* JobClosedError:  # alone or in a group, as the version of Starlette has it
            # The head is sent, so there is no other way to say that the rest will not come.
            _LOGGER.info("An answer ended early: the client took too long, or the server ends.")
        except* PiperError as group:
            # Such as more sound than is allowed, which shows late in a stream.
            _LOGGER.info("An answer ended early: %s", group.exceptions[0])
        finally:
            self._job.close()


class ApiKey:
    """The key that a client has to say.

    Args:
        key: None lets everybody in.
    """

    REFUSAL = "The API key is missing or wrong; send the header Authorization: Bearer KEY."

    def __init__(self, key: str | None) -> None:
        if key == "":
            raise PiperError("The API key is empty, so everybody has it; give one, or none at all.")
        self._key = None if key is None else key.encode()

    def fits(self, given: str | None) -> bool:
        """Return whether a client that says this may go on."""
        if self._key is None:
            return True
        # In constant time: how much of it is right must not show.
        return given is not None and secrets.compare_digest(given.encode(), self._key)

    def fits_headers(self, headers: Headers) -> bool:
        """Return whether the header `Authorization` has the key."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return self.fits(given.strip() if scheme.lower() == "bearer" else None)


def is_own_name(host: str, listens_on: str, allowed: Collection[str] = ()) -> bool:
    """Return whether a request's header `Host` names this machine.

    A page can let its own name lead to 127.0.0.1 once it is loaded (DNS rebinding); to a browser
    the server is then the page's own. Rebinding needs a name: a number leads to the machine that
    has it, and so does `localhost`. Where other machines are let in, names count, too, that no
    stranger can have: those without a dot, and those of private networks.

    Args:
        host: The header, with or without a port.
        listens_on: Address or name that the server listens on.
        allowed: More names; `*` in one stands for anything.
    """
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    name = name.lower().removesuffix(".")
    if name in ("localhost", listens_on.lower()):
        return True
    if any(fnmatch.fnmatchcase(name, pattern.lower()) for pattern in allowed):
        return True
    if _find_address(name.strip("[]")) is not None:
        return True
    address = _find_address(listens_on)
    is_local = listens_on.lower() == "localhost" or (address is not None and address.is_loopback)
    is_private = "." not in name or any(fnmatch.fnmatchcase(name, one) for one in _PRIVATE_NAMES)
    return is_private and not is_local


def _find_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


class AccessGuard:
    """Answers those who have no key, and pages of other origins, before any endpoint does.

    A browser lets every page that it shows open WebSockets to every server, and send simple
    requests; only where they come from tells them from our own page.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        key: ApiKey,
        describe: Callable[[str, int, str], dict[str, Any]],
    ) -> None:
        self._app = app
        self._access = access
        self._key = key
        self._describe = describe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do so."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._is_meant(headers.get("host", "")):
            status, sentence = HTTPStatus.FORBIDDEN, _describe_name(headers["host"])
        elif not self._is_from_here(headers):
            status, sentence = HTTPStatus.FORBIDDEN, _FOREIGN
        elif not (self._is_open(scope) or self._key.fits_headers(headers)):
            status, sentence = HTTPStatus.UNAUTHORIZED, self._key.REFUSAL
        else:
            await self._app(scope, receive, send)
            return
        body = self._describe(scope["path"], status, translate_for(sentence, headers))
        challenge = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
        await JSONResponse(body, status, challenge)(scope, receive, send)

    def _is_meant(self, host: str) -> bool:
        """Return whether the request is for this server, as far as a name can tell."""
        # Every browser sends the header. Whoever has the key is no page of a stranger, and where
        # pages of all origins may use the server, there is nothing that rebinding would gain.
        is_open = self._access.api_key is not None or "*" in self._access.allowed_origins
        if is_open or not host:
            return True
        return is_own_name(host, self._access.listens_on, self._access.allowed_hosts)

    def _is_from_here(self, headers: Headers) -> bool:
        origin = _find_origin(headers)
        allowed = self._access.allowed_origins
        if origin is None or "*" in allowed or origin in allowed:
            return True
        # A proxy in front may speak TLS, so that only the name is the same.
        return origin.partition("://")[2].lower() == headers.get("host", "").lower()

    def _is_open(self, scope: Scope) -> bool:
        # A browser's WebSocket cannot send the header; its first message has the key.
        if scope["type"] == "websocket" or scope["method"] == "OPTIONS":
            return True
        is_page = scope["path"] == "/" and not scope["query_string"]
        return scope["method"] in ("GET", "HEAD") and (is_page or scope["path"] in _OPEN_PATHS)


def _describe_name(host: str) -> str:
    return (
        f"{host[:MAX_ECHO]!r} is no name of this server; ask by its number or as localhost, or "
        "start it with --allow-host NAME or with a key."
    )


def _find_origin(headers: Headers) -> str | None:
    """Return whose page asks; None where none does.

    Pictures and sounds in a page are asked for without an origin, `/?text=…` among them; that
    another page does so, browsers say all the same. A link that is followed is the reader's wish.
    """
    origin = headers.get("origin")
    is_foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
    if origin is not None or not is_foreign or headers.get("sec-fetch-dest") == "document":
        return origin
    scheme, _, place = headers.get("referer", "").partition("://")
    return f"{scheme}://{place.partition('/')[0]}"
