"""FLAC, Opus and MP3: written as they come, and read back by libsndfile."""

from __future__ import annotations

import io
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from piper.audio.output import AudioWriter, OutputFormat, encode_samples, find_format, find_rate
from piper.errors import PiperError

CODECS = [OutputFormat.FLAC, OutputFormat.OPUS, OutputFormat.MP3]
ALL = [*CODECS, OutputFormat.AAC]


def create_tone(seconds: float, sample_rate: int) -> np.ndarray:
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    return (0.5 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)


@pytest.mark.parametrize("output_format", CODECS)
@pytest.mark.parametrize("sample_rate", [8000, 24000])
def test_a_tone_comes_back(tmp_path: Path, output_format: OutputFormat, sample_rate: int) -> None:
    tone = create_tone(6.0, sample_rate)
    path = tmp_path / f"a.{output_format}"
    with AudioWriter(path, sample_rate, output_format) as writer:
        writer.write(tone[:777])
        assert not path.exists()
        writer.write(tone[777:])
    found, found_rate = soundfile.read(path, dtype="float32")
    assert found_rate == sample_rate
    assert writer.num_samples == len(found) == len(tone)
    error = float(np.sqrt(np.mean((found - tone) ** 2)))
    assert error < (1e-4 if output_format is OutputFormat.FLAC else 0.03)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_flac_is_the_samples_exactly() -> None:
    samples = np.random.default_rng(0).integers(-32767, 32767, 5000).astype(np.int16)
    flac = encode_samples(samples, 22050, OutputFormat.FLAC)
    assert np.array_equal(soundfile.read(io.BytesIO(flac), dtype="int16")[0], samples)


def test_raw_is_the_samples_and_nothing_else(tmp_path: Path) -> None:
    with AudioWriter(tmp_path / "a.raw", 8000, OutputFormat.RAW) as writer:
        writer.write(np.array([1, -2], dtype=np.int16))
    assert (tmp_path / "a.raw").read_bytes() == b"\x01\x00\xfe\xff"


@pytest.mark.parametrize("output_format", ALL)
def test_it_is_written_as_it_comes(tmp_path: Path, output_format: OutputFormat) -> None:
    noise = np.random.default_rng(0).integers(-9000, 9000, 24000).astype(np.int16)
    with AudioWriter(tmp_path / "a", 24000, output_format) as writer:
        sizes = []
        for _ in range(12):
            writer.write(noise)
            [temporary] = tmp_path.iterdir()
            sizes.append(temporary.stat().st_size)
    assert sizes[-1] > sizes[5] > sizes[0]


@pytest.mark.parametrize("output_format", ALL)
def test_after_an_error_nothing_is_left(tmp_path: Path, output_format: OutputFormat) -> None:
    with pytest.raises(KeyboardInterrupt), AudioWriter(tmp_path / "a", 8000, output_format) as file:
        file.write(create_tone(0.1, 8000))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output_format", ALL)
def test_a_full_disk_is_one_sentence(
    tmp_path: Path, output_format: OutputFormat, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(-9000, 9000, 80000).astype(np.int16)
    # As a full disk: Python has SIGXFSZ ignored, so a write beyond the limit is an error.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with (
            pytest.raises(PiperError, match=r"a cannot be written \(.+\); choose another place"),
            AudioWriter(tmp_path / "a", 8000, output_format) as writer,
        ):
            writer.write(noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "output_format"),
    [
        ("a.wav", "wav"),
        ("a.FLAC", "flac"),
        ("b/a.b.opus", "opus"),
        ("a.ogg", "opus"),
        ("a.mp3", "mp3"),
        ("a.aac", "aac"),
        ("a.pcm", "raw"),
        ("a", "wav"),
        ("mp3", "wav"),
    ],
)
def test_the_ending_chooses(name: str, output_format: str) -> None:
    assert find_format(name) == output_format


def test_a_rate_that_the_format_lacks_becomes_the_next_higher() -> None:
    assert [find_rate(OutputFormat.OPUS, rate) for rate in (8000, 22050, 44100, 96000)] == [
        *(8000, 24000, 48000, 48000)
    ]
    assert find_rate(OutputFormat.MP3, 22050) == 22050
    assert find_rate(OutputFormat.MP3, 22000) == 22050
    assert find_rate(OutputFormat.AAC, 22050) == 22050
    assert find_rate(OutputFormat.WAV, 12345) == find_rate(OutputFormat.FLAC, 12345) == 12345


@pytest.mark.parametrize(
    ("library", "call"),
    [
        ("soundfile", "encode_samples(np.zeros(9), 8000, OutputFormat.MP3)"),
        ("av", "encode_samples(np.zeros(9), 8000, OutputFormat.AAC)"),
        ("soxr", "Resampler(16000, 8000)"),
    ],
)
def test_without_the_library_one_sentence_says_what_to_install(library: str, call: str) -> None:
    program = f"""
import sys
import numpy as np
sys.modules["{library}"] = None  # what an import finds where it is not installed
from piper.audio.output import encode_samples
from piper.audio.output import OutputFormat
from piper.audio.output import Resampler
from piper.errors import PiperError
try:
    {call}
except PiperError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert f"the library {library}, which is not installed" in done.stdout
    assert f"pip install 'piper-workshop[{'aac' if library == 'av' else 'codecs'}]'" in done.stdout
    assert (done.stderr, done.stdout.count("\n")) == ("", 1)
