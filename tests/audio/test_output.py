"""Samples to bytes and to where they go: whole or not at all, under names of their own."""

from __future__ import annotations

import io
import logging
import os
import sys
import types
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from piper.audio import output
from piper.audio.chunk import AudioChunk, float_to_int16, int16_to_float, samples_to_pcm
from piper.audio.output import (
    AudioWriter,
    FileSink,
    FolderSink,
    NameGiver,
    OutputFormat,
    OutputNaming,
    Resampler,
    Sink,
    create_sink,
    create_wav_header,
    encode_samples,
    text_to_file_name,
    write_wav,
)
from piper.errors import PiperError
from piper.voice.synthesizer import scale_audio

ONE = np.array([1], dtype=np.int16)
TWO = np.array([2, 3], dtype=np.int16)


def read_wav(source: Path | bytes) -> tuple[int, list[int]]:
    """Return the rate and the samples of a WAV file as all are here: 16-bit, one channel."""
    opened = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    with wave.open(opened) as wav_file:
        assert (wav_file.getsampwidth(), wav_file.getnchannels()) == (2, 1)
        samples = np.frombuffer(wav_file.readframes(wav_file.getnframes()), dtype="<i2")
        return wav_file.getframerate(), samples.tolist()


def read_samples(path: Path) -> list[int]:
    return read_wav(path)[1]


def speak(sink: Sink, *utterances: np.ndarray, text: str = "text") -> None:
    for samples in utterances:
        sink.begin(text)
        sink.write(samples)
        sink.end()


def test_float_to_int16_clips_and_rounds_and_the_way_back_is_exact() -> None:
    samples = float_to_int16([0.0, 1.0, -1.0, 2.0, -7.0, 0.5, 1.6 / 32767])
    assert samples.dtype == np.int16
    assert samples.tolist() == [0, 32767, -32767, 32767, -32767, 16384, 2]
    samples = np.arange(-32767, 32768, 7, dtype=np.int16)
    assert np.array_equal(float_to_int16(int16_to_float(samples)), samples)


def test_chunk_gives_samples_as_floats_integers_and_bytes() -> None:
    audio = np.array([0.0, 0.5, -1.0, 3.0], dtype=np.float32)
    chunk = AudioChunk(16000, 2, 1, audio, ["a"], [1, 0, 5, 0, 2])
    assert chunk.audio_int16_array.tolist() == [0, 16384, -32767, 32767]
    assert chunk.audio_int16_bytes == b"\x00\x00\x00\x40\x01\x80\xff\x7f"
    assert chunk.phoneme_id_samples is None
    assert chunk.phoneme_alignments is None
    assert chunk.duration_seconds == pytest.approx(4 / 16000)


@pytest.mark.parametrize(
    ("samples", "normalize", "volume", "expected"),
    [
        ([0.1, -0.2], True, 1.0, [0.5, -1.0]),
        ([0.1, -0.2], True, 0.5, [0.25, -0.5]),
        ([0.1, -0.2], False, 2.0, [0.2, -0.4]),
        ([0.1, -0.2], False, 9.0, [0.9, -1.0]),
        # Silence is not scaled up to noise.
        ([0.0, 0.0], True, 1.0, [0.0, 0.0]),
        ([0.0, 1e-10], True, 1.0, [0.0, 0.0]),
        ([], True, 1.0, []),
    ],
)
def test_scale_audio_normalizes_then_applies_the_volume(
    samples: list[float], normalize: bool, volume: float, expected: list[float]
) -> None:
    audio = np.array(samples, dtype=np.float32)
    assert scale_audio(audio, normalize=normalize, volume=volume) == pytest.approx(expected)


@pytest.mark.parametrize(("from_rate", "to_rate"), [(22050, 8000), (22050, 24000), (16000, 48000)])
@pytest.mark.parametrize("piece", [1, 777])
def test_pieces_give_at_another_rate_what_the_whole_gives(
    from_rate: int, to_rate: int, piece: int
) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 9001).astype(np.float32)
    resampler = Resampler(from_rate, to_rate)
    whole = np.concatenate([resampler.write(samples), resampler.finish()])
    # After the end the next stream begins anew.
    starts = range(0, len(samples), piece)
    pieces = [resampler.write(samples[start : start + piece]) for start in starts]
    assert np.array_equal(np.concatenate([*pieces, resampler.finish()]), whole)
    assert len(whole) == round(len(samples) * to_rate / from_rate)
    assert len(resampler.finish()) == 0


