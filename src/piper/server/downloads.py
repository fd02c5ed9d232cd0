"""Published voices for a server's clients: the list, and downloads, one at a time.

Knows nothing of HTTP's machinery.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any, TypeVar

from piper.catalogue import fetch_catalogue, find_catalogue_voice, parse_catalogue
from piper.download import download_voice
from piper.errors import PiperError, VoiceNotFoundError
from piper.server.errors import RequestError
from piper.server.settings import Downloads
from piper.transfer import Manner

_KEEP_SECONDS = 600.0
"""The catalogue changes a few times a year; a client must not make us fetch it each time."""
_RETRY_SECONDS = 30

Result = TypeVar("Result")


class Downloader:
    """Fetches the catalogue and voices; safe to use from many threads, and blocking.

    Args:
        settings: Where from and where to.
    """

    def __init__(self, settings: Downloads) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._manner = Manner(is_patient=False, stop=self._stop)
        self._catalogue: dict[str, Any] = {}
        self._fetched_at = float("-inf")
        self._work: Future[Any] = Future()

    def list_published(self) -> dict[str, Any]:
        """Return the catalogue as it is published.

        Raises:
            RequestError: It cannot be had now.
        """
        if self._is_fresh():
            return self._catalogue
        with self._only_one():
            return self._do(self._fetch)

    def download(self, name: str, *, is_forced: bool) -> str:
        """Download what of a voice is not there yet; return its name.

        Args:
            name: Its name, or another one that the catalogue knows.
            is_forced: Download what is there, too.

        Raises:
            VoiceNotFoundError: The catalogue has no such voice.
            RequestError: It cannot be had now.
        """

        def fetch() -> str:
            catalogue = parse_catalogue(self._fetch(), self._settings.catalogue_url)
            voice = find_catalogue_voice(catalogue, name)
            download_voice(voice, self._settings.folder, is_forced=is_forced, manner=self._manner)
            return voice.name

        with self._only_one():
            return self._do(fetch)

    def close(self) -> None:
        """End the download that is going on; what has come of it is kept for the next one."""
        self._stop.set()
        self._work.cancel()

    def _do(self, work: Callable[[], Result]) -> Result:
        """Do it in a thread that nothing waits for at the end.

        The other server may say nothing for half a minute, or ask for a minute's patience.
        """
        done: Future[Result] = Future()
        self._work = done

        def run() -> None:
            with suppress(InvalidStateError):  # nobody waits any more
                try:
                    done.set_result(work())
                except Exception as error:
                    done.set_exception(error)

        threading.Thread(target=run, name="piper-download", daemon=True).start()
        if self._stop.is_set():
            done.cancel()
        try:
            return done.result()
        except CancelledError:
            raise _unavailable("The server ends; ask again when it is back.") from None

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._fetched_at < _KEEP_SECONDS

    def _fetch(self) -> dict[str, Any]:
        if not self._is_fresh():
            self._catalogue = fetch_catalogue(self._settings.catalogue_url)
            self._fetched_at = time.monotonic()
        return self._catalogue

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        """Let in one at a time; who does not find his voice is told so, all else is ours."""
        if not self._lock.acquire(blocking=False):
            raise _unavailable("Another download is going on; try again later.")
        try:
            yield
        except VoiceNotFoundError:
            raise
        except PiperError as error:
            raise _unavailable(str(error)) from error
        finally:
            self._lock.release()


def _unavailable(message: str) -> RequestError:
    return RequestError(message, HTTPStatus.SERVICE_UNAVAILABLE, _RETRY_SECONDS)
