"""Lines on a Ray cluster of two machines, one of which is lost."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from piper.config import SynthesisConfig
from piper.voice import batch
from piper.voice.batch import LineOutcome, LineSettings, LineSpeaker, LineTask, speak_lines
from piper.voice.voice import PiperVoice

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

LINES = [
    f"This is line {number}, of forty that are spoken on two machines." for number in range(40)
]
QUIET = SynthesisConfig(noise_scale=0, noise_w_scale=0)
AS_THE_COMMAND = LineSettings(SynthesisConfig(speaker_id=0, noise_scale=0.0, noise_w_scale=0.0))


def test_forty_lines_though_a_machine_is_lost(
    cluster: tuple[Any, list[Any]], tiny_voice: Path, tmp_path: Path
) -> None:
    head, nodes = cluster
    out = tmp_path / "out"
    at_loss: list[int] = []

    def lose_a_machine() -> None:
        while len(list(out.glob("*.wav"))) < 8:
            time.sleep(0.01)
        head.remove_node(nodes[0], allow_graceful=False)
        at_loss.append(len(list(out.glob("*.wav"))))

    threading.Thread(target=lose_a_machine, daemon=True).start()
    report = speak_lines(
        LINES,
        tiny_voice,
        out,
        ray_address=head.address,
        settings=AS_THE_COMMAND,
        progress_stream=io.StringIO(),
    )
    assert 8 <= at_loss[0] < len(LINES)
    assert (report.spoken, report.failures) == (40, {})
    check_files(tiny_voice, out)

    times = {path: path.stat().st_mtime_ns for path in out.glob("*.wav")}
    done = run_command(tiny_voice, tmp_path, head.address)
    assert done.returncode == 0
    assert "40 were done before" in done.stderr
    assert times == {path: path.stat().st_mtime_ns for path in out.glob("*.wav")}

    (out / "000007.wav").unlink()
    done = run_command(tiny_voice, tmp_path, head.address)
    assert (done.returncode, "Spoke 1 line; " in done.stderr) == (0, True)
    check_files(tiny_voice, out)


def test_a_line_that_ends_its_process_fails_alone(
    cluster: tuple[Any, list[Any]],
    tiny_voice: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was tried again for ever."""
    head, _ = cluster

    # Inside a function, so that it travels to the workers as it is.
    class Speaker(LineSpeaker):
        def __call__(self, task: LineTask) -> LineOutcome:
            if "line 2," in task.text:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(task)

    monkeypatch.setattr(batch, "LineSpeaker", Speaker)
    report = speak_lines(
        LINES[:4],
        tiny_voice,
        tmp_path / "out",
        ray_address=head.address,
        settings=AS_THE_COMMAND,
        progress_stream=io.StringIO(),
    )
    assert (report.spoken, list(report.failures)) == (3, [3])


def check_files(voice_path: Path, out: Path) -> None:
    """Each line has its file, with what the voice says here, and one record."""
    names = [f"{number:06}.wav" for number in range(1, 41)]
    assert sorted(path.name for path in out.glob("*.wav")) == names
    assert not list(out.glob(".*"))
    voice = PiperVoice.load(voice_path, threads=1)
    for name, line in zip(names, LINES, strict=True):
        expected = np.concatenate(
            [chunk.audio_int16_array for chunk in voice.synthesize(line, QUIET)]
        )
        assert np.array_equal(soundfile.read(out / name, dtype="int16")[0], expected)
    assert len((out / "manifest.jsonl").read_text().splitlines()) >= len(names)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_keeps_what_is_done(
    cluster: tuple[Any, list[Any]], tiny_voice: Path, tmp_path: Path, number: signal.Signals
) -> None:
    head, _ = cluster
    lines = [line for _ in range(50) for line in LINES]
    command = create_command(tiny_voice, tmp_path, head.address, lines)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    out = tmp_path / "out"
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.wav"))) < 8:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    done = len(list(out.glob("*.wav")))
    said = f"Stopped by {number.name}: {done} lines done and kept, {len(lines) - done} left; run"
    assert [line for line in errors.splitlines() if line.startswith(said)]
    assert "Traceback" not in errors
    assert not list(out.glob(".*"))
    assert len((out / "manifest.jsonl").read_text().splitlines()) == done

    # The cluster has its cores again, and what is done is not done twice.
    numbers = sorted(int(path.stem) for path in out.glob("*.wav"))
    done_now = subprocess.run(
        create_command(tiny_voice, tmp_path, head.address, lines[: max(numbers)]),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done_now.returncode == 0
    assert f"{done} were done before" in done_now.stderr


def create_command(voice: Path, folder: Path, address: str, lines: Sequence[str]) -> list[str]:
    (folder / "book.txt").write_text("\n".join(lines))
    command = [sys.executable, "-m", "piper", "-m", str(voice), "-i", str(folder / "book.txt")]
    command += ["-d", str(folder / "out"), "--ray", address]
    return [*command, "--noise-scale", "0", "--noise-w-scale", "0"]


def run_command(voice: Path, folder: Path, address: str) -> subprocess.CompletedProcess[str]:
    """Run the same batch by the command line."""
    command = create_command(voice, folder, address, LINES)
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_cluster_that_is_not_there_is_one_sentence(tiny_voice: Path, tmp_path: Path) -> None:
    done = run_command(tiny_voice, tmp_path, "127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: The Ray cluster at 127.0.0.1:1 does not answer (")
    assert "Traceback" not in done.stderr
