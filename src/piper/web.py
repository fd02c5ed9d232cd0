"""Addresses of the web: opened and read, every failure one sentence. Knows nothing of voices."""

from __future__ import annotations

import http.client
import logging
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence

from piper.errors import PiperError

_logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30
"""A connection on which nothing comes for so long is given up."""
WAITS_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Between attempts in which nothing came: a minute in all, as a router takes to start anew."""

_MAX_SECONDS = 300
"""Of what is read into memory, however slowly it drips."""
_BLOCK_BYTES = 1 << 18
_BUSY = {408, 425, 429, 500, 502, 503, 504}
"""Answers that say: not now."""
_MAX_RETRY_AFTER_SECONDS = 60.0


class WebError(PiperError):
    """An address that did not give what was asked for.

    Args:
        message: A sentence for the user.
        status: What the server answered; None where the connection failed.
        is_unreachable: There was no connection at all.
        retry_after_seconds: When the server wants to be asked again.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        is_unreachable: bool = False,
        retry_after_seconds: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.is_unreachable = is_unreachable
        self.retry_after_seconds = retry_after_seconds

    @property
    def is_temporary(self) -> bool:
        """Whether another attempt may do better."""
        return self.status is None or self.status in _BUSY


class Retries:
    """Decides on another attempt after a failure, and waits for it.

    Who was never reached is not asked again: the address or the network is wrong, and the user is
    to know it at once.

    Args:
        waits_seconds: From each attempt to the next; they begin anew when something came.
        stop: Ends a wait when it is set.
    """

    def __init__(
        self,
        waits_seconds: Sequence[float] = WAITS_SECONDS,
        stop: threading.Event | None = None,
    ) -> None:
        self._waits_seconds = waits_seconds
        self._stop = stop or threading.Event()
        self._failures = 0
        self._was_reached = False

    def reset(self) -> None:
        """Something came: the next failure is a first one."""
        self._failures = 0
        self._was_reached = True

    def wait(self, error: WebError) -> None:
        """Return when it is time for another attempt.

        Args:
            error: The failure.

        Raises:
            WebError: The same, where another attempt would be in vain.
        """
        is_hopeless = error.is_unreachable and not self._was_reached
        if is_hopeless or not error.is_temporary or self._failures == len(self._waits_seconds):
            raise error
        self._was_reached = True
        seconds = max(
            self._waits_seconds[self._failures],
            min(error.retry_after_seconds, _MAX_RETRY_AFTER_SECONDS),
        )
        self._failures += 1
        _logger.warning("%s; trying again in %g s", str(error).partition(";")[0], seconds)
        if self._stop.wait(seconds):
            raise error


def open_url(url: str, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
    """Ask for an address; redirections are followed.

    Args:
        url: Begins with https:// or http://.
        headers: Of the request.

    Raises:
        PiperError: It is not an address of the web.
        WebError: There is no connection, or the answer is a refusal.
    """
    if urllib.parse.urlsplit(url).scheme.lower() not in ("http", "https"):
        raise _no_address(url)
    try:
        request = urllib.request.Request(
            url, headers={"User-Agent": "piper-workshop", **(headers or {})}
        )
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            raise WebError(
                f"{url} answers {error.code} {error.reason}; "
                "check the address, or try again later.",
                status=error.code,
                retry_after_seconds=_read_retry_after(error),
            ) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _cannot_fetch(url, error, is_unreachable=True) from None
    if not isinstance(response, http.client.HTTPResponse):  # redirected to ftp://
        response.close()
        raise _no_address(url)
    return response


def read_blocks(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    """Yield the bytes of an answer as they come.

    Raises:
        WebError: The connection broke off.
    """
    while True:
        try:
            block = response.read1(_BLOCK_BYTES)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _cannot_fetch(url, error) from None
        if not block:
            break
        yield block
    # Reading in blocks ends without an error where the connection breaks off.
    if response.length:
        raise _cannot_fetch(url, EOFError(f"{response.length} bytes of it did not come"))


def read_url(url: str, retries: Retries, max_bytes: int) -> bytes:
    """Return all that lies at an address.

    Raises:
        PiperError: It is not an address of the web, or does not give it, or gives more than that,
            or takes longer than five minutes.
    """
    while True:
        end = time.monotonic() + _MAX_SECONDS
        try:
            with open_url(url) as response:
                content = bytearray()
                for block in read_blocks(response, url):
                    content += block
                    if len(content) > max_bytes or time.monotonic() > end:
                        raise PiperError(
                            f"{url} does not end ({len(content):,} bytes came); check the address."
                        )
                return bytes(content)
        except WebError as error:
            retries.wait(error)


def _read_retry_after(error: urllib.error.HTTPError) -> float:
    text = error.headers.get("Retry-After") or ""
    return float(text) if text.isdecimal() else 0.0  # a date is as good as nothing here


def _cannot_fetch(url: str, error: Exception, *, is_unreachable: bool = False) -> WebError:
    reason = getattr(error, "reason", None) or error
    return WebError(
        f"{url} cannot be fetched ({reason}); check the network and the address.",
        is_unreachable=is_unreachable,
    )


def _no_address(url: str) -> PiperError:
    return PiperError(
        f"{url} is not an address of the web; give one that begins with https:// or http:// "
        "(`python -m http.server` gives a folder such an address)."
    )
