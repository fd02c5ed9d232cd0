"""Starts a network from the weights of another training or of a published voice.

Knows checkpoints and voices as files of named weights, but nothing of how training goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from piper.errors import CheckpointError
from piper.train.checkpoint import (
    NETWORK_PREFIXES,
    FitReport,
    fit_weights,
    load_checkpoint,
)

_LOGGER = logging.getLogger(__name__)


def warm_start(
    module: nn.Module, path: Path | str, prefixes: Sequence[str] = NETWORK_PREFIXES
) -> FitReport:
    """Start a network from the weights of a checkpoint or of a voice, where they fit.

    Args:
        module: The module with `model_g` and `model_d`.
        path: A `.ckpt` of this or an older trainer, or a voice's `.onnx`.
        prefixes: Which weights to take, by the beginning of their names.

    Raises:
        CheckpointError: The file cannot be read, or nothing in it fits.
    """
    own = module.state_dict()
    weights = take_apart(load_weights(path), own)
    chosen = {name: value for name, value in weights.items() if name.startswith(tuple(prefixes))}
    relevant = {name: value for name, value in own.items() if name.startswith(tuple(prefixes))}
    fitted, report = fit_weights(chosen, relevant)
    if not report.loaded:
        raise CheckpointError(f"No weight of {path} fits this network; is it of another quality?")
    module.load_state_dict({**own, **fitted})
    _LOGGER.info("Started from %s: %s", path, report)
    return report


def load_weights(path: Path | str) -> dict[str, Tensor]:
    """Return the named weights of a checkpoint or of a voice, as a checkpoint names them.

    Raises:
        PiperError: The file cannot be read.
    """
    if Path(path).suffix != ".onnx":
        return dict(load_checkpoint(path)["state_dict"])
    from piper.voice.weights import load_voice_weights

    arrays, _ = load_voice_weights(Path(path))
    return {f"model_g.{name}": torch.tensor(array) for name, array in arrays.items()}


def take_apart(weights: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Give weights the weight normalisation that a network wants and a voice has folded in.

    Direction and length are w = g · v / |v| (Salimans and Kingma 2016), so v = w serves.

    Args:
        weights: Named as in a checkpoint.
        own: The names of the network.
    """
    result = dict(weights)
    for name, weight in weights.items():
        stem = name.removesuffix("weight")
        if name not in own and f"{stem}weight_v" in own:
            del result[name]
            result[f"{stem}weight_v"] = weight
            result[f"{stem}weight_g"] = weight.norm(dim=(1, 2), keepdim=True)
    return result
