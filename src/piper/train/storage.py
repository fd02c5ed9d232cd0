"""Files at local paths and at fsspec's addresses (`s3://bucket/folder`), by the same few verbs.

All of them raise OSError where something cannot be read, written or asked, with the address and a
reason, whatever a backend raises; and ConfigError where an address needs a package that is not
installed. A local address is a plain path here, `file://` or not.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

from piper.errors import ConfigError, PiperError
from piper.files import is_plain_name, replace_on_success, sync_file

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


MAX_FETCHED_BYTES = 64 * 1024**3
"""Of a file in a storage, beyond any checkpoint or recording."""
_FOLDED = re.compile(r"^([a-z][a-z0-9]+):/(?=[^/])")


def plain_address(address: Path | str) -> str:
    """Return an address as everything here takes it: a local one without `file://`."""
    text = re.sub("^(file|local)://", "", str(address))
    # pathlib folds the two slashes of s3://bucket into one.
    return _FOLDED.sub(r"\1://", text) if isinstance(address, Path) else text


def is_remote(address: Path | str) -> bool:
    """Return whether an address needs fsspec."""
    return "://" in plain_address(address)


def join_address(folder: Path | str, *names: str) -> str:
    """Return the address of what lies in a folder."""
    folder = plain_address(folder)
    if is_remote(folder):
        return "/".join([folder.rstrip("/"), *names])
    return str(Path(folder, *names))


def write_file(address: Path | str, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file so that an end at any moment leaves the old or the new one whole."""
    address = plain_address(address)
    if is_remote(address):
        buffer = BytesIO()
        write(buffer)
        # In one piece: a stream closed by an error would leave half of it.
        _put(address, lambda filesystem, path: filesystem.pipe_file(path, buffer.getvalue()))
        return
    target = Path(address)
    if target.is_symlink() and is_plain_name(str(target.readlink())):
        target.unlink()  # `last.ckpt -> epoch=9.ckpt` is a second name for what is to stay
    with replace_on_success(target) as temporary, temporary.open("wb") as file:
        recorder = _Recorder(file)
        try:
            write(cast(BinaryIO, recorder))
        except RuntimeError:
            # torch.save answers a full disk with a RuntimeError about positions.
            if recorder.error is None:
                raise
            raise recorder.error from None
        file.flush()
        os.fsync(file.fileno())
    sync_file(target.parent)


def copy_file(
    source: Path | str, target: Path | str, *, max_bytes: int = MAX_FETCHED_BYTES
) -> None:
    """Copy a file between here and a storage, or here, without holding it in memory.

    An end at any moment leaves the old or the new file whole.
    """
    source, target = plain_address(source), plain_address(target)
    if is_remote(target):
        with local_file(source) as path:
            _put(target, lambda filesystem, there: filesystem.put_file(str(path), there))
        return
    with replace_on_success(target) as temporary:
        if is_remote(source):
            _fetch(source, temporary, max_bytes)
        else:
            shutil.copyfile(source, temporary)


def read_file(address: Path | str) -> bytes:
    """Return the content of a file."""
    if not is_remote(address):
        return Path(plain_address(address)).read_bytes()
    with _storage_of(address) as (filesystem, path):
        return bytes(filesystem.cat_file(path))


@contextmanager
def local_file(address: Path | str) -> Iterator[Path]:
    """Give a path to read a file by: its own, or that of a copy that is removed afterwards."""
    address = plain_address(address)
    if not is_remote(address):
        yield Path(address)
        return
    with tempfile.TemporaryDirectory(prefix="piper-") as folder:
        copy = Path(folder) / address.rpartition("/")[2]
        _fetch(address, copy, MAX_FETCHED_BYTES)
        yield copy


def move_file(source: Path | str, target: Path | str) -> None:
    """Give a file another name in its folder or storage."""
    if not is_remote(source):
        Path(plain_address(source)).replace(plain_address(target))
        return
    with _storage_of(source) as (filesystem, path):
        filesystem.mv(path, _find_filesystem(plain_address(target))[1])


