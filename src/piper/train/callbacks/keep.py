"""What is kept of a training, and how it ends when it is told to: checkpoints and signals.

Knows Lightning's hooks, but not what a checkpoint holds.
"""

from __future__ import annotations

import logging
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from piper.train.distributed import SharedFlag

_LOGGER = logging.getLogger(__name__)

CHECKPOINT_NAME = "{epoch}-{step}-{val_loss:.4f}"
LAST_NAME = "last.ckpt"
DEFAULT_SAVE_MINUTES = 10.0


class TrainingStopped(BaseException):
    """Training was told to stop by a signal, and has saved its state.

    Attributes:
        signal_number: The signal that stopped it.
        checkpoint: Where training can go on from.
    """

    def __init__(self, signal_number: int, checkpoint: Path) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number
        self.checkpoint = checkpoint


class KeepBest(ModelCheckpoint):
    """Keeps the checkpoints with the lowest `val_loss`, named as Piper's users know them.

    Args:
        keep_best: How many to keep.
    """

    def __init__(self, keep_best: int = 3) -> None:
        super().__init__(
            filename=CHECKPOINT_NAME,
            monitor="val_loss",
            mode="min",
            save_top_k=keep_best,
            # Only after a validation: a training that ends inside an epoch would otherwise name
            # its last checkpoint by the loss of an earlier one.
            save_on_train_epoch_end=False,
        )


class KeepLast(Callback):
    """Writes `last.ckpt` every few minutes, after each validation, and when told to stop.

    SIGINT, SIGTERM and SIGHUP let the present batch end, save, and raise `TrainingStopped`; a
    second SIGINT ends at once. On several processes all of them stop after the same batch.

    Args:
        save_minutes: Minutes between two writes; a kill loses at most so much work.
    """

    def __init__(self, save_minutes: float = DEFAULT_SAVE_MINUTES) -> None:
        self.save_seconds = save_minutes * 60.0
        self._last_save = time.monotonic()
        self._received = 0
        self._flag: SharedFlag | None = None
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over.

        Not in an earlier hook: Lightning sets its own handler of SIGTERM before this one, which
        would end the training at the end of the epoch, without saving and with exit code 0.
        """
        self._flag = SharedFlag()
        self._last_save = time.monotonic()
        for number in _stop_signals():
            self._previous[number] = signal.signal(number, self._receive)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back."""
        self._restore_signals()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give the signals back."""
        self._restore_signals()

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Save where it is time to, and stop where a signal came."""
        assert self._flag is not None
        is_due = time.monotonic() - self._last_save > self.save_seconds
        # One number for both: the signal, or 1000 where it is only time to save.
        wish = self._flag.any(self._received or (1000 if is_due else 0))
        if wish:
            self._save(trainer)
        if 0 < wish < 1000:
            raise TrainingStopped(wish, self._path(trainer))

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop inside a validation too: the weights are those of the last batch."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        assert self._flag is not None
        wish = self._flag.any(self._received)
        if wish:
            if trainer.global_step:
                self._save(trainer)
            raise TrainingStopped(wish, self._path(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after each validation."""
        if trainer.state.fn == "fit" and trainer.global_step:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end."""
        self._save(trainer)

    def _path(self, trainer: Trainer) -> Path:
        keeper = trainer.checkpoint_callback
        folder = getattr(keeper, "dirpath", None) or trainer.default_root_dir
        return Path(folder) / LAST_NAME

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self._path(trainer))
        self._last_save = time.monotonic()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received and number == signal.SIGINT:
            self._restore_signals()
            raise KeyboardInterrupt
        self._received = number
        _LOGGER.warning("%s: saving after this batch, then stopping.", signal.Signals(number).name)

    def _restore_signals(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)


def _stop_signals() -> list[int]:
    """Return the signals that end a training cleanly; SIGHUP is not there on Windows."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [int(getattr(signal, name)) for name in names if hasattr(signal, name)]
    # `nohup` leaves SIGHUP ignored, and means it.
    return [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]
