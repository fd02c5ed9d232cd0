"""Audio that is heard while it is made: the bytes are the file's, as far as they can be."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest
import soundfile

from piper.audio.chunk import samples_to_pcm
from piper.audio.output import OutputFormat, Resampler, StreamEncoder, encode_samples

RATE = 22050


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """Four seconds that no coder can leave out: noise below 3 kHz, louder and softer."""
    random = np.random.default_rng(5)
    noise = np.convolve(random.standard_normal(4 * RATE), np.hanning(15), mode="same")
    envelope = 0.5 + 0.5 * np.sin(np.arange(4 * RATE) / RATE * 7)
    return (noise / np.abs(noise).max() * envelope * 20000).astype(np.int16)


def stream(encoder: StreamEncoder, samples: np.ndarray, size: int) -> list[bytes]:
    pieces = [encoder.write(samples[at : at + size]) for at in range(0, len(samples), size)]
    return [*pieces, encoder.finish()]


def decode(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)[
            0
        ]


@pytest.mark.parametrize("size", [1000, 30_000, 10**6])
def test_wav_with_a_known_length_is_the_file(samples: np.ndarray, size: int) -> None:
    encoder = StreamEncoder(OutputFormat.WAV, RATE, total_samples=len(samples))
    assert b"".join(stream(encoder, samples, size)) == encode_samples(samples, RATE)


def test_wav_without_one_says_so(samples: np.ndarray) -> None:
    data = b"".join(stream(StreamEncoder(OutputFormat.WAV, RATE), samples, 5000))
    assert struct.unpack_from("<I", data, 4) == struct.unpack_from("<I", data, 40) == (2**32 - 1,)
    read, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    assert rate == RATE
    np.testing.assert_array_equal(read, samples)


def test_flac_with_a_known_length_is_read_by_libsndfile(samples: np.ndarray) -> None:
    encoder = StreamEncoder(OutputFormat.FLAC, RATE, total_samples=len(samples))
    data = b"".join(stream(encoder, samples, 5000))
    read, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    assert rate == RATE
    np.testing.assert_array_equal(read, samples)


def test_flac_without_one_is_read_by_players(samples: np.ndarray) -> None:
    data = b"".join(stream(StreamEncoder(OutputFormat.FLAC, RATE), samples, 5000))
    np.testing.assert_array_equal(decode(data), samples)


def test_mp3_does_not_begin_with_an_empty_frame(samples: np.ndarray) -> None:
    # LAME keeps a frame free for the length, which a file gets in the end. In a stream it stayed
    # empty, and libsndfile took one second of five for the whole.
    data = b"".join(stream(StreamEncoder(OutputFormat.MP3, RATE), samples, 5000))
    assert data[:2] == encode_samples(samples, RATE, OutputFormat.MP3)[:2]
    assert any(data[4:20])
    assert abs(len(decode(data)) - len(samples)) < 3 * 576
    read, _ = soundfile.read(io.BytesIO(data))
    assert abs(len(read) - len(samples)) < 5 * 576


@pytest.mark.parametrize(
    "output_format", [OutputFormat.MP3, OutputFormat.OPUS, OutputFormat.FLAC, OutputFormat.WAV]
)
def test_what_has_come_can_be_heard_at_once(
    samples: np.ndarray, output_format: OutputFormat
) -> None:
    pieces = stream(StreamEncoder(output_format, RATE), samples, RATE // 4)
    half = decode(b"".join(pieces[: len(pieces) // 2]))
    rate = 48000 if output_format is OutputFormat.OPUS else RATE
    # Ogg gives pages of a second.
    assert len(half) / rate > 0.9


def test_opus_is_the_file_but_for_its_number(samples: np.ndarray) -> None:
    encoder = StreamEncoder(OutputFormat.OPUS, 24000)
    data = b"".join(stream(encoder, samples, 5000))
    assert (data[:4], encoder.sample_rate) == (b"OggS", 24000)
    assert len(decode(data)) == 2 * len(samples)


def test_another_rate(samples: np.ndarray) -> None:
    encoder = StreamEncoder(OutputFormat.RAW, RATE, 24000, total_samples=len(samples))
    data = b"".join(stream(encoder, samples, 3000))
    resampler = Resampler(RATE, 24000)
    wanted = samples_to_pcm(resampler.write(samples)) + samples_to_pcm(resampler.finish())
    assert len(data) == len(wanted)
    difference = np.frombuffer(data, "<i2").astype(int) - np.frombuffer(wanted, "<i2")
    assert np.abs(difference).max() <= 1


def test_nothing_is_still_a_wav() -> None:
    assert len(StreamEncoder(OutputFormat.WAV, 16000).finish()) == 44
