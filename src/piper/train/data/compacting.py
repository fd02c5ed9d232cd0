"""Takes out of a cache what a dataset does not use any more. Knows nothing of how it is made.

Safe while others read and write: a pack that a process writes to is left alone, what is used is in
its new pack before the old one goes, and who misses an entry looks for it once more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from piper.train.data.packs import (
    PACK_GLOB,
    EntryDamagedError,
    PackEntry,
    PackReader,
    PackWriter,
    claim_pack,
    index_path,
    load_entries,
    read_index,
)

_OLD_NAMES = re.compile(r"[0-9a-f]{32}\.npz|manifest-[0-9a-f]{32}\.json")
"""Files of the cache as it was with a file an utterance; nothing reads them."""


_LEAST_USED = 0.98
"""A pack of which more is used stays: 256 MB are not written anew to win five."""


@dataclass(frozen=True)
class CacheUse:
    """How much of a cache is used.

    Attributes:
        used_bytes: Of the entries that a dataset uses.
        all_bytes: Of all packs, and of files that nothing reads any more.
    """

    used_bytes: int
    all_bytes: int


def measure_use(folder: Path, keys: Collection[str]) -> CacheUse:
    """Return how much of a cache the entries of some keys are."""
    used = sum(entry.num_bytes for entry in load_entries(folder, keys).values())
    return CacheUse(used, sum(_size(path) for path in [*folder.glob(PACK_GLOB), *_old(folder)]))


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
            if held := claim_pack(pack):
                stack.enter_context(held)
                _rewrite(pack, newest, writer)
    writer.close()


def _rewrite(pack: Path, newest: Mapping[str, PackEntry], writer: PackWriter) -> None:
    used = {key: entry for key, entry in read_index(pack) if newest.get(key) == entry}
    if sum(entry.num_bytes for entry in used.values()) >= _LEAST_USED * _size(pack):
        return
    reader = PackReader()
    for key, entry in used.items():
        with suppress(EntryDamagedError):
            writer.append(key, entry.description, reader.read(key, entry).tobytes())
    index_path(pack).unlink(missing_ok=True)
    pack.unlink()


def _old(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _OLD_NAMES.fullmatch(path.name)]


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
