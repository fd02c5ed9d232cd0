"""Files at local paths and at fsspec's addresses (`s3://bucket/folder`), by the same few verbs.

Does not know what is in them. A local address is a plain path here, `file://` or not.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

from piper.atomic import is_plain_name, replace_on_success, sync_file
from piper.errors import ConfigError
from piper.train import remote_storage
from piper.train.remote_storage import StoredFile

MAX_FETCHED_BYTES = 64 * 1024**3
"""Of a file in a storage, beyond any checkpoint or recording."""
_LOCAL_PREFIXES = ("file://", "local://")
_FOLDED = re.compile(r"([a-z][a-z0-9]+):/(?=[^/])")


def plain_address(address: Path | str) -> str:
    """Return an address as everything here takes it: a local one without `file://`."""
    text = str(address)
    for prefix in _LOCAL_PREFIXES:
        if text.startswith(prefix):
            return text.removeprefix(prefix)
    if isinstance(address, Path):
        # pathlib folds the two slashes of s3://bucket into one.
        return _FOLDED.sub(r"\1://", text, count=1) if _FOLDED.match(text) else text
    return text


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
    """Write a file so that an end at any moment leaves the old or the new one whole.

    Args:
        address: Where to; a missing local folder is made.
        write: Writes the content to the binary file that it is given.

    Raises:
        OSError: It cannot be written; what was half-written is removed.
        ConfigError: The address needs a package that is not installed.
    """
    address = plain_address(address)
    if is_remote(address):
        buffer = BytesIO()
        write(buffer)
        remote_storage.write_object(address, buffer.getvalue())
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

    Args:
        source: What to copy.
        target: Where to.
        max_bytes: A source in a storage that has more is refused.

    Raises:
        OSError: One cannot be read or the other not be written.
        ConfigError: An address needs a package that is not installed.
    """
    source, target = plain_address(source), plain_address(target)
    if is_remote(target):
        with local_file(source) as path:
            remote_storage.upload_object(target, path)
        return
    with replace_on_success(target) as temporary:
        if is_remote(source):
            remote_storage.fetch_object(source, temporary, max_bytes)
        else:
            shutil.copyfile(source, temporary)


def read_file(address: Path | str) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: It cannot be read.
    """
    address = plain_address(address)
    return remote_storage.read_object(address) if is_remote(address) else Path(address).read_bytes()


@contextmanager
def local_file(address: Path | str) -> Iterator[Path]:
    """Give a path to read a file by: its own, or that of a copy that is removed afterwards.

    Raises:
        OSError: It is missing or cannot be read.
    """
    address = plain_address(address)
    if not is_remote(address):
        yield Path(address)
        return
    with tempfile.TemporaryDirectory(prefix="piper-") as folder:
        copy = Path(folder) / address.rpartition("/")[2]
        remote_storage.fetch_object(address, copy, MAX_FETCHED_BYTES)
        yield copy


def move_file(source: Path | str, target: Path | str) -> None:
    """Give a file another name in its folder or storage.

    Raises:
        OSError: It is missing, or cannot be moved.
    """
    source, target = plain_address(source), plain_address(target)
    if is_remote(source):
        remote_storage.move_object(source, target)
    else:
        Path(source).replace(target)


def is_file(address: Path | str) -> bool:
    """Return whether there is a file.

    Raises:
        OSError: The storage cannot be asked.
    """
    address = plain_address(address)
    return remote_storage.is_object(address) if is_remote(address) else Path(address).is_file()


def remove_file(address: Path | str) -> None:
    """Remove a file, where it is there.

    Raises:
        OSError: It cannot be removed.
    """
    address = plain_address(address)
    if is_remote(address):
        remote_storage.remove_object(address)
    else:
        Path(address).unlink(missing_ok=True)


def list_folder(folder: Path | str) -> list[StoredFile]:
    """Return what lies in a folder, in no order; nothing where there is no such folder.

    Raises:
        OSError: The storage cannot be asked.
    """
    folder = plain_address(folder)
    if is_remote(folder):
        return remote_storage.list_objects(folder)
    return [found for path in _local_entries(Path(folder)) if (found := _describe(path))]


def list_tree(folder: Path | str) -> dict[str, StoredFile]:
    """Return all files of a storage below an address, by their names from there on.

    Raises:
        OSError: The storage cannot be asked.
    """
    return remote_storage.list_object_tree(plain_address(folder))


def check_writable(folder: Path | str) -> None:
    """Refuse a folder that nothing can be written to; it is made where it is missing.

    Raises:
        ConfigError: What stands in the way, and what to do.
    """
    probe = join_address(folder, f".piper-write-test-{os.getpid()}")
    try:
        write_file(probe, lambda file: file.write(b"piper\n"))
        remove_file(probe)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"Nothing can be written to {plain_address(folder)} ({reason}), so no training would "
            "be kept: name another folder as --trainer.default_root_dir, or mend its rights."
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


def _local_entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _describe(path: Path) -> StoredFile | None:
    try:
        found = path.stat()
    except FileNotFoundError:  # gone since the folder was read
        return None
    is_folder = path.is_dir()
    return StoredFile(path.name, found.st_mtime, 0 if is_folder else found.st_size, is_folder)
