"""Voices that clients send: `PUT /voices/NAME`, for those who have the server's key.

The body is the voice's JSON and after it the ONNX file, so that one request brings a whole voice,
and no name of a file comes with it. Both are written to hidden files beside their places, and get
their names once another process has spoken by them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.types import Scope

from piper.download import describe_size
from piper.errors import PiperError, describe_briefly, describe_os_error
from piper.files import OutputFile, hold_lock, sync_file
from piper.jobs import describe_end
from piper.server.http import describe_statuses
from piper.server.openai import ANY_MODEL
from piper.server.piper import DefaultVoice
from piper.server.settings import MAX_ECHO, RequestError, SpeechLimits
from piper.server.store import ListedVoice, VoiceStore, check_voice, unavailable
from piper.system import is_device
from piper.voice.cache import CACHE_VARIABLE, OFF
from piper.voices import CONFIG_SUFFIX, MODEL_SUFFIX, VoiceFiles

_NAME = re.compile(r"\w[\w.+-]*")
_MAX_NAME_BYTES = 200
_BLOCK_BYTES = 1 << 20
"""What is in memory of a body; the JSON must lie in the first block."""
_SPARE_BYTES = 100_000_000
"""So much of the disk stays free."""
_MAX_SECONDS = 3600.0
"""Of one upload, however steadily it comes."""
_CHECK_SECONDS = 120.0
_TRY = "import sys; from piper.server.store import try_voice; sys.exit(try_voice(*sys.argv[1:]))"


def is_upload(scope: Scope) -> bool:
    """Return whether a request's body is bounded here, and not by what stands before endpoints."""
    return scope.get("method") == "PUT" and str(scope["path"]).startswith("/voices/")


def create_upload_router(
    voices: VoiceStore, folder: Path, limits: SpeechLimits, *, has_key: bool
) -> APIRouter:
    """Return the endpoint; without a key it takes nothing.

    Args:
        voices: Must look into `folder`, too.
        folder: Where the voices go.
        limits: Of the body.
        has_key: Whether the server asks for a key before anything comes here.
    """
    router = APIRouter()
    busy = asyncio.Lock()

    @router.put(
        "/voices/{name}",
        status_code=HTTPStatus.CREATED,
        responses=describe_statuses(400, 408, 409, 413, 422, 500, 503, 507),
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/octet-stream": {}}}
        },
    )
    async def upload(request: Request, name: str, replace: bool = False) -> DefaultVoice:
        """Add a voice: the body is its JSON, and after it the ONNX file."""
        if not has_key:
            raise RequestError(
                "Voices are taken by a server that asks for an API key only; start it with "
                "PIPER_API_KEY or --api-key.",
                HTTPStatus.FORBIDDEN,
            )
        if busy.locked():
            raise unavailable("Another upload is going on; try again later.")
        async with busy:
            name = unicodedata.normalize("NFC", name).removesuffix(MODEL_SUFFIX)
            try:
                with hold_lock(
                    folder / f".{_check_name(name)}{MODEL_SUFFIX}.download",
                    lambda: _refuse_second(name),
                    is_removed=True,
                ):
                    voice = await _take(request, voices, folder / f"{name}{MODEL_SUFFIX}", replace)
            except OSError as error:
                raise RequestError(
                    f"{name} cannot be written ({describe_os_error(error)}); see to the server's "
                    "folder of voices.",
                    HTTPStatus.INSUFFICIENT_STORAGE,
                ) from None
        config = voice.config
        return DefaultVoice(
            name=name, language=config.espeak_voice, num_speakers=config.num_speakers
        )

    async def _take(
        request: Request, voices: VoiceStore, place: Path, is_forced: bool
    ) -> ListedVoice:
        """Receive and check the files of a voice and give them their names."""
        _check_place(voices, place, is_forced)
        blocks = _read_blocks(request, place.parent, limits)
        # They are closed in the other order: who finds the ONNX file finds a whole voice.
        with (
            OutputFile(place) as model,
            OutputFile(f"{place}{CONFIG_SUFFIX}") as config,
            model.temporary.open("wb") as file,
        ):
            data, rest = _split(await anext(blocks, b""))
            config.temporary.write_bytes(data)
            file.write(rest)
            async for block in blocks:
                await asyncio.to_thread(file.write, block)
            file.close()
            files = VoiceFiles(model.temporary, config.temporary)
            voice = await _check(place.name, files)
            _check_place(voices, place, is_forced)  # an upload may take an hour
            for path in (config.temporary, model.temporary):
                await asyncio.to_thread(sync_file, path)
        return voice

    return router


def _refuse_second(name: str) -> None:
    raise unavailable(f"Another upload or download of {name} is going on; try again later.")


