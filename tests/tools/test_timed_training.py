"""A training in pieces goes on where it was, counts its time, and is spoken after each piece."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "voices"))

from learning_curves import draw_curves, load_curve, read_curve, write_curve
from timed_training import Clock, TimedTraining

from piper.errors import PiperError
from piper.train.checkpoints import load_checkpoint
from trainings import SMALL, wait_until

TOOL = Path(__file__).resolve().parents[2] / "tools" / "voices" / "timed_training.py"
FLAGS = (
    *SMALL,
    *("--validation_quality=off", "--data.batch_size=2", "--keep_best=0"),
    "--trainer.limit_val_batches=0",
)


@pytest.mark.long
def test_pieces_follow_each_other(
    speech_dataset: Path, copy_dataset: Callable[[Path], Path], tmp_path: Path
) -> None:
    flags = [*FLAGS, f"--data.dataset_dir={copy_dataset(speech_dataset)}"]
    steps, seconds = [], []
    for until in (15.0, 30.0, 30.0):  # of the processor: by the clock a busy machine does nothing
        training = TimedTraining(tmp_path / "run", flags, Clock(is_processor=True))
        checkpoint = training.run_until(until)
        steps.append(load_checkpoint(checkpoint)["global_step"])
        seconds.append(training.seconds)
    assert 0 < steps[0] < steps[1] == steps[2]
    assert 15 <= seconds[0] < 30 <= seconds[1] < 45
    assert seconds[2] == seconds[1]
    assert len(list((tmp_path / "run/lightning_logs").iterdir())) == 1


@pytest.mark.long
def test_a_killed_tool_takes_its_training_with_it(
    speech_dataset: Path, copy_dataset: Callable[[Path], Path], tmp_path: Path
) -> None:
    """Else the next run's training and the old one would write one folder."""
    flags = [*FLAGS, f"--data.dataset_dir={copy_dataset(speech_dataset)}"]
    code = (
        f"import sys; sys.path.insert(0, {str(TOOL.parent)!r})\n"
        "from pathlib import Path; from timed_training import Clock, TimedTraining\n"
        f"TimedTraining(Path({str(tmp_path / 'run')!r}), {flags!r}, Clock(False)).run_until(900)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    log = tmp_path / "run/training.log"
    wait_until(lambda: log.exists() and "batch" in log.read_text())
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(Path(f"/proc/{child}/exe").exists() for child in children))
    assert list((tmp_path / "run").glob("lightning_logs/*/checkpoints/last.ckpt"))


def test_a_training_that_fails_is_one_sentence(tmp_path: Path) -> None:
    training = TimedTraining(tmp_path, ["--data.dataset_dir=/nowhere"], Clock(False))
    with pytest.raises(PiperError, match=r"ended with 1; .*training\.log says why"):
        training.run_until(60)
    assert training.seconds == 0.0


def test_the_processors_clock_counts_work_and_not_waiting() -> None:
    code = "import time\nend = time.process_time() + 1\nwhile time.process_time() < end: pass\n"
    process = subprocess.Popen([sys.executable, "-c", f"{code}time.sleep(3)"])
    begin = time.monotonic()
    time.sleep(0.2)
    spent = 0.0
    while process.poll() is None:
        spent = max(spent, Clock(is_processor=True).read(process, begin))
        time.sleep(0.05)
    # The kernel counts a process's work in ticks, so a second of it can read as a few ticks less.
    assert 0.9 <= spent < 2.0 < Clock(is_processor=False).read(process, begin)


def test_curves_are_written_read_and_drawn(tmp_path: Path) -> None:
    figure = {"value": 3.0, "low": 2.9, "high": 3.1, "count": 30}
    systems = [
        {"label": "recordings", "figures": {"distillmos": {**figure, "value": 4.1}}},
        {"label": "001200", "figures": {"distillmos": {**figure, "value": 3.2}}},
        {"label": "000600", "figures": {"distillmos": {**figure, "low": None, "high": None}}},
    ]
    (tmp_path / "report.json").write_text(json.dumps({"systems": systems}))
    curve = load_curve(tmp_path / "report.json", ["distillmos", "per"])
    assert [row["seconds"] for row in curve] == [600.0, 1200.0]
    assert curve[1]["distillmos"] == 3.2 and curve[1]["recordings_distillmos"] == 4.1
    write_curve(curve, tmp_path / "curve.csv")
    assert read_curve(tmp_path / "curve.csv") == curve
    draw_curves({"warm": curve}, tmp_path / "curve.png", clock="processor")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
