"""What a Wyoming event wants spoken, and by whom. Knows nothing of connections."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from piper.server.errors import RequestError
from piper.server.request import Reading, SpeechRequest
from piper.server.store import VoiceStore
from piper.server.wyoming.info import find_voice_of
from piper.text.markup import MARKUP_KINDS

_MAX_NAME_CHARACTERS = 200


async def create_request(data: Mapping[str, Any], voices: VoiceStore) -> SpeechRequest:
    """Return the request of a `synthesize`.

    Args:
        data: The event's.
        voices: Among them a language's is looked for where no voice is named.

    Raises:
        RequestError: It is not such an event, or wants what there is not.
        VoiceNotFoundError: There is no voice of the language.
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
    reading = Reading(input_format)
    return SpeechRequest(text, voice=name, speaker=speaker, is_streamed=True, reading=reading)


def read_text(data: Mapping[str, Any]) -> str:
    """Return the text of an event.

    Raises:
        RequestError: It has none.
    """
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
