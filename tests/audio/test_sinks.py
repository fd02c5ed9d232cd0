"""Where speech goes."""

from __future__ import annotations

import io
import logging
import os
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from piper.audio.output import FileSink, FolderSink, OutputFormat, OutputNaming, create_sink
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


def test_a_player_that_fails_without_saying_so_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no sound card, ffplay complains, ends at once, and with exit code 0."""
    write_player(tmp_path / "bin", "cat > /dev/null; echo audio open failed >&2", monkeypatch)
    sink = create_sink(8000, io.BytesIO())
    sink.begin("text")
    sink.write(np.zeros(8000 * 600, dtype=np.int16))
    with pytest.raises(PiperError, match=r"could not play the speech \(audio open failed\)"):
        sink.end()


def test_without_a_player_it_is_output_wav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with create_sink(8000, io.BytesIO()) as sink:
        assert isinstance(sink, FileSink)
        sink.write(ONE)
    assert read_samples(tmp_path / "output.wav") == [1]


def test_a_full_disk_behind_standard_output_is_said() -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(PiperError, match=r"Standard output cannot be written \(No space left"),
    ):
        create_sink(8000, full, is_raw=True).write(ONE)


def test_the_file_s_ending_and_the_rate_that_opus_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tone = (9000 * np.sin(np.arange(22050) / 10)).astype(np.int16)
    with (
        caplog.at_level(logging.INFO),
        create_sink(22050, io.BytesIO(), output_file=str(tmp_path / "a.opus")) as sink,
    ):
        for _ in range(2):
            sink.begin("text")
            sink.write(tone)
            sink.end()
    info = soundfile.info(tmp_path / "a.opus")
    assert (info.format, info.subtype, info.samplerate, info.frames) == (
        "OGG",
        "OPUS",
        24000,
        48000,
    )
    assert [record.message for record in caplog.records] == [
        "OPUS cannot hold 22050 Hz; writing 24000 Hz.",
        f"Wrote {tmp_path / 'a.opus'} (2.00 s)",
    ]


def test_a_folder_of_mp3_for_telephony(tmp_path: Path) -> None:
    sink = create_sink(
        *(16000, io.BytesIO()),
        output_dir=tmp_path,
        naming=OutputNaming.NUMBER,
        output_format=OutputFormat.MP3,
        output_rate=8000,
    )
    with sink:
        for seconds in (1, 2):
            sink.begin("text")
            sink.write(np.zeros(seconds * 16000, np.int16))
            sink.end()
    found = {path.name: soundfile.info(path) for path in tmp_path.iterdir()}
    assert {name: (info.format, info.samplerate, info.frames) for name, info in found.items()} == {
        "000001.mp3": ("MP3", 8000, 8000),
        "000002.mp3": ("MP3", 8000, 16000),
    }


def test_standard_output_in_another_format_and_rate() -> None:
    flac, raw = io.BytesIO(), io.BytesIO()
    samples = np.arange(1000, dtype=np.int16)
    with create_sink(8000, flac, output_file="-", output_format=OutputFormat.FLAC) as sink:
        sink.begin("text")
        sink.write(samples)
        sink.end()
    assert np.array_equal(soundfile.read(io.BytesIO(flac.getvalue()), dtype="int16")[0], samples)
    with create_sink(16000, raw, is_raw=True, output_rate=8000) as sink:
        sink.begin("text")
        sink.write(samples)
        sink.end()
    assert len(raw.getvalue()) == 1000


def test_where_a_library_is_missing_no_file_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(PiperError, match="soundfile, which is not installed"):
        create_sink(8000, io.BytesIO(), output_file=str(tmp_path / "a.flac"))
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(PiperError, match="soxr, which is not installed"):
        create_sink(8000, io.BytesIO(), output_file=str(tmp_path / "a.wav"), output_rate=9000)
    assert list(tmp_path.iterdir()) == []
