"""One file of the catalogue on its way to this disk, resumably. Knows nothing of voices.

What has come lies in a part beside the file-to-be, `.NAME.DIGEST.part`. It is named by the
catalogue's digest, so that what came of another version is never taken for this one, and outlives
whatever ends the transfer; the next one asks for the rest. `.NAME.DIGEST.etag` holds the server's
name for the version that the part is of: the rest of that one only is asked for. The digest decides
in the end.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from piper.atomic import replace_on_success
from piper.catalogue import CatalogueFile
from piper.errors import PiperError
from piper.progress import ProgressLine
from piper.web import WAITS_SECONDS, Retries, WebError, open_url, read_blocks

_logger = logging.getLogger(__name__)

MEGABYTE = 1_000_000

_MAX_RESTARTS = 2
"""So often is begun anew because the parts of a file did not fit together."""


@dataclass(frozen=True)
class Manner:
    """How a transfer behaves.

    Attributes:
        is_shown: Show progress on standard error.
        is_patient: Wait where another process downloads the same; else that is an error.
        waits_seconds: Between attempts after a connection broke.
        stop: Ends the transfer when it is set; the part stays.
    """

    is_shown: bool = False
    is_patient: bool = True
    waits_seconds: tuple[float, ...] = WAITS_SECONDS
    stop: threading.Event = field(default_factory=threading.Event)


class Part:
    """What has come of a file.

    Args:
        file: The file.
        folder: Where it will lie.
    """

    def __init__(self, file: CatalogueFile, folder: Path) -> None:
        self._file = file
        stem = f".{file.name}.{file.md5[:12]}"
        self._path = folder / f"{stem}.part"
        self._etag_path = folder / f"{stem}.etag"
        self._restarts = 0
        self._is_patched = False

    @property
    def size_bytes(self) -> int:
        """How much has come."""
        return self._path.stat().st_size if self._path.is_file() else 0

    def fetch(self, manner: Manner) -> None:
        """Fetch what is missing; the part is whole then.

        Raises:
            PiperError: It cannot be fetched, or is not what the catalogue says.
            OSError: It cannot be written.
        """
        retries = Retries(manner.waits_seconds, manner.stop)
        # Of several answers, one may have been of another version.
        self._is_patched = self.size_bytes > 0
        _logger.info("Downloading %s (%s)", self._file.name, self._describe_size())
        while not self._is_whole():
            had_bytes = self.size_bytes
            try:
                self._receive(had_bytes, manner)
            except WebError as error:
                if error.status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and had_bytes:
                    self._start_anew("the server has less of it")
                    continue
                if self.size_bytes > had_bytes:
                    retries.reset()
                self._is_patched = self.size_bytes > 0
                retries.wait(error)

    def move(self, path: Path) -> None:
        """Give the whole part its name, on the disk too before anything else happens."""
        with self._path.open("rb+") as stream:
            os.fsync(stream.fileno())
        with replace_on_success(path) as temporary:
            shutil.move(self._path, temporary)
        self.remove()

    def remove(self) -> None:
        """Remove what has come, and what was kept of other versions of the file."""
        pattern = re.compile(rf"\.{re.escape(self._file.name)}\.[0-9a-f]{{12}}\.(part|etag)")
        for path in self._path.parent.glob(".*"):
            if pattern.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _is_whole(self) -> bool:
        if not self._path.is_file() or self.size_bytes < self._file.size_bytes:
            return False
        if (md5 := find_md5(self._path)) == self._file.md5:
            return True
        wrong = f"its MD5 is {md5}, but the catalogue says {self._file.md5}"
        if not self._is_patched:
            self.remove()
            raise _not_whole(self._file, wrong)
        self._start_anew(wrong)
        return False

    def _start_anew(self, reason: str) -> None:
        self.remove()
        self._is_patched = False
        self._restarts += 1
        if self._restarts > _MAX_RESTARTS:
            raise _not_whole(self._file, reason)
        _logger.warning("What came of %s does not fit (%s); starting anew", self._file.name, reason)

    def _receive(self, start: int, manner: Manner) -> None:
        """Ask for the file from byte `start` on, and write what comes of it.

        Raises:
            WebError: Not all of it came.
            PiperError: What comes is not the catalogue's file; the part is gone.
        """
        etag = self._read_etag()
        headers = {"Range": f"bytes={start}-"} if start else {}
        if start and etag:
            headers["If-Range"] = etag
        with open_url(self._file.url, headers) as response:
            if start and response.status != http.HTTPStatus.PARTIAL_CONTENT:
                _logger.info("The server sends %s from its beginning", self._file.name)
                self._is_patched, start = False, 0
            elif start and not _is_rest(response, start, etag):
                self._start_anew("the server sent the rest of something else")
                return
            if response.length is not None:
                self._check_length(start + response.length)
            with self._path.open("rb+" if start else "wb") as stream:
                if not start:
                    self._etag_path.write_text(_read_strong_etag(response), encoding="ascii")
                stream.seek(start)
                self._copy(response, stream, manner)
        self._check_length(self.size_bytes)

    def _copy(self, response: http.client.HTTPResponse, stream: BinaryIO, manner: Manner) -> None:
        done = stream.tell()
        line = None
        if manner.is_shown and self._file.size_bytes >= MEGABYTE:
            line = ProgressLine(
                self._file.name, self._file.size_bytes, "MB", start=done, scale=MEGABYTE
            )
        try:
            for block in read_blocks(response, self._file.url):
                if manner.stop.is_set():
                    raise PiperError(
                        f"The download of {self._file.name} was stopped; "
                        "the next one goes on from there."
                    )
                stream.write(block)
                done += len(block)
                if done > self._file.size_bytes:
                    return
                if line:
                    line.show(done)
            if line:
                line.finish(done)
        finally:
            if line:
                line.leave()

    def _check_length(self, size_bytes: int) -> None:
        if size_bytes != self._file.size_bytes:
            self.remove()
            wrong = f"{size_bytes} bytes came, but the catalogue says {self._file.size_bytes}"
            raise _not_whole(self._file, wrong)

    def _read_etag(self) -> str:
        try:
            return self._etag_path.read_text(encoding="ascii")
        except (FileNotFoundError, UnicodeDecodeError):
            return ""

    def _describe_size(self) -> str:
        total = describe_size(self._file.size_bytes)
        has = self.size_bytes
        return f"{describe_size(has)} of {total} are there" if has else total


def describe_size(size_bytes: int) -> str:
    """Return a length for people to read."""
    if size_bytes < MEGABYTE:
        return f"{size_bytes / 1000:.1f} kB"
    return f"{size_bytes / MEGABYTE:,.1f} MB"


def find_md5(path: Path) -> str:
    """Return a file's digest.

    The catalogue has no better one; it guards against broken downloads, not against forgery.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _is_rest(response: http.client.HTTPResponse, start: int, etag: str) -> bool:
    """Whether an answer begins at byte `start`, and is of the version that has this ETag."""
    content_range = response.headers.get("Content-Range") or ""
    is_same = not etag or _read_strong_etag(response) in ("", etag)
    return content_range.startswith(f"bytes {start}-") and is_same


def _read_strong_etag(response: http.client.HTTPResponse) -> str:
    """Return the answer's ETag, or nothing: a weak one does not promise the same bytes."""
    etag = response.headers.get("ETag") or ""
    return etag if re.fullmatch(r'"[\x21\x23-\x7e]*"', etag) else ""


def _not_whole(file: CatalogueFile, wrong: str) -> PiperError:
    return PiperError(f"{file.url} did not arrive whole ({wrong}); try again later.")
