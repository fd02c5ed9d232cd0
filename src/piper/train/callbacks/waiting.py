"""How much of the time training waits for data. Knows batches' hooks, not what is in a batch."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from piper.train.callbacks.axis import logged_step

WINDOW_BATCHES = 100
LEAST_BATCHES = 10
SHOWN_PERCENT = 5.0


class DataWait(Callback):
    """Measures the pauses between batches, and logs them as `data_wait_percent`.

    On a CPU the clock tells them. A GPU works on while this process waits, so there the pause is
    what passes on the GPU between the end of one batch's work and the begin of the next; events
    mark both, and are read when they are over, so that nothing is waited for. Comes after the
    other callbacks, whose work after a batch is no waiting; pauses in which a checkpoint was
    written or a validation run are left out.
    """

    def __init__(self) -> None:
        self._end: _Mark | None = None
        self._begin: _Mark | None = None
        self._has_begun = False
        self._open: deque[tuple[_Mark, _Mark, _Mark]] = deque(maxlen=WINDOW_BATCHES)
        self._pauses: deque[tuple[float, float]] = deque(maxlen=WINDOW_BATCHES)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the present batch: what passes until the next one is no waiting."""
        self._begin = self._end = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Forget the present batch here, too."""
        self._begin = self._end = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here: what comes next is the epoch's first batch."""
        # The very first batch of this process brings the start of the workers with it.
        if self._has_begun:
            self._end = _Mark(pl_module.device)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """The pause before this batch ends."""
        self._has_begun = True
        self._begin = _Mark(pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Count batch and pause, log the share where it is time to; another pause begins."""
        now = _Mark(pl_module.device)
        if self._begin is not None and self._end is not None:
            self._open.append((self._end, self._begin, now))
        if (logged_step(trainer) + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            percent = self.percent()
            if percent is not None:
                pl_module.log("data_wait_percent", percent, batch_size=1)
        self._end = _Mark(pl_module.device)

    def percent(self) -> float | None:
        """Return the share of the last hundred batches' time that was waiting.

        None before there are ten of them: one alone says nothing.
        """
        while self._open and self._open[0][2].is_over:
            end, begin, following = self._open.popleft()
            self._pauses.append((begin.seconds_since(end), following.seconds_since(end)))
        total = sum(seconds for _, seconds in self._pauses)
        if len(self._pauses) < LEAST_BATCHES or not total:
            return None
        return 100.0 * sum(pause for pause, _ in self._pauses) / total

    def describe(self) -> str | None:
        """Say it where it matters, and what helps."""
        percent = self.percent()
        if percent is None or percent <= SHOWN_PERCENT:
            return None
        return f"{percent:.0f} % waiting for data (raise --data.num_workers)"


class _Mark:
    """A moment on a device, marked without waiting for it."""

    def __init__(self, device: torch.device) -> None:
        self._seconds = time.monotonic()
        self._event: torch.cuda.Event | None = None
        if device.type == "cuda":
            self._event = torch.cuda.Event(enable_timing=True)
            self._event.record(torch.cuda.current_stream(device))

    @property
    def is_over(self) -> bool:
        """Whether the device has passed it, and with it all earlier ones."""
        return self._event is None or self._event.query()

    def seconds_since(self, earlier: _Mark) -> float:
        """Return the time between two marks that are over."""
        if self._event is None or earlier._event is None:
            return self._seconds - earlier._seconds
        return earlier._event.elapsed_time(self._event) / 1000.0
