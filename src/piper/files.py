"""Files: written whole or not at all, by one process at a time; those of others read in bounds."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar

from piper.errors import ConfigError, PiperError, describe_os_error
from piper.system import WINDOWS, avoid_device, is_device

_DESCRIPTOR = re.compile(r"/(?:dev|proc/(self|\d+))/fd/(\d+)")
_MAX_LINKS = 40
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
Result = TypeVar("Result")
_TEMPORARY = re.compile(r"\..+\.\d+\.\d+\.part")
STALE_SECONDS = 600.0
"""Then a file is a killed process's, where locks do not tell: others write every few seconds."""
_numbers = itertools.count(1)
_cleaned: set[Path] = set()
"""Folders that this process has looked into for what killed processes left."""


def temporary_path(path: Path) -> Path:
    """Return a hidden name beside `path` that no other one gets, here or in another process."""
    # Long names (an utterance's text) must stay below the usual limit of 255 bytes.
    return path.with_name(f".{path.name[:40]}.{os.getpid()}.{next(_numbers)}.part")


def is_plain_name(name: object) -> bool:
    """Return whether this is the name of a file in a folder, on any system, and no way elsewhere.

    What a file or a server calls its files is to pass this before it becomes a path.
    """
    return (
        isinstance(name, str)
        and name not in ("", ".", "..")
        and name.isprintable()
        and not set(name) & set("/\\:")
        and not is_device(name)
    )


class UniqueNames:
    """Gives each name once; letters' case does not tell names apart, as on Windows and macOS.

    Args:
        separator: Stands before the number of a name that was given before.
    """

    def __init__(self, separator: str = "-") -> None:
        self._separator = separator
        self._counts: dict[str, int] = {}

    def take(self, name: str, suffix: str = "") -> str:
        """Return the name with its suffix, and between them a number where it was given before.

        One that is a device's under Windows gets a `_` before it.
        """
        name = avoid_device(name)
        first = unique = name + suffix
        while unique.casefold() in self._counts:
            number = self._counts[first.casefold()] = self._counts[first.casefold()] + 1
            unique = f"{name}{self._separator}{number}{suffix}"
        self._counts[unique.casefold()] = 1
        return unique


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

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            self.close()
        else:
            self.abort()


class OutputFile(Completed):
    """A file that gets its name when it is whole, whatever has that name now.

    A regular file is replaced, of a link the file that it leads to; the new one has the old one's
    rights. Devices, pipes and `/dev/fd/N` are opened at once, and what was written is copied into
    them at the end.

    Args:
        path: Where; its folder is made where it is missing.

    Attributes:
        temporary: What to write to; in the same folder, as a rename across file systems is a copy.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._lock: int | None = None
        self._straight = open_straight(self._path)
        if self._straight is None:
            self._path = Path(os.path.realpath(self._path))
            self._path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self._path.parent)
            self.temporary = temporary_path(self._path)
            try:
                self._lock = _hold(self.temporary)
                return
            except PermissionError:
                # A file may be writable in a folder that is not.
                if not self._path.exists():
                    raise
                self._straight = self._path.open("r+b", buffering=0)
        import tempfile

        number, name = tempfile.mkstemp(prefix="piper-", suffix=".part")
        os.close(number)
        self.temporary = Path(name)

    def close(self) -> None:
        """Give the file its name."""
        try:
            if self._straight is not None:
                _copy_into(self.temporary, self._straight)
                return
            with suppress(OSError, AttributeError):  # AttributeError: Windows has no owners
                old = self._path.stat()
                self.temporary.chmod(stat.S_IMODE(old.st_mode))
                os.chown(self.temporary, old.st_uid, old.st_gid)
            try:
                self.temporary.replace(self._path)
            except OSError as error:
                # A file that a container was given by itself is a mount, which no rename replaces.
                if error.errno != errno.EBUSY:
                    raise
                self._straight = self._path.open("r+b", buffering=0)
                _copy_into(self.temporary, self._straight)
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove what was written."""
        if self._straight is not None:
            with suppress(OSError):
                self._straight.close()
        self.temporary.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextmanager
