"""Many lines at once: predictable, resumable, whole or not at all."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from piper.audio.output import OutputFormat
from piper.cli import main
from piper.config import SynthesisConfig
from piper.errors import PiperError
from piper.text.markup import Utterance
from piper.text.pieces import Piece
from piper.voice.batch import (
    BatchReport,
    InterruptedBatchError,
    LineSettings,
    Manifest,
    speak_lines,
)
from piper.voice.voice import PiperVoice

QUIET = SynthesisConfig(noise_scale=0, noise_w_scale=0)
LINES = ["One.", "Two. And two.", "Three.", "Four."]


def speak(
    lines: Sequence[str | Utterance], voice: Path, folder: Path, **options: object
) -> BatchReport:
    options = {"jobs": 1, "settings": LineSettings(QUIET), **options}
    return speak_lines(lines, voice, folder, progress_stream=io.StringIO(), **options)  # type: ignore[arg-type]


def read_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "manifest.jsonl")


def read_times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.wav")}


def find_processes(marker: str) -> list[int]:
    """Return the processes whose environment holds the marker."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_each_line_is_spoken_as_alone(tiny_voice: Path, tmp_path: Path) -> None:
    report = speak(LINES, tiny_voice, tmp_path / "new" / "out", jobs=2)
    assert (report.spoken, report.skipped, report.failures) == (4, 0, {})
    names = [f"00000{number}.wav" for number in range(1, 5)]
    assert read_names(tmp_path / "new" / "out") == names
    voice = PiperVoice.load(tiny_voice)
    total = 0.0
    for name, line in zip(names, LINES, strict=True):
        samples, rate = soundfile.read(tmp_path / "new" / "out" / name, dtype="int16")
        chunks = [chunk.audio_int16_array for chunk in voice.synthesize(line, QUIET)]
        assert np.array_equal(samples, np.concatenate(chunks))
        total += len(samples) / rate
    assert report.audio_seconds == pytest.approx(total)


