"""Import path that other programs use; the symbols are defined in `piper.text.frontend`."""

from __future__ import annotations

from piper.text.frontend import BOS, EOS, PAD

__all__ = ["BOS", "EOS", "PAD"]
