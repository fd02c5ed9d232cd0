"""Mistakes of a request and what the server answers to them. Knows nothing of HTTP's machinery."""

from __future__ import annotations

from http import HTTPStatus

from piper.errors import PiperError, VoiceNotFoundError
from piper.server.queue import QueueFullError
from piper.voice.runtime import BrokenModelError


class RequestError(PiperError):
    """A request that cannot be fulfilled; its text is what the client reads.

    Args:
        message: One sentence that says what to do.
        status: The answer's status code.
        retry_after_seconds: When it makes sense to ask again.
    """

    def __init__(
        self,
        message: str,
        status: int = HTTPStatus.UNPROCESSABLE_ENTITY,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


def to_request_error(error: PiperError) -> RequestError:
    """Return the same error with the status code that says whose mistake it is."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, QueueFullError):
        status = HTTPStatus.SERVICE_UNAVAILABLE
        return RequestError(str(error), status, error.retry_after_seconds)
    if isinstance(error, VoiceNotFoundError):
        return RequestError(str(error), HTTPStatus.NOT_FOUND)
    if isinstance(error, BrokenModelError):
        return RequestError(str(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    return RequestError(str(error))
