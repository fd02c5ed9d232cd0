"""WAV files: headers, bytes, whole or not at all."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest

from piper.audio import output
from piper.audio.output import (
    AudioWriter,
    create_wav_header,
    encode_samples,
    samples_to_pcm,
    write_wav,
)
from piper.errors import PiperError


def read_wav(source: Path | bytes) -> tuple[int, int, int, list[int]]:
    opened = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    with wave.open(opened) as wav_file:
        samples = np.frombuffer(wav_file.readframes(wav_file.getnframes()), dtype="<i2")
        return (
            wav_file.getframerate(),
            wav_file.getsampwidth(),
            wav_file.getnchannels(),
            samples.tolist(),
        )


def test_write_wav_takes_floats_and_integers(tmp_path: Path) -> None:
    write_wav(tmp_path / "new" / "float.wav", np.array([0.0, 1.0, -2.0]), 22050)
    assert read_wav(tmp_path / "new" / "float.wav") == (22050, 2, 1, [0, 32767, -32767])
    write_wav(str(tmp_path / "integer.wav"), np.array([1, -2], dtype=np.int16), 16000)
    assert read_wav(tmp_path / "integer.wav") == (16000, 2, 1, [1, -2])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["integer.wav", "new"]


def test_wav_in_memory_equals_the_file(tmp_path: Path) -> None:
    samples = np.linspace(-1, 1, 101, dtype=np.float32)
    write_wav(tmp_path / "a.wav", samples, 8000)
    assert encode_samples(samples, 8000) == (tmp_path / "a.wav").read_bytes()


def test_wav_without_samples_is_a_valid_file() -> None:
    assert read_wav(encode_samples(np.zeros(0, dtype=np.float32), 22050)) == (22050, 2, 1, [])


@pytest.mark.parametrize("samples", [0, 1, 7])
def test_a_header_before_the_samples_are_known(samples: int) -> None:
    array = np.arange(samples, dtype=np.int16)
    header = create_wav_header(samples, 16000)
    assert header + samples_to_pcm(array) == encode_samples(array, 16000)


def test_no_header_for_more_than_a_wav_holds() -> None:
    with pytest.raises(PiperError, match="longer than a WAV file can be"):
        create_wav_header(2**31, 22050)


def test_writer_grows_and_shows_the_file_only_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with AudioWriter(path, 16000) as writer:
        writer.write(np.array([1, 2], dtype=np.int16))
        assert not path.exists()
        writer.write(np.array([3], dtype=np.int16))
    assert read_wav(path)[3] == [1, 2, 3]
    assert writer.num_samples == 3


def test_after_an_error_the_old_file_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_wav(path, np.array([7], dtype=np.int16), 16000)
    with pytest.raises(KeyboardInterrupt), AudioWriter(path, 16000) as writer:
        writer.write(np.zeros(100, dtype=np.int16))
        raise KeyboardInterrupt
    assert read_wav(path)[3] == [7]
    assert [found.name for found in tmp_path.iterdir()] == ["a.wav"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(PiperError, match=r"is a folder; give a file's name"):
        write_wav(tmp_path, np.zeros(1), 16000)
    (tmp_path / "file").write_text("")
    with pytest.raises(PiperError, match=r"file/a\.wav cannot be written \(.+\); choose"):
        write_wav(tmp_path / "file" / "a.wav", np.zeros(1), 16000)


def test_more_than_a_wav_can_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real limit is 4 GiB, which no test should write.
    monkeypatch.setattr(output, "MAX_WAV_DATA_BYTES", 100)
    with pytest.raises(PiperError, match="longer than a WAV file can be"):
        write_wav(tmp_path / "a.wav", np.zeros(51), 16000)
    assert list(tmp_path.iterdir()) == []
