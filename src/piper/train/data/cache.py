"""Prepared utterances on disk: packs of entries, and what an entry holds.

A pack is two files: the entries one after the other, and an index with a line of JSON for each.
The line is written after its entry, so a process that is killed leaves a line cut off and bytes
that no line names, and both are passed over; after a power failure the digest tells. A pack is
written by one process at a time, which holds a lock on it. An entry that was moved or made anew has
a later line. Packs are the exception from writing under a temporary name: that would make a file of
each utterance, as they are there to avoid.

An entry holds an utterance's phoneme ids and its trimmed, resampled samples as 16-bit numbers,
whose rounding lies 98 dB below full scale and so below the noise of any recording. Spectrograms are
computed when a batch is made (8.5 ms of a core for 8.6 s): stored they would take seven times the
room, and the key would have to hold their settings.

Compacting is safe while others read and write: a pack that a process writes to is left alone, what
is used is in its new pack before the old one goes, and who misses an entry looks for it once more.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import uuid
import zlib
from collections.abc import Collection, Container, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from piper.config import VoiceConfig
from piper.errors import DatasetError
from piper.files import parse_json, temporary_path
from piper.system import WINDOWS
from piper.train.data.audio import FloatArray
from piper.train.data.metadata import Row

MAX_PACK_BYTES = 256_000_000
"""Then the next pack begins: 1.6 hours at 22,050 Hz. Twenty of them hold a hundred-hour voice at
16 kHz, and one is quickly fetched again."""
PACK_GLOB = "utterances-1-*.pack"
"""The number is that of the layout; packs of another one are not seen."""
DIGEST_DIGITS = 32
"""Of SHA-256, which processors compute: 0.4 ms for 350 kB, where BLAKE2 takes 0.8 ms."""
ALIGNMENT = 8
INT16_SCALE = 32767.0
_ID_BYTES = 4
_OLD_NAMES = re.compile(r"[0-9a-f]{32}\.npz|manifest-[0-9a-f]{32}\.json")
"""Files of the cache as it was with a file an utterance; nothing reads them."""
_MIN_USED = 0.98
"""A pack of which more is used stays: 256 MB are not written anew to win five."""


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

    A pack with room that no process holds is filled up, so that many small runs leave few files;
    with `is_new` it begins one of its own. In a forked process the writer chooses anew.
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
        offset += -offset % ALIGNMENT
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
        file = claim_pack(temporary)
        temporary.replace(path)  # others see it when it is held already
        return path, file or path.open("r+b", buffering=0)  # Windows renames no file that is open


def claim_pack(path: Path) -> BinaryIO | None:
    """Open a pack for writing and hold it until the file is closed; None where another one does.

    None, too, where it may not be written, or where there are no locks (Windows, some network
    disks): nobody then goes on with a pack of others.
    """
    from filelock import lock_descriptor

    if WINDOWS:  # where a lock would keep readers out, too
        return None
    try:
        file = path.open("r+b", buffering=0)
    except OSError:
        return None
    with suppress(OSError):
        is_held = lock_descriptor(file.fileno(), blocking=False)
        # Whoever compacts may have removed it since it was opened.
        if is_held and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
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


@dataclass(frozen=True)
class CachedUtterance:
    """What an entry holds.

    Attributes:
        ids: (P,) int64 phoneme ids, each sentence from BOS to EOS.
        samples: (S,) float32, -1 to 1.
        source_rate: Hertz of the recording.
        missing: Phonemes that the id map lacks, once for each time they occur.
    """

    ids: npt.NDArray[np.int64]
    samples: FloatArray
    source_rate: int
    missing: str


@dataclass(frozen=True)
class PreparedUtterance:
    """A row of the dataset and its entry in the cache.

    Attributes:
        row: Its line of the CSV.
        speaker_id: 0 where there is one speaker.
        key: Its name in the cache.
        entry: Where it lies.
        drops_final_stop: Whether it is trained on without the final stop of its ids.
    """

    row: Row
    speaker_id: int
    key: str
    entry: PackEntry = field(compare=False)
    drops_final_stop: bool = False

    @property
    def num_ids(self) -> int:
        """Phoneme ids, padding included."""
        return int(self.entry.description[0])

    @property
    def num_samples(self) -> int:
        """Samples after trimming, at the training's rate."""
        return int(self.entry.description[1])

    @property
    def source_rate(self) -> int:
        """Hertz of the recording."""
        return int(self.entry.description[2])

    @property
    def missing(self) -> str:
        """Phonemes that the id map lacks."""
        return str(self.entry.description[3])


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset that is ready for training.

    Attributes:
        utterances: In the order of the CSV; one for each of its lines that can be used.
        voice: What export writes beside the ONNX.
    """

    utterances: list[PreparedUtterance]
    voice: VoiceConfig


class UtteranceCache:
    """The prepared utterances in a folder; can be sent to other processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reader = PackReader()
        self._writer = PackWriter(folder)

    def create(self) -> None:
        """Make the folder, where it is missing."""
        with self._writing():
            self._folder.mkdir(parents=True, exist_ok=True)

    def find(self, keys: Container[str]) -> dict[str, PackEntry]:
        """Return the entries of those keys that are there; their bytes are not looked at."""
        return load_entries(self._folder, keys)

    def load(self, key: str, entry: PackEntry) -> CachedUtterance:
        """Read an entry; its digest is verified.

        Raises:
            EntryDamagedError: It is missing, cut off or altered.
        """
        data = self._reader.read(key, entry)
        num_ids, _, source_rate, missing = entry.description
        ids = data[: num_ids * _ID_BYTES].view("<i4").astype(np.int64)
        samples = data[num_ids * _ID_BYTES :].view("<i2").astype(np.float32)
        samples /= np.float32(INT16_SCALE)
        return CachedUtterance(ids, samples, source_rate, missing)

    def is_whole(self, key: str, entry: PackEntry) -> bool:
        """Return whether an entry can be read."""
        try:
            self._reader.read(key, entry)
        except EntryDamagedError:
            return False
        return True

    def store(self, key: str, utterance: CachedUtterance) -> PackEntry:
        """Store an utterance under a key; an older entry of the key counts no more."""
        return self.store_encoded(key, *encode_utterance(utterance))

    def store_encoded(self, key: str, description: list[Any], data: bytes) -> PackEntry:
        """Store what `encode_utterance` returned."""
        with self._writing():
            return self._writer.append(key, description, data)

    def close(self) -> None:
        """Let others fill up the pack that was written to."""
        self._writer.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DatasetError(
                f"The cache folder {self._folder} cannot be written ({error.strerror}); make room "
                "there or pass another with --data.cache_dir: what was prepared is kept."
            ) from None

    def __getstate__(self) -> Path:
        return self._folder

    def __setstate__(self, folder: Path) -> None:
        UtteranceCache.__init__(self, folder)


