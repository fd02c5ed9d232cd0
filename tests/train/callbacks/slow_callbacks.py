"""Callbacks that make a training's batches long, for tests of what happens meanwhile."""

from __future__ import annotations

import hashlib
from typing import Any

from lightning.pytorch import Callback, Trainer
from torch.utils.data import _utils


def compute(seconds: float) -> None:
    """Stay inside one call that no handler of a signal interrupts, as a backward pass does."""
    # 1.5 to 4 million rounds a second; a hang needs no more than "too long".
    hashlib.pbkdf2_hmac("sha256", b"", b"", int(seconds * 2_000_000))


class SlowBatch(Callback):
    """Makes each batch from one on long.

    Args:
        first: The batch, counted over epochs.
        seconds: About how long it takes more.
    """

    def __init__(self, first: int, seconds: float) -> None:
        self._first = first
        self._seconds = seconds
        self._batches = 0

    def on_train_batch_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        self._batches += 1
        if self._batches > self._first:
            if trainer.is_global_zero:
                print("slow batch", flush=True)
            compute(self._seconds)


class LongLooks(Callback):
    """Lets torch wait half a minute for the end of each process that loads, instead of 5 s."""

    def setup(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        _utils.MP_STATUS_CHECK_INTERVAL = 30.0


class SlowValidation(Callback):
    """Makes validation batches long once something is trained."""

    def on_validation_batch_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        if trainer.global_step:
            print("slow batch", flush=True)
            compute(100.0)
