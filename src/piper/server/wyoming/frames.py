"""Events out of a Wyoming client's bytes, each of bounded size. Knows no kinds of events.

An event is a line of JSON, then as many bytes of JSON and of payload as the line says. The
library's own reader takes the line at its word: with a `payload_length` of 2 GB it collects 2 GB,
and a line that is JSON but no object ends its task with a traceback.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from wyoming.event import Event

from piper.errors import PiperError
from piper.json_reader import parse_json

MAX_PAYLOAD_BYTES = 1 << 20
"""Of one event, and thrown away: speaking needs none. A satellite sends 2 kB of a microphone."""
_PART_BYTES = 1 << 16


class FrameError(PiperError):
    """Bytes that are no event; where the next one begins cannot be known."""


async def read_event(
    reader: asyncio.StreamReader, max_bytes: int, max_seconds: float
) -> Event | None:
    """Return the next event, without its payload; None where the client has ended.

    Args:
        reader: Its limit bounds the line.
        max_bytes: Of the event's JSON.
        max_seconds: From the event's first byte to its last.

    Raises:
        FrameError: The client sent something else.
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
        raise FrameError("An event is no valid JSON in UTF-8; mend it.") from None
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
