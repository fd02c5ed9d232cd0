"""A prepared dataset as shards, at an address or in a folder: what is there, and how it comes here.

Shards are packs that never change, named by their digest, and so are the list of utterances and the
voice's JSON. Only dataset.json, written last, says which of them belong together.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import UnionType
from typing import Any

from piper.errors import ConfigError, DatasetError, PiperError
from piper.files import digest_file, hold_lock, load_json_object, remove_leftovers
from piper.jobs import run_jobs
from piper.train import storage

FORMAT_VERSION = 1
HEADER_NAME = "dataset.json"
MAX_HEADER_BYTES = 16 * 1024**2
"""A shard takes 200 bytes there."""
VOICE, ROWS, PACK = ("config-", ".json"), ("rows-", ".jsonl"), ("utterances-1-", ".pack")
"""Beginnings and ends of names; the digest stands between."""
LOCK_NAME = "shards.lock"
MADE_WITH: dict[str, type | UnionType] = {
    "trim_silence": bool,
    "keep_seconds_before_silence": int | float,
    "keep_seconds_after_silence": int | float,
    "loudness": int | float | None,
    "dataset_type": str,
}
"""Flags that shards settle, and what they may be; all else that matters stands in the voice's
JSON."""
MAX_FETCHED_AT_ONCE = 4


@dataclass(frozen=True)
class ShardFile:
    """A file that belongs to shards.

    Attributes:
        name: In their folder; it holds the beginning of the digest.
        num_bytes: Its size.
        sha256: Its digest.
    """

    name: str
    num_bytes: int
    sha256: str

    @classmethod
    def create(cls, kind: tuple[str, str], num_bytes: int, sha256: str) -> ShardFile:
        """Return the file whose name its digest gives."""
        return cls(f"{kind[0]}{sha256[:16]}{kind[1]}", num_bytes, sha256)

    @classmethod
    def parse(cls, data: Any, kind: tuple[str, str]) -> ShardFile:
        """Return what dataset.json says of a file.

        Raises:
            KeyError, TypeError, ValueError: It has no size and digest, or its name is not the one
                that the digest gives: a name that somebody chose may lead anywhere.
        """
        num_bytes, sha256 = data["num_bytes"], data["sha256"]
        if type(num_bytes) is not int or not re.fullmatch("[0-9a-f]{64}", sha256):
            raise ValueError("a size in bytes and a SHA-256 are wanted of each file")
        file = cls.create(kind, num_bytes, sha256)
        if data["name"] != file.name:
            raise ValueError(f"{data['name']!r:.80} should be {file.name}")
        return file


@dataclass(frozen=True)
class ShardHeader:
    """What dataset.json says.

    Attributes:
        voice: The voice's JSON.
        rows: The list of utterances.
        shards: The packs.
        settings: What the utterances were made with, by the names of the flags.
    """

    voice: ShardFile
    rows: ShardFile
    shards: list[ShardFile]
    settings: dict[str, Any]

    def to_json(self) -> str:
        """Return the content of dataset.json."""
        return json.dumps({"format": FORMAT_VERSION, **asdict(self)}, indent=2) + "\n"


def load_header(folder: Path) -> ShardHeader:
    """Read dataset.json."""
    data = load_json_object(folder / HEADER_NAME)
    try:
        if data["format"] != FORMAT_VERSION:
            raise DatasetError(
                f"{folder / HEADER_NAME} is of another format than {FORMAT_VERSION}; write the "
                "shards again with `prepare --shards` of this version."
            )
        return ShardHeader(
            ShardFile.parse(data["voice"], VOICE),
            ShardFile.parse(data["rows"], ROWS),
            [ShardFile.parse(shard, PACK) for shard in data["shards"]],
            {name: _check_setting(name, value) for name, value in data["settings"].items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, PiperError):
            raise
        raise DatasetError(
            f"{folder / HEADER_NAME} lacks something or holds it in another form ({error}); "
            "write the shards again with `prepare --shards`."
        ) from None


def _check_setting(name: str, value: Any) -> Any:
    """Return the value of a flag; a name that is none of these might be that of a path."""
    if not isinstance(value, MADE_WITH[name]):
        raise TypeError(f"{name} is {value!r:.80}")
    return value


def open_shards(address: str, cache_dir: Path) -> Path:
    """Return the folder that shards are read from, with dataset.json and the voice's JSON in it.

    It is their own where they lie on a disk of this machine; else one in the cache.
    """
    address = storage.plain_address(address)
    if not storage.is_remote(address):
        if not Path(address, HEADER_NAME).is_file():
            raise _no_shards(address)
        return Path(address)
    folder = cache_dir / f"shards-{hashlib.sha256(address.encode()).hexdigest()[:16]}"
    try:
        storage.copy_file(
            storage.join_address(address, HEADER_NAME),
            folder / HEADER_NAME,
            max_bytes=MAX_HEADER_BYTES,
        )
        fetch_file(load_header(folder).voice, address, folder)
    except FileNotFoundError:
        raise _no_shards(address) from None
    except OSError as error:
        raise _unreadable(address, error) from None
    return folder


def fetch_shards(address: str, folder: Path) -> None:
    """Bring what is not here yet; a process of a machine does it, others wait.

    A run that is stopped goes on after the last whole shard.
    """
    header = load_header(folder)
    files = [header.rows, *header.shards]
    if not storage.is_remote(address):
        lost = next((file for file in files if not is_here(file, folder)), None)
        if lost is not None:
            raise DatasetError(
                f"{folder / lost.name} is missing or of another size than {HEADER_NAME} says; copy "
                "it anew, or write the shards again with `prepare --shards`."
            )
        return
    with hold_lock(folder / LOCK_NAME):
        remove_leftovers(folder)
        missing = [file for file in files if not is_here(file, folder)]
        if not missing:
            return
        num_processes = min(MAX_FETCHED_AT_ONCE, len(missing))
        fetcher = _Fetcher(address, folder)
        said = run_jobs(fetcher, missing, "Fetching", "shards", num_processes, jobs_a_chunk=1)
    for reason in said:
        if reason:
            raise DatasetError(reason)


@dataclass(frozen=True)
class _Fetcher:
    """What a worker process runs: a file to nothing, or to the sentence that says why not."""

    address: str
    folder: Path

    def __call__(self, file: ShardFile) -> str:
        try:
            fetch_file(file, self.address, self.folder)
        except OSError as error:
            return str(_unreadable(self.address, error))
        except (DatasetError, ConfigError) as error:
            return str(error)
        return ""


def fetch_file(file: ShardFile, address: str, folder: Path, *, is_anew: bool = False) -> None:
    """Bring one file, whole and checked, or leave it where it is here already.

    Args:
        file: What to bring.
        address: Where from.
        folder: Where to.
        is_anew: Bring it though one of its size is here.

    Raises:
        DatasetError: It is not what dataset.json says.
        OSError: It cannot be read or written.
    """
    if is_here(file, folder) and not is_anew:
        return
    part = folder / f"{file.name}.fetched"
    try:
        there = storage.join_address(address, file.name)
        storage.copy_file(there, part, max_bytes=file.num_bytes)
        if digest_file(part) != file.sha256:
            raise DatasetError(
                f"{there} is damaged: its digest is not the one in {HEADER_NAME}; remove it there, "
                "and write it again with `prepare --shards`."
            )
        part.replace(folder / file.name)
    finally:
        part.unlink(missing_ok=True)


def replace_shard(address: str, path: Path, reason: str) -> None:
    """Bring a shard anew whose copy here was damaged."""
    if not storage.is_remote(address):
        raise DatasetError(
            f"A shard is damaged ({reason}); copy it anew, or write the shards again with "
            "`prepare --shards`."
        )
    shards = load_header(path.parent).shards
    file = next((shard for shard in shards if shard.name == path.name), None)
    if file is None:
        raise DatasetError(
            f"A shard is damaged ({reason}), and {address} has others by now; start the training "
            "again, which reads those."
        )
    with hold_lock(path.parent / LOCK_NAME):
        # Another process may have mended it while this one waited.
        if not is_here(file, path.parent) or digest_file(path) != file.sha256:
            try:
                fetch_file(file, address, path.parent, is_anew=True)
            except OSError as error:
                raise _unreadable(address, error) from None


def check_digest(file: ShardFile, folder: Path) -> None:
    """Make sure that a small file is what dataset.json says; entries have digests of their own.

    Raises:
        DatasetError: It is not.
        OSError: It cannot be read.
    """
    if digest_file(folder / file.name) != file.sha256:
        raise DatasetError(
            f"{folder / file.name} is damaged: its digest is not the one in {HEADER_NAME}; remove "
            "it to have it brought anew, or write the shards again with `prepare --shards`."
        )


def is_here(file: ShardFile, folder: Path) -> bool:
    """Return whether a file of the right name and size is in a folder."""
    try:
        return (folder / file.name).stat().st_size == file.num_bytes
    except OSError:
        return False


def agree_settings(header: ShardHeader, given: Mapping[str, Any], defaults: Any) -> dict[str, Any]:
    """Return the settings that shards were made with.

    Args:
        header: Of the shards.
        given: Values of flags.
        defaults: An object or class that has the flags' default values.
    """
    for name, value in header.settings.items():
        flag = given.get(name, value)
        if flag not in (value, getattr(defaults, name)):
            raise ConfigError(
                f"--data.{name} is {flag!r}, but the shards were made with {value!r}; leave out "
                "the flag, or write the shards again with `prepare --shards`."
            )
    return dict(header.settings)


def _no_shards(address: str) -> DatasetError:
    return DatasetError(
        f"{address} holds no {HEADER_NAME}; check --data.shards, or write the shards with "
        "`python -m piper.train prepare DIR --shards ADDRESS`."
    )


def _unreadable(address: str, error: OSError) -> DatasetError:
    return DatasetError(
        f"The shards at {address} cannot be brought here ({error.strerror}); check --data.shards, "
        "the rights, the network and the room on this disk."
    )
