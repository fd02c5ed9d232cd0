"""Predictors of the opinion that listeners would have of speech, found by name.

Nothing is ever downloaded: DistillMOS is used where it is installed, and others by their names.
Knows nothing of training.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from piper.errors import ConfigError

_LOGGER = logging.getLogger(__name__)

QualityPredictor = Callable[[npt.NDArray[np.float32], int], float]
"""Samples (S,) within 1 and their rate in hertz to a score; higher is better."""

ENTRY_POINT_GROUP = "piper.quality"
"""Packages may offer a `QualityPredictor` under a name in this group of entry points."""

AUTO, OFF = "auto", "off"
DISTILLMOS_RATE = 16000
DISTILLMOS_SAMPLES = 122_880
"""What the network sees at once, 7.68 s; each further second would cost as much again."""


def find_quality_predictor(name: str) -> QualityPredictor | None:
    """Return the predictor that `--validation_quality` names.

    Args:
        name: `auto` (DistillMOS where it is installed), `off`, the name of an entry point in
            the group `piper.quality`, or `package.module:function`.

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
        return _import_predictor(name)
    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in found:
        raise ConfigError(
            f'--validation_quality: there is no predictor "{name}"; give auto, off, '
            "package.module:function"
            + (f", or one of {', '.join(sorted(found))}." if found else ".")
        )
    return _check_callable(name, _import_or_explain(name, found[name].load))


def _import_predictor(name: str) -> QualityPredictor:
    module, _, attribute = name.partition(":")

    def load() -> Any:
        value: Any = importlib.import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
        return value

    return _check_callable(name, _import_or_explain(name, load))


def _import_or_explain(name: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"--validation_quality={name} cannot be imported ({error}); check the name, and that "
            "its package is installed."
        ) from None


def _check_callable(name: str, value: Any) -> QualityPredictor:
    if not callable(value):
        raise ConfigError(
            f"--validation_quality={name} is no function; it has to take samples and their rate, "
            "and to return a score."
        )
    predictor: QualityPredictor = value
    return predictor


def _load_distillmos() -> QualityPredictor | None:
    """Return DistillMOS (Stahl and Gamper 2025, 1 to 5, any language) where it is installed."""
    if importlib.util.find_spec("distillmos") is None:
        return None
    try:
        # It tells standard output where its weights lie.
        with _stand_in_for_torchaudio(), contextlib.redirect_stdout(io.StringIO()):
            package: Any = importlib.import_module("distillmos")
            network = package.ConvTransformerSQAModel().eval()
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        _LOGGER.warning(
            "The package distillmos is installed but cannot be used (%s), so speech is not "
            "scored; install it with its own versions: pip install --no-deps distillmos==0.9.1 "
            "xls-r-sqa==0.1.0",
            error,
        )
        return None
    return _Distillmos(network)


class _Distillmos:
    """The first 7.68 s of some speech to a predicted mean opinion score."""

    def __init__(self, network: Any) -> None:
        self._network = network

    def __call__(self, audio: npt.NDArray[np.float32], rate: int) -> float:
        import soxr
        import torch

        if rate != DISTILLMOS_RATE:
            audio = soxr.resample(audio, rate, DISTILLMOS_RATE)
        samples = np.ascontiguousarray(audio[:DISTILLMOS_SAMPLES], dtype=np.float32)
        with torch.inference_mode():
            return float(self._network(torch.from_numpy(samples)[None]))


@contextlib.contextmanager
def _stand_in_for_torchaudio() -> Iterator[None]:
    """Let distillmos be imported without torchaudio, which only its command line uses.

    Its wheels are bound to one version of torch each, and there is none for some builds. Where
    it is installed, nothing is replaced.
    """
    name = "torchaudio"
    if importlib.util.find_spec(name) is not None:
        yield
        return
    stand_in = ModuleType(name)
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
