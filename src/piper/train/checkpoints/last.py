"""Finds what `--ckpt_path=last` means: the newest checkpoint of a folder that is whole.

Knows names and places of checkpoints, but not what is trained.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from piper.errors import CheckpointError, TrainingError
from piper.train import storage
from piper.train.checkpoints.checkpoint import load_checkpoint
from piper.train.storage import StoredFile, join_address, plain_address

_LOGGER = logging.getLogger(__name__)

LAST_NAME = "last.ckpt"
LOG_FOLDER = "lightning_logs"
CHECKPOINT_FOLDER = "checkpoints"
LOCK_NAME = ".lock"

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
    root = root or "."
    found = _find_newest(root)
    if found is None:
        _LOGGER.warning("--ckpt_path=last: there is no checkpoint yet, so training begins anew.")
    else:
        _LOGGER.info("--ckpt_path=last: going on from %s", found)
    return found


def _find_newest(root: str) -> str | None:
    """Return the newest whole checkpoint in a folder of a training, a run or checkpoints."""
    found = [
        _Found(join_address(folder, file.name), file.modified, file.name == LAST_NAME)
        for folder in (*find_checkpoint_folders(root), root)
        for file in storage.list_folder(folder)
        if file.name.endswith(".ckpt") and not file.is_folder and not file.name.startswith(".")
    ]
    for candidate in sorted(found, key=lambda item: item.rank, reverse=True):
        try:
            load_checkpoint(candidate.address)
        except CheckpointError as error:
            _LOGGER.warning("Passed over: %s", error)
            continue
        return candidate.address
    if found:
        raise CheckpointError(
            f"None of the {len(found)} checkpoints under {root} is whole; name another one, or "
            "begin anew without."
        )
    return None


def find_checkpoint(address: Path | str) -> str:
    """Return the checkpoint that a flag means: a file, or the newest whole one of a run's folder.

    Args:
        address: A file; the folder of a training, of one of its runs, or of checkpoints; or `last`,
            which is the newest below the working folder.

    Raises:
        CheckpointError: The folder has none, or none that is whole.
        OSError: The storage cannot be asked.
    """
    address = storage.plain_address(address)
    is_last = address == "last" and not Path(address).exists()
    if not is_last and (storage.is_file(address) or not storage.list_folder(address)):
        return address  # who reads it says where it is not there
    folder = "." if is_last else address
    if (found := _find_newest(folder)) is None:
        raise CheckpointError(
            f"There is no checkpoint in {folder} and its lightning_logs; name a .ckpt file."
        )
    _LOGGER.info("The newest checkpoint of %s is %s", folder, found)
    return found


def version_of_checkpoint(address: str | None) -> int | None:
    """Return the number of the log folder that a checkpoint lies in; None where there is none."""
    found = re.search(rf"{LOG_FOLDER}/version_(\d+)/{CHECKPOINT_FOLDER}/[^/]+$", address or "")
    return int(found[1]) if found else None


def hold_run(folder: Path | str) -> BinaryIO | None:
    """Keep other trainings out of a run's folder until the file is closed or this process ends.

    None where there are no locks: in a cloud's storage, on Windows, on some network disks.

    Raises:
        TrainingError: Another training writes there.
        OSError: The folder cannot be written.
    """
    try:
        import fcntl
    except ImportError:
        return None
    if storage.is_remote(folder):
        return None
    path = Path(folder) / LOCK_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+b", buffering=0)
    try:
        # Not flock: processes that load data would hold that on after this one was killed.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        holder = file.read(200).decode("utf-8", "replace").strip()
        file.close()
        raise TrainingError(
            f"Another training ({holder or 'a process that is not known'}) writes into {folder}: "
            "let it go on alone or end it first, or give this one another "
            "--trainer.default_root_dir."
        ) from None
    except OSError:
        file.close()
        return None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return file


def find_checkpoint_folders(root: Path | str) -> list[str]:
    """Return the folders that trainings under a root keep their checkpoints in."""
    versions = [
        join_address(logs, entry.name, CHECKPOINT_FOLDER)
        for logs in (join_address(root, LOG_FOLDER), plain_address(root))
        for entry in storage.list_folder(logs)
        if entry.is_folder and _VERSION.fullmatch(entry.name)
    ]
    return [*versions, join_address(root, CHECKPOINT_FOLDER)]


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
