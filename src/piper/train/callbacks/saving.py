"""Writes and removes a training's checkpoints: whole or slim, and what happens where it fails.

Knows what Lightning puts into a checkpoint, but not when one is due.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from piper.train import storage
from piper.train.parallel.distributed import SharedFlag

_LOGGER = logging.getLogger(__name__)

OPTIMIZER_KEYS = ("optimizer_states",)
"""What a slim checkpoint lacks. AdamW keeps two numbers a weight, so that of a medium voice's
845 MB (70.4 million weights of float32) 282 are left. All else is small and stays: rates, loops,
callbacks' scores, so that training can go on from it with optimizers that start anew."""


WRITING = threading.RLock()
"""Held while a checkpoint is written: who would end the process in the middle waits for it."""


class Saver:
    """Writes checkpoints by the first process, and tells all of them how it went.

    A failed write is a warning and no end: the old file stays, and the next save tries again. All
    processes have to call `save` together.
    """

    def __init__(self) -> None:
        self._flag = SharedFlag()
        self.reason = ""

    def save(self, trainer: Trainer, address: str, *, is_slim: bool = False) -> bool:
        """Write a checkpoint.

        Args:
            trainer: Whose state is saved.
            address: Path or fsspec address of the file.
            is_slim: Leave the optimizers' running means out.

        Returns:
            Whether it is there now, the same on all processes. Where it is not, `reason` says why
            on the first one.
        """
        with WRITING:
            return self._save(trainer, address, is_slim)

    def _save(self, trainer: Trainer, address: str, is_slim: bool) -> bool:
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if is_slim:
            checkpoint = {k: v for k, v in checkpoint.items() if k not in OPTIMIZER_KEYS}
        has_failed = 0
        if trainer.is_global_zero:
            try:
                trainer.strategy.save_checkpoint(checkpoint, address)
            except OSError as error:
                has_failed = 1
                self.reason = error.strerror or str(error) or type(error).__name__
        # Also the barrier that lets nobody go on before the file is there.
        return not self._flag.any(has_failed)

    def warn(self, trainer: Trainer, address: str, kept: str | None) -> None:
        """Say that a checkpoint was not written, and what there is instead."""
        if not trainer.is_global_zero:
            return
        instead = f"{kept} stays" if kept else "none was written yet"
        _LOGGER.warning(
            "%s could not be written (%s): training goes on, %s, and the next save tries again.",
            address,
            self.reason,
            instead,
        )


def remove_checkpoint(trainer: Trainer, address: str) -> None:
    """Remove a checkpoint of this training that newer ones have replaced, as far as it can be."""
    if not trainer.is_global_zero or is_same(address, trainer.ckpt_path):
        return
    try:
        storage.remove_file(address)
    except OSError as error:
        _LOGGER.warning("%s could not be removed (%s).", address, error.strerror or error)


def find_checkpoint_folder(trainer: Trainer) -> str:
    """Return where a training keeps its checkpoints: beside its log, the same on all processes."""
    folder = storage.join_address(trainer.default_root_dir, "checkpoints")
    for logger in trainer.loggers[:1]:
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        root = logger.save_dir or trainer.default_root_dir
        folder = storage.join_address(root, str(logger.name), version, "checkpoints")
    shared: str = trainer.strategy.broadcast(folder)
    return shared


def is_same(address: str, other: Any) -> bool:
    """Return whether two addresses mean the same file."""
    if not other:
        return False
    first, second = storage.plain_address(address), storage.plain_address(other)
    if storage.is_remote(first) or storage.is_remote(second):
        return first == second
    return Path(first).absolute() == Path(second).absolute()
