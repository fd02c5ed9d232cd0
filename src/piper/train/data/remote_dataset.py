"""A dataset in a cloud's storage: copies of its texts, and a list of its recordings.

The recordings stay where they are; whoever prepares one reads it into memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from piper.errors import ConfigError, DatasetError
from piper.files import load_json_object, replace_on_success
from piper.train import storage

_LOGGER = logging.getLogger(__name__)
CSV_NAME = "metadata.csv"
CONFIG_NAME = "config.json"
LIST_NAME = "recordings.json"
AUDIO_FOLDER = "wavs"
MAX_TEXT_BYTES = 1024**3
"""Of metadata.csv or config.json: ten million lines."""


@dataclass(frozen=True)
class RemoteRecordings:
    """The recordings of a dataset, by their names below its address.

    Attributes:
        address: Of the dataset.
        versions: What tells a recording from an earlier one of its name: size, and ETag or time.
    """

    address: str
    versions: Mapping[str, str]

    def find(self, name: str) -> tuple[Path, str] | None:
        """Return a recording's address and version, as `metadata.find_audio` finds files."""
        for folder in (f"{AUDIO_FOLDER}/", ""):
            for candidate in (f"{folder}{name}", f"{folder}{name}.wav"):
                if name and candidate in self.versions:
                    address = storage.join_address(self.address, candidate)
                    return Path(address), self.versions[candidate]
        return None


def open_dataset(address: str, cache_dir: Path) -> Path:
    """Return a folder in the cache with copies of metadata.csv and config.json as they are now."""
    folder = cache_dir / f"dataset-{hashlib.sha256(address.encode()).hexdigest()[:16]}"
    for name in (CSV_NAME, CONFIG_NAME):
        try:
            there = storage.join_address(address, name)
            storage.copy_file(there, folder / name, max_bytes=MAX_TEXT_BYTES)
        except FileNotFoundError:
            if name == CSV_NAME:
                raise DatasetError(
                    f"{address} holds no {CSV_NAME}; check the address of the dataset."
                ) from None
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise _unreadable(address, error) from None
    return folder


def list_recordings(address: str, folder: Path) -> RemoteRecordings:
    """Ask the storage once for all recordings, and keep the answer for the other processes."""
    try:
        found = storage.list_tree(address)
    except OSError as error:
        raise _unreadable(address, error) from None
    versions = {
        name: f"{file.num_bytes} {file.etag or file.modified}" for name, file in found.items()
    }
    with replace_on_success(folder / LIST_NAME) as temporary:
        temporary.write_text(json.dumps(versions), encoding="utf-8")
    return RemoteRecordings(address, versions)


def load_recordings(address: str, folder: Path) -> RemoteRecordings:
    """Return what `list_recordings` kept, or ask where nothing was kept."""
    with suppress(ConfigError):
        versions = load_json_object(folder / LIST_NAME)
        if all(isinstance(version, str) for version in versions.values()):
            return RemoteRecordings(address, versions)
    return list_recordings(address, folder)


def store_config(address: str, path: Path) -> None:
    """Copy a completed config.json to the dataset; where that is refused, a warning says so."""
    try:
        storage.copy_file(path, storage.join_address(address, CONFIG_NAME))
    except OSError as error:
        _LOGGER.warning(
            "%s at %s cannot be completed (%s); the complete one is %s.",
            CONFIG_NAME,
            address,
            error.strerror,
            path,
        )


def _unreadable(address: str, error: OSError) -> DatasetError:
    return DatasetError(
        f"The dataset at {address} cannot be read ({error.strerror}); check the address, the "
        "rights and the network."
    )
