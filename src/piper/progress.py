"""A line that says how far a long job is. Knows nothing of the job."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from piper.messages import translate

TERMINAL_INTERVAL_SECONDS = 0.2
FILE_INTERVAL_SECONDS = 5.0


class ProgressLine:
    """Shows done, total, rate and time to the end; in place on a terminal, else line by line.

    Args:
        label: What is being done, such as `Preparing`.
        total: How many things there are.
        unit: What they are, such as `recordings`.
        stream: Where to write; None means standard error.
        start: How many were done before.
        scale: How many of what is counted make one of the unit, such as 1,000,000 bytes one MB.

    Attributes:
        is_terminal: Whether that is a terminal.
    """

    def __init__(
        self,
        label: str,
        total: int,
        unit: str,
        stream: TextIO | None = None,
        *,
        start: int = 0,
        scale: int = 1,
    ) -> None:
        self._label = label
        self._total = total
        self._unit = unit
        self._stream = stream or sys.stderr
        self.is_terminal = self._stream.isatty()
        self._done_before = start
        self._scale = scale
        self._start = time.monotonic()
        self._shown = self._start if not self.is_terminal else 0.0
        self._width = 0

    def show(self, done: int) -> None:
        """Show how many are done, if it is time for it."""
        now = time.monotonic()
        interval = TERMINAL_INTERVAL_SECONDS if self.is_terminal else FILE_INTERVAL_SECONDS
        if now - self._shown >= interval:
            self._shown = now
            self._write(self._describe(done, now - self._start), is_last=False)

    def finish(self, done: int) -> None:
        """Show the last state and end the line."""
        seconds = time.monotonic() - self._start
        rate = _describe_rate(self._rate(done, seconds) / self._scale)
        text = f"{self._label}: {self._count(done)} {self._unit} in {seconds:.1f} s ({rate})"
        self._write(text, is_last=True)

    def leave(self) -> None:
        """End the line as it stands, so that other text can follow; nothing where it is ended."""
        if self.is_terminal and self._width:
            self._stream.write("\n")
            self._width = 0

    def _describe(self, done: int, seconds: float) -> str:
        text = f"{self._label}: {self._count(done)}/{self._count(self._total)} {self._unit}"
        if done == self._done_before:
            return text
        rate = self._rate(done, seconds)
        left = (self._total - done) / rate
        percent = 100 * done // self._total
        return f"{text} ({percent} %), {_describe_rate(rate / self._scale)}, {_clock(left)} left"

    def _count(self, number: int) -> str:
        return str(number) if self._scale == 1 else f"{number / self._scale:.1f}"

    def _rate(self, done: int, seconds: float) -> float:
        return (done - self._done_before) / max(seconds, 1e-3)

    def _write(self, text: str, *, is_last: bool) -> None:
        text = translate(text)
        if self.is_terminal:
            end = "\n" if is_last else ""
            self._stream.write("\r" + text.ljust(self._width) + end)
            self._width = 0 if is_last else len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()


def _describe_rate(rate: float) -> str:
    return f"{rate:.0f} a second" if rate >= 10 else f"{rate:.1f} a second"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
