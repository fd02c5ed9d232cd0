"""Home Assistant's protocol in front of the same speech: events in, sound out.

An event is a line of JSON, then as many bytes of JSON and of payload as the line says. The
library's own reader takes the line at its word: with a `payload_length` of 2 GB it collects 2 GB,
and a line that is JSON but no object ends its task with a traceback.

Whatever goes wrong with a request, the client hears of it and the connection goes on; only bytes
that are no events end it. An error is followed by what ends the answer, because Home Assistant
waits for that.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, async_write_event
from wyoming.info import Attribution, Info, TtsProgram, TtsVoice, TtsVoiceSpeaker
from wyoming.ping import Pong
from wyoming.tts import SynthesizeStopped

from piper import __version__
from piper.audio.chunk import SAMPLE_CHANNELS, SAMPLE_WIDTH_BYTES, StreamChunk
from piper.config import VoiceConfig
from piper.errors import PiperError, VoiceNotFoundError
from piper.files import parse_json
from piper.languages import describe_language, normalise_code
from piper.server.live import LiveSpeech, Mark
from piper.server.settings import MAX_ECHO, RequestError, to_request_error
from piper.server.sockets import bind_socket, bind_unix_socket
from piper.server.speech import JobClosedError, SpeechRequest, SpeechService
from piper.server.store import VoiceStore
from piper.system import WINDOWS, allow_files
from piper.text.markup import MARKUP_KINDS

_LOGGER = logging.getLogger(__name__)

MAX_PAYLOAD_BYTES = 1 << 20
"""Of one event, and thrown away: speaking needs none. A satellite sends 2 kB of a microphone."""
_PART_BYTES = 1 << 16


class FrameError(PiperError):
    """Bytes that are no event; where the next one begins cannot be known."""


async def read_event(
    reader: asyncio.StreamReader, max_bytes: int, max_seconds: float
) -> Event | None:
    """Return the next event, without its payload; None where the client has ended.

    Its JSON may have so many bytes (the line is bounded by the reader), and take so long from the
    event's first byte to its last.
    """
    first = await reader.read(1)  # between events a client may take its time
    if not first:
        return None
    try:
        async with asyncio.timeout(max_seconds):
            return await _read_rest(first, reader, max_bytes)
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        raise FrameError("A line is too long; divide the text.") from None
    except TimeoutError:
        raise FrameError(
            f"The rest of an event did not come within {max_seconds:g} seconds; send it whole."
        ) from None


async def _read_rest(start: bytes, reader: asyncio.StreamReader, max_bytes: int) -> Event:
    line = start if start == b"\n" else start + await reader.readuntil()
    header = _parse_object(line)
    kind = header.get("type")
    if not isinstance(kind, str):
        raise FrameError('An event has no "type"; give its name there.')
    data_bytes = _read_length(header, "data_length", max_bytes)
    payload_bytes = _read_length(header, "payload_length", MAX_PAYLOAD_BYTES)
    data = header.get("data") or {}
    if not isinstance(data, dict):
        raise FrameError('The "data" of an event is no JSON object; make it one.')
    if data_bytes:
        data |= _parse_object(await reader.readexactly(data_bytes))
    await _skip(reader, payload_bytes)
    return Event(kind, data)


def _parse_object(text: bytes) -> dict[str, Any]:
    try:
        found = parse_json(text, "an event")
        # Half a surrogate pair can be written in JSON, but neither spoken nor sent back.
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    except ValueError:
        raise FrameError("An event is no valid JSON in UTF-8; correct it.") from None
    if not isinstance(found, dict):
        raise FrameError("An event is no JSON object; make it one.")
    return found


def _read_length(header: dict[str, Any], name: str, most: int) -> int:
    length = header.get(name)
    if length is None:
        return 0
    if not isinstance(length, int) or isinstance(length, bool) or not 0 <= length <= most:
        raise FrameError(f'The "{name}" of an event must be a whole number from 0 to {most}.')
    return length


async def _skip(reader: asyncio.StreamReader, length_bytes: int) -> None:
    while length_bytes:
        part = await reader.read(min(length_bytes, _PART_BYTES))
        if not part:
            raise asyncio.IncompleteReadError(b"", length_bytes)
        length_bytes -= len(part)


_PIPER = Attribution(name="Piper", url="https://github.com/rhasspy/piper")
"""Whose voices these are, or whose kind."""
_MAX_SPEAKERS = 10_000
"""The JSON alone says how many there are; published voices have up to 904."""


def create_info(voices: VoiceStore, *, is_streaming: bool) -> Info:
    """Return the answer to `describe`; blocking."""
    program = TtsProgram(
        name="piper",
        description="Piper voices",
        attribution=_PIPER,
        installed=True,
        version=__version__,
        voices=[_describe(name, config) for name, config in _load_configs(voices).items()],
        supports_synthesize_streaming=is_streaming,
    )
    return Info(tts=[program])


def find_voice_of(voices: VoiceStore, language: str) -> str:
    """Return the name of the first voice of a language (`ru_RU`, `ru-RU`); blocking.

    A language alone takes any country's.
    """
    wanted = normalise_code(language)
    languages = {name: find_language(config) for name, config in _load_configs(voices).items()}
    # One who asks for Austrian German is better served with German than with nothing.
    family = wanted.partition("_")[0]
    similar = [name for name, one in languages.items() if one.partition("_")[0] == family]
    if similar:
        return next((name for name in similar if languages[name] == wanted), similar[0])
    if voices.fallback is not None:
        return voices.fallback.model.stem
    raise VoiceNotFoundError(
        f"There is no voice for the language {language[:MAX_ECHO]!r} here; "
        "describe lists those that there are."
    )


def find_language(config: VoiceConfig) -> str:
    """Return the language of a voice as `ru_RU`; of espeak-ng's voice where the JSON has none."""
    code = config.language.get("code")
    if isinstance(code, str) and code and code != config.espeak_voice:
        return normalise_code(code)
    return describe_language(config.espeak_voice)["code"]