def is_file(address: Path | str) -> bool:
    """Return whether there is a file."""
    if not is_remote(address):
        return Path(plain_address(address)).is_file()
    with _storage_of(address) as (filesystem, path), suppress(FileNotFoundError):
        filesystem.invalidate_cache()
        # Not isfile(), which takes a network that is gone for an object that is not there.
        return bool(filesystem.info(path)["type"] == "file")
    return False


def remove_file(address: Path | str) -> None:
    """Remove a file, where it is there."""
    if not is_remote(address):
        Path(plain_address(address)).unlink(missing_ok=True)
        return
    with _storage_of(address) as (filesystem, path), suppress(FileNotFoundError):
        filesystem.rm_file(path)


def list_folder(folder: Path | str) -> list[StoredFile]:
    """Return what lies in a folder, in no order; nothing where there is no such folder."""
    if is_remote(folder):
        with _storage_of(folder) as (filesystem, path), suppress(FileNotFoundError):
            filesystem.invalidate_cache()
            entries = filesystem.ls(path, detail=True)
            return [_describe(filesystem, entry) for entry in entries]
        return []
    found = []
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in Path(plain_address(folder)).iterdir():
            with suppress(FileNotFoundError):  # gone since the folder was read
                status, is_folder = entry.stat(), entry.is_dir()
                size = 0 if is_folder else status.st_size
                found.append(StoredFile(entry.name, status.st_mtime, size, is_folder))
    return found


def list_tree(folder: str) -> dict[str, StoredFile]:
    """Return all files of a storage below an address, by their names from there on."""
    with _storage_of(folder) as (filesystem, path):
        filesystem.invalidate_cache()
        prefix = path.rstrip("/") + "/"
        entries = filesystem.find(path, detail=True).items()
        return {name.removeprefix(prefix): _describe(filesystem, entry) for name, entry in entries}


def check_writable(folder: Path | str) -> None:
    """Refuse a folder that nothing can be written to; it is made where it is missing."""
    probe = join_address(folder, f".piper-write-test-{os.getpid()}")
    try:
        write_file(probe, lambda file: file.write(b"piper\n"))
        remove_file(probe)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"Nothing can be written to {plain_address(folder)} ({reason}), so no training would "
            "be kept: name another folder as --trainer.default_root_dir, or correct its rights."
        ) from None


class _Recorder:
    """A file that remembers what the system answered to a write."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        self._file.flush()

    def tell(self) -> int:
        return self._file.tell()


def _put(address: str, put: Callable[[Any, str], Any]) -> None:
    """Let an object be written so that an end at any moment leaves the old or the new one whole."""
    with _storage_of(address) as (filesystem, path):
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


def _fetch(address: str, path: Path, max_bytes: int) -> None:
    """Copy an object to a local path, or give it up: a web server may send without an end."""
    from fsspec.callbacks import Callback

    class Bound(Callback):
        def call(self, hook_name: str | None = None, **_: Any) -> None:
            if self.value > max_bytes:
                raise OSError(errno.EFBIG, f"more than {max_bytes:,} bytes came", address)

    with _storage_of(address) as (filesystem, there):
        filesystem.get_file(there, str(path), callback=Bound())


@contextmanager
def _storage_of(address: Path | str) -> Iterator[tuple[Any, str]]:
    """Give fsspec's file system for an address, and the path in it; errors of it are OSErrors."""
    address = plain_address(address)
    filesystem, path = _find_filesystem(address)
    with _as_os_errors(address):
        yield filesystem, path


def _protocol(address: str) -> str:
    return address.partition("://")[0].rpartition("::")[2]


def _find_filesystem(address: str) -> tuple[Any, str]:
    """Return fsspec's file system for an address, and the path in it."""
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
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise
        kind = type(error) if type(error) in (FileNotFoundError, PermissionError) else OSError
        number = getattr(error, "errno", None) or errno.EIO
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise kind(number, reason, address) from error


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
