"""Import path that other programs use; the symbols are defined in `piper.text.ids`."""

from __future__ import annotations

from piper.text.ids import BOS, EOS, PAD

__all__ = ["BOS", "EOS", "PAD"]