def _check_name(name: str) -> str:
    is_long = len(name.encode()) > _MAX_NAME_BYTES
    if is_long or not _NAME.fullmatch(name) or is_device(name) or name == ANY_MODEL:
        raise RequestError(
            f"{name[:MAX_ECHO]!r} is no name for a voice; take letters, digits, hyphens, dots and "
            "underscores, such as en_US-anna-medium."
        )
    return name


def _check_place(voices: VoiceStore, place: Path, is_forced: bool) -> None:
    """Make sure that no other voice, link or device lies where the voice is to be."""
    name = place.name.removesuffix(MODEL_SUFFIX)
    there = voices.find_all().get(name)
    paths = (place, place.with_name(place.name + CONFIG_SUFFIX))
    is_elsewhere = there is not None and there.model.resolve() != place.resolve()
    if is_elsewhere or any(
        path.is_symlink() or (path.exists() and not path.is_file()) for path in paths
    ):
        raise RequestError(
            f"{name} lies elsewhere on this server and cannot be replaced; take another name.",
            HTTPStatus.CONFLICT,
        )
    if not is_forced and any(path.exists() for path in paths):
        raise RequestError(
            f"There is a voice {name} already; take another name, or ask for it to be replaced "
            "(?replace=true).",
            HTTPStatus.CONFLICT,
        )


async def _read_blocks(
    request: Request, folder: Path, limits: SpeechLimits
) -> AsyncIterator[bytearray]:
    """Yield a body block by block, as long as it may be so large and there is room for it."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _MAX_SECONDS
    left = limits.max_upload_bytes
    announced = int(request.headers.get("content-length") or 0)
    block = bytearray()
    stream = request.stream()
    while True:
        coming = max(announced, len(block))
        if coming > left:
            raise RequestError(
                f"A voice may have {describe_size(limits.max_upload_bytes)} here, and this one is "
                "larger.",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )
        if shutil.disk_usage(folder).free < coming + _SPARE_BYTES:
            raise RequestError(
                "The server's disk has no room for this voice; remove others first.",
                HTTPStatus.INSUFFICIENT_STORAGE,
            )
        if len(block) >= _BLOCK_BYTES:
            left -= len(block)
            announced = max(announced - len(block), 0)
            yield block
            block = bytearray()
        try:
            async with asyncio.timeout(min(limits.max_body_seconds, max(end - loop.time(), 0))):
                part = await anext(stream, b"")
        except TimeoutError:
            raise RequestError(
                "The voice did not come to its end; send it again.", HTTPStatus.REQUEST_TIMEOUT
            ) from None
        block += part
        if not part:
            yield block
            return


def _split(block: bytes | bytearray) -> tuple[bytes, bytes]:
    """Divide the JSON from what of the ONNX file follows it."""
    start = bytes(block).removeprefix(b"\xef\xbb\xbf")
    # A byte a character; what ends a string or an object is the same in UTF-8.
    text = start[:_BLOCK_BYTES].decode("latin-1")
    begin = len(text) - len(text.lstrip())
    try:
        _, end = json.JSONDecoder().raw_decode(text, begin)
    except (ValueError, RecursionError):
        raise RequestError(
            "The body does not begin with a voice's JSON of at most 1 MB; send VOICE.onnx.json, "
            "and VOICE.onnx after it."
        ) from None
    # No field of an ONNX file begins with what may end a text.
    return start[begin:end], start[end:].lstrip(b" \r\n\t")


async def _check(name: str, files: VoiceFiles) -> ListedVoice:
    """Return the voice, or raise what is wrong with it; a graph may well kill or stop a process."""
    try:
        voice = await asyncio.to_thread(check_voice, name, files)
        said = await _speak_apart(name, files)
        if said:
            raise PiperError(said)
    except Exception as error:  # whatever others wrote
        is_known = isinstance(error, PiperError)
        said = str(error) if is_known else f"{name} cannot be used ({describe_briefly(error)})."
        message = said.replace(str(files.model), name)
        message = message.replace(str(files.config), name + CONFIG_SUFFIX)
        raise RequestError(message) from None
    return voice


async def _speak_apart(name: str, files: VoiceFiles) -> str:
    """Speak in another process; return why that cannot be done, or nothing."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "utf8", "-c", _TRY, str(files.model), str(files.config)),
        env=_create_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError:
        return f"{name} speaks nothing within {_CHECK_SECONDS:.0f} seconds; export it again."
    finally:
        if process.returncode is None:
            process.kill()
            await asyncio.shield(process.wait())  # until then it may hold the files
    if not process.returncode:
        return ""
    end = f"{name} ends the process that loads it ({describe_end(process.returncode)})."
    return said.decode(errors="replace").strip() or end


def _create_environment() -> dict[str, str]:
    """Return what the process that tries a stranger's voice sees: no keys, and no cache.

    What a library reserves for each core of a large machine would count as its memory.
    """
    kept = {key: value for key, value in os.environ.items() if not key.endswith(("_KEY", "_TOKEN"))}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**kept, **threads, CACHE_VARIABLE: OFF}
