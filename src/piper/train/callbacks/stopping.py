"""How a training ends when a signal tells it to, and what watches that it does in time."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

from lightning.pytorch import Trainer

from piper.train.resuming import resume_command
from piper.train.voice_module import find_timers

_LOGGER = logging.getLogger(__name__)

DEFAULT_STOP_SECONDS = 8.0


class TrainingStopped(BaseException):
    """Training was told to stop by a signal, and has saved its state; its text says how to go on.

    Attributes:
        signal_number: The signal that stopped it.
        checkpoint: Where training can go on from; None where nothing was trained yet.
    """

    def __init__(self, signal_number: int, checkpoint: str | None) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(
            f"{name}: stopped and saved; go on with:\n  {resume_command(checkpoint)}"
            if checkpoint
            else f"{name}: stopped before the first step, so there was nothing to save."
        )
        self.signal_number = signal_number
        self.checkpoint = checkpoint


class StopSignals:
    """Takes SIGINT, SIGTERM, SIGHUP and SIGUSR1 over, and gives up what takes too long after one.

    A handler of Python's runs only between two of Python's own steps, and a backward pass on a
    CPU is one such step of many seconds. So a thread reads the numbers of the signals from a
    socket that the interpreter writes them to at once, and looks at the clock.

    Args:
        stop_seconds: How long after a signal what runs may go on; 0 means for ever.
        give_up: Called by the thread with the signal's number, and whether a second Ctrl+C
            insists, when the time is up. It ends the process, or returns to go on waiting, and
            is asked again.
        pass_on: Called with the signal's number when it arrives.
        busy: A lock that is held while something is done that must not be cut off.
        heeds_second: Whether a second Ctrl+C ends at once. Not in processes that another one
            started: a terminal sends it to all, and the first one ends the others.
    """

    def __init__(
        self,
        stop_seconds: float,
        give_up: Callable[[int, bool], None],
        pass_on: Callable[[int], None],
        busy: AbstractContextManager[Any],
        heeds_second: bool = True,
    ) -> None:
        self.received = 0
        self._stop_seconds = stop_seconds
        self._give_up = give_up
        self._pass_on = pass_on
        self._busy = busy
        self._heeds_second = heeds_second
        self._previous: dict[int, Any] = {}
        self._previous_descriptor = -1
        self._writer: socket.socket | None = None
        self._was_told = self._is_settled = False

    def install(self) -> None:
        """Take the signals over; only the main thread may.

        Not all are there on each system: Windows has SIGBREAK, where a window closes. SIGUSR1 is
        what clusters send ahead of a job's end.
        """
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK", "SIGUSR1"):
            number = getattr(signal, name, None)
            # `nohup` leaves SIGHUP ignored, and means it.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[int(number)] = signal.signal(number, self._receive)
        reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._previous_descriptor = signal.set_wakeup_fd(
            self._writer.fileno(), warn_on_full_buffer=False
        )
        threading.Thread(
            target=self._watch, args=(reader, set(self._previous)), name="piper-stop", daemon=True
        ).start()

    def restore(self) -> None:
        """Give the signals back; the thread ends, and gives nothing up any more."""
        if self._writer is not None:
            signal.set_wakeup_fd(self._previous_descriptor)
            with self._busy:
                self._writer.close()
                self._writer = None
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)

    def settle(self) -> None:
        """Give nothing up any more: what the signal asked for is done, and training ends."""
        self._is_settled = True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number

    def _watch(self, reader: socket.socket, numbers: set[int]) -> None:
        deadline: float | None = None
        with reader:
            while True:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not select.select([reader], [], [], left)[0]:
                    self._end(insists=False)
                    deadline = time.monotonic() + max(1.0, self._stop_seconds)
                    continue
                data = reader.recv(64)
                if not data:
                    return
                for number in (n for n in data if n in numbers):
                    if not self._was_told:
                        deadline = self._begin(number)
                    elif number == signal.SIGINT and self._heeds_second:
                        self._end(insists=True)

    def _begin(self, number: int) -> float | None:
        self._was_told = True
        self.received = self.received or number
        self._pass_on(number)
        name = signal.Signals(number).name
        again = " (Ctrl+C again ends at once)" if number == signal.SIGINT else ""
        if self._heeds_second:
            _LOGGER.warning("%s: saving after this batch, then stopping%s.", name, again)
        return time.monotonic() + self._stop_seconds if self._stop_seconds else None

    def _end(self, *, insists: bool) -> None:
        with self._busy:
            if self._writer is not None and not self._is_settled:
                self._give_up(self.received, insists)


def is_stopping(trainer: Trainer) -> bool:
    """Return whether a signal waits for the training to save: seconds count then."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    found = (getattr(callback, "signals", None) for callback in callbacks)
    return any(isinstance(signals, StopSignals) and bool(signals.received) for signals in found)


def is_parent_process() -> bool:
    """Return whether this process is the one of its machine that speaks to the user."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def is_time_up(trainer: Trainer) -> bool:
    """Return whether the time of `--trainer.max_time` has passed."""
    return any((timer.time_remaining() or 0) <= 0 for timer in find_timers(trainer))
