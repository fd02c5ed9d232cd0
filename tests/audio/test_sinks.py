"""Where speech goes."""

from __future__ import annotations

import io
import os
import wave
from pathlib import Path

import numpy as np
import pytest

from piper.audio.sinks import FileSink, FolderSink, OutputNaming, create_sink, text_to_file_name
from piper.errors import PiperError

ONE = np.array([1], dtype=np.int16)
TWO = np.array([2, 3], dtype=np.int16)


def read_samples(path: Path) -> list[int]:
    with wave.open(str(path)) as wav_file:
        return np.frombuffer(wav_file.readframes(wav_file.getnframes()), "<i2").tolist()


def write_player(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program named ffplay first on the path."""
    folder.mkdir()
    player = folder / "ffplay"
    player.write_text(f"#!/bin/sh\n{script}\n")
    player.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_file_sink_joins_utterances(tmp_path: Path) -> None:
    with create_sink(8000, io.BytesIO(), output_file=str(tmp_path / "a.wav")) as sink:
        for samples in (ONE, TWO):
            sink.begin("text")
            sink.write(samples)
            sink.end()
    assert read_samples(tmp_path / "a.wav") == [1, 2, 3]


def test_folder_sink_names_by_text_and_overwrites_nothing_of_its_own(tmp_path: Path) -> None:
    with create_sink(
        8000, io.BytesIO(), output_dir=tmp_path / "new", naming=OutputNaming.TEXT
    ) as sink:
        for text, samples in (("Привет, мир/тут?", ONE), ("Привет, миртут.", TWO), ("?", ONE)):
            sink.begin(text)
            sink.write(samples)
            sink.end()
    assert {path.name: read_samples(path) for path in (tmp_path / "new").iterdir()} == {
        "Привет, миртут.wav": [1],
        "Привет, миртут 2.wav": [2, 3],
        "utterance.wav": [1],
    }


def test_folder_sink_names_by_time_in_order(tmp_path: Path) -> None:
    with FolderSink(tmp_path, 8000, OutputNaming.TIMESTAMP) as sink:
        for samples in (ONE, TWO, ONE):
            sink.begin("same")
            sink.write(samples)
            sink.end()
    assert [read_samples(path) for path in sorted(tmp_path.iterdir())] == [[1], [2, 3], [1]]


def test_after_an_error_only_whole_files_are_left(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        FolderSink(tmp_path, 8000, OutputNaming.TEXT) as sink,
    ):
        sink.begin("whole")
        sink.write(ONE)
        sink.end()
        sink.begin("half")
        sink.write(ONE)
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["whole.wav"]


def test_standard_output_raw_and_wav() -> None:
    raw, wav = io.BytesIO(), io.BytesIO()
    with create_sink(8000, raw, is_raw=True) as sink:
        sink.write(ONE)
        assert raw.getvalue() == b"\x01\x00"
        sink.write(TWO)
    assert raw.getvalue() == b"\x01\x00\x02\x00\x03\x00"
    with create_sink(8000, wav, output_file="-") as sink:
        sink.write(ONE)
        sink.write(TWO)
    with wave.open(io.BytesIO(wav.getvalue())) as wav_file:
        assert wav_file.getframerate() == 8000
        assert wav_file.readframes(9) == raw.getvalue()


def test_player_gets_a_wav_for_each_utterance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_player(tmp_path / "bin", f'cat > "{tmp_path}/played.$$.wav"', monkeypatch)
    with create_sink(8000, io.BytesIO()) as sink:
        for samples in (ONE, TWO):
            sink.begin("text")
            sink.write(samples)
            sink.end()
    played = sorted(read_samples(path) for path in tmp_path.glob("*.wav"))
    assert played == [[1], [2, 3]]


def test_a_player_that_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_player(tmp_path / "bin", "cat > /dev/null; echo no sound card >&2; exit 1", monkeypatch)
    sink = create_sink(8000, io.BytesIO())
    sink.begin("text")
    sink.write(ONE)
    with pytest.raises(PiperError, match=r"ffplay could not play .*\(no sound card\).*--output-fi"):
        sink.end()


def test_without_a_player_it_is_output_wav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with create_sink(8000, io.BytesIO()) as sink:
        assert isinstance(sink, FileSink)
        sink.write(ONE)
    assert read_samples(tmp_path / "output.wav") == [1]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Hello there.", "Hello there"),
        ("../../etc/passwd", "etcpasswd"),
        ("  a \t b\n", "a b"),
        ("Раз, два: три!", "Раз, два три!"),
        ("...", "utterance"),
    ],
)
def test_text_to_file_name(text: str, name: str) -> None:
    assert text_to_file_name(text) == name


def test_file_names_fit_the_file_system(tmp_path: Path) -> None:
    name = text_to_file_name("ы" * 400)
    assert 150 < len(name.encode()) <= 200
    (tmp_path / f"{name}.wav").touch()


def test_a_full_disk_behind_standard_output_is_said() -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(PiperError, match=r"Standard output cannot be written \(No space left"),
    ):
        create_sink(8000, full, is_raw=True).write(ONE)
