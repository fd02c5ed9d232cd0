"""Live progress of a training as lines of text: rate, losses, time to the end."""

from __future__ import annotations

import contextlib
import sys
import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

TERMINAL_SECONDS = 1.0
LINE_SECONDS = 15.0


class Progress(Callback):
    """One line that changes on a terminal, a line every few seconds elsewhere.

    The losses are read from the device only when a line is written, never in each step.
    """

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._begin = 0.0
        self._begin_batches = 0
        self._utterances = 0
        self._last_line = 0.0
        self._width = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting."""
        self._begin = time.monotonic()
        self._begin_batches = _batches_done(trainer)
        self._utterances = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a batch, and say so where it is time."""
        self._utterances += len(batch)
        now = time.monotonic()
        if now - self._last_line < (TERMINAL_SECONDS if self._is_terminal else LINE_SECONDS):
            return
        self._last_line = now
        if trainer.is_global_zero:
            self._write(self._line(trainer, now))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a validation's result on a line of its own."""
        # `validate` prints a table of its own, and knows no step.
        if trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        shown = [
            f"{name} {float(trainer.callback_metrics[name]):.4f}"
            for name in ("val_loss", "val_mel", "val_kl", "val_duration")
            if name in trainer.callback_metrics
        ]
        updates = trainer.global_step // 2
        self._write(f"epoch {trainer.current_epoch} · step {updates} · " + " · ".join(shown))
        self._end_line()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the last line standing."""
        self._end_line()

    @property
    def is_idle(self) -> bool:
        """Whether no batch was trained on."""
        return self._utterances == 0

    def _line(self, trainer: Trainer, now: float) -> str:
        done = _batches_done(trainer) - self._begin_batches
        seconds = max(now - self._begin, 1e-6)
        parts = [
            f"epoch {trainer.current_epoch}",
            f"batch {trainer.fit_loop.epoch_loop.batch_progress.current.ready}"
            f"/{trainer.num_training_batches}",
            f"{self._utterances / seconds:.1f} utterances/s",
        ]
        for name in ("train_mel", "train_loss"):
            if name in trainer.callback_metrics:
                parts.append(f"{name} {float(trainer.callback_metrics[name]):.3f}")
        left = _seconds_left(trainer, done, seconds)
        if left is not None:
            parts.append(f"{timedelta(seconds=round(left))} left")
        return " · ".join(parts)

    def _write(self, text: str) -> None:
        if self._is_terminal:
            self._print("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._print(text + "\n")

    def _print(self, text: str) -> None:
        # A terminal or a pipe that has gone is no reason to lose a training.
        with contextlib.suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()

    def _end_line(self) -> None:
        if self._is_terminal and self._width:
            self._print("\n")
            self._width = 0


def _batches_done(trainer: Trainer) -> int:
    return int(trainer.fit_loop.epoch_loop.total_batch_idx) + 1


def _seconds_left(trainer: Trainer, done: int, seconds: float) -> float | None:
    """Return the time to the end by whichever limit comes first, or None without a limit."""
    estimates: list[float] = []
    if done > 0:
        second_per_batch = seconds / done
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            total = trainer.max_epochs * int(trainer.num_training_batches)
            estimates.append((total - _batches_done(trainer)) * second_per_batch)
        if trainer.max_steps is not None and trainer.max_steps > 0:
            group = getattr(trainer.lightning_module, "accumulate_grad_batches", 1)
            # Two optimizers count two steps an update.
            left_batches = (trainer.max_steps - trainer.global_step) / 2 * group
            estimates.append(left_batches * second_per_batch)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        remaining = getattr(callback, "time_remaining", None)
        if callable(remaining) and (value := remaining()) is not None:
            estimates.append(float(value))
    return max(0.0, min(estimates)) if estimates else None