def _load_configs(voices: VoiceStore) -> dict[str, VoiceConfig]:
    """Return the voices that can be loaded, the default one first."""
    listed = {name: voice.config for name, voice in voices.list().items()}
    first = {name: listed[name] for name in [voices.default_name] if name in listed}
    return first | listed


def _describe(name: str, config: VoiceConfig) -> TtsVoice:
    speakers = None
    if config.num_speakers > 1:
        numbers = [str(number) for number in range(min(config.num_speakers, _MAX_SPEAKERS))]
        names = list(config.speaker_id_map) or numbers
        speakers = [TtsVoiceSpeaker(name=speaker) for speaker in names]
    dataset = config.extra.get("dataset")
    return TtsVoice(
        name=name,
        description=name,
        attribution=Attribution(name=dataset, url="") if isinstance(dataset, str) else _PIPER,
        installed=True,
        version=config.piper_version or None,
        languages=[find_language(config)],
        speakers=speakers,
    )


_MAX_NAME_CHARACTERS = 200


async def create_request(data: Mapping[str, Any], voices: VoiceStore) -> SpeechRequest:
    """Return the request of a `synthesize`, by its data.

    Among the voices one of the language is looked for where none is named.
    """
    input_format = data.get("text_format")
    if input_format is not None and input_format not in ("text", *MARKUP_KINDS):
        raise RequestError(
            f'"text_format" must be one of text, {", ".join(MARKUP_KINDS)}; correct it.'
        )
    text = read_text(data)
    voice = data.get("voice") or {}
    if not isinstance(voice, dict):
        raise RequestError('"voice" is no JSON object; give one with a name or a language.')
    name, language = _read_name(voice, "name"), _read_name(voice, "language")
    if name is None and language is not None:
        name = await asyncio.to_thread(find_voice_of, voices, language)
    speaker = _read_name(voice, "speaker")
    return SpeechRequest(
        text, voice=name, speaker=speaker, input_format=input_format, is_streamed=True
    )


def read_text(data: Mapping[str, Any]) -> str:
    """Return the text of an event."""
    text = data.get("text")
    if not isinstance(text, str):
        raise RequestError('An event to be spoken has no "text"; give one.')
    return text


def _read_name(voice: Mapping[str, Any], key: str) -> str | None:
    name = voice.get(key)
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if name is None or name == "":
        return None
    if not isinstance(name, str) or len(name) > _MAX_NAME_CHARACTERS:
        raise RequestError(
            f'"{key}" of the voice is no text of at most {_MAX_NAME_CHARACTERS} characters; '
            "correct it."
        )
    return name


