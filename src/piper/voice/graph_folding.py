"""Weights of a checkpoint ↔ constants of the inference graph. Knows nothing of ONNX or files.

What can be computed once is computed here and not in every run of the graph: weight norm, the
embedding's and the attention's scale, the flow's channel reversals (by reversing weights), the
decoder's averages (in the next convolution, as leaky ReLU is positive-homogeneous) and the fixed
ends of the duration predictor's splines. A constant that is a weight as it was keeps the weight's
name; a changed one has another name, and `unfold_weights` changes it back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from piper.errors import ExportError
from piper.voice.graph_config import GraphConfig, count

Arrays = dict[str, np.ndarray]
Change = Callable[[np.ndarray], np.ndarray]

SPLINE_MIN_SLOPE = 1e-3
_NEEDED = ("enc_p.", "dp.", "flow.", "dec.", "emb_g.")
_UNUSED = ("dp.post_", "dp.flows.1.")
"""Only training needs these: the duration predictor's posterior half, and its first flow, which
reversal leaves out as it moves only the channel that is thrown away (Kim et al. 2021, code)."""


def is_spoken_with(name: str) -> bool:
    """Tell whether a weight of the generator is in a voice; the others serve training alone."""
    return name.startswith(_NEEDED) and not name.startswith(_UNUSED)


def fold_weights(
    weights: Mapping[str, np.ndarray], config: GraphConfig, *, is_plain: bool = False
) -> Arrays:
    """Turn a checkpoint's weights into the graph's constants.

    Args:
        weights: Named as in a checkpoint without `model_g.`; weight norm folded or not.
        config: The network's shape.
        is_plain: Leave the decoder's upsampling weights as they are, name, axes and all: other
            programs read there how long a frame is.

    Raises:
        ExportError: A weight is missing.
    """
    needed = {name: array for name, array in weights.items() if is_spoken_with(name)}
    arrays = _fold_weight_norm(_Arrays(needed))
    hidden = arrays["enc_p.emb.weight"].shape[1]
    arrays.replace("enc_p.emb.weight", "scaled", lambda a: a * np.float32(math.sqrt(hidden)))
    for i in range(count(arrays, "enc_p.encoder.attn_layers")):
        _fold_attention(arrays, f"enc_p.encoder.attn_layers.{i}", config)
    for name in _flipped(arrays):
        arrays.replace(name, "flipped", partial(_flip, name=name))
    scale = np.float32(1 / len(config.resblock_kernel_sizes))
    for name in () if is_plain else _scaled(arrays):
        arrays.replace(name, "scaled", lambda a: a * scale)
    if config.use_sdp:
        arrays.replace("dp.flows.0.logs", "inverse_scale", lambda a: np.exp(-a))
        for i in _spline_flows(arrays):
            for kind in ("weight", "bias"):
                _fold_spline(arrays, f"dp.flows.{i}.proj.{kind}", i)
    return {name: _shaped(name, a, is_plain=is_plain) for name, a in arrays.items()}


def unfold_weights(constants: Mapping[str, np.ndarray], config: GraphConfig) -> Arrays:
    """Turn the graph's constants back into weights named as in a checkpoint.

    Args:
        constants: As `fold_weights` returned them.
        config: The network's shape.

    Raises:
        ExportError: A constant is missing.
    """
    arrays = _Arrays({name: _unshaped(name, a) for name, a in constants.items()})
    hidden = np.float32(math.sqrt(arrays["enc_p.emb.weight:scaled"].shape[1]))
    arrays.restore("enc_p.emb.weight:scaled", lambda a: a / hidden)
    for i in range(count(arrays, "enc_p.encoder.attn_layers")):
        _unfold_attention(arrays, f"enc_p.encoder.attn_layers.{i}", config)
    blocks = np.float32(len(config.resblock_kernel_sizes))
    for name in list(arrays):
        base, _, change = name.partition(":")
        if change == "flipped":
            arrays.restore(name, partial(_flip, name=base))
        elif change == "scaled":
            arrays.restore(name, lambda a: a * blocks)
        elif change == "inverse_scale":
            arrays.restore(name, lambda a: -np.log(a))
        elif change == "spline":
            arrays.restore(name, partial(_unfold_spline, name=base, arrays=arrays))
    return {name: np.ascontiguousarray(a) for name, a in arrays.items()}


def _shaped(name: str, array: np.ndarray, *, is_plain: bool) -> np.ndarray:
    """Give an array the axes that the graph wants.

    Convolutions over frames get an axis of height 1: for images, and not for sequences, ONNX
    Runtime has blocked kernels, with which a medium voice takes a fifth less time on a CPU.
    """
    if name.endswith((".gamma", ".beta")):
        array = array[:, np.newaxis]
    elif is_plain and name.startswith("dec.ups."):
        pass
    elif name.startswith(("flow.", "dec.")) and array.ndim == 3:
        array = array[:, :, np.newaxis]
    return np.ascontiguousarray(array, dtype=np.float32)


def _unshaped(name: str, array: np.ndarray) -> np.ndarray:
    if name.endswith((".gamma", ".beta")):
        return array[:, 0]
    return array[:, :, 0] if array.ndim == 4 else array


class _Arrays(Arrays):
    """Named arrays whose missing entries are a user's mistake, not a `KeyError`."""

    def __missing__(self, name: str) -> np.ndarray:
        raise ExportError(f"The weights have no {name!r}; they are not those of a whole voice.")

    def replace(self, name: str, change: str, function: Change) -> None:
        self[f"{name}:{change}"] = function(self[name])
        del self[name]

    def restore(self, name: str, function: Change) -> None:
        self[name.partition(":")[0]] = function(self[name])
        del self[name]


