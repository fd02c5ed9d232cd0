"""The kinds of audio file and the rates that they hold. Knows no samples, and loads nothing."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

INSTALL_CODECS = "pip install 'piper-workshop[codecs]'"
INSTALL_AAC = "pip install 'piper-workshop[aac]'"


class OutputFormat(StrEnum):
    """How speech is written."""

    WAV = "wav"
    RAW = "raw"
    FLAC = "flac"
    OPUS = "opus"
    MP3 = "mp3"
    AAC = "aac"


_ENDINGS = {
    ".wav": OutputFormat.WAV,
    ".raw": OutputFormat.RAW,
    ".pcm": OutputFormat.RAW,
    ".flac": OutputFormat.FLAC,
    ".opus": OutputFormat.OPUS,
    ".ogg": OutputFormat.OPUS,
    ".mp3": OutputFormat.MP3,
    ".aac": OutputFormat.AAC,
}

# RFC 6716, section 2; ISO/IEC 11172-3, 13818-3 and the usual extension of layer III below 16 kHz;
# ISO/IEC 14496-3, table 1.18.
_RATES = {
    OutputFormat.OPUS: (8000, 12000, 16000, 24000, 48000),
    OutputFormat.MP3: (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    OutputFormat.AAC: (
        *(8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
        *(64000, 88200, 96000),
    ),
}


def find_format(path: Path | str) -> OutputFormat:
    """Return the format that a file's name asks for by its ending; WAV for any unknown one."""
    return _ENDINGS.get(Path(path).suffix.lower(), OutputFormat.WAV)


def find_rate(output_format: OutputFormat, sample_rate: int) -> int:
    """Return the rate to write at: this one, or where the format lacks it the next higher one."""
    rates = _RATES.get(output_format)
    if rates is None:
        return sample_rate
    return next((rate for rate in rates if rate >= sample_rate), rates[-1])
