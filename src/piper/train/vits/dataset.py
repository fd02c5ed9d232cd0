"""The import path under which other programs look for the data module; no code of its own."""

from piper.train.data.module import VitsDataModule

__all__ = ["VitsDataModule"]
