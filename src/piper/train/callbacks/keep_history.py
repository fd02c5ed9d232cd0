"""Keeps a checkpoint every few hours of training, fewer the longer it lasts.

Knows names of files and numbers of steps; what is in them, and when hours are over, it is told.
"""

from __future__ import annotations

import re
from itertools import pairwise

from lightning.pytorch import Trainer

from piper.train import storage
from piper.train.callbacks.saving import Saver, remove_checkpoint

DEFAULT_KEEP_HOURS = 4.0
MAX_KEPT = 8
"""Slim ones of a medium voice take 8 times 0.28 GB; two days of training at four hours each are
then seen at eight points, two weeks at eight as well."""

_NAME = re.compile(r"epoch=\d+-step=(\d+)\.ckpt")


def keep_in_history(trainer: Trainer, saver: Saver, folder: str) -> bool:
    """Write the present state beside those of earlier hours, then thin them.

    They are slim: what they are for is to hear how a voice has come along.

    Returns:
        Whether it was written, the same on all processes.
    """
    name = f"epoch={trainer.current_epoch}-step={trainer.global_step}.ckpt"
    address = storage.join_address(folder, name)
    if not saver.save(trainer, address, is_slim=True):
        saver.warn(trainer, address, None)
        return False
    if trainer.is_global_zero:
        kept = find_history(folder)
        for step in choose_superfluous(sorted(kept), MAX_KEPT):
            remove_checkpoint(trainer, storage.join_address(folder, kept[step]))
    return True


def find_history(folder: str) -> dict[int, str]:
    """Return the names of a folder's checkpoints of this kind by their steps.

    The folder itself is asked, not a list in memory: a kill loses a list.
    """
    try:
        files = storage.list_folder(folder)
    except OSError:  # thinned next time
        return {}
    return {int(match[1]): file.name for file in files if (match := _NAME.fullmatch(file.name))}


def choose_superfluous(steps: list[int], most: int) -> list[int]:
    """Return which of some steps to give up, so that the rest are spread as evenly as can be.

    The first and the last always stay; of the others, again and again the one goes that leaves
    the smallest gap, so that gaps grow with the time that they span.

    Args:
        steps: In ascending order.
        most: How many may stay, at least 2.
    """
    left = list(steps)
    while len(left) > most:
        spans = [after - before for before, after in pairwise(left[::1])]
        gaps = {left[i]: spans[i - 1] + spans[i] for i in range(1, len(left) - 1)}
        left.remove(min(gaps, key=lambda step: gaps[step]))
    return [step for step in steps if step not in left]
