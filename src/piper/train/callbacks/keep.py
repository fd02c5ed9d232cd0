"""What is kept of a training, and how it ends when it is told to: last.ckpt and signals.

Knows Lightning's hooks, but not what a checkpoint holds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from functools import partial
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from piper.errors import CheckpointError
from piper.messages import say
from piper.train.callbacks.keep_history import DEFAULT_KEEP_HOURS, keep_in_history
from piper.train.callbacks.saving import WRITING, Saver, find_checkpoint_folder
from piper.train.callbacks.stopping import (
    DEFAULT_STOP_SECONDS,
    StopSignals,
    TrainingStopped,
    is_parent_process,
    is_time_up,
)
from piper.train.checkpoints.last import LAST_NAME, remove_stale_parts
from piper.train.parallel.distributed import SharedFlag
from piper.train.resuming import resume_command
from piper.train.storage import join_address

DEFAULT_SAVE_MINUTES = 10.0
CHILD_SECONDS = 5.0
"""How much longer processes wait that another one of their machine started: it ends them, and
where they ended first, Lightning would kill it before it has said where the checkpoint is."""
FLUSH_SECONDS = 2.0
UNSAVED_SECONDS = 120.0
"""How long a step is waited for after a signal where no checkpoint is there yet: to the first one
are ten minutes at most, and whoever waits for the end of a training that hangs has a limit, too."""

_SAVE, _KEEP, _STOP = 1000, 2000, 3000
"""What one number tells all processes: save, keep for good as well, stop for signal N - 3000."""


class KeepLast(Checkpoint):
    """Writes `last.ckpt` every few minutes, after each validation, and when told to stop.

    SIGINT, SIGTERM, SIGHUP and SIGUSR1 let the present batch end, save, and raise
    `TrainingStopped`. What runs for longer is given up for the last complete checkpoint, and so at
    a second SIGINT. On several processes all of them stop after the same batch.

    Args:
        save_minutes: Minutes between two writes; a kill loses at most so much work.
        keep_every_hours: Hours of training between two checkpoints that stay; 0 keeps none.
        stop_seconds: How long after a signal a step or a validation may go on; 0 means for ever.
    """

    def __init__(
        self,
        save_minutes: float = DEFAULT_SAVE_MINUTES,
        keep_every_hours: float = DEFAULT_KEEP_HOURS,
        stop_seconds: float = DEFAULT_STOP_SECONDS,
    ) -> None:
        self.save_seconds = save_minutes * 60.0
        self.keep_seconds = keep_every_hours * 3600.0
        self.stop_seconds = stop_seconds
        self.last_complete: str | None = None
        """The newest checkpoint to go on from: one of this run, or the one that it began with."""
        self._folder = ""
        self._last_save = time.monotonic()
        self._last_tick = time.monotonic()
        self._trained_seconds = 0.0
        self._kept_seconds = 0.0
        self._flag: SharedFlag | None = None
        self._saver: Saver | None = None
        self._signals: StopSignals | None = None
        self._trainer: Trainer | None = None
        self._unsaved_until: float | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settle the folder, and clear it of what killed trainings left half-written."""
        self._folder = find_checkpoint_folder(trainer)
        if stage == "fit" and trainer.is_global_zero:
            with contextlib.suppress(OSError):
                remove_stale_parts(trainer.default_root_dir, os.getpid())

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over.

        Not in an earlier hook: Lightning sets its own handler of SIGTERM before this one, which
        would end the training at the end of the epoch, without saving and with exit code 0.
        """
        self._trainer = trainer
        self._flag, self._saver = SharedFlag(), Saver()
        self.last_complete = str(trainer.ckpt_path) if trainer.ckpt_path else None
        self._last_save = self._last_tick = time.monotonic()
        is_parent = is_parent_process()
        wait = self.stop_seconds + (CHILD_SECONDS if self.stop_seconds and not is_parent else 0.0)
        self._signals = StopSignals(wait, self._give_up, self._pass_on, WRITING, is_parent)
        self._signals.install()
        data: Any = getattr(trainer, "datamodule", None)
        if hasattr(data, "on_wait") and trainer.world_size == 1:
            # Of several processes the others would be in their step, and wait for this one.
            data.on_wait = partial(self._look_while_waiting, trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back."""
        self._restore_signals()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give the signals back; save where it was the data that failed, between two steps."""
        is_between = getattr(trainer.train_dataloader, "has_failed", False)
        if is_between and trainer.world_size == 1 and trainer.global_step:
            with contextlib.suppress(Exception):  # the other error is the one to tell
                if self._save(trainer, is_end=True):
                    _say(
                        f"Saved before the end; go on with:\n  {resume_command(self.last_complete)}"
                    )
        self._restore_signals()

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Save where it is time to, and stop where a signal came."""
        assert self._flag is not None
        now = time.monotonic()
        self._trained_seconds += now - self._last_tick
        self._last_tick = now
        wish = self._flag.any(self._wish(now))
        if wish >= _STOP:
            self._save_and_stop(trainer, wish - _STOP)
        if wish == _KEEP:
            self._keep(trainer)
        if wish:
            self._save(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop inside a validation too: the weights are those of the last batch."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        assert self._flag is not None and self._signals is not None
        received = self._flag.any(self._signals.received)
        if received:
            self._save_and_stop(trainer, received)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after each validation."""
        if trainer.state.fn == "fit" and trainer.global_step:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end.

        Raises:
            CheckpointError: It cannot be saved; says what there is instead.
        """
        if not self._save(trainer, is_end=True):
            raise self._unsaved("Training is at its end")

    def state_dict(self) -> dict[str, Any]:
        """Return how long was trained, over all runs together."""
        return {"trained_seconds": self._trained_seconds, "kept_seconds": self._kept_seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._trained_seconds = float(state_dict["trained_seconds"])
        self._kept_seconds = float(state_dict["kept_seconds"])

    def _wish(self, now: float) -> int:
        assert self._signals is not None
        if self._signals.received:
            return _STOP + self._signals.received
        if self.keep_seconds and self._trained_seconds - self._kept_seconds >= self.keep_seconds:
            return _KEEP
        return _SAVE if now - self._last_save > self.save_seconds else 0

    @property
    def _address(self) -> str:
        return join_address(self._folder, LAST_NAME)

    def _look_while_waiting(self, trainer: Trainer) -> bool:
        """Stop a training that stands still for want of data; return whether its epoch is over."""
        assert self._signals is not None
        if self._signals.received:
            self._save_and_stop(trainer, self._signals.received)
        if trainer.training and is_time_up(trainer):
            trainer.should_stop = True
            return True
        return False

    def _save_and_stop(self, trainer: Trainer, number: int) -> None:
        assert self._signals is not None
        with WRITING:
            # Before the first step there is nothing to save.
            if trainer.global_step and not self._save(trainer, is_end=True):
                raise self._unsaved(f"{signal.Signals(number).name} came")
            self._signals.settle()
        raise TrainingStopped(number, self.last_complete)

    def _unsaved(self, event: str) -> CheckpointError:
        assert self._saver is not None
        instead = (
            f"the last complete checkpoint is {self.last_complete}"
            if self.last_complete
            else "there is no earlier one"
        )
        return CheckpointError(
            f"{event}, but {self._address} could not be written "
            f"({self._saver.reason or 'by the first process'}): {instead}; make room there, or "
            "name another --trainer.default_root_dir, and go on with:\n  "
            + resume_command(self.last_complete)
        )

    def _save(self, trainer: Trainer, *, is_end: bool = False) -> bool:
        assert self._saver is not None
        with WRITING:
            is_saved = self._saver.save(trainer, self._address)
            if is_saved:
                self.last_complete = self._address
        self._last_save = time.monotonic()
        if not is_saved and not is_end:
            self._saver.warn(trainer, self._address, self.last_complete)
        return is_saved

    def _keep(self, trainer: Trainer) -> None:
        assert self._saver is not None
        # Also where it fails: another try with each batch would stop the training.
        self._kept_seconds = self._trained_seconds
        keep_in_history(trainer, self._saver, self._folder)

    def _restore_signals(self) -> None:
        if self._signals is not None:
            self._signals.restore()

    def _pass_on(self, number: int) -> None:
        """Tell the processes that this one started; a terminal tells them itself, `kill` not."""
        for process in self._children():
            process.send_signal(number)

    def _children(self) -> list[Any]:
        assert self._trainer is not None
        return list(getattr(self._trainer.strategy.launcher, "procs", None) or [])

    def _give_up(self, number: int, insists: bool) -> None:
        """End the process in the middle of what it does, where there is something to go on from."""
        assert self._trainer is not None
        name = signal.Signals(number).name
        if not insists and self._waits_for_first_save(name):
            return
        why = "ended at once" if insists else f"what ran took longer than {self.stop_seconds:g} s"
        where = (
            "go on from the last complete checkpoint with:\n  " + resume_command(self.last_complete)
            if self.last_complete
            else "nothing had been saved yet."
        )
        _say(f"{name}: {why}; {where}")
        _flush_loggers(self._trainer)
        for process in self._children():
            process.kill()
            with contextlib.suppress(Exception):
                process.wait(1.0)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(128 + number)

    def _waits_for_first_save(self, name: str) -> bool:
        assert self._trainer is not None
        if self.last_complete is not None or not self._trainer.global_step:
            return False
        if self._unsaved_until is None:
            self._unsaved_until = time.monotonic() + UNSAVED_SECONDS
            _say(
                f"{name}: there is no checkpoint yet, so the running step is waited for, "
                f"{UNSAVED_SECONDS:.0f} s at most."
            )
        return time.monotonic() < self._unsaved_until


def _say(text: str) -> None:
    if is_parent_process():
        with contextlib.suppress(OSError):
            say(text, file=sys.stderr)


def _flush_loggers(trainer: Trainer) -> None:
    """Let the log be written as far as that goes quickly: what holds it may be what hangs."""

    def flush() -> None:
        for logger in trainer.loggers:
            with contextlib.suppress(Exception):
                logger.finalize("failed")

    thread = threading.Thread(target=flush, daemon=True)
    thread.start()
    thread.join(FLUSH_SECONDS)
