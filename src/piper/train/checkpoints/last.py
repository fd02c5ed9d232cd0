"""Finds what `--ckpt_path=last` means: the newest checkpoint of a folder that is whole.

Knows names and places of checkpoints, but not what is trained.
"""

from __future__ import annotations

import logging
import re
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from piper.errors import CheckpointError
from piper.train import storage
from piper.train.checkpoints.checkpoint import load_checkpoint
from piper.train.storage import StoredFile, join_address

_LOGGER = logging.getLogger(__name__)

LAST_NAME = "last.ckpt"
LOG_FOLDER = "lightning_logs"
CHECKPOINT_FOLDER = "checkpoints"

FULL_IS_BETTER_SECONDS = 1800.0
"""A last.ckpt that is older by so much is still preferred: the other files lack the optimizers'
running means, which take longer to come back than the three saves that half an hour holds."""

STALE_SECONDS = 600.0
"""What a killed process left half-written: a live one writes at least every few seconds."""

_VERSION = re.compile(r"version_\d+")
_PART = re.compile(r"\..+\.\d+\.\d+\.part")


@dataclass(frozen=True)
class _Found:
    address: str
    modified: float
    is_full: bool

    @property
    def rank(self) -> float:
        return self.modified + (FULL_IS_BETTER_SECONDS if self.is_full else 0.0)


def find_last_checkpoint(root: str | None) -> str | None:
    """Return the newest whole checkpoint of the trainings in a folder.

    A damaged file is named and passed over. None where there is none yet, so that one command
    both begins a training and goes on with it.

    Args:
        root: The trainings' `--trainer.default_root_dir`; the current folder without one.

    Raises:
        OSError: The storage cannot be asked.
    """
    found = [
        _Found(join_address(folder, file.name), file.modified, file.name == LAST_NAME)
        for folder in find_checkpoint_folders(root or ".")
        for file in storage.list_folder(folder)
        if file.name.endswith(".ckpt") and not file.is_folder and not file.name.startswith(".")
    ]
    for candidate in sorted(found, key=lambda item: item.rank, reverse=True):
        try:
            check_whole(candidate.address)
        except CheckpointError as error:
            _LOGGER.warning("--ckpt_path=last: passed over: %s", error)
            continue
        _LOGGER.info("--ckpt_path=last: going on from %s", candidate.address)
        return candidate.address
    if found:
        raise CheckpointError(
            f"--ckpt_path=last: none of the {len(found)} checkpoints under {root or '.'} is whole; "
            "name another one, or leave --ckpt_path out to begin anew."
        )
    _LOGGER.warning("--ckpt_path=last: there is no checkpoint yet, so training begins anew.")
    return None


def version_of_checkpoint(address: str | None) -> int | None:
    """Return the number of the log folder that a checkpoint lies in; None where there is none."""
    found = re.search(rf"{LOG_FOLDER}/version_(\d+)/{CHECKPOINT_FOLDER}/[^/]+$", address or "")
    return int(found[1]) if found else None


def find_checkpoint_folders(root: Path | str) -> list[str]:
    """Return the folders that trainings under a root keep their checkpoints in."""
    logs = join_address(root, LOG_FOLDER)
    versions = [
        join_address(logs, entry.name, CHECKPOINT_FOLDER)
        for entry in storage.list_folder(logs)
        if entry.is_folder and _VERSION.fullmatch(entry.name)
    ]
    return [*versions, join_address(root, CHECKPOINT_FOLDER)]


def check_whole(address: Path | str) -> None:
    """Read a checkpoint to its end.

    torch.load looks neither at the checksums of what it reads, nor at what it does not read.

    Raises:
        CheckpointError: It is damaged, or no checkpoint.
    """
    with storage.local_file(address) as file:
        # No archive: a file of torch before 1.6, or none at all; reading it will tell.
        if zipfile.is_zipfile(file) and (broken := _find_broken_part(file)):
            raise CheckpointError(f"{address} is damaged ({broken}).")
        try:
            load_checkpoint(file)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(file), str(address))) from None


def _find_broken_part(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            name = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return str(error) or type(error).__name__
    return f"the checksum of {name} differs" if name else None


def remove_stale_parts(root: Path | str, process: int) -> None:
    """Remove what killed trainings left half-written; each is as large as a checkpoint.

    Args:
        root: The trainings' folder.
        process: This process's id. Its own name on a file is a former process's: containers give
            the same ids again.
    """
    if storage.is_remote(root):
        return  # an upload that ends early leaves no object
    for folder in find_checkpoint_folders(root):
        for file in storage.list_folder(folder):
            if _is_stale(file, process):
                storage.remove_file(join_address(folder, file.name))


def _is_stale(file: StoredFile, process: int) -> bool:
    if not _PART.fullmatch(file.name):
        return False
    return f".{process}." in file.name or time.time() - file.modified > STALE_SECONDS
