"""What writes samples as bytes of a format. Knows no format."""

from __future__ import annotations

from abc import ABC, abstractmethod

from piper.audio.chunk import Int16Array


class Encoder(ABC):
    """Writes 16-bit samples to a stream, piece by piece; `close` completes what was written."""

    @abstractmethod
    def write(self, samples: Int16Array) -> None:
        """Append (S,) samples."""

    def close(self) -> None:  # noqa: B027 - raw samples have nothing to complete
        """Complete header and last block; the stream stays open."""