def replace_on_success(path: Path | str) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path` as an `OutputFile` does."""
    with OutputFile(path) as output:
        yield output.temporary


def find_descriptor(path: Path | str) -> int | None:
    """Return which open file of this process a path means: 1 for `/dev/stdout`."""
    name = os.fspath(path)
    for _ in range(_MAX_LINKS):
        found = _DESCRIPTOR.fullmatch(os.path.normpath(name))
        if found and found[1] in (None, "self", str(os.getpid())):
            return int(found[2])
        try:
            name = os.path.join(os.path.dirname(name), os.readlink(name))  # noqa: PTH115, PTH118, PTH120
        except OSError:
            return None
    return None


def open_straight(path: Path) -> BinaryIO | None:
    """Open what is to be written to and not replaced; None for regular files and new ones."""
    number = find_descriptor(path)
    if number is not None:
        # Not opened anew: that would begin at the file's start, and a socket has no such way.
        return os.fdopen(os.dup(number), "wb", buffering=0)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return None if stat.S_ISREG(mode) else path.open("wb", buffering=0)


def _copy_into(path: Path, stream: BinaryIO) -> None:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            view = memoryview(block)
            while view:  # a pipe takes a part at a time
                view = view[stream.write(view) :]
    if stream.readable():  # a regular file, which may have been longer
        stream.truncate()


def write_json(path: Path, data: Any, indent: int = 1) -> None:
    """Write JSON that people read, too: UTF-8, whole or not at all."""
    text = json.dumps(data, ensure_ascii=False, indent=indent)
    with replace_on_success(path) as temporary:
        # A name on the disk that is no UTF-8 holds lone surrogates: `\\udcff`, as JSON escapes it.
        temporary.write_bytes(f"{text}\n".encode("utf-8", "backslashreplace"))


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    import hashlib  # takes a moment to load

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_own_file(path: Path, folder: Path, sha256: object) -> bool:
    """Return whether a file that a list names may be read for whoever gave the list.

    What lies in the list's folder came with it; of a file elsewhere its digest was known where the
    list was made on this machine, and is not to who would have a stranger's file read.
    """
    if not path.is_file():
        return False
    return path.resolve().is_relative_to(folder.resolve()) or digest_file(path) == sha256


def refuse_overwriting(
    outputs: Mapping[str, Path | str | None], inputs: Mapping[str, Path | str | None]
) -> None:
    """Refuse a file that is read and written, and one that is written twice, by whatever names.

    Files stand under the options that name them; None means that one was not given.
    """
    known = {
        _identify(path): f"read by this run ({name}) and would be overwritten"
        for name, path in inputs.items()
        if path is not None
    }
    for name, path in outputs.items():
        if path is None or (identity := _identify(path)) is None:
            continue
        if identity in known:
            raise PiperError(f"{path} is {known[identity]}; give another {name}.")
        known[identity] = f"written by this run already ({name})"


def _identify(path: Path | str) -> tuple[int, int] | str | None:
    """Return what tells a regular file from others; None for a device or a pipe."""
    real = os.path.realpath(path)  # as it is written to, through folders that are not there
    for name in (path, real):
        with suppress(OSError):
            status = Path(name).stat()
            return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
    return real


def remove_link(path: Path) -> None:
    """Remove a link that lies where a file of ours is to be written.

    In a folder that somebody else made, a link may lead to any file of the user's. Where the user
    named the file, a link is followed instead.
    """
    if path.is_symlink():
        path.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left in a folder of temporary files and folders.

    Looks once a process.
    """
    if folder in _cleaned:
        return
    _cleaned.add(folder)
    paths: list[Path] = []
    with suppress(OSError):
        paths += folder.glob(".*.part")
    for path in paths:
        if not _TEMPORARY.fullmatch(path.name):
            continue
        with suppress(OSError):  # such as a link of this name
            if WINDOWS:
                if _is_stale(path):
                    _remove(path)
            elif (lock := _hold(path, is_new=False)) is not None:
                _remove(path)
                os.close(lock)


def _is_stale(path: Path) -> bool:
    """Return whether nothing of a file, or in a folder, was written for long."""
    changes = [one.lstat().st_mtime for one in (path, *path.rglob("*"))]
    return time.time() - max(changes) > STALE_SECONDS


def _remove(path: Path) -> None:
    if path.is_dir():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)


def _hold(path: Path, *, is_new: bool = True) -> int | None:
    """Open a temporary file and hold it: it is known by that whether its process lives.

    A folder is held, too, but not made: FileNotFoundError where it is not there any more.
    """
    try:
        import fcntl
    except ImportError:  # Windows, which neither renames nor removes a file that is open
        return None
    mode = os.O_RDWR | (os.O_CREAT if is_new else 0)
    if path.is_dir():
        mode = os.O_RDONLY | os.O_DIRECTORY
    while True:
        lock = os.open(path, mode | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if is_new else fcntl.LOCK_NB))
            # One that looks for leftovers may have come between.
            if os.path.samestat(path.lstat(), os.fstat(lock)):
                return lock
        except FileNotFoundError:
            pass
        except OSError as error:  # held by another, or the disk has no locks
            if is_new or (error.errno in _NO_LOCKS and _is_stale(path)):
                return lock
        os.close(lock)
        if not is_new:
            return None


def hold_for_process(file: BinaryIO) -> bool:
    """Hold an open file until it is closed or this process ends; return False without locks.

    Not as `hold_lock` does: processes that load data would hold that on after this one was killed.

    Raises:
        BlockingIOError, PermissionError: Another process holds it.
    """
    try:
        import fcntl

        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise
    except (ImportError, OSError):  # Windows, some network disks
        return False
    return True


def sync_file(path: Path) -> None:
    """Let a file, or the names in a folder, outlive a power failure, where the system can."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_folder(path: Path) -> None:
    """Remove a folder and what is in it, as far as that can be done."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Give a new hidden folder beside `path`; what `place_folder` did not name is removed.

    If the process is killed, the next one that writes there removes it.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    part, lock = _make_held_folder(path)
    try:
        yield part
    finally:
        remove_folder(part)
        if lock is not None:
            os.close(lock)


def _make_held_folder(path: Path) -> tuple[Path, int | None]:
    while True:
        part = temporary_path(path)
        try:
            part.mkdir()
        except FileExistsError:  # that of a process of the same number on another machine
            continue
        try:
            return part, _hold(part)
        except FileNotFoundError:  # one that looks for leftovers has come between
            continue


def place_folder(part: Path, folder: Path) -> None:
    """Give a whole folder its name, which may be that of an empty folder or a link to one."""
    real = Path(os.path.realpath(folder))
    try:
        if real.is_dir():
            real.rmdir()
        part.rename(real)
    except OSError as error:
        # An empty disk of a container's is no folder to be replaced, but one to be filled.
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        real.mkdir(exist_ok=True)
        if any(real.iterdir()):
            raise
        import shutil

        for path in sorted(part.iterdir()):
            shutil.move(path, real / path.name)
        part.rmdir()


@contextmanager
def hold_lock(
    path: Path, on_wait: Callable[[], None] | None = None, *, is_removed: bool = False
) -> Iterator[None]:
    """Let one process at a time into the block; who waits, waits for as long as it takes.

    The lock is the process's: it is gone when the process is, however it ends. On a disk without
    locks, as some networks have, all are let in. The lock's file holds nothing else.

    Args:
        path: Its folder is made where it is missing.
        on_wait: Called before waiting, where another process is in the block; may raise instead.
        is_removed: Whether the file goes at the end.
    """
    from filelock import FileLock, Timeout  # takes a moment to load

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, fallback_to_soft=False)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if on_wait is not None:
                on_wait()
            lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        yield
    finally:
        if is_removed:
            with suppress(OSError):  # Windows removes no file that is open
                path.unlink()
        lock.release()


def append_record(path: Path, record: Any, *, is_synced: bool = False) -> None:
    """Add a record to a file that has a line of JSON for each; several processes may do so at once.

    What a kill or a full disk cut off gets a line of its own, which `load_records` passes over. A
    record that `is_synced` outlasts a loss of power from here on.
    """
    text = json.dumps(record, ensure_ascii=False) + "\n"
    # Half a character, which UTF-8 cannot hold, is written as JSON writes it: \ud800.
    line = text.encode("utf-8", "backslashreplace")
    # No link is followed: in a folder that somebody else made it may lead to any file.
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    flags |= getattr(os, "O_BINARY", 0)  # Windows would write `\r\n`
    descriptor = os.open(path, flags, 0o666)
    try:
        num_bytes = os.lseek(descriptor, 0, os.SEEK_END)
        if num_bytes:
            os.lseek(descriptor, -1, os.SEEK_END)
            if os.read(descriptor, 1) != b"\n":
                line = b"\n" + line
        # One write where the disk has room: lines of several processes stay whole.
        while line:
            line = line[os.write(descriptor, line) :]
        if is_synced:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_synced and not num_bytes:
        sync_file(path.parent)  # the name, too


def load_records(path: Path) -> list[Any]:
    """Return the records of a file, without those that are cut off; none where there is no file."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    records = []
    for line in filter(None, lines):
        with suppress(ValueError):
            records.append(parse_json(line.decode("utf-8", "surrogatepass"), str(path)))
    return records


def load_results(path: Path, parse: Callable[[Any], Result]) -> dict[str, Result]:
    """Return results by key, of records that are a key and a value; others are left out."""
    results: dict[str, Result] = {}
    for record in load_records(path):
        with suppress(ValueError, TypeError, LookupError, AttributeError):
            key, value = record
            results[key] = parse(value)
    return results


MAX_DEPTH = 100
"""Far beyond any file of this field; what walks a parsed file by recursion stays within it."""
MAX_DIGITS = 20
"""Of a whole number: all of 64 bits have no more."""
MAX_FILE_BYTES = 256 * 1024**2

_LONG_NUMBER = re.compile(rf"\d{{{MAX_DIGITS + 1}}}")


def parse_json(content: str | bytes, source: str) -> Any:
    """Parse JSON; NaN and Infinity are taken, since programs in Python write them.

    `source` is what errors call it: a file's path, with the line where it has several.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        text = text.removeprefix("\ufeff")
        # Only what looks long is read by the slower parser.
        parse_int = _parse_int if _LONG_NUMBER.search(text) else None
        data = json.loads(text, parse_int=parse_int)
        if text.count("[") + text.count("{") > MAX_DEPTH:
            _check_depth(data)
    except UnicodeDecodeError:
        raise ConfigError(f"{source} is not UTF-8 text; is it really a JSON file?") from None
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{source} is not valid JSON (line {error.lineno}: {error.msg}); correct or replace it."
        ) from None
    except RecursionError:
        raise ConfigError(
            f"{source} is nested deeper than {MAX_DEPTH} levels; correct or replace it."
        ) from None
    except _LongNumberError as error:
        raise ConfigError(
            f"{source} holds a number of {error} digits, but {MAX_DIGITS} are the most; correct or "
            "replace it."
        ) from None
    return data


def parse_json_object(content: str | bytes, source: str) -> dict[str, Any]:
    """Parse JSON that is an object; raises as `parse_json` does, and where it is something else."""
    data = parse_json(content, source)
    if not isinstance(data, dict):
        raise ConfigError(f"{source} holds a JSON {type(data).__name__}, but an object is wanted.")
    return data


def load_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object."""
    data = _load_object(path)
    try:
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError(
            f"{path} has half a character (\\ud800 to \\udfff) in a string; correct or replace it."
        ) from None
    return data


def read_bounded(path: Path, kind: str) -> bytes:
    """Return the content of a file that somebody else made, if it has an end.

    `kind` is what it is to be, such as `JSON file`.
    """
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(
            f"{path} is larger than {MAX_FILE_BYTES // 1024**2} MiB; is it really a {kind}?"
        )
    return content


def _load_object(path: Path) -> dict[str, Any]:
    try:
        content = read_bounded(path, "JSON file")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; check the path.") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder, but a JSON file is wanted here.") from None
    except OSError as error:
        raise ConfigError(describe_os_error(error)) from None
    return parse_json_object(content, str(path))


def load_kept_object(path: Path) -> dict[str, Any]:
    """Read an object that was cached; an empty one where there is none, or no sound one.

    Its values are still to be checked.
    """
    try:
        return _load_object(path)
    except ConfigError:
        return {}


class _LongNumberError(ValueError):
    """The number of digits is its text."""


def _parse_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS + digits.startswith("-"):
        raise _LongNumberError(f"{len(digits.lstrip('-')):,}")
    return int(digits)


def _check_depth(data: Any) -> None:
    """Raise RecursionError where containers lie in each other deeper than allowed."""
    level = [data]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return
    raise RecursionError