@dataclass(frozen=True)
class WyomingSettings:
    """How a Wyoming server answers.

    Attributes:
        samples_per_chunk: Of one `audio-chunk`, at most.
        is_streaming: Whether a text may come in pieces.
        is_patient: Whether a client that sends no more may still listen. On a socket that is one
            that has gone away; at standard input it is the usual end.
    """

    samples_per_chunk: int = 1024
    is_streaming: bool = True
    is_patient: bool = False


_LAST_WORD_SECONDS = 1.0
_CODES = {
    HTTPStatus.NOT_FOUND: "voice-not-found",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too-long",
    HTTPStatus.SERVICE_UNAVAILABLE: "busy",
    HTTPStatus.INTERNAL_SERVER_ERROR: "failed",
}
_OTHER_CODE = "bad-request"


@dataclass
class _TextStream:
    """A text that comes in pieces."""

    live: LiveSpeech | None
    """What speaks it."""
    has_text: bool = False
    """Whether a piece has come."""
    spare_text: str = ""
    """The whole text, as clients send it for servers that know no pieces."""


class Connection:
    """A client, from its first event to its last."""

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
        self._speech: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """What is being spoken, or was."""
        self._speech.set_result(None)
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
        is_busy = self._is_given_up or self._stream is not None or not self._speech.done()
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
                _LOGGER.debug("An event came: %r", event.type[:MAX_ECHO])
                handler = self._handlers.get(event.type)
                if handler is not None:  # others are those of other services, or of later versions
                    await self._tell_mistakes(partial(handler, event.data))
            if self._settings.is_patient:
                await self._tell_mistakes(partial(self._stop_stream, {}))
                await self._speech
        except FrameError as error:
            _LOGGER.info("A client is told: %r", str(error))
            await self._refuse(Error(str(error), _OTHER_CODE))
        except (OSError, JobClosedError):  # the client has gone, or takes nothing any more
            pass
        finally:
            await self._close()

    async def end(self, grace_seconds: float) -> None:
        """End the connection, with a little time for what is being spoken."""
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
        await self._speech
        speaking = partial(self._speak, data)
        self._begin_speech(self._tell_mistakes(speaking, AudioStop().event()))

    async def _start_stream(self, data: Mapping[str, Any]) -> None:
        if self._stream is not None:
            raise RequestError("A text in pieces has begun; send synthesize-stop before another.")
        await self._speech
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
        if self._stream.live is not None and not self._speech.done():
            self._stream.has_text = True
            await _add_text(self._stream.live, read_text(data))

    async def _stop_stream(self, _: Mapping[str, Any]) -> None:
        stream, self._stream = self._stream, None
        if stream is None or stream.live is None or self._speech.done():
            return
        if not stream.has_text and stream.spare_text:
            await _add_text(stream.live, stream.spare_text)
        await stream.live.end()

    # What it gets.

    async def _speak(self, data: Mapping[str, Any]) -> None:
        request = await create_request(data, self._service.voices)
        job = await self._service.accept(request)
        try:
            await self._send_speech(job.take_all())
        finally:
            job.close()

    async def _speak_stream(self, live: LiveSpeech) -> None:
        try:
            speaking = partial(self._send_speech, live.chunks())
            await self._tell_mistakes(speaking, AudioStop().event())
        finally:
            live.close()
        await self._send(SynthesizeStopped().event())

    async def _send_speech(self, chunks: AsyncIterator[StreamChunk | Mark]) -> None:
        most = self._settings.samples_per_chunk
        num_samples = 0
        async for chunk in chunks:
            if isinstance(chunk, Mark):
                continue
            rate, width, channels = chunk.sample_rate, SAMPLE_WIDTH_BYTES, SAMPLE_CHANNELS
            audio = chunk.audio_int16_bytes
            step = most * width * channels
            for start in range(0, len(audio), step):
                if not num_samples:
                    await self._send(AudioStart(rate, width, channels, timestamp=0).event())
                part = audio[start : start + step]
                milliseconds = num_samples * 1000 // rate
                await self._send(AudioChunk(rate, width, channels, part, milliseconds).event())
                num_samples += len(part) // (width * channels)
        if num_samples:
            await self._send(AudioStop().event())

    # How.

    def _begin_speech(self, speech: Coroutine[Any, Any, None]) -> None:
        """Speak beside reading, so that a client that goes away is noticed."""
        self._speech = asyncio.create_task(speech)
        self._speech.add_done_callback(self._end_with_speech)

    def _end_with_speech(self, speech: asyncio.Future[None]) -> None:
        if not speech.cancelled() and speech.exception() is not None:
            self.give_up()

    async def _tell_mistakes(self, work: Callable[[], Awaitable[None]], *ends: Event) -> None:
        """Do what a client wants; tell it what went wrong, and what ends the answer then."""
        try:
            await work()
            return
        except (OSError, JobClosedError):
            raise  # there is nobody to be told
        except Exception as error:
            mistake = to_request_error(error)
        # Home Assistant shows no errors: whoever hears nothing finds out here.
        _LOGGER.info("A client is told: %r", str(mistake))
        code = _CODES.get(HTTPStatus(mistake.status), _OTHER_CODE)
        for event in (Error(str(mistake), code).event(), *ends):
            await self._send(event)

    async def _send(self, event: Event) -> None:
        """Send an event; an OSError is a client that has gone, or takes nothing for too long."""
        async with self._write_lock, asyncio.timeout(self._service.limits.max_idle_seconds):
            await async_write_event(event, self._writer)


