"""Measures recordings and texts on all cores.

One decode a file; 10 s at 16 kHz take some 4 ms of one core. What was measured of a recording is
cached at once, line by line: a stopped check goes on, and a second one measures what has changed.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from piper.config import VoiceConfig
from piper.errors import DatasetError, PiperError
from piper.files import append_record, load_results
from piper.jobs import run_jobs
from piper.train.check.entries import AudioMeasures, Entry, TextMeasures
from piper.train.data.audio import (
    FLOOR_PERCENTILE,
    MIN_LEVEL_DB,
    DecodedAudio,
    FloatArray,
    decode,
    find_speech_threshold,
    level_hop,
    measure_levels,
    smooth_levels,
)
from piper.train.data.metadata import remove_stress_marks
from piper.train.data.prepare import text_to_ids
from piper.train.data.scripts import find_named_letters
from piper.train.data.settings import DataSettings

BIN_HERTZ = 32.0
"""At most; a frame is then 23 to 64 ms long, which is within a sound of speech."""
MAX_FRAMES = 256
NUM_BANDS = 64
LOWEST_HERTZ = 2500.0
"""Below this a steep fall is a vowel's; a telephone's band ends at 3,400 Hz."""
CLIFF_DB = 25.0
EDGE_BANDS = 3
STREAM_BYTES = 0x7FFF0000
"""Programs that write to a pipe don't know the length and promise this or more: SoX 0x7ffff000,
arecord 0x80000000, FFmpeg 0xffffffff."""
SPARE_BYTES = 64
"""Some writers count the 44 bytes of the header as data; that is 1.4 ms at 16 kHz."""
MP3_SPARE_SAMPLES = 3 * 1152
"""Decoders differ about the first and the last frame."""
MAX_CHUNKS = 10_000
"""Of a damaged file that would be looked through by empty chunks of 8 bytes."""
OGG_TAIL_BYTES = 65536 + 512
"""More than the largest page, so that the last one begins in it."""
FULL_SCALE = 0.999
"""32 of 32,768 steps below it: where limiters and converters of 8 bits to 16 stop."""
OWN_SCALE = 0.9995
"""Of the peak: a clipped recording that was turned down has its flat tops there. In 1,763 real
recordings (festvox-ru and telephone prompts) not one sample is in a run so near to its peak."""
MIN_PEAK = 0.05
"""In quieter recordings one step of 16 bits is wider than what `OWN_SCALE` leaves."""
CLIPPED_RUN = 3
LEVELS = 30
"""Steps of level that samples are counted in, up to a fifth above all but the loudest of them."""
LOUDEST_PART = 1000
MIN_SHARE = 0.002
"""Of the samples, in a step of level that counts: rarer ones rise by chance."""
CROWDING_SECONDS = 2.0
"""Of 2,114 stretches of half a second of real speech 5 % crowd by chance at more than 1.15, of 544
of two seconds none."""
OUTLINE_PIECES = 300
OUTLINE_DIGITS = 3
MEASURES_NAME = "check-2.jsonl"
"""In the cache; the number is raised when measures change."""


def measure_bandwidth(samples: FloatArray, sample_rate: int) -> float:
    """Return the hertz above which there is nothing; half the sample rate where there is.

    The spectrum of the loudest half of the frames is averaged in 64 bands. It ends where the mean
    of three bands lies 25 dB above the highest of all bands beyond the next two: speech falls off
    smoothly, and what a resampler or an encoder took away falls off at once.

    Args:
        samples: (S,) of one channel.
    """
    levels = _measure_bands(samples, sample_rate)
    band_hertz = sample_rate / 2 / NUM_BANDS
    highest_beyond = np.maximum.accumulate(levels[::-1])[::-1]
    bands = np.arange(max(EDGE_BANDS, round(LOWEST_HERTZ / band_hertz)), NUM_BANDS - 2)
    below = np.mean([levels[bands - distance] for distance in range(1, EDGE_BANDS + 1)], axis=0)
    falls = below - highest_beyond[bands + 2]
    if falls.max(initial=0.0) < CLIFF_DB:
        return sample_rate / 2
    return float(bands[int(falls.argmax())] * band_hertz)


def _measure_bands(samples: FloatArray, sample_rate: int) -> npt.NDArray[np.float64]:
    """Return the levels of 64 bands in dB, (64,)."""
    size = 512
    while sample_rate / size > BIN_HERTZ:
        size *= 2
    if len(samples) < size:
        samples = np.pad(samples, (0, size - len(samples)))
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    # Whispers and pauses are nearer to the noise of 16 bits, in which a cliff drowns.
    loudest = np.argsort(np.einsum("ij,ij->i", frames, frames))[len(frames) // 2 :]
    step = -(-len(loudest) // MAX_FRAMES)
    window = np.hanning(size).astype(np.float32)
    spectra = np.fft.rfft(frames[loudest[::step]] * window, axis=1)[:, 1:]
    power = (spectra.real**2 + spectra.imag**2).mean(axis=0, dtype=np.float64)
    bands = power[: len(power) // NUM_BANDS * NUM_BANDS].reshape(NUM_BANDS, -1).mean(axis=1)
    return np.asarray(10 * np.log10(bands + 1e-12))


def _has_all_data(path: Path, decoded: DecodedAudio) -> bool:
    """Return False where a WAV, AIFF, MP3 or Ogg file ends before its headers say.

    libsndfile takes such a file for a shorter one without a word, save for FLAC.
    """
    with path.open("rb") as file:
        head = file.read(12)
        size = path.stat().st_size
        if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:] == b"WAVE":
            order = ">" if head[:4] == b"RIFX" else "<"
            return _has_all_of_chunk(file, size, b"data", order)
        if head[:4] == b"FORM" and head[8:11] == b"AIF":
            return _has_all_of_chunk(file, size, b"SSND", ">")
        if head[:4] == b"OggS":
            return _has_all_of_last_page(file, size)
        if decoded.subtype.startswith("MPEG") and _has_frame_count(file):
            return len(decoded.samples) >= decoded.promised_samples - MP3_SPARE_SAMPLES
    return True


def _has_all_of_chunk(file: BinaryIO, file_size: int, wanted: bytes, order: str) -> bool:
    position = 12
    wide_size = None
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            break
        name, size = struct.unpack(f"{order}4sI", head)
        position += 8
        if name == b"ds64":  # RF64 and BW64: sizes of 64 bits
            wide_size = int.from_bytes(file.read(16)[8:], "little")
        if name == wanted:
            size = wide_size if wide_size and size == 0xFFFFFFFF else size
            is_stream = size >= STREAM_BYTES and wide_size is None
            return is_stream or position + size <= file_size + SPARE_BYTES
        position += size + size % 2
    return True


def _has_all_of_last_page(file: BinaryIO, file_size: int) -> bool:
    file.seek(max(0, file_size - OGG_TAIL_BYTES))
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    # Its head has 27 bytes; the last says how many sizes of segments follow.
    sizes = page[27 : 27 + page[26]] if len(page) >= 27 else b""
    return len(page) >= 27 and len(page) >= 27 + page[26] + sum(sizes)


def _has_frame_count(file: BinaryIO) -> bool:
    """Return whether an MP3 says its length; without it, libsndfile guesses, up to thrice wrong."""
    file.seek(0)
    head = file.read(10)
    is_tagged = head[:3] == b"ID3" and len(head) == 10
    sizes = zip(head[6:], (21, 14, 7, 0), strict=False)
    file.seek(10 + sum(byte << shift for byte, shift in sizes) if is_tagged else 0)
    frame = file.read(256)
    return b"Xing" in frame or b"Info" in frame


def measure_recording(path: Path) -> AudioMeasures:
    """Measure a recording."""
    decoded = decode(path)
    try:
        is_whole = _has_all_data(path, decoded)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); replace it.") from None
    return measure_decoded(decoded, is_whole=is_whole)


def measure_decoded(decoded: DecodedAudio, *, is_whole: bool = True) -> AudioMeasures:
    """Measure a recording that was decoded; `is_whole` says whether the file has all its data."""
    samples, rate = decoded.mix(), decoded.sample_rate
    levels = measure_levels(samples, rate)
    smooth = smooth_levels(levels)
    active = np.flatnonzero(smooth > find_speech_threshold(smooth))
    hop = level_hop(rate)
    start, end = int(active[0]) * hop, min(len(samples), (int(active[-1]) + 2) * hop)
    silence, silence_start = _measure_inner_silence(active, hop)
    offset = float(samples.mean(dtype=np.float64))
    crowding, crowded_level = _measure_crowding(samples - offset, rate)
    digest = hashlib.blake2b(str(rate).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(samples).data)
    return AudioMeasures(
        seconds=len(samples) / rate,
        sample_rate=rate,
        channels=decoded.samples.shape[1],
        subtype=decoded.subtype,
        has_all_data=is_whole,
        digest=digest.hexdigest(),
        peak=float(np.abs(decoded.samples).max()),
        clipped_share=_measure_clipped_share(decoded),
        crowding=crowding,
        crowded_level=crowded_level,
        dc_offset=offset,
        loud_db=float(smooth.max()),
        floor_db=float(np.percentile(smooth, FLOOR_PERCENTILE)),
        # Of the mean power: quiet sounds count for less than loud ones.
        speech_db=float(10 * np.log10(np.mean(10 ** (levels[active] / 10)))),
        start_silence_seconds=start / rate,
        end_silence_seconds=(len(samples) - end) / rate,
        inner_silence_seconds=silence / rate,
        inner_silence_start=silence_start / rate,
        start_edge_db=_measure_level(samples[:hop] - offset),
        end_edge_db=_measure_level(samples[-hop:] - offset),
        bandwidth_hertz=measure_bandwidth(samples, rate),
        outline=_draw_outline(samples),
    )


def _measure_inner_silence(active: npt.NDArray[np.int64], hop: int) -> tuple[int, int]:
    """Return length and start of the longest silence between active levels, in samples."""
    if len(active) < 2:
        return 0, 0
    gaps = np.diff(active)
    longest = int(gaps.argmax())
    # A level covers two hops: speech ends two hops after the start of its last one.
    length = max(0, int(gaps[longest]) - 2) * hop
    return length, (int(active[longest]) + 2) * hop if length else 0


def _measure_clipped_share(decoded: DecodedAudio) -> float:
    """Return the share of samples in runs of three and more at full scale, of all channels.

    One sample at full scale is a peak; three in a row are a flat top. Full scale is the file's, or
    the recording's own peak where it was turned down after clipping.
    """
    sizes = np.abs(decoded.samples)
    peak = float(sizes.max())
    if peak < MIN_PEAK or len(sizes) < CLIPPED_RUN:
        return 0.0
    is_full = sizes >= min(FULL_SCALE, OWN_SCALE * peak)
    if np.count_nonzero(is_full) < CLIPPED_RUN:
        return 0.0
    runs = is_full[:-2] & is_full[1:-1] & is_full[2:]
    in_run = np.zeros_like(is_full)
    for offset in range(CLIPPED_RUN):
        in_run[offset : offset + len(runs)] |= runs
    return float(in_run.mean())


def _measure_crowding(samples: FloatArray, sample_rate: int) -> tuple[float, float]:
    """Return how many times more samples there are at a loud level than at a quieter one; and it.

    Of speech there are ever fewer samples the louder they are. Where tops were cut they crowd at
    one level, and still do after an encoder, a resampler or a gain, which leave no two equal.
    """
    sizes = np.abs(samples)
    if len(sizes) < CROWDING_SECONDS * sample_rate:
        return 1.0, 0.0
    place = len(sizes) - 1 - len(sizes) // LOUDEST_PART
    loud = float(np.partition(sizes, place)[place])
    if loud < MIN_PEAK / 2:
        return 1.0, 0.0
    width = 1.2 * loud / LEVELS
    counts = np.bincount(np.minimum(sizes / width, LEVELS).astype(np.intp), minlength=LEVELS + 1)
    smooth = np.convolve(counts[:LEVELS], (0.25, 0.5, 0.25), mode="valid")
    rises = smooth / np.maximum(np.minimum.accumulate(smooth), 1.0)
    rises[smooth < MIN_SHARE * len(sizes)] = 1.0
    highest = int(rises.argmax())
    return float(rises[highest]), (highest + 1.5) * width


def _measure_level(samples: FloatArray) -> float:
    power = float(np.mean(samples.astype(np.float64) ** 2))
    return float(10 * np.log10(power + 10 ** (MIN_LEVEL_DB / 10)))


def _draw_outline(samples: FloatArray) -> tuple[float, ...]:
    pieces = min(OUTLINE_PIECES, len(samples))
    starts = np.arange(pieces) * len(samples) // pieces
    peaks = np.minimum(np.maximum.reduceat(np.abs(samples), starts), 1.0)
    return tuple(round(float(peak), OUTLINE_DIGITS) for peak in peaks)


@dataclass(frozen=True)
class _AudioMeasurer:
    """What a worker process runs: a recording to its measures, cached at once."""

    cache_path: Path

    def __call__(self, path: Path) -> AudioMeasures | str:
        result: AudioMeasures | str
        try:
            result = measure_recording(path)
            value: Any = asdict(result)
        except DatasetError as error:
            result = value = str(error)
        append_record(self.cache_path, [create_key(path), value])
        return result


@dataclass(frozen=True)
class TextMeasurer:
    """What a worker process runs: a text to its measures, by the phonemes of one voice."""

    voice: VoiceConfig

    def __call__(self, text: str) -> TextMeasures | None:
        """Return what training would make of a text; None where nothing can be made of it."""
        try:
            phonemes, ids = text_to_ids(text, self.voice)
        except PiperError:
            return None
        return TextMeasures(
            tuple(phonemes),
            tuple(phoneme for phoneme in phonemes if phoneme not in self.voice.phoneme_id_map),
            len(ids),
            find_named_letters(text, self.voice),
        )


def measure_audio(
    paths: Sequence[Path], cache_dir: Path, num_processes: int | None = None
) -> tuple[dict[Path, AudioMeasures], dict[Path, str]]:
    """Return the measures of recordings, and sentences that say why there are none of others."""
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        cached = load_results(cache_dir / MEASURES_NAME, _parse_measures)
    except OSError as error:
        raise DatasetError(
            f"The cache folder {cache_dir} cannot be used ({error.strerror}); name another with "
            "--cache-dir."
        ) from None
    known = {path: cached[key] for path in paths if (key := create_key(path)) in cached}
    missing = [path for path in paths if path not in known]
    measurer = _AudioMeasurer(cache_dir / MEASURES_NAME)
    results = run_jobs(measurer, missing, "Measuring", "recordings", num_processes)
    known.update(zip(missing, results, strict=True))
    return (
        {path: one for path, one in known.items() if isinstance(one, AudioMeasures)},
        {path: one for path, one in known.items() if isinstance(one, str)},
    )


def create_key(path: Path) -> str:
    """By size and time, as preparation's cache has it: a digest would take as long as measuring."""
    stat = path.stat()
    return f"{path.absolute()}|{stat.st_size}|{stat.st_mtime_ns}"


def _parse_measures(value: Any) -> AudioMeasures | str:
    if isinstance(value, str):
        return value
    return AudioMeasures(**{**value, "outline": tuple(value["outline"])})


def measure_texts(
    entries: Sequence[Entry],
    settings: DataSettings,
    voice: VoiceConfig,
    num_processes: int | None,
) -> dict[int, TextMeasures]:
    """Return the measures of texts by line; of those that cannot be phonemised there are none."""
    spoken = [entry for entry in entries if entry.text]
    texts = [find_trained_text(entry, settings) for entry in spoken]
    results = run_jobs(TextMeasurer(voice), texts, "Reading", "texts", num_processes)
    found = zip(spoken, results, strict=True)
    return {entry.line: measures for entry, measures in found if measures is not None}


def find_trained_text(entry: Entry, settings: DataSettings) -> str:
    """Return the text as training reads it."""
    return entry.text if settings.has_stress_marks else remove_stress_marks(entry.text)