def _fold_weight_norm(weights: _Arrays) -> _Arrays:
    """Replace `weight_g`, `weight_v` by g v / |v|, the norm over all axes but the first.

    Source: Salimans and Kingma 2016, equation 2.
    """
    result = _Arrays()
    for name, array in weights.items():
        if name.endswith(".weight_v"):
            stem = name.removesuffix("_v")
            direction = array.astype(np.float64)
            norm = np.sqrt((direction**2).sum(axis=(1, 2), keepdims=True))
            result[stem] = (direction * (weights[f"{stem}_g"] / norm)).astype(np.float32)
        elif not name.endswith(".weight_g"):
            result[name] = np.asarray(array, dtype=np.float32)
    return result


def _fold_attention(arrays: _Arrays, layer: str, config: GraphConfig) -> None:
    """Join the three projections; scale the queries; widen relative keys and values by zeros.

    The zero at each end of the relative embeddings is what phonemes further apart than the window
    read.
    """
    width = arrays[f"{layer}.conv_q.weight"].shape[0]
    scale = np.float32(1 / math.sqrt(width // config.n_heads))
    for kind in ("weight", "bias"):
        parts = [arrays.pop(f"{layer}.conv_{letter}.{kind}") for letter in "qkv"]
        arrays[f"{layer}.conv_qkv.{kind}"] = np.concatenate([parts[0] * scale, *parts[1:]])
    for letter in "kv":
        relative = arrays.pop(f"{layer}.emb_rel_{letter}")
        if relative.shape[0] != 1:
            raise ExportError(
                f"{layer}.emb_rel_{letter} has one table a head, but Piper's voices share one; "
                "this network is not supported."
            )
        padded = np.pad(relative[0], ((1, 1), (0, 0)))
        arrays[f"{layer}.emb_rel_{letter}:padded"] = padded.T if letter == "k" else padded


def _unfold_attention(arrays: _Arrays, layer: str, config: GraphConfig) -> None:
    for kind in ("weight", "bias"):
        parts = np.split(arrays.pop(f"{layer}.conv_qkv.{kind}"), 3)
        parts[0] = parts[0] * np.float32(math.sqrt(len(parts[0]) // config.n_heads))
        for letter, part in zip("qkv", parts, strict=True):
            arrays[f"{layer}.conv_{letter}.{kind}"] = part
    for letter in "kv":
        padded = arrays.pop(f"{layer}.emb_rel_{letter}:padded")
        padded = padded.T if letter == "k" else padded
        arrays[f"{layer}.emb_rel_{letter}"] = padded[np.newaxis, 1:-1]


def is_flipped(layer: int, layers: int) -> bool:
    """Say whether a coupling layer of the reversed flow sees its channels in reversed order.

    Args:
        layer: 0 for the layer that is first in the checkpoint and last in speaking.
        layers: How many coupling layers there are.
    """
    return (layers - layer) % 2 == 1


def coupling_layers(arrays: Mapping[str, np.ndarray]) -> int:
    """Return how many coupling layers the flow has; a reversal stands after each."""
    return (count(arrays, "flow.flows") + 1) // 2


def _flipped(arrays: Mapping[str, np.ndarray]) -> list[str]:
    layers = coupling_layers(arrays)
    names = [
        f"flow.flows.{2 * i}.{part}"
        for i in range(layers)
        if is_flipped(i, layers)
        for part in ("pre.weight", "post.weight", "post.bias")
    ]
    if layers % 2:
        names.append("dec.conv_pre.weight")
    return names


def _flip(array: np.ndarray, name: str) -> np.ndarray:
    """Reverse the axis that holds the latent channels: outputs of `post`, inputs of the others."""
    return array[::-1] if ".post." in name else array[:, ::-1]


def _scaled(arrays: Mapping[str, np.ndarray]) -> list[str]:
    later = [f"dec.ups.{i}.weight" for i in range(1, count(arrays, "dec.ups"))]
    return [*later, "dec.conv_post.weight"]


def _spline_flows(arrays: Mapping[str, np.ndarray]) -> list[int]:
    """Return the numbers of the duration predictor's spline flows, in the order of speaking."""
    return [i for i in range(count(arrays, "dp.flows") - 1, 1, -1) if i % 2]


def spline_bins(projection_rows: int) -> int:
    """Return the bins of a spline that has widths, heights and inner slopes (3 K - 1 rows)."""
    return (projection_rows + 1) // 3


def _fold_spline(arrays: _Arrays, name: str, flow: int) -> None:
    """Make rows for widths, heights, left slopes and right slopes, one a bin each.

    The outermost slopes are 1, where the linear tails begin: rows of zeros, whose bias is the
    inverse of softplus there (Durkan et al. 2019, section 3.1). Widths and heights are scaled.
    """
    rows = arrays[name]
    bins = spline_bins(len(rows))
    scale = np.float32(1 / math.sqrt(arrays[f"dp.flows.{flow}.pre.weight"].shape[0]))
    end = np.zeros_like(rows[:1])
    if name.endswith("bias"):
        end += np.float32(math.log(math.expm1(1 - SPLINE_MIN_SLOPE)))
    inner = rows[2 * bins :]
    parts = [rows[: 2 * bins] * scale, end, inner, inner, end]
    arrays.replace(name, "spline", lambda _: np.concatenate(parts))


def _unfold_spline(rows: np.ndarray, name: str, arrays: _Arrays) -> np.ndarray:
    bins = len(rows) // 4
    pre = arrays[name.rpartition(".proj.")[0] + ".pre.weight"]
    scaled = rows[: 2 * bins] * np.float32(math.sqrt(len(pre)))
    return np.concatenate([scaled, rows[2 * bins + 1 : 3 * bins]])