async def _add_text(live: LiveSpeech, text: str) -> None:
    """Speak more; text that cannot be spoken ends all of it, lest the rest makes no sense."""
    try:
        await live.add(text)
    except PiperError:
        live.close()
        raise


DEFAULT_PORT = 10200
_MULTICAST = "224.0.0.251"  # RFC 6762, section 3
_GRACE_SECONDS = 3
"""So long may answers take that are on their way when the server is told to end."""
_BACKLOG = 100
"""asyncio's: so many connections may come before one of them is looked at."""


class WyomingServer:
    """All clients of a server."""

    def __init__(self, service: SpeechService, settings: WyomingSettings | None = None) -> None:
        self._service = service
        self._settings = settings or WyomingSettings()
        self._connections: dict[Connection, asyncio.Task[None]] = {}

    async def listen(self, listener: socket.socket) -> asyncio.Server:
        """Begin to answer the clients of a bound socket."""
        limit = self._service.limits.max_body_bytes
        if listener.family.name == "AF_UNIX":
            return await asyncio.start_unix_server(self._accept, sock=listener, limit=limit)
        return await asyncio.start_server(self._accept, sock=listener, limit=limit)

    async def answer_standard_streams(self) -> None:
        """Answer the events at standard input on standard output, until the input ends."""
        if WINDOWS:
            raise PiperError("Windows cannot wait for standard input; give --uri tcp://HOST:PORT.")
        if not (_can_be_waited_for(sys.stdin) and _can_be_waited_for(sys.stdout)):
            raise PiperError(
                "Standard input and output must be pipes for --uri stdio://; "
                "put `cat FILE |` before the command and `| cat > FILE` after it."
            )
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=self._service.limits.max_body_bytes)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, sys.stdout
        )
        # So that all has been written when the last event has been sent, and the process ends.
        transport.set_write_buffer_limits(high=0)
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        await self._answer(reader, writer, replace(self._settings, is_patient=True))

    async def close(self) -> None:
        """End all connections, with a little time for what is being spoken."""
        tasks = list(self._connections.values())
        await asyncio.gather(*(one.end(_GRACE_SECONDS) for one in list(self._connections)))
        if tasks:
            await asyncio.wait(tasks, timeout=_GRACE_SECONDS)
        await self._service.queue.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._has_room():
            await self._answer(reader, writer, self._settings)
            return
        refusal = Error("The server has too many clients; try again later.", "busy")
        with suppress(OSError):
            await async_write_event(refusal.event(), writer)
        writer.close()

    def _has_room(self) -> bool:
        """Return whether another client may come, maybe in place of one that has long been idle."""
        if len(self._connections) < self._service.limits.max_connections:
            return True
        idle = [one for one in self._connections if one.idle_since is not None]
        if not idle:
            return False
        min(idle, key=lambda one: one.idle_since or 0.0).give_up()
        return True

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: WyomingSettings
    ) -> None:
        connection = Connection(self._service, reader, writer, settings)
        task = asyncio.create_task(connection.run())
        self._connections[connection] = task
        try:
            await task
        finally:
            del self._connections[connection]


