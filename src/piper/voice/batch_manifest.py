"""Which lines of a folder are done: one JSON line each, appended. Knows nothing of speaking."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from piper.atomic import is_plain_name, replace_on_success
from piper.errors import PiperError
from piper.json_reader import parse_json

MANIFEST_NAME = "manifest.jsonl"


@dataclass(frozen=True)
class Entry:
    """A line that is done.

    Attributes:
        file: The file's name; empty where there was nothing to speak.
        digest: Of text, voice and settings (`create_digest`).
        bytes: The file's size.
        seconds: Of speech.
        text: What was spoken, for whoever reads the manifest.
    """

    file: str
    digest: str
    bytes: int
    seconds: float
    text: str


def create_digest(*parts: Any) -> str:
    """Return a digest of anything that JSON can hold."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Manifest:
    """The manifest of a folder; one process at a time holds it, in a `with` block.

    A record is one write, after its file has its name: whatever kills the process, no record is
    there without its file, and a record cut short is no record.

    Args:
        folder: Where; made where it is missing.

    Raises:
        PiperError: The folder cannot be written, or another process is at it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / MANIFEST_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise self._cannot_write(error) from None
        try:
            self._lock()
            self._entries = self._read()
            self._remove_leftovers()
        except BaseException:
            os.close(self._file)
            raise

    def is_done(self, name: str, digest: str) -> bool:
        """Return whether the line of this name is done, with this digest, and its file there."""
        entry = self._entries.get(name)
        if entry is None or entry.digest != digest:
            return False
        if not entry.file:
            return True
        if not is_plain_name(entry.file):  # nothing that this program wrote
            return False
        try:
            return (self.folder / entry.file).stat().st_size == entry.bytes
        except OSError:
            return False

    def add(self, name: str, entry: Entry, audio: bytes) -> None:
        """Write a line's file, then its record; a line without audio gets no file.

        Raises:
            PiperError: The file cannot be written.
        """
        record = json.dumps({"name": name, **asdict(entry)}, ensure_ascii=False) + "\n"
        try:
            with stops_deferred():
                if entry.file:
                    with replace_on_success(self.folder / entry.file) as temporary:
                        temporary.write_bytes(audio)
                os.write(self._file, record.encode("utf-8", "surrogatepass"))
        except OSError as error:
            raise self._cannot_write(error) from None
        self._entries[name] = entry

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._file)  # which gives the lock back

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PiperError(
                f"Another process is writing to {self.folder}; wait for its end, "
                "or give another --output-dir."
            ) from None
        except OSError:  # some network file systems have no locks
            return

    def _read(self) -> dict[str, Entry]:
        content = self.path.read_bytes()
        if content and not content.endswith(b"\n"):
            # A record was cut short; the next one must not be glued to it.
            os.write(self._file, b"\n")
        entries: dict[str, Entry] = {}
        for line in content.splitlines():
            try:
                record = parse_json(line.decode("utf-8", "surrogatepass"), MANIFEST_NAME)
                name = record.pop("name")
                entries[name] = Entry(**record)
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
        return entries

    def _remove_leftovers(self) -> None:
        # Of a process that was killed while it wrote; no other one is at work here.
        for path in self.folder.glob(".*.[0-9]*.[0-9]*.part"):
            path.unlink(missing_ok=True)

    def _cannot_write(self, error: OSError) -> PiperError:
        reason = error.strerror or str(error)
        where = error.filename or self.folder
        return PiperError(f"{where} cannot be written ({reason}); choose another --output-dir.")


@contextmanager
def stops_deferred() -> Iterator[None]:
    """Keep Ctrl+C and SIGTERM waiting until the block's end; blocks may lie in each other.

    Python's handlers are swapped, since a mask would hold for this thread alone: another one, of
    NumPy's or Ray's, would take the signal and have Python's handler run here all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # where no handler ever runs
        return
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)

    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # Only Python's own functions can be put back, and only they run in the middle of a block.
    handled = [number for number, handler in old.items() if callable(handler)]
    for number in handled:
        signal.signal(number, remember)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, old[number])
        if received:
            signal.raise_signal(received[0])
