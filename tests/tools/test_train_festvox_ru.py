"""A training in pieces goes on where it was."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "voices"))

from train_festvox_ru import train_until

from piper.errors import PiperError
from piper.train.checkpoints import load_checkpoint
from trainings import SMALL, wait_until

VOICES = Path(__file__).resolve().parents[2] / "tools" / "voices"
FLAGS = (
    *SMALL,
    *("--validation_quality=off", "--data.batch_size=2", "--keep_best=0"),
    "--trainer.limit_val_batches=0",
)


@pytest.mark.long
def test_pieces_follow_each_other_after_a_kill_too(
    speech_dataset: Path, copy_dataset: Callable[[Path], Path], tmp_path: Path
) -> None:
    """A killed tool takes its training with it: the next one's would write the same folder."""
    run = tmp_path / "run"
    flags = [*FLAGS, f"--data.dataset_dir={copy_dataset(speech_dataset)}"]
    code = (
        f"import sys; sys.path.insert(0, {str(VOICES)!r})\n"
        "from pathlib import Path; from train_festvox_ru import train_until\n"
        f"train_until(900, Path({str(run)!r}), {flags!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    log = run / "training.log"
    wait_until(lambda: log.exists() and "batch" in log.read_text())
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(Path(f"/proc/{child}/exe").exists() for child in children))
    steps = [
        load_checkpoint(train_until(seconds, run, flags))["global_step"]
        for seconds in (10.0, 20.0, 20.0)
    ]
    assert 0 < steps[0] < steps[1] == steps[2]


def test_a_training_that_fails_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PiperError, match=r"ended with 1; .*training\.log says why"):
        train_until(60, tmp_path, ["--data.dataset_dir=/nowhere"])