def _can_be_waited_for(stream: TextIO) -> bool:
    """Return whether an event loop can wait for it; not for a file, nor for /dev/null."""
    mode = os.fstat(stream.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stream.isatty()


def serve(
    service: SpeechService,
    uri: str,
    settings: WyomingSettings,
    *,
    announced_as: str | None = None,
) -> None:
    """Answer clients until the process is told to end.

    They come to `tcp://HOST:PORT`, where the port 0 takes a free one; `unix://PATH`; or `stdio://`.
    With `announced_as` the local network is told of the server by that name (multicast DNS, which
    Home Assistant listens to).
    """
    if asyncio.run(_serve(service, uri, settings, announced_as)) == signal.SIGINT:
        raise KeyboardInterrupt


async def _serve(
    service: SpeechService, uri: str, settings: WyomingSettings, announced_as: str | None
) -> int | None:
    """Answer clients; return the signal that ended it, None where the input ended."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(number: int) -> None:
        if not ended.done():
            ended.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, end, number)
        except NotImplementedError:  # on Windows
            signal.signal(number, lambda n, _: loop.call_soon_threadsafe(end, n))
    server = WyomingServer(service, settings)
    try:
        if uri == "stdio://":
            answering = asyncio.ensure_future(server.answer_standard_streams())
            answering.add_done_callback(lambda _: ended.cancel())
            with suppress(asyncio.CancelledError):
                await ended
            if answering.done():
                answering.result()
        else:
            allow_files(service.limits.max_connections + _BACKLOG)
            await _serve_socket(server, uri, ended, announced_as)
    finally:
        await server.close()
    return None if ended.cancelled() else ended.result()


async def _serve_socket(
    server: WyomingServer, uri: str, ended: asyncio.Future[int], announced_as: str | None
) -> None:
    listener = bind_uri(uri)
    listening = await server.listen(listener)
    name = listener.getsockname()
    if listener.family.name == "AF_UNIX":
        address = f"unix://{name}"
    else:
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        address = f"tcp://{host}:{name[1]}"
    _LOGGER.info("Listening on %s (Ctrl+C ends it)", address)
    try:
        async with AsyncExitStack() as stack:
            if announced_as is not None:
                await stack.enter_async_context(_announced(announced_as, listener))
            await ended
    finally:
        listening.close()
        if listener.family.name == "AF_UNIX":
            Path(name).unlink(missing_ok=True)


@asynccontextmanager
async def _announced(name: str, listener: socket.socket) -> AsyncIterator[None]:
    """Tell the local network of the server, and at the end that it is gone."""
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

    host, port = listener.getsockname()[:2]
    if listener.family != socket.AF_INET or host.startswith("127."):
        raise PiperError(
            "--zeroconf tells other machines of the server, and they do not reach it; give "
            f"--uri tcp://0.0.0.0:{DEFAULT_PORT}, or leave --zeroconf out."
        )
    if host == "0.0.0.0":
        # Sends nothing: a socket's own address shows which way the multicast would go.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.connect((_MULTICAST, 1))
            host = way.getsockname()[0]
    kind = "_wyoming._tcp.local."
    service = AsyncServiceInfo(
        kind, f"{name}.{kind}", addresses=[socket.inet_aton(host)], port=port
    )
    network = AsyncZeroconf()
    try:
        try:
            await network.async_register_service(service, allow_name_change=True)
        except OSError as error:
            raise PiperError(
                f"The network cannot be told of the server ({error.strerror}); "
                "leave --zeroconf out."
            ) from None
        _LOGGER.info("Announced in the local network as %s: tcp://%s:%s", name, host, port)
        yield
    finally:
        await network.async_close()


def bind_uri(uri: str) -> socket.socket:
    """Return a socket that is bound to an address and does not listen yet."""
    try:
        parts = urlsplit(uri)
        port = DEFAULT_PORT if parts.port is None else parts.port
    except ValueError:
        parts, port = urlsplit(""), 0
    path = parts.netloc + parts.path
    if parts.scheme == "unix" and path:
        return bind_unix_socket(path)
    if parts.scheme == "tcp" and parts.hostname:
        return bind_socket(parts.hostname, port, "--uri")
    raise PiperError(
        f"{uri} is no address to listen on; give --uri tcp://HOST:PORT, unix://PATH or stdio://."
    )
