"""Trains for a given time in pieces, each from the last one's checkpoint, and speaks after each.

A machine that is rented for minutes can be taken away between two pieces, and a busy one is fair to
no clock on the wall: time is that of the training's process, or of its processor. Knows the
trainer's flags, but neither data nor scores.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from piper.errors import PiperError
from piper.files import replace_on_success
from piper.train.checkpoints import find_last_checkpoint

STATE = "time.json"
CHECK_SECONDS = 0.5
STOPPED = 128 + signal.SIGTERM


@dataclass(frozen=True)
class Clock:
    """What counts as time.

    Attributes:
        is_processor: Processor seconds of all threads instead of seconds on the wall.
    """

    is_processor: bool

    def read(self, process: subprocess.Popen[bytes], begin: float) -> float:
        """Return the seconds that a process has had."""
        if not self.is_processor:
            return time.monotonic() - begin
        try:
            # Fields 14 to 17 of proc(5): own and waited-for children's time, in ticks.
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


class TimedTraining:
    """A training that is given minutes.

    Args:
        folder: Of its logs and checkpoints; the time that it has had is kept there.
        flags: Of `python -m piper.train fit`, without those of where and how long.
        clock: What counts as time.
    """

    def __init__(self, folder: Path, flags: Sequence[str], clock: Clock) -> None:
        self.folder = folder
        self._flags = flags
        self._clock = clock
        self._state_path = folder / STATE
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def seconds(self) -> float:
        """Seconds that all pieces together have had."""
        if not self._state_path.is_file():
            return 0.0
        return float(json.loads(self._state_path.read_text(encoding="utf-8"))["seconds"])

    def find_checkpoint(self) -> Path | None:
        """Return the checkpoint of the last piece, None where there is none yet."""
        found = find_last_checkpoint(str(self.folder))
        return None if found is None else Path(found)

    def run_until(self, seconds: float) -> Path:
        """Train until the pieces have had so many seconds in all; return the checkpoint.

        Raises:
            PiperError: The training ended in another way than by its time, or saved nothing.
        """
        before = self.seconds
        checkpoint = self.find_checkpoint()
        if before >= seconds and checkpoint is not None:
            return checkpoint
        begin = time.monotonic()
        with (self.folder / "training.log").open("ab") as log:
            process = subprocess.Popen(self._command(), stdout=log, stderr=subprocess.STDOUT)
            spent = self._wait(process, begin, seconds - before)
        # Told to end before it could take the signal, it has saved nothing: see below.
        if process.returncode not in (0, STOPPED, -signal.SIGTERM):
            raise PiperError(
                f"The training ended with {process.returncode}; {self.folder / 'training.log'} "
                "says why. The same command goes on."
            )
        checkpoint = self.find_checkpoint()
        if checkpoint is None:
            raise PiperError(
                f"Nothing was saved in {self.folder}: the time was over before the first update; "
                "give more minutes a piece."
            )
        with replace_on_success(self._state_path) as temporary:
            temporary.write_text(json.dumps({"seconds": before + spent}) + "\n", encoding="utf-8")
        return checkpoint

    def _command(self) -> list[str]:
        # A tool that is killed takes its training with it; two would write one folder.
        dying = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        command = [*dying, sys.executable, "-m", "piper.train", "fit", *self._flags]
        command += [f"--trainer.default_root_dir={self.folder}", "--trainer.max_epochs=1000000"]
        # Saved at the end of each piece; a rented machine's disk is slow for more.
        return [
            *command,
            "--save_minutes=10",
            "--keep_every_hours=0",
            "--stop_seconds=120",
            "--ckpt_path=last",
        ]

    def _wait(self, process: subprocess.Popen[bytes], begin: float, seconds: float) -> float:
        """Let a training run for so long and save; return what it has had."""
        spent = 0.0
        is_told = False
        try:
            while process.poll() is None:
                spent = max(spent, self._clock.read(process, begin))
                if spent >= seconds and not is_told:
                    process.send_signal(signal.SIGTERM)
                    is_told = True
                time.sleep(CHECK_SECONDS)
        except BaseException:
            # Ctrl+C: the training saves, and its time counts.
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
        return spent
