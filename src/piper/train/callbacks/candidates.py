"""Names of checkpoints by their score, and of those that still wait for it.

Knows names of checkpoints and folders; neither scores nor trainings.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from piper.train import storage


def candidate_name(epoch: int, step: int) -> str:
    """Return the name of weights that have no score yet."""
    return f"epoch={epoch}-step={step}-candidate.ckpt"


def scored_name(epoch: int, step: int, score_name: str, score: float) -> str:
    """Return the name of weights by their score, as Piper's users know it."""
    return f"epoch={epoch}-step={step}-{score_name}={score:.4f}.ckpt"


def find_candidates(folder: str) -> list[str]:
    """Return the addresses of weights without a score; none where the storage cannot be asked."""
    return [address for address, _ in _match(folder, r"epoch=\d+-step=\d+-candidate\.ckpt")]


def find_scored(folder: str, score_name: str, last_step: int) -> dict[str, float]:
    """Return the addresses of weights up to a step that have a score, with it.

    Args:
        folder: Where they lie.
        score_name: Of the score.
        last_step: What lies beyond is another training's future.
    """
    number = r"-?\d+\.\d{4}"
    pattern = rf"epoch=\d+-step=(\d+)-{re.escape(score_name)}=({number})\.ckpt"
    found = _match(folder, pattern)
    return {address: float(match[2]) for address, match in found if int(match[1]) <= last_step}


def folder_of(address: str) -> str:
    """Return the folder that a checkpoint lies in."""
    return str(PurePosixPath(address.replace("\\", "/")).parent)


def name_of(address: str) -> str:
    """Return the name of a checkpoint in its folder."""
    return PurePosixPath(address.replace("\\", "/")).name


def _match(folder: str, pattern: str) -> list[tuple[str, re.Match[str]]]:
    try:
        files = storage.list_folder(folder)
    except OSError:  # another time
        return []
    return [
        (storage.join_address(folder, file.name), match)
        for file in files
        if (match := re.fullmatch(pattern, file.name))
    ]