def test_a_tone_stays_a_tone_and_what_the_rate_cannot_hold_goes() -> None:
    times = np.arange(22050) / 22050
    low, high = np.sin(2 * np.pi * 440 * times), np.sin(2 * np.pi * 6000 * times)
    found = Resampler(22050, 8000).write((0.4 * (low + high)).astype(np.float32), is_last=True)
    expected = 0.4 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    assert np.abs(found - expected)[200:-200].max() < 0.003


def test_write_wav_takes_floats_and_integers(tmp_path: Path) -> None:
    write_wav(tmp_path / "new" / "float.wav", np.array([0.0, 1.0, -2.0]), 22050)
    assert read_wav(tmp_path / "new" / "float.wav") == (22050, [0, 32767, -32767])
    write_wav(str(tmp_path / "integer.wav"), np.array([1, -2], dtype=np.int16), 16000)
    assert read_wav(tmp_path / "integer.wav") == (16000, [1, -2])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["integer.wav", "new"]


@pytest.mark.parametrize("size", [0, 1, 7])
def test_wav_in_memory_is_the_file_and_its_header_is_known_before(
    tmp_path: Path, size: int
) -> None:
    samples = np.arange(size, dtype=np.int16)
    write_wav(tmp_path / "a.wav", samples, 16000)
    assert encode_samples(samples, 16000) == (tmp_path / "a.wav").read_bytes()
    header = create_wav_header(size, 16000)
    assert header + samples_to_pcm(samples) == encode_samples(samples, 16000)


def test_writer_grows_and_shows_the_file_only_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with AudioWriter(path, 16000) as writer:
        writer.write(TWO)
        assert not path.exists()
        writer.write(ONE)
    assert read_samples(path) == [2, 3, 1]
    assert writer.num_samples == 3
    with pytest.raises(KeyboardInterrupt), AudioWriter(path, 16000) as writer:
        writer.write(np.zeros(100, dtype=np.int16))
        raise KeyboardInterrupt
    assert read_samples(path) == [2, 3, 1]
    assert [found.name for found in tmp_path.iterdir()] == ["a.wav"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(PiperError, match=r"is a folder; give a file's name such as output\.wav"):
        write_wav(tmp_path, np.zeros(1), 16000)
    (tmp_path / "file").write_text("")
    with pytest.raises(PiperError, match=r"file/a\.wav cannot be written \(.+\); choose"):
        write_wav(tmp_path / "file" / "a.wav", np.zeros(1), 16000)


def test_more_than_a_wav_can_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PiperError, match="longer than a WAV file can be"):
        create_wav_header(2**31, 22050)
    # The real limit is 4 GiB, which no test should write.
    monkeypatch.setattr(output, "MAX_WAV_DATA_BYTES", 100)
    with pytest.raises(PiperError, match="longer than a WAV file can be"):
        write_wav(tmp_path / "a.wav", np.zeros(51), 16000)
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize(
    ("naming", "texts", "names"),
    [
        (OutputNaming.NUMBER, ("a", "a", "b"), ["000001", "000002", "000003"]),
        (OutputNaming.TEXT, ("Hi!", "Hi!", "hi!"), ["Hi!", "Hi! 2", "hi! 3"]),
    ],
)
def test_no_two_names_are_the_same(
    naming: OutputNaming, texts: tuple[str, ...], names: list[str]
) -> None:
    giver = NameGiver(naming)
    assert [giver.give_name(text) for text in texts] == names


def test_file_sink_joins_utterances(tmp_path: Path) -> None:
    with create_sink(8000, io.BytesIO(), output_file=str(tmp_path / "a.wav")) as sink:
        speak(sink, ONE, TWO)
    assert read_samples(tmp_path / "a.wav") == [1, 2, 3]


def test_folder_sink_names_by_text_and_overwrites_nothing_of_its_own(tmp_path: Path) -> None:
    with create_sink(
        8000, io.BytesIO(), output_dir=tmp_path / "new", naming=OutputNaming.TEXT
    ) as sink:
        for text, samples in (("Привет, мир/тут?", ONE), ("Привет, миртут.", TWO), ("?", ONE)):
            speak(sink, samples, text=text)
    assert {path.name: read_samples(path) for path in (tmp_path / "new").iterdir()} == {
        "Привет, миртут.wav": [1],
        "Привет, миртут 2.wav": [2, 3],
        "utterance.wav": [1],
    }


