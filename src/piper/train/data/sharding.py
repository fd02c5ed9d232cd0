"""Prepared utterances to shards, and shards to prepared utterances."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from piper.config import VoiceConfig
from piper.errors import ConfigError, DatasetError
from piper.files import digest_file, hold_lock, load_json_object, parse_json, remove_folder
from piper.progress import ProgressLine
from piper.train import storage
from piper.train.data.cache import (
    MAX_PACK_BYTES,
    EntryDamagedError,
    PackEntry,
    PackReader,
    PreparedUtterance,
)
from piper.train.data.metadata import Row
from piper.train.data.prepare import PreparedDataset
from piper.train.data.settings import DataSettings
from piper.train.data.shards import (
    HEADER_NAME,
    MADE_WITH,
    PACK,
    ROWS,
    VOICE,
    ShardFile,
    ShardHeader,
    check_digest,
    fetch_shards,
    load_header,
)

PACKING_NAME = ".packing"
"""In the cache: where a shard is made. Hidden, since it is emptied, and others may have folders
there."""
_ALIGNMENT = 8


def write_shards(
    prepared: PreparedDataset,
    settings: DataSettings,
    address: str,
    max_shard_bytes: int = MAX_PACK_BYTES,
) -> ShardHeader:
    """Write a prepared dataset as shards.

    A shard that is there already is not written again, so a stopped run goes on; dataset.json comes
    last. What it does not name any more stays: a training may still read it.
    """
    address = storage.plain_address(address)
    if not storage.is_remote(address) and Path(address).resolve() == settings.cache_dir.resolve():
        # Preparing would add to shards there, and compacting would remove them.
        raise ConfigError(f"{address} is the cache; name another folder with --shards.")
    folder = settings.cache_dir / PACKING_NAME
    try:
        with hold_lock(folder.with_suffix(".lock")):
            remove_folder(folder)  # what a kill left of a shard
            folder.mkdir()
            try:
                return _write(prepared, settings, address, max_shard_bytes, folder / "made")
            finally:
                remove_folder(folder)
    except OSError as error:
        raise DatasetError(
            f"The shards cannot be written to {address} ({error.strerror}); check --shards, the "
            "rights and the room there and in the cache. The same command goes on with what is "
            "missing."
        ) from None


def load_sharded_dataset(settings: DataSettings) -> PreparedDataset:
    """Return a dataset of shards, which are brought here where they are missing."""
    assert settings.shards is not None
    folder = settings.audio_dir
    fetch_shards(settings.shards, folder)
    header = load_header(folder)
    packs = [folder / shard.name for shard in header.shards]
    voice = VoiceConfig.from_dict(load_json_object(settings.config_path), str(settings.config_path))
    try:
        check_digest(header.voice, folder)
        check_digest(header.rows, folder)
        lines = (folder / header.rows.name).read_text(encoding="ascii").splitlines()
        utterances = [_parse_line(line, packs, voice.num_speakers) for line in lines]
    except (OSError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{folder / header.rows.name} cannot be read ({error}); remove it to have it brought "
            "anew, or write the shards again with `prepare --shards`."
        ) from None
    if settings.quality:
        voice = replace(voice, quality=settings.quality)
    return PreparedDataset(utterances, voice)


def _write(
    prepared: PreparedDataset,
    settings: DataSettings,
    address: str,
    max_shard_bytes: int,
    path: Path,
) -> ShardHeader:
    """Write each file to a path of this machine, and from there to the shards."""
    there = {file.name: file.num_bytes for file in storage.list_folder(address)}
    progress = ProgressLine("Packing", len(prepared.utterances), "recordings")
    lines: list[str] = []
    shards: list[ShardFile] = []
    for group in _share(prepared.utterances, max_shard_bytes):
        lines += _write_pack(path, group, len(shards))
        shards.append(_store(path, PACK, address, there))
        progress.show(len(lines))
    path.write_text("".join(lines), encoding="ascii")
    rows = _store(path, ROWS, address, there)
    path.write_text(json.dumps(prepared.voice.to_dict(), indent=2), encoding="utf-8")
    voice = _store(path, VOICE, address, there)
    made_with = {name: getattr(settings, name) for name in MADE_WITH}
    header = ShardHeader(voice, rows, shards, made_with)
    content = header.to_json().encode()
    storage.write_file(storage.join_address(address, HEADER_NAME), lambda file: file.write(content))
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
            file.write(bytes(-file.tell() % _ALIGNMENT))
            where = [number, file.tell(), entry.num_bytes, entry.digest, entry.description]
            said = [row.line, row.audio_path.name, row.text, row.speaker, row.ids]
            lines.append(json.dumps([*said, utterance.speaker_id, utterance.key, *where]) + "\n")
            file.write(data.data)
    return lines


def _store(path: Path, kind: tuple[str, str], address: str, there: dict[str, int]) -> ShardFile:
    """Copy a file to the shards under a name that its digest gives it."""
    file = ShardFile.create(kind, path.stat().st_size, digest_file(path))
    if there.get(file.name) != file.num_bytes or _is_altered(file, address):
        storage.copy_file(path, storage.join_address(address, file.name))
    return file


def _is_altered(file: ShardFile, address: str) -> bool:
    """Return whether a file in a folder is damaged; those in a storage would have to be fetched."""
    is_here = not storage.is_remote(address)
    return is_here and digest_file(Path(address, file.name)) != file.sha256


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
