"""Runs one command: signals go in once, output comes out twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from piper.messages import translate
from piper.train.resuming import quote_command

BLOCK_BYTES = 1 << 16
DRAIN_SECONDS = 10.0
"""How long the output is still read after the command's end, should its own children linger."""


START_SECONDS = 1.0
"""A signal is passed on no earlier: a program that is being imported cannot end cleanly yet."""


class Tee:
    """Writes to standard output and to a log file, and goes on when one of them is gone.

    A terminal goes when an SSH line is lost, a pipe when its reader ends, a log when its disk is
    full: none of that is a reason to lose a training.

    Args:
        log_path: Appended to; its folder is made where it is missing.

    Raises:
        OSError: The log file cannot be opened.
    """

    def __init__(self, log_path: Path) -> None:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        self._log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._targets = [1, self._log]

    def write(self, data: bytes) -> None:
        """Write to all targets that still take it; unbuffered, so nothing is left to fail later."""
        for target in list(self._targets):
            try:
                _write_all(target, data)
            except OSError:
                # Rebound, not changed in place: a signal's line may be under way in another thread.
                self._targets = [other for other in self._targets if other != target]

    def say(self, text: str) -> None:
        """Write a line of the launcher's own, in the user's language."""
        self.write(f"{translate(text)}\n".encode())

    def close(self) -> None:
        """Close the log file."""
        self._targets = []
        os.close(self._log)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class Relay:
    """Runs one command, passing on signals and output.

    The command gets a session of its own. So the terminal's Ctrl+C and the hang-up of a lost line
    reach this process alone, and the command gets each of them exactly once, from here: a second
    SIGINT would end a training without saving, and one sent to the whole group would end the
    loader processes under it.

    Args:
        tee: Where the output goes.
    """

    def __init__(self, tee: Tee) -> None:
        self._tee = tee
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pending: list[int] = []
        self._passed_on: set[int] = set()

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
        """Run the command to its end.

        Args:
            command: Program and arguments.
            environment: Variables that it gets beside this process's own.

        Returns:
            Its exit code; 128 + N where signal N killed it, as shells have it.

        Raises:
            OSError: The command cannot be started.
        """
        with self._signals_passed_on():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                start_new_session=True,
            )
            self._process = process
            self._started = time.monotonic()
            while self._pending:
                self._send(self._pending.pop(0))
            assert process.stdout is not None
            reader = threading.Thread(
                target=self._copy, args=(process.stdout.fileno(),), daemon=True
            )
            reader.start()
            code = process.wait()
            reader.join(DRAIN_SECONDS)
            if reader.is_alive():
                # A rank or loader that outlived the training would hold its GPU for ever.
                _kill_group(process.pid)
                reader.join(DRAIN_SECONDS)
        return 128 - code if code < 0 else code

    def _copy(self, descriptor: int) -> None:
        # Blocks as they come: whole lines where the command writes lines, and no waiting for the
        # end of a line where it draws a progress bar.
        while block := os.read(descriptor, BLOCK_BYTES):
            self._tee.write(block)

    @contextmanager
    def _signals_passed_on(self) -> Iterator[None]:
        previous: dict[int, Any] = {}
        for number in stop_signals():
            previous[number] = signal.signal(number, self._pass_on)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        # A terminal's end is told twice, by the kernel and by the shell; Ctrl+C pressed twice
        # is meant.
        if number in self._passed_on and number != signal.SIGINT:
            return
        if number not in self._passed_on:
            self._tee.say(
                f"{signal.Signals(number).name}: passed on to the training, which saves and ends"
                + ("; Ctrl+C once more ends it at once." if number == signal.SIGINT else ".")
            )
        self._passed_on.add(number)
        if self._process is None:
            self._pending.append(number)
        elif os.name == "posix":  # elsewhere the console tells the command itself
            self._send(number)

    def _send(self, number: int) -> None:
        assert self._process is not None
        time.sleep(max(0.0, self._started + START_SECONDS - time.monotonic()))
        self._process.send_signal(number)


def run_logged(
    command: Sequence[str], log_path: Path, environment: Mapping[str, str] | None = None
) -> int:
    """Run a command as `Relay.run` does; say it before, and add its output to a log.

    Raises:
        KeyboardInterrupt: A signal ended it, after it had saved what it has.
    """
    tee = Tee(log_path)
    try:
        program = min(command[0], os.path.relpath(command[0]), key=len)
        tee.say(f"   $ {quote_command([program, *command[1:]])}")
        if shutil.which("setpriv"):  # a tool that is killed takes its training with it
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        code = Relay(tee).run(command, environment)
    finally:
        tee.close()
    if code in {128 + number for number in stop_signals()}:
        raise KeyboardInterrupt
    return code


def stop_signals() -> list[int]:
    """Return the signals to pass on; what is ignored here (SIGHUP under `nohup`) stays ignored."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [int(getattr(signal, name)) for name in names if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def _kill_group(process_group: int) -> None:
    if hasattr(os, "killpg"):
        try:
            os.killpg(process_group, signal.SIGKILL)
        except ProcessLookupError:
            return
