"""Predictors of the opinion that listeners would have of speech, found by name.

Nothing is ever downloaded: DistillMOS is used where it is installed or `make judges` put it, and
others by their names. Knows nothing of training.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import math
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import numpy.typing as npt

from piper.errors import ConfigError
from piper.train.judges.folder import (
    DISTILLMOS,
    is_judge_here,
    say_how_to_get,
    stand_in_for,
)

_LOGGER = logging.getLogger(__name__)

QualityPredictor = Callable[[npt.NDArray[np.float32], int], float]
"""Samples (S,) within 1 and their rate in hertz to a score; higher is better."""

ENTRY_POINT_GROUP = "piper.quality"
"""Packages may offer a `QualityPredictor` under a name in this group of entry points."""

AUTO, OFF = "auto", "off"
DISTILLMOS_RATE = 16000
DISTILLMOS_SAMPLES = 491_520
"""30.72 s; of longer speech the beginning is judged, lest its features take all memory (8 MB a
second)."""
FEATURE_SAMPLES = 320
WINDOW_FEATURES = 384
"""What the network judges at once, 7.68 s."""
HOP_FEATURES = 50
"""The most from one window to the next, a second, as the package has it."""
EDGE_FEATURES = 8
"""0.16 s; a feature depends on 4 others at each side."""


def find_quality_predictor(
    name: str, flag: str = "--validation_quality"
) -> QualityPredictor | None:
    """Return the predictor that a flag names.

    Args:
        name: `auto` (DistillMOS where it is installed), `off`, the name of an entry point in
            the group `piper.quality`, or `package.module:function`.
        flag: Named where it is wrong.

    Returns:
        The predictor, or None where there is none to use.

    Raises:
        ConfigError: There is no predictor of that name.
    """
    if name == OFF:
        return None
    if name == AUTO:
        return _load_distillmos()
    if ":" in name:
        return _import_predictor(name, flag)
    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in found:
        raise ConfigError(
            f'{flag}: there is no predictor "{name}"; give auto, off, '
            "package.module:function"
            + (f", or one of {', '.join(sorted(found))}." if found else ".")
        )
    return _check_callable(name, flag, _import_or_explain(name, flag, found[name].load))


def _import_predictor(name: str, flag: str) -> QualityPredictor:
    module, _, attribute = name.partition(":")

    def load() -> Any:
        value: Any = importlib.import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
        return value

    return _check_callable(name, flag, _import_or_explain(name, flag, load))


def _import_or_explain(name: str, flag: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{flag}={name} cannot be imported ({error}); check the name, and that "
            "its package is installed."
        ) from None


def _check_callable(name: str, flag: str, value: Any) -> QualityPredictor:
    if not callable(value):
        raise ConfigError(
            f"{flag}={name} is no function; it has to take samples and their rate, "
            "and to return a score."
        )
    predictor: QualityPredictor = value
    return predictor


def _load_distillmos() -> QualityPredictor | None:
    """Return DistillMOS (Stahl and Gamper 2025, 1 to 5, any language) where it is installed."""
    if not is_judge_here(DISTILLMOS):
        return None
    try:
        # torchaudio serves its command line only, and its wheels are bound to one version of
        # torch each. The network tells standard output where its weights lie.
        with stand_in_for("torchaudio"), contextlib.redirect_stdout(io.StringIO()):
            package: Any = importlib.import_module("distillmos")
            network = package.ConvTransformerSQAModel().eval()
        return _Distillmos(network.cnn, network.transformer_pool_attn)
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        _LOGGER.warning(
            "DistillMOS is installed but cannot be used (%s), so speech is not scored; install it "
            "anew by %s.",
            error,
            say_how_to_get(DISTILLMOS),
        )
        return None


class _Distillmos:
    """Up to 30.72 s of speech to a predicted mean opinion score.

    The network sees 7.68 s at once; its own `forward` takes the mean over windows of longer speech,
    a second from each other, and computes each anew, 4 times real time. Here the convolutions, nine
    tenths of the work, run once over all of the speech, and over padding not at all.

    Args:
        convolutions: Samples (B, S) to features (B, C, T), 20 ms each.
        transformer: Features (B, T, C) of 7.68 s to a score within 0 and 1, (B, 1).
    """

    def __init__(self, convolutions: Any, transformer: Any) -> None:
        self._convolutions = convolutions
        self._transformer = transformer

    def __call__(self, audio: npt.NDArray[np.float32], rate: int) -> float:
        import soxr
        import torch

        if rate != DISTILLMOS_RATE:
            audio = soxr.resample(audio, rate, DISTILLMOS_RATE)
        samples = np.asarray(audio[:DISTILLMOS_SAMPLES], dtype=np.float32)
        samples = samples / (np.abs(samples).max(initial=0.0) + np.float32(1e-8))
        with torch.inference_mode():
            features = self._extract(samples)
            spare = len(features) - WINDOW_FEATURES
            starts = np.linspace(0, spare, math.ceil(spare / HOP_FEATURES) + 1).astype(int)
            windows = torch.stack([features[start : start + WINDOW_FEATURES] for start in starts])
            return 1.0 + 4.0 * float(self._transformer(windows).mean())

    def _extract(self, samples: npt.NDArray[np.float32]) -> Any:
        """Return features (T, C) of speech and of the silence that fills it up to one window."""
        import torch

        spoken = -(-len(samples) // FEATURE_SAMPLES)
        wanted = max(spoken, WINDOW_FEATURES)
        # All of silence is alike but its end, where the convolutions look beyond it.
        computed = min(wanted, spoken + 2 * EDGE_FEATURES)
        padded = np.pad(samples, (0, computed * FEATURE_SAMPLES - len(samples)))
        features = self._convolutions(torch.from_numpy(padded)[None])[0].T
        if computed == wanted:
            return features
        body, end = features[:-EDGE_FEATURES], features[-EDGE_FEATURES:]
        return torch.cat([body, body[-1:].expand(wanted - computed, -1), end])
