"""The import path under which other programs look for the training module; no code of its own."""

from piper.train.lightning import VitsModel

__all__ = ["VitsModel"]
