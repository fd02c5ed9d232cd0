"""fsspec's storages (`s3://bucket/folder`) as a few verbs with one kind of error.

Knows fsspec, but neither local files nor what is stored. What a backend raises comes out as an
OSError that names the address and gives a reason.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piper.errors import ConfigError, PiperError

PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
}
"""Packages that fsspec needs for the usual object stores."""

OBJECT_STORES = {*PACKAGES, "memory"}
"""There an object appears only when its upload is complete, so it needs no temporary name."""


@dataclass(frozen=True)
class StoredFile:
    """A file or folder in a folder.

    Attributes:
        name: Its last part.
        modified: Seconds since 1970; 0 where the storage does not say.
        num_bytes: Its size; 0 for a folder.
        is_folder: Whether it holds others.
        etag: What the storage calls this content; empty where it does not say.
    """

    name: str
    modified: float
    num_bytes: int
    is_folder: bool
    etag: str = ""


def write_object(address: str, content: bytes) -> None:
    """Write an object in one piece: a stream closed by an error would leave half of it.

    Raises:
        OSError: It cannot be written; the old one is still there.
        ConfigError: The address needs a package that is not installed.
    """
    _put(address, lambda filesystem, path: filesystem.pipe_file(path, content))


def upload_object(address: str, path: Path) -> None:
    """Copy a local file to an object, in parts where it is large.

    Raises:
        OSError: It cannot be written; an old one is still there.
        ConfigError: The address needs a package that is not installed.
    """
    _put(address, lambda filesystem, target: filesystem.put_file(str(path), target))


def fetch_object(address: str, path: Path, max_bytes: int) -> None:
    """Copy an object to a local path.

    Args:
        address: Of the object.
        path: Where to.
        max_bytes: With more of them it is given up: a web server may send without an end.

    Raises:
        OSError: It is missing, cannot be read, or is larger.
    """
    from fsspec.callbacks import Callback

    class Bound(Callback):
        def call(self, hook_name: str | None = None, **_: Any) -> None:
            if self.value > max_bytes:
                raise OSError(errno.EFBIG, f"more than {max_bytes:,} bytes came", address)

    filesystem, remote_path = find_filesystem(address)
    with _as_os_errors(address):
        filesystem.get_file(remote_path, str(path), callback=Bound())


def read_object(address: str) -> bytes:
    """Return the content of an object.

    Raises:
        OSError: It is missing or cannot be read.
    """
    filesystem, path = find_filesystem(address)
    with _as_os_errors(address):
        return bytes(filesystem.cat_file(path))


def is_object(address: str) -> bool:
    """Return whether there is an object.

    Raises:
        OSError: The storage cannot be asked.
    """
    filesystem, path = find_filesystem(address)
    with _as_os_errors(address):
        filesystem.invalidate_cache()
        try:
            # Not isfile(), which takes a network that is gone for an object that is not there.
            return bool(filesystem.info(path)["type"] == "file")
        except FileNotFoundError:
            return False


def remove_object(address: str) -> None:
    """Remove an object, where it is there.

    Raises:
        OSError: It cannot be removed.
    """
    filesystem, path = find_filesystem(address)
    with _as_os_errors(address), suppress(FileNotFoundError):
        filesystem.rm_file(path)


def move_object(source: str, target: str) -> None:
    """Give an object another name in its storage.

    Raises:
        OSError: It is missing, or cannot be moved.
    """
    filesystem, path = find_filesystem(source)
    with _as_os_errors(source):
        filesystem.mv(path, find_filesystem(target)[1])


def list_objects(folder: str) -> list[StoredFile]:
    """Return what lies in a folder, in no order; nothing where there is none.

    Raises:
        OSError: The storage cannot be asked.
    """
    filesystem, path = find_filesystem(folder)
    with _as_os_errors(folder):
        filesystem.invalidate_cache()
        try:
            entries = filesystem.ls(path, detail=True)
        except FileNotFoundError:
            return []
        return [_describe(filesystem, entry) for entry in entries]


def list_object_tree(folder: str) -> dict[str, StoredFile]:
    """Return all objects below a folder, by their names from there on.

    Raises:
        OSError: The storage cannot be asked.
    """
    filesystem, path = find_filesystem(folder)
    with _as_os_errors(folder):
        filesystem.invalidate_cache()
        prefix = path.rstrip("/") + "/"
        entries = filesystem.find(path, detail=True).items()
        return {name.removeprefix(prefix): _describe(filesystem, entry) for name, entry in entries}


def _put(address: str, put: Callable[[Any, str], Any]) -> None:
    """Let an object be written so that an end at any moment leaves the old or the new one whole."""
    filesystem, path = find_filesystem(address)
    with _as_os_errors(address):
        if _protocol(address) in OBJECT_STORES:
            put(filesystem, path)
            return
        folder, _, name = path.rpartition("/")
        filesystem.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/.{name}.{os.getpid()}.part"
        try:
            put(filesystem, temporary)
            filesystem.mv(temporary, path)
        except BaseException:
            with suppress(Exception):
                filesystem.rm_file(temporary)
            raise


def _protocol(address: str) -> str:
    return address.partition("://")[0].rpartition("::")[2]


def find_filesystem(address: str) -> tuple[Any, str]:
    """Return fsspec's file system for an address, and the path in it.

    Raises:
        ConfigError: It needs a package that is not installed, or is of no known kind.
        OSError: It cannot be set up.
    """
    from fsspec.core import url_to_fs

    protocol = _protocol(address)
    try:
        with _as_os_errors(address, ImportError, ValueError):
            filesystem, path = url_to_fs(address)
    except ImportError as error:
        package = PACKAGES.get(protocol)
        hint = f"pip install {package}" if package else str(error)
        raise ConfigError(
            f"{address} needs a package for {protocol}:// that is not installed: {hint}."
        ) from None
    except ValueError as error:
        raise ConfigError(
            f"{address}: {protocol}:// is no kind of storage that fsspec knows ({error}); "
            "s3://, gs:// and az:// are."
        ) from None
    return filesystem, path


@contextmanager
def _as_os_errors(address: str, *passed: type[Exception]) -> Iterator[None]:
    """Turn what a backend raises into an OSError with an address and a reason.

    Each has errors of its own (botocore's, aiohttp's, Google's), and those that are OSErrors come
    without number, text and name.
    """
    try:
        yield
    except PiperError:
        raise
    except passed:
        raise
    except OSError as error:
        if error.strerror:
            raise
        kind = type(error) if type(error) in (FileNotFoundError, PermissionError) else OSError
        raise kind(error.errno or errno.EIO, _first_line(error), address) from error
    except Exception as error:
        raise OSError(errno.EIO, _first_line(error), address) from error


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:200] if text else type(error).__name__


def _describe(filesystem: Any, entry: dict[str, Any]) -> StoredFile:
    name = str(entry["name"]).rstrip("/").rpartition("/")[2]
    if entry.get("type") == "directory":
        return StoredFile(name, 0.0, 0, True)
    etag = str(entry.get("ETag") or entry.get("etag") or "").strip('"')
    try:
        # Asked for only where the listing does not say: it can cost a request a file.
        when = entry.get("LastModified") or filesystem.modified(entry["name"])
        modified = when.timestamp()
    except (NotImplementedError, AttributeError, KeyError):
        modified = 0.0
    return StoredFile(name, modified, int(entry.get("size") or 0), False, etag)
