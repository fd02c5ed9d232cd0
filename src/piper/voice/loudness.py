"""Brings the sentences of an utterance to full range by one factor. Knows nothing of networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from piper.audio.chunk import SILENCE_PEAK, AudioChunk
from piper.errors import PiperError, describe_os_error

MEMORY_BYTES = 64 * 2**20
"""13 minutes at 22,050 Hz; longer utterances wait in a temporary file, 5 MB a minute."""


def level_chunks(chunks: Iterable[AudioChunk]) -> Iterator[AudioChunk]:
    """Yield the chunks so that the highest peak of all is 1; silence stays silence.

    The first chunk comes when all are spoken, since only then the peak is known.

    Raises:
        PiperError: There is no room for the temporary file.
    """
    import tempfile  # which a cold start need not wait for

    empty = np.zeros(0, dtype=np.float32)
    waiting: list[tuple[AudioChunk, int]] = []
    peak = 0.0
    with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as file:
        for chunk in chunks:
            audio = chunk.audio_float_array
            peak = max(peak, float(np.max(np.abs(audio), initial=0.0)))
            try:
                file.write(audio.astype(np.float32, copy=False).tobytes())
            except OSError as error:
                raise PiperError(describe_os_error(error)) from None
            waiting.append((replace(chunk, audio_float_array=empty), len(audio)))
        gain = np.float32(1.0 / peak if peak > SILENCE_PEAK else 1.0)
        file.seek(0)
        for chunk, num_samples in waiting:
            audio = np.frombuffer(file.read(num_samples * 4), dtype=np.float32)
            yield replace(chunk, audio_float_array=audio * gain)
