"""`make demo`, short: the whole way from recordings to speech, interrupted and gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.long


def start_demo(folder: Path, log: Path, minutes: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "tools/demo.py"), "--folder", str(folder)]
    flags = ["--minutes", str(minutes), "--utterances", "40"]
    return subprocess.Popen([*command, *flags], stdout=log.open("ab"), stderr=subprocess.STDOUT)


def wait_for_text(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 300
    while text not in log.read_text(encoding="utf-8", errors="replace"):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < end, log.read_text(encoding="utf-8")
        time.sleep(0.1)


def test_interrupted_at_each_stage_it_goes_on_to_a_voice_that_speaks(tmp_path: Path) -> None:
    folder, log = tmp_path / "demo", tmp_path / "log"
    log.touch()
    # In the recordings, before the first step, in training, and just before the export.
    for text in ("== recordings", "== training", "epoch 0 · batch", "training took"):
        process = start_demo(folder, log, minutes=0.75)
        wait_for_text(log, text, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) in (130, 0), log.read_text(encoding="utf-8")
    process = start_demo(folder, log, minutes=0.75)
    assert process.wait(timeout=600) == 0, log.read_text(encoding="utf-8")

    said = log.read_text(encoding="utf-8")
    assert "Traceback" not in said
    assert "shows the way" in said
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    first, last = state["validations"][0], state["validations"][-1]
    assert last["val_mel"] <= 0.6 * first["val_mel"]
    assert 0.01 < state["speech"]["level"] < 0.5
    assert state["speech"]["seconds"] > 0.3
    assert (folder / "ru_RU-demo-tiny.onnx.json").is_file()
    # All is done: once more costs nothing.
    process = start_demo(folder, log, minutes=0.75)
    assert process.wait(timeout=60) == 0
