"""Packs: large files of entries that only grow, and their indexes. Knows nothing of what is stored.

A pack is two files: the entries one after the other, and an index with a line of JSON for each.
The line is written after its entry, so a process that is killed leaves a line cut off and bytes
that no line names, and both are passed over; after a power failure the digest tells. A pack is
written by one process at a time, which holds a lock on it: two runs in one folder never meet in a
file. An entry that was moved or made anew has a later line. Packs are the exception from writing
under a temporary name: that would make a file of each utterance, as they are there to avoid.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
import zlib
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from piper.atomic import temporary_path
from piper.json_reader import parse_json

MAX_PACK_BYTES = 256_000_000
"""Then the next pack begins: 1.6 hours at 22,050 Hz. Twenty of them hold a hundred-hour voice at
16 kHz, and one is quickly fetched again."""
PACK_GLOB = "utterances-1-*.pack"
"""The number is that of the layout; packs of another one are not seen."""
DIGEST_DIGITS = 32
"""Of SHA-256, which processors compute: 0.4 ms for 350 kB, where BLAKE2 takes 0.8 ms."""
_ALIGNMENT = 8


class EntryDamagedError(Exception):
    """An entry that is missing, cut off or altered."""


@dataclass(frozen=True, slots=True)
class PackEntry:
    """Where an entry lies, and what it should be.

    Attributes:
        pack: The file of the entries.
        offset: Its first byte there.
        num_bytes: Its size.
        digest: Of key, description and bytes.
        stamp: Nanoseconds since 1970 when it was written; of two entries the later one counts.
        description: What whoever stored it wants to know without reading it; goes through JSON.
    """

    pack: Path
    offset: int
    num_bytes: int
    digest: str
    stamp: int
    description: list[Any]


class PackWriter:
    """Appends entries to a pack that nobody else writes to; the first `append` chooses one.

    A pack with room that no process holds goes on to be filled, so that many small runs do not
    leave many small files; with `is_new` it begins one of its own. In a forked process the writer
    chooses anew.
    """

    def __init__(
        self, folder: Path, max_pack_bytes: int = MAX_PACK_BYTES, *, is_new: bool = False
    ) -> None:
        self._folder = folder
        self._is_new = is_new
        self._max_bytes = max_pack_bytes
        self._pack: BinaryIO | None = None
        self._index: BinaryIO | None = None
        self._path = folder
        self._process = 0

    def append(self, key: str, description: list[Any], data: bytes) -> PackEntry:
        """Store an entry; it counts as soon as its index line is whole.

        Raises:
            OSError: It cannot be written; what was stored before stays good.
        """
        pack, index = self._find_files()
        offset = pack.seek(0, os.SEEK_END)
        offset += -offset % _ALIGNMENT
        pack.seek(offset)
        digest = _digest(key, description, data)
        stamp = time.time_ns()
        line = json.dumps([key, offset, len(data), digest, stamp, description]).encode()
        _write_all(pack, data)
        # Begun on a new line: the one before may have been cut off by a kill or a full disk.
        _write_all(index, b"\n%08x %s" % (zlib.crc32(line), line))
        return PackEntry(self._path, offset, len(data), digest, stamp, description)

    def close(self) -> None:
        """Let others write to the pack."""
        for file in (self._index, self._pack):
            if file is not None:
                file.close()
        self._pack = self._index = None

    def _find_files(self) -> tuple[BinaryIO, BinaryIO]:
        is_own = self._process == os.getpid()
        if self._pack is not None and self._index is not None and is_own:
            if self._pack.seek(0, os.SEEK_END) < self._max_bytes:
                return self._pack, self._index
            self.close()
        self._process = os.getpid()
        self._path, self._pack = self._claim_pack()
        self._index = index_path(self._path).open("ab", buffering=0)
        return self._pack, self._index

    def _claim_pack(self) -> tuple[Path, BinaryIO]:
        for path in () if self._is_new else sorted(self._folder.glob(PACK_GLOB)):
            if path.is_symlink() or index_path(path).is_symlink():
                continue  # it may lead to any file, if somebody else made the folder
            with suppress(FileNotFoundError):
                if path.stat().st_size < self._max_bytes and (file := claim_pack(path)):
                    return path, file
        path = self._folder / PACK_GLOB.replace("*", uuid.uuid4().hex[:12])
        temporary = temporary_path(path)
        temporary.touch()
        file = claim_pack(temporary) or temporary.open("r+b", buffering=0)
        temporary.replace(path)  # others see it when it is held already
        return path, file


def claim_pack(path: Path) -> BinaryIO | None:
    """Open a pack for writing and hold it until the file is closed; None where another one does.

    None, too, where it may not be written, or where there are no locks (Windows, some network
    disks): nobody then goes on with a pack of others.
    """
    try:
        import fcntl

        file = path.open("r+b", buffering=0)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever compacts may have removed it since it was opened.
        if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
    except OSError:
        pass
    file.close()
    return None


def index_path(pack: Path) -> Path:
    """Return where the index of a pack lies."""
    return pack.with_suffix(".index")


def load_entries(folder: Path, keys: Container[str] | None = None) -> dict[str, PackEntry]:
    """Return the entries of all packs in a folder, or those of some keys, by key."""
    found: dict[str, PackEntry] = {}
    for pack in sorted(folder.glob(PACK_GLOB)):
        for key, entry in read_index(pack):
            if keys is not None and key not in keys:
                continue
            if key not in found or found[key].stamp < entry.stamp:
                found[key] = entry
    return found


def read_index(pack: Path) -> Iterator[tuple[str, PackEntry]]:
    """Yield a pack's keys and entries in the order in which they were written.

    A line that was cut off or altered, or tells of bytes beyond the pack's end, is passed over.
    """
    try:
        size = pack.stat().st_size
        file = index_path(pack).open("rb")
    except OSError:
        return
    with file:
        for line in file:
            checksum, _, content = line.rstrip(b"\n").partition(b" ")
            if checksum != b"%08x" % zlib.crc32(content):
                continue
            try:
                key, *where, description = parse_json(content, str(pack))
                offset, num_bytes, digest, stamp = where
                is_whole = 0 <= offset <= offset + num_bytes <= size
            except (ValueError, TypeError):
                continue
            if is_whole:
                yield key, PackEntry(pack, offset, num_bytes, digest, stamp, description)


class PackReader:
    """Reads entries by memory-mapped files; a pack is opened when the first of its entries is."""

    def __init__(self) -> None:
        self._maps: dict[Path, npt.NDArray[np.uint8]] = {}

    def read(self, key: str, entry: PackEntry) -> npt.NDArray[np.uint8]:
        """Return the bytes of an entry, (num_bytes,), as a view into the pack.

        Raises:
            EntryDamagedError: It is missing, cut off or altered.
        """
        end = entry.offset + entry.num_bytes
        try:
            data = self._maps.get(entry.pack)
            if data is None or len(data) < end:
                data = self._maps[entry.pack] = np.memmap(entry.pack, np.uint8, mode="r")
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise EntryDamagedError(f"{entry.pack}: {error}") from None
        found = data[entry.offset : end]
        if len(found) < entry.num_bytes:
            raise EntryDamagedError(f"{entry.pack} is cut off")
        if _digest(key, entry.description, found.data) != entry.digest:
            raise EntryDamagedError(f"{entry.pack} is altered at byte {entry.offset}")
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {"_maps": {}}  # another process maps the files itself


def _digest(key: str, description: list[Any], data: bytes | memoryview) -> str:
    digest = hashlib.sha256(data)
    digest.update(json.dumps([key, description]).encode())
    return digest.hexdigest()[:DIGEST_DIGITS]


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
