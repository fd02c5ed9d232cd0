"""Opinions of speech that was heard before: the slowest judge is not asked twice. Knows no scores.

By the samples themselves, so that another recogniser, or another choice of scores, costs nothing.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from piper.train.check.kept import keep_result, load_results
from piper.train.data.audio import FloatArray
from piper.train.judges.opinion import QualityPredictor

KEPT_NAME = "opinions-1.jsonl"
"""In the output's folder; the number is raised when judges are given other samples."""


class KeptOpinions:
    """A predictor that remembers.

    Args:
        name: Of the predictor.
        predictor: Scores speech.
        folder: Where opinions are kept.
    """

    def __init__(self, name: str, predictor: QualityPredictor, folder: Path) -> None:
        self._name = name
        self._predictor = predictor
        self._path = folder / KEPT_NAME
        self._kept = load_results(self._path, float)

    def __call__(self, samples: FloatArray, rate: int) -> float:
        """Return the opinion of samples, (S,), at a rate in hertz."""
        digest = hashlib.blake2b(np.ascontiguousarray(samples).data, digest_size=16).hexdigest()
        key = f"{self._name}|{rate}|{digest}"
        if key not in self._kept:
            self._kept[key] = float(self._predictor(samples, rate))
            keep_result(self._path, key, self._kept[key])
        return self._kept[key]
