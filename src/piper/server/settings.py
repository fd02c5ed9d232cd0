"""What a server may be asked for, how much of it, and the mistakes of a request."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from piper.config import SynthesisConfig
from piper.errors import BrokenModelError, PiperError, VoiceNotFoundError
from piper.system import available_cores
from piper.voices import CATALOGUE_URL

_LOGGER = logging.getLogger(__name__)

FAILURE = "The server has failed; its log says how."
MAX_ECHO = 60
"""Characters of a client's own words that an answer repeats."""


@dataclass(frozen=True)
class SpeechDefaults:
    """How the server speaks where a request does not say.

    Attributes:
        speaker: Number or name, or a mixture like `3:0.7,5:0.3`; for the default voice only,
            because other voices have other speakers.
        input_format: What texts are: `plain`, `markdown` or `ssml`.
        config: All else; its speaker and its `normalize` are not read.
    """

    speaker: str | None = None
    input_format: str = "plain"
    config: SynthesisConfig = field(default_factory=SynthesisConfig)


@dataclass(frozen=True)
class SpeechLimits:
    """Bounds that keep a request from taking the whole machine.

    Attributes:
        at_once: Requests that are spoken at the same time.
        max_waiting: Accepted requests beyond those; more are answered with 503.
        max_text_characters: Of one request.
        max_group_ids: Phoneme ids of the sentences that are spoken together of a text that comes
            in parts: 52 s of speech, and ten times slower still less than one answer may last.
        max_audio_seconds: Length of an answer.
        max_unspoken_characters: Of a text that comes in parts and is not spoken yet.
        max_body_bytes: Of one request's body: the longest text, with each character escaped.
        max_upload_bytes: Of a voice that is sent.
        max_head_seconds: A connection on which no whole head of a request comes for so long ends.
        max_body_seconds: A body that is not there after so long is given up.
        max_idle_seconds: A client that takes nothing of its answer for so long is given up; as is
            one that lets it lie for so long in all and for more than twice as long as it sounds.
        max_connections: Open at the same time. Those that send nothing make room for others; more
            requests are answered with 503.
    """

    at_once: int = field(default_factory=available_cores)
    max_waiting: int = 64
    max_text_characters: int = 5000
    max_group_ids: int = 2000
    max_audio_seconds: float = 600.0
    max_unspoken_characters: int = 50_000
    max_body_bytes: int = 1 << 16
    max_upload_bytes: int = 1_000_000_000
    max_head_seconds: float = 20.0
    max_body_seconds: float = 20.0
    max_idle_seconds: float = 30.0
    max_connections: int = 1000


@dataclass(frozen=True)
class Downloads:
    """Where voices come from and go to.

    Attributes:
        folder: Where downloaded voices are put; the server must look for voices there, too.
        catalogue_url: The list of published voices.
    """

    folder: Path = Path()
    catalogue_url: str = CATALOGUE_URL


@dataclass(frozen=True)
class Access:
    """Who may use the server.

    Attributes:
        api_key: What clients must say; None lets everybody in.
        allowed_origins: Origins (`https://example.org`) whose pages may use it, too; `*` means all.
        listens_on: Address or name that the server listens on; requests may name it.
        allowed_hosts: Further names that requests may be addressed to, where there is no key.
    """

    api_key: str | None = None
    allowed_origins: tuple[str, ...] = ()
    listens_on: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServerSettings:
    """Everything that can be set but the voices."""

    defaults: SpeechDefaults = SpeechDefaults()
    limits: SpeechLimits = field(default_factory=SpeechLimits)
    downloads: Downloads = Downloads()
    access: Access = Access()


class RequestError(PiperError):
    """A request that cannot be fulfilled; its text is what the client reads."""

    def __init__(
        self,
        message: str,
        status: int = HTTPStatus.UNPROCESSABLE_ENTITY,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


def to_request_error(error: Exception) -> RequestError:
    """Return the same error with the status code that says whose mistake it is."""
    if isinstance(error, RequestError):
        return error
    if not isinstance(error, PiperError):
        _LOGGER.error("A request has failed", exc_info=error)
        return RequestError(FAILURE, HTTPStatus.INTERNAL_SERVER_ERROR)
    if isinstance(error, VoiceNotFoundError):
        return RequestError(str(error), HTTPStatus.NOT_FOUND)
    if isinstance(error, BrokenModelError):
        return RequestError(str(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    return RequestError(str(error))
