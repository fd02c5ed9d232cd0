"""Import path that other programs use; the symbols are defined in `piper.phoneme_ids`."""

from __future__ import annotations

from piper.phoneme_ids import BOS, EOS, PAD

__all__ = ["BOS", "EOS", "PAD"]