def test_folder_sink_names_by_time_in_order(tmp_path: Path) -> None:
    with FolderSink(tmp_path, 8000, OutputNaming.TIMESTAMP) as sink:
        speak(sink, ONE, TWO, ONE)
    assert [read_samples(path) for path in sorted(tmp_path.iterdir())] == [[1], [2, 3], [1]]


def test_after_an_error_only_whole_files_are_left(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        FolderSink(tmp_path, 8000, OutputNaming.TEXT) as sink,
    ):
        speak(sink, ONE, text="whole")
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
    assert read_wav(wav.getvalue()) == (8000, [1, 2, 3])


def write_player(
    folder: Path, script: str, monkeypatch: pytest.MonkeyPatch, name: str = "ffplay"
) -> None:
    """Put a program first on the path."""
    folder.mkdir()
    player = folder / name
    player.write_text(f"#!/bin/sh\n{script}\n")
    player.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_player_gets_a_wav_for_each_utterance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_player(tmp_path / "bin", f'cat > "{tmp_path}/played.$$.wav"', monkeypatch)
    with create_sink(8000, io.BytesIO()) as sink:
        speak(sink, ONE, TWO)
    played = sorted(read_samples(path) for path in tmp_path.glob("*.wav"))
    assert played == [[1], [2, 3]]


@pytest.mark.parametrize(
    ("script", "seconds", "reason"),
    [
        ("echo no sound card >&2; exit 1", 1, "no sound card"),
        # Where there is no sound card, ffplay complains, ends at once, and with exit code 0.
        ("echo audio open failed >&2", 600, "audio open failed"),
    ],
)
def test_a_player_that_fails_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, seconds: int, reason: str
) -> None:
    write_player(tmp_path / "bin", f"cat > /dev/null; {script}", monkeypatch)
    sink = create_sink(8000, io.BytesIO())
    with pytest.raises(PiperError, match=rf"ffplay could not play .*\({reason}\).*--output-fi"):
        speak(sink, np.zeros(8000 * seconds, dtype=np.int16))


def test_macos_and_windows_play_without_ffplay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_player(tmp_path / "bin", f'/bin/cat "$1" > "{tmp_path}/$$.wav"', monkeypatch, "afplay")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(output, "MACOS", True)
    with create_sink(8000, io.BytesIO()) as sink:
        speak(sink, ONE)
    assert [read_samples(path) for path in tmp_path.glob("*.wav")] == [[1]]
    played: list[bytes] = []
    winsound = types.ModuleType("winsound")
    winsound.SND_MEMORY = 4  # type: ignore[attr-defined]
    winsound.PlaySound = lambda wav, flags: played.append(wav)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "winsound", winsound)
    monkeypatch.setattr(output, "MACOS", False)
    monkeypatch.setattr(output, "WINDOWS", True)
    with create_sink(8000, io.BytesIO()) as sink:
        speak(sink, ONE, TWO)
    assert [read_wav(wav) for wav in played] == [(8000, [1]), (8000, [2, 3])]


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
    path = tmp_path / "a.opus"
    with (
        caplog.at_level(logging.INFO),
        create_sink(22050, io.BytesIO(), output_file=str(path)) as sink,
    ):
        speak(sink, tone, tone)
    info = soundfile.info(path)
    found = (info.format, info.subtype, info.samplerate, info.frames)
    assert found == ("OGG", "OPUS", 24000, 48000)
    assert [record.message for record in caplog.records] == [
        "OPUS cannot hold 22050 Hz; writing 24000 Hz.",
        f"Wrote {path} (2.00 s)",
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
        speak(sink, np.zeros(16000, np.int16), np.zeros(32000, np.int16))
    found = {path.name: soundfile.info(path) for path in tmp_path.iterdir()}
    assert {name: (info.format, info.samplerate, info.frames) for name, info in found.items()} == {
        "000001.mp3": ("MP3", 8000, 8000),
        "000002.mp3": ("MP3", 8000, 16000),
    }


def test_standard_output_in_another_format_and_rate() -> None:
    flac, raw = io.BytesIO(), io.BytesIO()
    samples = np.arange(1000, dtype=np.int16)
    with create_sink(8000, flac, output_file="-", output_format=OutputFormat.FLAC) as sink:
        speak(sink, samples)
    assert np.array_equal(soundfile.read(io.BytesIO(flac.getvalue()), dtype="int16")[0], samples)
    with create_sink(16000, raw, is_raw=True, output_rate=8000) as sink:
        speak(sink, samples)
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