def encode_utterance(utterance: CachedUtterance) -> tuple[list[Any], bytes]:
    """Return an entry's description (counts, rate, missing phonemes) and its bytes."""
    samples = np.clip(np.rint(utterance.samples * INT16_SCALE), -32767, 32767).astype("<i2")
    ids = utterance.ids.astype("<i4")
    description = [len(ids), len(samples), utterance.source_rate, utterance.missing]
    return description, ids.tobytes() + samples.tobytes()


def measure_use(folder: Path, keys: Collection[str]) -> tuple[int, int]:
    """Return how many bytes the entries of some keys take, and how many all files of a cache do."""
    used = sum(entry.num_bytes for entry in load_entries(folder, keys).values())
    return used, sum(_size(path) for path in [*folder.glob(PACK_GLOB), *_old(folder)])


def compact(folder: Path, keys: Collection[str]) -> None:
    """Remove all but the entries of some keys; a damaged one goes, too.

    Raises:
        OSError: The entries cannot be written anew; then all is as it was, but for copies.
    """
    for path in _old(folder):
        path.unlink(missing_ok=True)
    newest = load_entries(folder, keys)
    writer = PackWriter(folder, is_new=True)
    for pack in sorted(folder.glob(PACK_GLOB)):
        with suppress(FileNotFoundError), ExitStack() as stack:
            held = claim_pack(pack)
            if held is not None:
                stack.enter_context(held)
            elif not WINDOWS:
                continue
            used = {key: entry for key, entry in read_index(pack) if newest.get(key) == entry}
            if sum(entry.num_bytes for entry in used.values()) >= _MIN_USED * _size(pack):
                continue
            _copy_entries(used, writer)
            with suppress(PermissionError):  # under Windows, where another process has it open
                pack.unlink()
                index_path(pack).unlink(missing_ok=True)
    writer.close()


def _copy_entries(entries: Mapping[str, PackEntry], writer: PackWriter) -> None:
    reader = PackReader()  # gone at the end, and with it its hold on the pack
    for key, entry in entries.items():
        with suppress(EntryDamagedError):
            writer.append(key, entry.description, reader.read(key, entry).tobytes())


def _old(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _OLD_NAMES.fullmatch(path.name)]


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
