"""Lines that say how far a long job is, and how many of something there are."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from piper.messages import translate

TERMINAL_INTERVAL_SECONDS = 0.2
FILE_INTERVAL_SECONDS = 5.0


class ChangingLine:
    """A line of a terminal that changes in place, or lines that follow one another elsewhere.

    While it stands, what others write to standard error takes its place, and it comes again below.

    Args:
        stream: Where to write; None means standard error as it then is.

    Attributes:
        is_terminal: Whether that is a terminal.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self.is_terminal = self._target().isatty()
        self._width = 0
        self._beside: _Beside | None = None

    def change(self, parts: Sequence[str]) -> None:
        """Show parts, the most important first; on a terminal those that do not fit are left out.

        A line that the terminal wraps could not be written over.
        """
        parts = [translate(part) for part in parts]
        if not self.is_terminal:
            self._write(" · ".join(parts) + "\n")
            return
        room = _count_columns(self._target()) - 1
        text = parts[0][:room]
        for part in parts[1:]:
            if len(text) + 3 + len(part) <= room:
                text += f" · {part}"
        self._write("\r" + text.ljust(self._width))
        self._width = len(text)
        if self._beside is None and self._target() is sys.stderr:
            self._beside = _Beside(sys.stderr, self)

    def say(self, text: str) -> None:
        """Write a line that stays."""
        text = translate(text)
        begin = "\r" if self._width else ""
        self._write(begin + text.ljust(self._width) + "\n")
        self._width = 0

    def clear(self) -> None:
        """Make room for other text; the next change shows the line again."""
        if self._width:
            self._write("\r" + " " * self._width + "\r")
            self._width = 0

    def leave(self) -> None:
        """End the line as it stands."""
        if self._width:
            self._write("\n")
            self._width = 0
        if self._beside is not None:
            self._beside.remove()
            self._beside = None

    def _target(self) -> TextIO:
        stream = self._stream or sys.stderr
        return stream.stream if isinstance(stream, _Beside) else stream

    def _write(self, text: str) -> None:
        # A terminal or a pipe that has gone is no reason to lose a training.
        with contextlib.suppress(OSError):
            self._target().write(text)
            self._target().flush()


class _Beside:
    """Standard error while a line changes there: of Python's writers, and of logging's handlers."""

    def __init__(self, stream: TextIO, line: ChangingLine) -> None:
        self.stream = stream
        self._line = line
        sys.stderr = self
        self._move_handlers(stream, self)

    def write(self, text: str) -> int:
        """Write, where the line stood."""
        self._line.clear()
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def remove(self) -> None:
        """Give standard error back."""
        if sys.stderr is self:
            sys.stderr = self.stream
        self._move_handlers(self, self.stream)

    def _move_handlers(self, old: Any, new: Any) -> None:
        for logger in (logging.root, *logging.root.manager.loggerDict.values()):
            for handler in getattr(logger, "handlers", ()):
                if isinstance(handler, logging.StreamHandler) and handler.stream is old:
                    handler.setStream(new)


class ProgressLine:
    """Shows time to the end, done, total and rate; in place on a terminal, else line by line.

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
        self._line = ChangingLine(stream)
        self.is_terminal = self._line.is_terminal
        self._done_before = start
        self._scale = scale
        self._start = time.monotonic()
        self._shown = self._start if not self.is_terminal else 0.0

    def show(self, done: int) -> None:
        """Show how many are done, if it is time for it."""
        now = time.monotonic()
        interval = TERMINAL_INTERVAL_SECONDS if self.is_terminal else FILE_INTERVAL_SECONDS
        if now - self._shown >= interval:
            self._shown = now
            self._line.change(self._describe(done, now - self._start))

    def finish(self, done: int) -> None:
        """Show what was done and in which time, and end the line; nothing where that is nothing."""
        seconds = time.monotonic() - self._start
        if done == self._done_before:
            self._line.clear()
        else:
            rate = self._describe_rate(self._rate(done, seconds))
            what = translate(f"{self._count(done)} {self._name(done)}")
            time_taken = translate(f"in {seconds:.1f} s")
            self._line.say(f"{translate(self._label)}: {what} {time_taken} ({translate(rate)})")
        self._line.leave()

    def leave(self) -> None:
        """End the line as it stands, so that other text can follow; nothing where it is ended."""
        self._line.leave()

    def _describe(self, done: int, seconds: float) -> list[str]:
        label = translate(self._label)
        done_of_all = f"{self._count(done)}/{self._count(self._total)}"
        count = translate(f"{done_of_all} {self._name(self._total)}")
        if done == self._done_before:
            return [f"{label}: {count}"]
        rate = self._rate(done, seconds)
        minutes, rest = divmod(round((self._total - done) / rate), 60)
        hours, minutes = divmod(minutes, 60)
        left = f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
        return [
            f"{label}: {translate(f'{left} left')}",
            f"{count} ({100 * done // self._total} %)",
            self._describe_rate(rate),
        ]

    def _count(self, number: int) -> str:
        return str(number) if self._scale == 1 else f"{number / self._scale:.1f}"

    def _name(self, number: int) -> str:
        if number != 1 or self._scale != 1:
            return self._unit
        return self._unit.removesuffix("es" if self._unit.endswith("tches") else "s")

    def _rate(self, done: int, seconds: float) -> float:
        return (done - self._done_before) / max(seconds, 1e-3)

    def _describe_rate(self, rate: float) -> str:
        rate /= self._scale
        return f"{rate:.0f} a second" if rate >= 10 else f"{rate:.1f} a second"


def count_things(count: int, name: str) -> str:
    """Return "1 error", "2 errors", "1,000 batches"."""
    ending = "es" if name.endswith("tch") else "s"
    return f"{count:,} {name}{'' if count == 1 else ending}"


def _count_columns(stream: TextIO) -> int:
    """Return the width of a terminal."""
    with contextlib.suppress(OSError, ValueError):
        columns = os.get_terminal_size(stream.fileno()).columns
        if columns > 0:
            return columns
    return 80
