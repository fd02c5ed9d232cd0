"""The launcher's relay with real processes, signals and terminals, but small commands."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

RUNPOD = Path(__file__).resolve().parents[2] / "tools" / "runpod"

DRIVER = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(RUNPOD)!r})
import relay
relay.DRAIN_SECONDS = 0.5
tee = relay.Tee(Path(sys.argv[1]))
sys.exit(relay.Relay(tee).run([sys.executable, "-c", sys.argv[2]]))
"""

# Writes each signal's name as it comes, and ends a moment after the first (or as many as SIGNALS
# says) with its exit code.
TRAINING = """
import os, signal, sys, time
got = []
def receive(number, frame):
    got.append(number)
    print("got", signal.Signals(number).name)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, receive)
print("ready")
end = time.monotonic() + 120
while len(got) < int(os.environ.get("SIGNALS", 1)) and time.monotonic() < end:
    time.sleep(0.02)
stop = time.monotonic() + 0.3
while time.monotonic() < stop:
    time.sleep(0.02)
print("saved")
sys.exit(128 + got[0])
"""


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


class Launched:
    """A driver that runs a command, and the log that it writes."""

    def __init__(self, folder: Path, code: str, **options: object) -> None:
        self.log = folder / "logs" / "training.log"
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options}
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(self.log), code],
            **options,  # type: ignore[call-overload]
        )

    @property
    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def wait_until_ready(self) -> None:
        wait_for(lambda: "ready" in self.text)

    def end(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=120)
        return self.process.returncode, output.decode() if output else ""


def test_exit_code_and_output_come_back_and_the_log_is_appended_to(tmp_path: Path) -> None:
    """Of both streams, to terminal and log alike."""
    for code in (0, 7):
        script = f"import sys; print({code}); print('err', file=sys.stderr); sys.exit({code})"
        assert Launched(tmp_path, script).end() == (code, f"{code}\nerr\n")
    assert (tmp_path / "logs" / "training.log").read_text() == "0\nerr\n7\nerr\n"


def test_a_killed_command_ends_as_shells_say_it(tmp_path: Path) -> None:
    assert Launched(tmp_path, "import os; os.kill(os.getpid(), 9)").end()[0] == 137


def test_output_is_not_held_back(tmp_path: Path) -> None:
    launched = Launched(tmp_path, "import time; print('now'); time.sleep(600)")
    wait_for(lambda: "now" in launched.text)
    launched.process.terminate()
    launched.end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_and_the_end_waited_for(
    tmp_path: Path, number: signal.Signals
) -> None:
    launched = Launched(tmp_path, TRAINING)
    launched.wait_until_ready()
    launched.process.send_signal(number)
    returncode, output = launched.end()
    assert returncode == 128 + number
    assert output.count(f"got {number.name}") == 1
    assert f"{number.name}: passed on to the training" in output
    assert output.endswith("saved\n")


def test_a_second_ctrl_c_is_passed_on_too(tmp_path: Path) -> None:
    launched = Launched(tmp_path, TRAINING, env={**os.environ, "SIGNALS": "2"})
    launched.wait_until_ready()
    launched.process.send_signal(signal.SIGINT)
    wait_for(lambda: "got SIGINT" in launched.text)
    launched.process.send_signal(signal.SIGINT)
    assert launched.end()[1].count("got SIGINT") == 2


def test_a_hang_up_ignored_under_nohup_stays_ignored(tmp_path: Path) -> None:
    launched = Launched(
        tmp_path, TRAINING, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    launched.wait_until_ready()
    launched.process.send_signal(signal.SIGHUP)
    time.sleep(0.4)
    assert launched.process.poll() is None
    assert "SIGHUP" not in launched.text
    launched.process.send_signal(signal.SIGTERM)
    assert launched.end()[0] == 143


def test_a_reader_that_leaves_does_not_end_the_training(tmp_path: Path) -> None:
    script = "import time; print('ready'); time.sleep(0.5)\nfor i in range(50): print('line', i)"
    launched = Launched(tmp_path, script)
    launched.wait_until_ready()
    assert launched.process.stdout is not None
    launched.process.stdout.close()
    assert launched.process.wait(120) == 0
    assert "line 49" in launched.text


def test_what_outlives_the_command_does_not_hold_the_launcher(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', "
        "'import time; time.sleep(600)']); print('child', child.pid)"
    )
    launched = Launched(tmp_path, script)
    returncode, output = launched.end()
    assert returncode == 0
    pid = int(output.split()[1])
    wait_for(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def launch_on_terminal(tmp_path: Path) -> tuple[Launched, int]:
    """Start a launched training whose controlling terminal is the returned descriptor's."""
    master, slave = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    launched = Launched(
        tmp_path, TRAINING, stdin=slave, stdout=slave, stderr=slave, preexec_fn=take_terminal
    )
    os.close(slave)
    launched.wait_until_ready()
    return launched, master


def test_ctrl_c_on_a_terminal_reaches_the_training_once(tmp_path: Path) -> None:
    launched, master = launch_on_terminal(tmp_path)
    try:
        os.write(master, b"\x03")
        assert launched.process.wait(120) == 130
    finally:
        os.close(master)
    assert launched.text.count("got SIGINT") == 1, "a second one would end it without saving"
    assert launched.text.endswith("saved\n")


def test_a_lost_line_saves_and_ends(tmp_path: Path) -> None:
    launched, master = launch_on_terminal(tmp_path)
    os.close(master)
    assert launched.process.wait(120) == 129
    assert launched.text.count("got SIGHUP") == 1
    assert launched.text.endswith("saved\n"), "writing to the dead terminal ended nothing"
