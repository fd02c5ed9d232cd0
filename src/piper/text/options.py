"""Import path that other programs use; the options live in `piper.text.frontend`."""

from piper.text.frontend import Stress, TextOptions

__all__ = ["Stress", "TextOptions"]
