"""A prepared dataset as shards, at an address or in a folder: written, brought here, and read.

Shards are packs that never change, named by their digest, and so are the list of utterances and the
voice's JSON. Only dataset.json, written last, says which of them belong together.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any

from piper.config import VoiceConfig
from piper.errors import ConfigError, DatasetError, PiperError
from piper.files import (
    digest_file,
    hold_lock,
    load_json_object,
    parse_json,
    remove_folder,
    remove_leftovers,
)
from piper.jobs import run_jobs
from piper.progress import ProgressLine
from piper.train import storage
from piper.train.data.cache import (
    ALIGNMENT,
    MAX_PACK_BYTES,
    EntryDamagedError,
    PackEntry,
    PackReader,
    PreparedDataset,
    PreparedUtterance,
)
from piper.train.data.metadata import Row

FORMAT_VERSION = 1
HEADER_NAME = "dataset.json"
MAX_HEADER_BYTES = 16 * 1024**2
"""A shard takes 200 bytes there."""
VOICE, ROWS, PACK = ("config-", ".json"), ("rows-", ".jsonl"), ("utterances-1-", ".pack")
"""Beginnings and ends of names; the digest stands between."""
LOCK_NAME = "shards.lock"
PACKING_NAME = ".packing"
"""In the cache: where a shard is made. Hidden, since it is emptied, and others may have folders
there."""
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

    def is_in(self, folder: Path) -> bool:
        """Return whether a file of this name and size is in a folder."""
        try:
            return (folder / self.name).stat().st_size == self.num_bytes
        except OSError:
            return False

    def is_damaged(self, folder: Path) -> bool:
        """Return whether the file in a folder has another digest."""
        return digest_file(folder / self.name) != self.sha256


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

    def agree(self, given: Mapping[str, Any], defaults: Any) -> dict[str, Any]:
        """Return the settings that the shards were made with, which flags must not contradict.

        Args:
            given: Values of flags.
            defaults: An object or class that has the flags' default values.
        """
        for name, value in self.settings.items():
            flag = given.get(name, value)
            if flag not in (value, getattr(defaults, name)):
                raise ConfigError(
                    f"--data.{name} is {flag!r}, but the shards were made with {value!r}; leave "
                    "out the flag, or write the shards again with `prepare --shards`."
                )
        return dict(self.settings)


def load_header(folder: Path) -> ShardHeader:
    """Read dataset.json."""
    path = folder / HEADER_NAME
    data = load_json_object(path)
    try:
        if data["format"] != FORMAT_VERSION:
            raise DatasetError(
                f"{path} is of another format than {FORMAT_VERSION}; write the shards again with "
                "`prepare --shards` of this version."
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
            f"{path} lacks something or holds it in another form ({error}); write the shards again "
            "with `prepare --shards`."
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
    no_shards = DatasetError(
        f"{address} holds no {HEADER_NAME}; check --data.shards, or write the shards with "
        "`python -m piper.train prepare DIR --shards ADDRESS`."
    )
    if not storage.is_remote(address):
        if not Path(address, HEADER_NAME).is_file():
            raise no_shards
        return Path(address)
    folder = cache_dir / f"shards-{hashlib.sha256(address.encode()).hexdigest()[:16]}"
    try:
        there = storage.join_address(address, HEADER_NAME)
        storage.copy_file(there, folder / HEADER_NAME, max_bytes=MAX_HEADER_BYTES)
        fetch_file(load_header(folder).voice, address, folder)
    except FileNotFoundError:
        raise no_shards from None
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
        lost = next((file for file in files if not file.is_in(folder)), None)
        if lost is not None:
            raise DatasetError(
                f"{folder / lost.name} is missing or of another size than {HEADER_NAME} says; copy "
                "it anew, or write the shards again with `prepare --shards`."
            )
        return
    with hold_lock(folder / LOCK_NAME):
        remove_leftovers(folder)
        missing = [file for file in files if not file.is_in(folder)]
        if not missing:
            return
        num_processes = min(MAX_FETCHED_AT_ONCE, len(missing))
        fetcher = _Fetcher(address, folder)
        said = run_jobs(fetcher, missing, "Fetching", "shards", num_processes, jobs_a_chunk=1)
    for reason in filter(None, said):
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
        except PiperError as error:
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
    if file.is_in(folder) and not is_anew:
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
    folder = path.parent
    file = next((file for file in load_header(folder).shards if file.name == path.name), None)
    if file is None:
        raise DatasetError(
            f"A shard is damaged ({reason}), and {address} has others by now; start the training "
            "again, which reads those."
        )
    with hold_lock(folder / LOCK_NAME):
        # Another process may have mended it while this one waited.
        if not file.is_in(folder) or file.is_damaged(folder):
            try:
                fetch_file(file, address, folder, is_anew=True)
            except OSError as error:
                raise _unreadable(address, error) from None


def _unreadable(address: str, error: OSError) -> DatasetError:
    return DatasetError(
        f"The shards at {address} cannot be brought here ({error.strerror}); check --data.shards, "
        "the rights, the network and the room on this disk."
    )


def load_sharded_dataset(
    address: str, folder: Path, config_path: Path, quality: str
) -> PreparedDataset:
    """Return a dataset of shards, which are brought here where they are missing.

    Args:
        address: Where they come from.
        folder: Where they are read, as `open_shards` gives it.
        config_path: The voice's JSON.
        quality: What the voice is to be, whatever that says; empty takes what it says.
    """
    fetch_shards(address, folder)
    header = load_header(folder)
    packs = [folder / shard.name for shard in header.shards]
    voice = VoiceConfig.from_dict(load_json_object(config_path), str(config_path))
    try:
        for file in (header.voice, header.rows):  # entries have digests of their own
            if file.is_damaged(folder):
                raise DatasetError(
                    f"{folder / file.name} is damaged: its digest is not the one in {HEADER_NAME}; "
                    "remove it to have it brought anew, or write the shards again with "
                    "`prepare --shards`."
                )
        lines = (folder / header.rows.name).read_text(encoding="ascii").splitlines()
        utterances = [_parse_line(line, packs, voice.num_speakers) for line in lines]
    except (OSError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{folder / header.rows.name} cannot be read ({error}); remove it to have it brought "
            "anew, or write the shards again with `prepare --shards`."
        ) from None
    if quality:
        voice = replace(voice, quality=quality)
    return PreparedDataset(utterances, voice)


def _parse_line(line: str, packs: Sequence[Path], num_speakers: int) -> PreparedUtterance:
    """Return the utterance of a line.

    Raises:
        ValueError, TypeError, IndexError: It is none.
    """
    values: list[Any] = parse_json(line, "a line of a shard's list")
    number, name, text, speaker, ids, speaker_id, key, *where = values
    shard, offset, num_bytes, digest, description = where
    *counts, missing = description
    num_ids, num_samples, _ = counts
    numbers = [number, speaker_id, shard, offset, num_bytes, *counts, *(ids or [])]
    strings = [name, text, speaker or "", key, digest, missing]
    if not (
        all(type(one) is int and one >= 0 for one in numbers)
        and all(isinstance(one, str) for one in strings)
        and Path(name).name == name
        and speaker_id < max(1, num_speakers)
        and num_bytes == 4 * num_ids + 2 * num_samples
    ):
        raise ValueError(f"a line is {line!r:.80}")
    row = Row(number, Path(name), text, speaker, ids)
    entry = PackEntry(packs[shard], offset, num_bytes, digest, 0, description)
    return PreparedUtterance(row, speaker_id, key, entry)


def write_shards(
    prepared: PreparedDataset,
    given: Mapping[str, Any],
    address: str,
    cache_dir: Path,
    max_shard_bytes: int = MAX_PACK_BYTES,
) -> ShardHeader:
    """Write a prepared dataset as shards.

    A shard that is there already is not written again, so a stopped run goes on; dataset.json comes
    last. What it does not name any more stays: a training may still read it.

    Args:
        prepared: The dataset.
        given: Values of the flags that it was prepared with; those of `MADE_WITH` are kept.
        address: Where to.
        cache_dir: Where it was prepared; a shard is made there.
        max_shard_bytes: The largest size of a shard with more than one utterance.
    """
    address = storage.plain_address(address)
    if not storage.is_remote(address) and Path(address).resolve() == cache_dir.resolve():
        # Preparing would add to shards there, and compacting would remove them.
        raise ConfigError(f"{address} is the cache; name another folder with --shards.")
    folder = cache_dir / PACKING_NAME
    try:
        with hold_lock(folder.with_suffix(".lock")):
            remove_folder(folder)  # what a kill left of a shard
            folder.mkdir()
            try:
                made_with = {name: given[name] for name in MADE_WITH}
                return _write(prepared, made_with, address, max_shard_bytes, folder / "made")
            finally:
                remove_folder(folder)
    except OSError as error:
        raise DatasetError(
            f"The shards cannot be written to {address} ({error.strerror}); check --shards, the "
            "rights and the room there and in the cache. The same command goes on with what is "
            "missing."
        ) from None


def _write(
    prepared: PreparedDataset,
    made_with: dict[str, Any],
    address: str,
    max_shard_bytes: int,
    path: Path,
) -> ShardHeader:
    """Write each file to a path of this machine, and from there to the shards."""
    there = {file.name: file.num_bytes for file in storage.list_folder(address)}

    def store(kind: tuple[str, str]) -> ShardFile:
        file = ShardFile.create(kind, path.stat().st_size, digest_file(path))
        is_there = there.get(file.name) == file.num_bytes
        # One in a storage would have to be fetched to see whether it is damaged.
        is_local = not storage.is_remote(address)
        if not is_there or (is_local and file.is_damaged(Path(address))):
            storage.copy_file(path, storage.join_address(address, file.name))
        return file

    progress = ProgressLine("Packing", len(prepared.utterances), "recordings")
    lines: list[str] = []
    shards: list[ShardFile] = []
    for group in _share(prepared.utterances, max_shard_bytes):
        lines += _write_pack(path, group, len(shards))
        shards.append(store(PACK))
        progress.show(len(lines))
    path.write_text("".join(lines), encoding="ascii")
    rows = store(ROWS)
    path.write_text(json.dumps(prepared.voice.to_dict(), indent=2), encoding="utf-8")
    header = ShardHeader(store(VOICE), rows, shards, made_with)
    content = json.dumps({"format": FORMAT_VERSION, **asdict(header)}, indent=2) + "\n"
    storage.write_file(
        storage.join_address(address, HEADER_NAME), lambda file: file.write(content.encode())
    )
    progress.finish(len(lines))
    return header


def _share(
    utterances: Sequence[PreparedUtterance], max_bytes: int
) -> Iterator[list[PreparedUtterance]]:
    """Yield what goes into each shard."""
    group: list[PreparedUtterance] = []
    num_bytes = 0
    for utterance in utterances:
        if group and num_bytes + utterance.entry.num_bytes > max_bytes:
            yield group
            group, num_bytes = [], 0
        group.append(utterance)
        num_bytes += utterance.entry.num_bytes
    if group:
        yield group


def _write_pack(path: Path, utterances: Sequence[PreparedUtterance], number: int) -> list[str]:
    """Write a shard's entries, and return the lines that say where they are."""
    reader = PackReader()
    lines = []
    with path.open("wb") as file:
        for utterance in utterances:
            entry, row = utterance.entry, utterance.row
            try:
                data = reader.read(utterance.key, entry)
            except EntryDamagedError as error:
                raise DatasetError(
                    f"An utterance in the cache is damaged ({error}); run the same command with "
                    "--verify, which makes it anew."
                ) from None
            file.write(bytes(-file.tell() % ALIGNMENT))
            where = [number, file.tell(), entry.num_bytes, entry.digest, entry.description]
            said = [row.line, row.audio_path.name, row.text, row.speaker, row.ids]
            lines.append(json.dumps([*said, utterance.speaker_id, utterance.key, *where]) + "\n")
            file.write(data.data)
    return lines
