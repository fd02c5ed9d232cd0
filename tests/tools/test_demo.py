"""`make demo`, short: the whole way from recordings to speech, interrupted and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]

sys.path.insert(0, str(ROOT / "tools"))
from demo import Demo, demo_command, find_share_found  # noqa: E402
from documents import accept_training  # noqa: E402
from piper.audio.output import write_wav  # noqa: E402
from piper.train.aligner.aligner import NETWORK, SILENCE, Aligner  # noqa: E402
from piper.train.aligner.features import AcousticNetwork  # noqa: E402


def test_the_trainer_understands_the_demo_s_command(tmp_path: Path) -> None:
    """A comma that was missing made twenty words of one flag, and no demo trained."""
    _, _, *arguments = Demo(tmp_path, 8, None, has_scores=False).training_command()
    accept_training(arguments)


def test_speech_that_is_shorter_than_its_text_scores_nothing(tmp_path: Path) -> None:
    """After too little training the demo ended in an error, with its voice made."""
    aligner = Aligner([SILENCE, "a"], AcousticNetwork(NETWORK, 2).eval(), torch.zeros(2))
    noise = np.random.default_rng(0).uniform(-1, 1, 16000).astype(np.float32)
    for seconds, is_found in ((0.1, False), (1.0, True)):
        write_wav(tmp_path / "a.wav", noise[: int(16000 * seconds)], 16000)
        share = find_share_found(aligner, tmp_path / "a.wav", [["a"]] * 20)
        assert share == 0 or (is_found and 0 <= share <= 1)


@pytest.mark.parametrize(
    ("flags", "next_flags"),
    [
        ([], "--minutes 30"),
        (["--minutes", "30", "--no-scores"], "--minutes 60 --no-scores"),
        (["--utterances=40", "--minutes=1.5"], "--minutes 60 --utterances=40"),
    ],
)
def test_more_minutes_are_told_with_the_other_flags(
    flags: list[str], next_flags: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["demo.py", *flags])
    monkeypatch.setattr(sys, "orig_argv", ["python", "tools/demo.py", *flags])
    minutes = float(next_flags.split()[1])
    monkeypatch.setenv("MAKEFLAGS", "w -- TORCH_INDEX=cpu")
    monkeypatch.setenv("MAKELEVEL", "1")
    told = ["make", "demo", "TORCH_INDEX=cpu"]
    assert demo_command(minutes) == [*told, f"DEMO_ARGS={next_flags}"]
    assert demo_command() == [*told, *([f"DEMO_ARGS={' '.join(flags)}"] if flags else [])]
    monkeypatch.delenv("MAKELEVEL")
    assert demo_command(minutes) == ["python", "tools/demo.py", *next_flags.split()]


def start_demo(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "tools/demo.py"), "--folder", str(folder)]
    flags = ["--minutes", "1.5", "--utterances", "40"]
    environment = {**os.environ, "PIPER_JUDGES_DIR": os.environ["PIPER_TESTS_JUDGES_DIR"]}
    return subprocess.Popen(
        [*command, *flags], stdout=log.open("ab"), stderr=subprocess.STDOUT, env=environment
    )


def wait_for_text(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 300
    while text not in log.read_text(encoding="utf-8", errors="replace"):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < end, log.read_text(encoding="utf-8")
        time.sleep(0.1)


@pytest.mark.long
def test_interrupted_at_each_stage_it_goes_on_to_a_voice_that_speaks(tmp_path: Path) -> None:
    folder, log = tmp_path / "demo", tmp_path / "log"
    log.touch()
    # In the recordings, the alignments, twice in training, and just before the export.
    for text, number in (
        ("== recordings", signal.SIGINT),
        ("Learning where words lie", signal.SIGINT),
        ("epoch 0 · batch", signal.SIGINT),
        ("going on from", signal.SIGKILL),
        ("training took", signal.SIGINT),
    ):
        process = start_demo(folder, log)
        wait_for_text(log, text, process)
        process.send_signal(number)
        assert process.wait(timeout=120) in (130, 0, -number), log.read_text(encoding="utf-8")
    process = start_demo(folder, log)
    assert process.wait(timeout=600) == 0, log.read_text(encoding="utf-8")

    said = log.read_text(encoding="utf-8")
    assert "Traceback" not in said
    assert "error:" not in said  # nothing went on behind the one that was killed
    assert "sentences that it was not trained on" in said
    assert len(list((folder / "speech").glob("*.wav"))) == 2
    for score in json.loads((folder / "state.json").read_text(encoding="utf-8"))["scores"].values():
        assert 0 < score["spoken"] < score["recordings"] <= 5
    with wave.open(str(folder / "output.wav")) as file:
        assert file.getnframes() > 0.3 * file.getframerate()
    assert (folder / "ru_RU-demo-quick.onnx.json").is_file()
    # All is done: once more costs nothing.
    process = start_demo(folder, log)
    assert process.wait(timeout=120) == 0


@pytest.mark.long
def test_the_folder_of_an_earlier_demo_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"seconds": {}, "done": ["recordings"]}')
    command = [sys.executable, str(ROOT / "tools/demo.py"), "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert f"rm -r {tmp_path}" in done.stderr
