"""Writes files under a temporary name and renames them, one process at a time where it matters.

Does not know what is in them.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self


def temporary_path(path: Path) -> Path:
    """Return a hidden name beside `path` that no other process or thread uses."""
    # Long names (an utterance's text) must stay below the usual limit of 255 bytes.
    return path.with_name(f".{path.name[:40]}.{os.getpid()}.{threading.get_ident()}.part")


@contextmanager
def replace_on_success(path: Path | str) -> Iterator[Path]:
    """Give a temporary path to write to; rename it to `path` if the block ends without an error.

    The folder is made where it is missing. The temporary file lies in the same folder, because a
    rename across file systems is a copy, and is removed when the block raises.

    Raises:
        OSError: The folder cannot be made, or the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class Completed(ABC):
    """What is completed at the end of a `with` block, and taken back when the block raises."""

    @abstractmethod
    def close(self) -> None:
        """Complete it."""

    @abstractmethod
    def abort(self) -> None:
        """Remove what is half-written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error_type is None:
            self.close()
        else:
            self.abort()


def remove_folder(path: Path) -> None:
    """Remove a folder and what is in it, as far as that can be done."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def hold_lock(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Let one process at a time into the block; who waits, waits for as long as it takes.

    The lock is the process's: it is gone when the process is, however it ends. The file stays,
    unless whoever is in the block removes it as the last thing there.

    Args:
        path: The lock's file.
        on_wait: Called before waiting, where another process is in the block.

    Raises:
        OSError: The file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("ab") as file:
            _lock_file(file, on_wait)
            # A lock on a file that was removed meanwhile keeps nobody out.
            if _is_file_at(path, file):
                yield
                return


def _lock_file(file: BinaryIO, on_wait: Callable[[], None] | None) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: two processes may do the work twice
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if on_wait is not None:
            on_wait()
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # some network disks have no locks
        pass


def _is_file_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