def test_only_what_changed_is_spoken_again(
    tiny_voice: Path, tiny_voice_without_durations: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    speak(LINES, tiny_voice, out)
    before = read_times(out)
    assert (speak(LINES, tiny_voice, out).skipped, read_times(out)) == (4, before)

    assert speak([*LINES[:3], "Other.", "Five."], tiny_voice, out).spoken == 2
    after = read_times(out)
    assert {name for name in after if after[name] != before.get(name)} == {
        *("000004.wav", "000005.wav")
    }
    (out / "000002.wav").unlink()
    (out / "000003.wav").write_bytes(b"cut short")
    assert speak(LINES[:3], tiny_voice, out).spoken == 2

    louder = LineSettings(SynthesisConfig(noise_scale=0, noise_w_scale=0, volume=0.5))
    assert speak(LINES[:3], tiny_voice, out, settings=louder).spoken == 3
    assert speak(LINES[:3], tiny_voice_without_durations, out, settings=louder).spoken == 3


def test_a_manifest_that_was_cut_short_loses_no_more_than_its_last_line(
    tiny_voice: Path, tmp_path: Path
) -> None:
    (tmp_path / ".000003.wav.1.2.part").write_bytes(b"half")
    speak(LINES[:2], tiny_voice, tmp_path)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    assert speak(LINES[:2], tiny_voice, tmp_path).spoken == 1
    assert speak(LINES[:2], tiny_voice, tmp_path).spoken == 0
    assert read_names(tmp_path) == ["000001.wav", "000002.wav"]
    # A file elsewhere, as a manifest of somebody else may name it, is not the line's.
    (tmp_path / "000001.wav").rename(tmp_path.parent / "elsewhere.wav")
    manifest.write_text(manifest.read_text().replace("000001.wav", "../elsewhere.wav"))
    assert speak(LINES[:2], tiny_voice, tmp_path).spoken == 1


def test_a_line_without_words_has_no_file_and_is_done(tiny_voice: Path, tmp_path: Path) -> None:
    report = speak(["One.", "...", "Two."], tiny_voice, tmp_path)
    assert (report.spoken, report.empty, report.failures) == (3, 1, {})
    assert read_names(tmp_path) == ["000001.wav", "000003.wav"]
    assert speak(["One.", "...", "Two."], tiny_voice, tmp_path).skipped == 3


def test_an_error_of_one_line_stops_no_other(
    tiny_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The JSON promises symbols that the network lacks, and only the second line has one.
    config = json.loads(Path(f"{tiny_voice}.json").read_text())
    config["num_symbols"] = 400
    config["phoneme_id_map"]["1"] = [300]
    (tmp_path / "c.json").write_text(json.dumps(config))
    (tmp_path / "b.txt").write_text("hello\n[[1]]\nhello\n")
    arguments = ["-m", str(tiny_voice), "-c", str(tmp_path / "c.json"), "-j", "2"]
    arguments += ["-i", str(tmp_path / "b.txt"), "-d", str(tmp_path / "out")]
    for spoken in (2, 0):
        assert main(arguments) == 1
        errors = capsys.readouterr().err
        assert f"Spoke {spoken} lines" in errors
        assert "error: 1 line could not be spoken" in errors
        assert "line 2: " in errors
    assert read_names(tmp_path / "out") == ["000001.wav", "000003.wav"]


def test_other_formats_and_rates(tiny_voice: Path, tmp_path: Path) -> None:
    settings = LineSettings(QUIET, output_format=OutputFormat.OPUS, output_rate=8000)
    speak(LINES[:1], tiny_voice, tmp_path, settings=settings)
    info = soundfile.info(tmp_path / "000001.opus")
    assert (info.subtype, info.samplerate) == ("OPUS", 8000)


def test_mistakes_are_said_before_anything_starts(tiny_voice: Path, tmp_path: Path) -> None:
    with pytest.raises(PiperError, match="There is no speaker 7"):
        speak(LINES, tiny_voice, tmp_path, settings=LineSettings(SynthesisConfig(speaker_id=7)))
    with pytest.raises(PiperError, match="jobs is 0"):
        speak(LINES, tiny_voice, tmp_path, jobs=0)
    (tmp_path / "file").touch()
    with pytest.raises(PiperError, match="file cannot be written"):
        speak(LINES, tiny_voice, tmp_path / "file")
    (tmp_path / "bad.onnx").write_bytes(b"no voice")
    with pytest.raises(PiperError, match=r"bad\.onnx cannot be loaded"):
        speak(LINES, tmp_path / "bad.onnx", tmp_path, config_path=f"{tiny_voice}.json")


def start_batch(voice: Path, folder: Path, marker: str) -> subprocess.Popen[bytes]:
    (folder / "book.txt").write_text("\n".join(f"This is line {n}, of many." for n in range(3000)))
    command = [sys.executable, "-m", "piper", "-m", str(voice), "-i", str(folder / "book.txt")]
    command += ["-d", str(folder / "out"), "--jobs", "2", "--noise-scale", "0"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, env={**os.environ, "MARKER": marker}
    )
    deadline = time.monotonic() + 120
    while len(list((folder / "out").glob("*.wav"))) < 10:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_documents_have_a_file_each_of_their_name(tiny_voice: Path, tmp_path: Path) -> None:
    first = Utterance("chapter 1", (Piece("One."), Piece("Two.", 0.5, silence_seconds=0.1)))
    second = Utterance("chapter: 2?", (Piece("Three.", ends_paragraph=True), Piece("Four.")))
    report = speak([first, second, replace(second, name="000001")], tiny_voice, tmp_path)
    assert "Spoke 3 documents; " in report.describe()
    names = ["000001.wav", "chapter 1.wav", "chapter 2.wav"]
    assert read_names(tmp_path) == names
    voice = PiperVoice.load(tiny_voice)
    expected = np.concatenate(
        [chunk.audio_int16_array for chunk in voice.synthesize(first.text, QUIET)]
    )
    assert np.array_equal(soundfile.read(tmp_path / names[1], dtype="int16")[0], expected)

    lines = ["One.", replace(second, name="000001"), first]
    report = speak(lines, tiny_voice, tmp_path)
    assert (report.spoken, report.skipped) == (2, 1)
    assert "Spoke 2 texts; " in report.describe()
    assert report.describe().endswith("; 1 was done before.")
    assert read_names(tmp_path) == ["000001 2.wav", *names]
    slower = replace(first, text=(*first.text[:1], Piece("Two.", 0.4, silence_seconds=0.1)))
    assert speak([slower], tiny_voice, tmp_path).spoken == 1


def test_a_document_that_fails_is_named(tiny_voice: Path, tmp_path: Path) -> None:
    wrong = Utterance("chapter 2", (Piece("One.", rate=0.0),))
    report = speak([Utterance("a", (Piece("One."),)), wrong], tiny_voice, tmp_path)
    message = "document 2: chapter 2: The rate of a piece is 0.0"
    assert message in report.describe_failures()
    assert report.describe_failures().startswith("1 document could not be spoken; run it again")
    assert report.describe().startswith("Spoke 1 document; ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interruption_leaves_whole_files_and_no_process(
    tiny_voice: Path, tmp_path: Path, number: signal.Signals
) -> None:
    marker = f"{os.getpid()}-{number}-{time.time_ns()}"
    process = start_batch(tiny_voice, tmp_path, marker)
    with pytest.raises(PiperError, match="Another process is writing to"):
        speak(LINES, tiny_voice, tmp_path / "out")
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    if number is signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 128 + number
        [said] = [line for line in errors.decode().splitlines() if "Speaking: " not in line]
        done, left = re.fullmatch(
            rf"Stopped by {number.name}: (\d+) lines done and kept, (\d+) left; run the same "
            r"command again to go on\.",
            said,
        ).groups()  # type: ignore[union-attr]
        assert int(done) == len(read_names(tmp_path / "out"))
        assert int(done) + int(left) == 3000
    deadline = time.monotonic() + 120
    while find_processes(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert find_processes(marker) == []
    done = read_times(tmp_path / "out")
    assert all(soundfile.info(tmp_path / "out" / name).frames > 0 for name in done)
    again = start_again(tiny_voice, tmp_path, len(done))
    assert len(done) - again["skipped"] <= (1 if number is signal.SIGKILL else 0)
    times = read_times(tmp_path / "out")
    assert sum(times[name] != done[name] for name in done) == len(done) - again["skipped"]
    assert len(times) == len(done) + 5
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize("is_before", [True, False])
def test_what_is_kept_is_counted_whenever_ctrl_c_comes(
    tiny_voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_before: bool
) -> None:
    """Between counting and writing it once counted a line that was not kept."""
    add = Manifest.add

    def interrupt(manifest: Manifest, *arguments: Any) -> None:
        if is_before:
            signal.raise_signal(signal.SIGINT)
        add(manifest, *arguments)
        if not is_before:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Manifest, "add", interrupt)
    with pytest.raises(InterruptedBatchError) as stop:
        speak(LINES, tiny_voice, tmp_path, jobs=2)
    assert stop.value.report.spoken == len(read_names(tmp_path)) == 1
    assert stop.value.left == len(LINES) - 1


def start_again(voice: Path, folder: Path, done: int) -> dict[str, int]:
    """Go on with five more lines than there are files."""
    lines = (folder / "book.txt").read_text().splitlines()
    numbers = {int(path.stem) for path in (folder / "out").glob("*.wav")}
    assert max(numbers) <= done + 2  # in order, but for those that two processes had in hand
    same = LineSettings(SynthesisConfig(speaker_id=0, noise_scale=0.0))  # as the command does
    report = speak(lines[: done + 5], voice, folder / "out", settings=same)
    return {"skipped": report.skipped, "spoken": report.spoken}


def test_a_stop_before_the_first_line(tiny_voice: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "book.txt")
    command = [sys.executable, "-m", "piper", "-m", str(tiny_voice), "--jobs", "2"]
    command += ["-i", str(tmp_path / "book.txt"), "-d", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with (tmp_path / "book.txt").open("w"):  # which waits for the command to open it, too
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 143
    assert errors == "Stopped by SIGTERM before anything was spoken; run it again to begin.\n"


def test_a_killed_worker_is_replaced(tiny_voice: Path, tmp_path: Path) -> None:
    marker = f"{os.getpid()}-worker-{time.time_ns()}"
    process = start_batch(tiny_voice, tmp_path, marker)
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in find_processes(marker)}
    workers = [pid for pid, command in commands.items() if b"spawn_main" in command]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    count = len(list((tmp_path / "out").glob("*.wav")))
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "out").glob("*.wav"))) < count + 50:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    names = read_names(tmp_path / "out")
    assert int(names[-1][:6]) <= len(names) + 2
