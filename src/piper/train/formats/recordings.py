"""A recording of any kind to a WAV of 16 bits and one channel."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from piper.audio.output import write_wav
from piper.errors import DatasetError, PiperError
from piper.files import replace_on_success
from piper.train.data.audio import (
    CUT_IT,
    MAX_UTTERANCE_SECONDS,
    RATES,
    check_header,
    find_container,
    read_samples,
    refuse_length,
)
from piper.train.formats.source import open_table

FULL_SCALE = 32768
MIN_SAMPLE_RATE = 8000
MAX_BYTES = 10**9
"""Of a compressed recording, which is read into memory: ten minutes have a tenth of it."""
INSTALL = 'pip install "piper-workshop[formats]"'
UNDECODABLE = "undecodable"
# FFmpeg's names. None is guessed from what is in a file: some containers name other files or
# addresses to go on with, and a recording must bring nothing but itself.
_AV_FORMATS = {
    ".g722": "g722",
    ".m4a": "mov",
    ".mp4": "mov",
    ".aac": "aac",
    ".webm": "matroska",
    ".mka": "matroska",
    ".wma": "asf",
}

Samples = npt.NDArray[np.int16] | npt.NDArray[np.float32]


@dataclass(frozen=True)
class RecordingJob:
    """A recording to write.

    Attributes:
        source: The recording, or the table that holds it.
        cell: Column and row of the table.
    """

    source: Path
    cell: tuple[str, int] | None
    target: Path


@dataclass(frozen=True)
class Written:
    """What became of a recording.

    Attributes:
        change: What was changed beside its format, may be empty.
        error: Why there is no file, may be empty.
    """

    sample_rate: int = 0
    seconds: float = 0.0
    change: str = ""
    error: str = ""


def write_recording(job: RecordingJob) -> Written:
    """Write a recording; copy it where it is a WAV of 16 bits and one channel already.

    Else it is decoded, its channels are averaged, and its rate stays. Raises nothing that a
    recording may cause.

    Raises:
        OSError: The WAV cannot be written, because the disk is full for example.
    """
    try:
        if job.cell is None and (found := measure_wav(job.source)) is not None:
            with replace_on_success(job.target) as temporary:
                shutil.copyfile(job.source, temporary)
            return found
        samples, sample_rate = _decode(job)
    except DatasetError as error:
        return Written(error=str(error))
    change = ""
    if samples.dtype == np.int16:
        exact = samples.astype(np.int16, copy=False)
    else:
        exact, change = _float_to_int16(samples.astype(np.float32, copy=False))
    try:
        write_wav(job.target, exact, sample_rate)
    except PiperError as error:
        raise OSError(0, str(error).rstrip("."), str(job.target)) from None
    return Written(sample_rate, len(samples) / sample_rate, change)


def _float_to_int16(samples: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int16], str]:
    """Return (S,) samples of 16 bits, exactly those that 16 bits were decoded to; and a change.

    `audio.chunk` has 32,767 as full scale, which suits a voice's output; a file's is 32,768.
    """
    change = ""
    peak = float(np.abs(samples).max())
    if peak > 1.0:
        # Float and lossy files may go above full scale; clipping would be heard.
        samples = samples / np.float32(peak)
        change = f"made {20 * np.log10(peak):.1f} dB quieter, since its peak is above full scale"
    scaled = np.clip(np.rint(samples * np.float32(FULL_SCALE)), -FULL_SCALE, FULL_SCALE - 1)
    return scaled.astype(np.int16), change


def measure_wav(path: Path) -> Written | None:
    """Return rate and length of a WAV of 16 bits and one channel; None where it is none."""
    if not path.is_file():
        return None  # before soundfile, whose absence `check_libraries` says better
    import soundfile

    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, OSError, RuntimeError):
        return None
    is_plain = (info.format, info.subtype, info.channels) == ("WAV", "PCM_16", 1)
    is_sound = MIN_SAMPLE_RATE <= info.samplerate <= RATES[1]
    if not (is_plain and is_sound and 0 < info.frames <= MAX_UTTERANCE_SECONDS * info.samplerate):
        return None
    return Written(info.samplerate, info.frames / info.samplerate)


def _decode(job: RecordingJob) -> tuple[Samples, int]:
    """Return (S,) int16 where the file holds such samples of one channel, else float32."""
    data, suffix = _open(job)
    with data as file:
        # By its content first: a studio's M4A may be called .wav.
        _, format_name = find_container(file.read(16))
        file.seek(0)
        if format_name or suffix in _AV_FORMATS:
            samples, sample_rate = _decode_with_av(file, format_name or _AV_FORMATS[suffix])
        else:
            samples, sample_rate = _decode_with_soundfile(file)
    if len(samples) == 0:
        raise DatasetError("no samples")
    if not np.isfinite(samples).all():
        raise DatasetError("samples that are no numbers (NaN)")
    if sample_rate < MIN_SAMPLE_RATE:
        raise DatasetError(f"{sample_rate} Hz, below {MIN_SAMPLE_RATE}")
    return samples, sample_rate


def _open(job: RecordingJob) -> tuple[BinaryIO, str]:
    if job.cell is None:
        try:
            return job.source.open("rb"), job.source.suffix.lower()
        except OSError as error:
            raise DatasetError(error.strerror or "cannot be read") from None
    content, path = open_table(job.source).read_bytes(*job.cell)
    if not content:
        raise DatasetError("no bytes in the table")
    return io.BytesIO(content), Path(path).suffix.lower()


def _decode_with_soundfile(file: BinaryIO) -> tuple[Samples, int]:
    import soundfile

    try:
        with soundfile.SoundFile(file) as sound:
            is_exact = sound.subtype == "PCM_16" and sound.channels == 1
            samples = read_samples(sound, "int16" if is_exact else "float32")
            sample_rate = int(sound.samplerate)
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        reason = str(error).rsplit(": ", maxsplit=1)[-1].rstrip(".")
        raise DatasetError(reason) from None
    return samples[:, 0] if is_exact else samples.mean(axis=1, dtype=np.float32), sample_rate


def _decode_with_av(file: BinaryIO, format_name: str) -> tuple[Samples, int]:
    try:
        import av
    except ImportError:
        raise DatasetError(f"read by the library av, which is not installed: {INSTALL}") from None
    try:
        content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise DatasetError(f"has more than {MAX_BYTES / 1e9:.0f} GB; {CUT_IT}")
        with av.open(_Content(content), "r", format=format_name) as container:
            if not container.streams.audio:
                raise DatasetError("no audio in it")
            stream = container.streams.audio[0].codec_context
            sample_rate = int(stream.sample_rate)
            check_header(sample_rate, stream.channels)
            pieces, count = [], 0
            resampler = av.AudioResampler(format="fltp")  # changes neither rate nor channels
            for decoded in container.decode(audio=0):
                for frame in resampler.resample(decoded):
                    pieces.append(frame.to_ndarray())
                    count += pieces[-1].shape[1]
                if count > MAX_UTTERANCE_SECONDS * sample_rate:
                    refuse_length(count / sample_rate)
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise DatasetError(str(reason).rstrip(".")) from None
    if not pieces:
        raise DatasetError("no samples")
    samples = np.concatenate(pieces, axis=1)
    return samples.mean(axis=0, dtype=np.float32), sample_rate


class _Content(io.BytesIO):
    """Bytes that refuse a damaged file's seeks by a number: av prints what is raised there."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except (OSError, ValueError):
            return -1


def check_libraries(jobs: list[RecordingJob]) -> None:
    """Check that what the recordings' endings ask for is installed."""
    try:
        import soundfile  # noqa: F401
    except (ImportError, OSError):  # OSError: there is no libsndfile for this machine
        raise DatasetError(f"Recordings are read by the library soundfile: {INSTALL}.") from None
    special = next((job.source for job in jobs if job.source.suffix.lower() in _AV_FORMATS), None)
    if special is not None:
        try:
            import av  # noqa: F401
        except ImportError:
            raise DatasetError(
                f"{special.name} is read by the library av, which is not installed: {INSTALL}."
            ) from None
