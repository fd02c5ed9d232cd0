"""What is measured of a recording is what was put into it."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from piper.errors import DatasetError
from piper.train.check.entries import AudioMeasures
from piper.train.check.measuring import measure_recording
from piper.train.check.rules_audio import CROWDING

RATE = 22050


@pytest.fixture(scope="module")
def speech(speech_dataset: Path) -> np.ndarray:
    """A sentence of 3 s; speech from 0.42 s on, 0.6 s of a quiet room at the end."""
    samples, _ = soundfile.read(speech_dataset / "wavs/utterance003.wav", dtype="float32")
    return samples


def measure(tmp_path: Path, samples: np.ndarray, rate: int = RATE, **format_: str) -> AudioMeasures:
    path = tmp_path / "measured.wav"
    soundfile.write(path, samples, rate, **format_)
    return measure_recording(path)


def test_what_a_sentence_is_like(tmp_path: Path, speech: np.ndarray) -> None:
    measures = measure(tmp_path, speech)
    assert measures.seconds == len(speech) / RATE
    assert (measures.sample_rate, measures.channels, measures.subtype) == (RATE, 1, "PCM_16")
    assert measures.has_all_data
    assert measures.peak == pytest.approx(np.abs(speech).max(), abs=1e-4)
    assert measures.clipped_share == 0
    assert abs(measures.dc_offset) < 0.002
    assert measures.floor_db < -55 < -25 < measures.speech_db < measures.loud_db < -8
    assert 0.38 < measures.start_silence_seconds < 0.5
    assert 0.55 < measures.end_silence_seconds < 0.7
    assert measures.inner_silence_seconds < 0.3
    assert measures.start_edge_db < measures.speech_db - 35
    assert measures.end_edge_db < measures.speech_db - 35
    assert measures.bandwidth_hertz == RATE / 2
    assert len(measures.outline) == 300
    assert max(measures.outline) == pytest.approx(measures.peak, abs=1e-3)
    # As the cache holds them.
    cached = json.loads(json.dumps(asdict(measures)))
    assert AudioMeasures(**{**cached, "outline": tuple(cached["outline"])}) == measures


def test_one_number_says_whether_two_files_hold_the_same(
    tmp_path: Path, speech: np.ndarray
) -> None:
    digest = measure(tmp_path, speech).digest
    soundfile.write(tmp_path / "other.flac", speech, RATE)
    assert measure_recording(tmp_path / "other.flac").digest == digest
    assert measure(tmp_path, np.stack([speech, speech], axis=1)).digest == digest
    assert measure(tmp_path, speech, RATE * 2).digest != digest
    assert measure(tmp_path, speech[:-1]).digest != digest


ENCODERS = [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("FLAC", "PCM_16")]


@pytest.mark.parametrize(("kind", "subtype"), ENCODERS)
@pytest.mark.parametrize("gain", [0.75, 0.2])
def test_tops_that_an_encoder_rounded_are_found(
    tmp_path: Path, speech: np.ndarray, kind: str, subtype: str, gain: float
) -> None:
    """No two samples are equal any more, so runs of equal ones find nothing."""

    def encode(samples: np.ndarray) -> np.ndarray:
        soundfile.write(tmp_path / "coded", samples, RATE, subtype, format=kind)
        decoded, _ = soundfile.read(tmp_path / "coded")
        return soxr.resample(soxr.resample(decoded, RATE, 16000), 16000, RATE)

    voice = np.tile(speech, 1 + int(5 * RATE / len(speech)))
    voice = voice / np.abs(voice).max()
    spoilt = measure(tmp_path, gain * encode(np.clip(2.5 * voice, -0.95, 0.95)))
    assert spoilt.clipped_share < 1e-3
    assert spoilt.crowding > CROWDING
    assert spoilt.crowded_level == pytest.approx(0.9 * gain, rel=0.2)
    whole = measure(tmp_path, gain * encode(0.9 * voice))
    assert whole.crowding < 1.05


def test_flat_tops_are_counted(tmp_path: Path, speech: np.ndarray) -> None:
    clipped = np.clip(speech * 4, -1, 1)
    share = measure(tmp_path, clipped).clipped_share
    assert 0.01 < share < (np.abs(clipped) >= 0.999).mean() + 1e-9
    # Turned down after clipping, the tops are as flat.
    assert measure(tmp_path, clipped * 0.4).clipped_share == pytest.approx(share, rel=0.02)
    peaks = speech.copy()
    peaks[5000:6000:100] = 1.0
    assert measure(tmp_path, peaks).clipped_share == 0
    stereo = np.stack([clipped, speech * 0.1], axis=1)
    assert measure(tmp_path, stereo).clipped_share == pytest.approx(share / 2, rel=0.01)


def test_levels_follow_the_gain_and_no_offset(tmp_path: Path, speech: np.ndarray) -> None:
    plain, moved = measure(tmp_path, speech * 0.5), measure(tmp_path, speech * 0.5 + 0.1)
    assert moved.dc_offset == pytest.approx(plain.dc_offset + 0.1, abs=1e-4)
    quiet = measure(tmp_path, speech * 0.05)
    for name in ("loud_db", "speech_db", "floor_db", "start_edge_db", "end_edge_db"):
        assert getattr(moved, name) == pytest.approx(getattr(plain, name), abs=0.5)
        if name in ("loud_db", "speech_db"):
            assert getattr(quiet, name) == pytest.approx(getattr(plain, name) - 20, abs=0.1)


@pytest.mark.parametrize(
    ("low", "high"), [(8000, 22050), (8000, 16000), (16000, 22050), (16000, 48000), (24000, 44100)]
)
def test_upsampling_adds_nothing(tmp_path: Path, speech: np.ndarray, low: int, high: int) -> None:
    # Its own rate is taken for `low`: energy up to half of it.
    found = measure(tmp_path, soxr.resample(speech, low, high), high).bandwidth_hertz
    assert 0.8 * low / 2 <= found <= 1.03 * low / 2


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
def test_nothing_is_missing_of_an_original(tmp_path: Path, speech: np.ndarray, rate: int) -> None:
    assert measure(tmp_path, speech, rate).bandwidth_hertz == rate / 2


def test_an_encoder_takes_the_top_away(tmp_path: Path, speech: np.ndarray) -> None:
    # At twice its speed there is energy up to 22 kHz, of which 64 kbit/s leave half.
    soundfile.write(
        *(tmp_path / "low.mp3", speech, 44100), bitrate_mode="CONSTANT", compression_level=0.9
    )
    assert 9000 < measure_recording(tmp_path / "low.mp3").bandwidth_hertz < 17000


@pytest.mark.parametrize("num_samples", [1, 2, 100, 500])
def test_hardly_any_samples(tmp_path: Path, num_samples: int) -> None:
    measures = measure(tmp_path, np.full(num_samples, 0.5, np.float32))
    assert measures.seconds == num_samples / RATE
    assert len(measures.outline) == min(num_samples, 300)


def test_silence_has_levels_too(tmp_path: Path) -> None:
    measures = measure(tmp_path, np.zeros(RATE, np.float32))
    assert measures.loud_db == measures.floor_db == pytest.approx(-100)
    assert measures.peak == measures.clipped_share == 0


@pytest.mark.parametrize(
    ("suffix", "format_"),
    [
        (".wav", {}),
        (".wav", {"subtype": "FLOAT"}),
        (".wav", {"format": "WAVEX", "subtype": "PCM_24"}),
        (".wav", {"endian": "BIG"}),
        (".wav", {"subtype": "IMA_ADPCM"}),
        (".rf64", {}),
        (".aiff", {}),
        (".ogg", {}),
        (".mp3", {}),
    ],
)
def test_a_file_that_was_cut_off(
    tmp_path: Path, speech: np.ndarray, suffix: str, format_: dict[str, str]
) -> None:
    path = tmp_path / f"file{suffix}"
    soundfile.write(path, speech, RATE, **format_)
    assert measure_recording(path).has_all_data
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    measures = measure_recording(path)
    assert not measures.has_all_data
    assert measures.seconds < 0.75 * len(speech) / RATE


@pytest.mark.parametrize(
    ("whole", "promised"),
    [(8, 0), (0x7FFFF024, 0x7FFFF000), (0x80000024, 0x80000000), (0xFFFFFFFF, 0xFFFFFFFF)],
)
def test_a_stream_does_not_know_its_length(
    tmp_path: Path, speech: np.ndarray, whole: int, promised: int
) -> None:
    """As SoX, arecord and FFmpeg write to a pipe, and a recorder that was killed (0)."""
    path = tmp_path / "stream.wav"
    soundfile.write(path, speech, RATE)
    data = bytearray(path.read_bytes())
    data[40:44] = struct.pack("<I", promised)
    data[4:8] = struct.pack("<I", whole)
    path.write_bytes(data)
    measures = measure_recording(path)
    assert measures.has_all_data
    assert measures.seconds == pytest.approx(len(speech) / RATE, abs=0.01)


def test_other_chunks_are_passed_over(tmp_path: Path, speech: np.ndarray) -> None:
    """A chunk of odd length has a byte behind it that its length does not count."""
    path = tmp_path / "chunks.wav"
    soundfile.write(path, speech, RATE)
    data = path.read_bytes()
    data = data[:36] + b"note" + struct.pack("<I", 5) + b"data!\0" + data[36:]
    path.write_bytes(data)
    assert measure_recording(path).has_all_data
    path.write_bytes(data[:-1000])
    assert not measure_recording(path).has_all_data


def test_a_guessed_length_is_no_promise(tmp_path: Path, speech: np.ndarray) -> None:
    """Without its first frame an MP3 has no length, and libsndfile guesses one from its size."""
    path = tmp_path / "file.mp3"
    soundfile.write(path, speech, RATE, bitrate_mode="VARIABLE", compression_level=0.9)
    data = path.read_bytes()
    second = data.index(data[:2], 30)
    path.write_bytes(data[second:])
    assert soundfile.info(path).frames > 1.2 * len(speech)
    assert measure_recording(path).has_all_data


def test_what_cannot_be_measured(tmp_path: Path, speech: np.ndarray) -> None:
    path = tmp_path / "bad.wav"
    for data in (b"", b"no audio " * 99):
        path.write_bytes(data)
        with pytest.raises(DatasetError, match=r"bad\.wav (is empty|cannot be decoded)"):
            measure_recording(path)
    with pytest.raises(DatasetError, match="no samples"):
        measure(tmp_path, np.zeros(0, np.float32))
    with pytest.raises(DatasetError, match="NaN"):
        measure(tmp_path, np.where(np.arange(len(speech)) == 9, np.nan, speech), subtype="FLOAT")
