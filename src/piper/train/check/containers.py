"""Whether an audio file holds all that its headers promise. Decodes nothing.

libsndfile takes a file that was cut off for a shorter one without a word, save for FLAC.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from piper.train.data.audio import DecodedAudio

STREAM_BYTES = 0x7FFF0000
"""Programs that write to a pipe don't know the length and promise this or more: SoX 0x7ffff000,
arecord 0x80000000, FFmpeg 0xffffffff."""
SPARE_BYTES = 64
"""Some writers count the 44 bytes of the header as data; that is 1.4 ms at 16 kHz."""
MP3_SPARE_SAMPLES = 3 * 1152
"""Decoders differ about the first and the last frame."""
MOST_CHUNKS = 10_000
"""Of a damaged file that would be looked through by empty chunks of 8 bytes."""
OGG_TAIL_BYTES = 65536 + 512
"""More than the largest page, so that the last one begins in it."""


def has_all_data(path: Path, decoded: DecodedAudio) -> bool:
    """Return False where a WAV, AIFF, MP3 or Ogg file ends before its headers say.

    Args:
        path: The file.
        decoded: What came out of it.
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
    for _ in range(MOST_CHUNKS):
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
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    return len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


def _has_frame_count(file: BinaryIO) -> bool:
    """Return whether an MP3 says its length; without it, libsndfile guesses, up to thrice wrong."""
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        start = 10 + sum(
            byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
        )
    file.seek(start)
    frame = file.read(256)
    return b"Xing" in frame or b"Info" in frame
