"""What the inference graph must know beside its weights."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import numpy as np

from piper.errors import ExportError
from piper.files import parse_json

Arrays = dict[str, np.ndarray]
Change = Callable[[np.ndarray], np.ndarray]
DEFAULT_SAMPLE_RATE = 22050
SPLINE_MIN_SLOPE = 1e-3
_NEEDED = ("enc_p.", "dp.", "flow.", "dec.", "emb_g.")
_MAX_COUNT = 1_000_000
"""Of anything in a network's shape; it bounds what a damaged file can ask for."""
_DEFAULT_DILATIONS = {"1": ((1, 3, 5),), "2": ((1, 2), (2, 6), (3, 12))}


@dataclass(frozen=True)
class GraphConfig:
    """Shape of a VITS network, with Piper's names for its hyper-parameters.

    Sizes that are plain to see in the weights (widths, layer counts, kernels of the flow) are not
    repeated here. `from_weights` makes one; only strides, dilations and the sample rate cannot be
    read from weights.

    Attributes:
        n_heads: Attention heads of the text encoder.
        window: Reach of the relative positions, in phonemes to each side.
        resblock: `"1"` (pairs of convolutions) or `"2"` (single ones) in the decoder.
        resblock_kernel_sizes: Kernel of each parallel block after an upsampling.
        resblock_dilation_sizes: Dilations of each such block's convolutions.
        upsample_rates: Strides of the decoder's transposed convolutions.
        upsample_kernel_sizes: Their kernels.
        sample_rate: Hertz.
        num_speakers: 1 means no `sid` input.
        use_sdp: Durations by the stochastic predictor; else by the plain one.
    """

    n_heads: int = 2
    window: int = 4
    resblock: str = "2"
    resblock_kernel_sizes: tuple[int, ...] = (3, 5, 7)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 2), (2, 6), (3, 12))
    upsample_rates: tuple[int, ...] = (8, 8, 4)
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 8)
    sample_rate: int = DEFAULT_SAMPLE_RATE
    num_speakers: int = 1
    use_sdp: bool = True

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.upsample_rates)

    @classmethod
    def from_weights(
        cls,
        weights: Mapping[str, np.ndarray],
        *,
        sample_rate: int = DEFAULT_SAMPLE_RATE,
        upsample_rates: Sequence[int] | None = None,
        resblock_dilation_sizes: Sequence[Sequence[int]] | None = None,
    ) -> GraphConfig:
        """Read the configuration from weights named as in a checkpoint, without `model_g.`.

        Args:
            weights: Name to array; weight norm folded or not.
            sample_rate: Hertz.
            upsample_rates: Strides; by default half of each kernel, as in all of Piper's presets.
            resblock_dilation_sizes: By default those of Piper's presets.
        """
        relative = _shape(weights, "enc_p.encoder.attn_layers.0.emb_rel_k")
        hidden = _shape(weights, "enc_p.emb.weight")[1]
        up_kernels = tuple(
            _conv_shape(weights, f"dec.ups.{i}")[2] for i in range(count(weights, "dec.ups"))
        )
        resblock = (
            "1" if any(name.startswith("dec.resblocks.0.convs1.") for name in weights) else "2"
        )
        first = "convs1.0" if resblock == "1" else "convs.0"
        blocks = count(weights, "dec.resblocks") // max(len(up_kernels), 1)
        kernels = tuple(
            _conv_shape(weights, f"dec.resblocks.{i}.{first}")[2] for i in range(blocks)
        )
        if resblock_dilation_sizes is None:
            presets = _DEFAULT_DILATIONS[resblock]
            resblock_dilation_sizes = [presets[i % len(presets)] for i in range(blocks)]
        return cls(
            n_heads=hidden // relative[2],
            window=relative[1] // 2,
            resblock=resblock,
            resblock_kernel_sizes=kernels,
            resblock_dilation_sizes=tuple(tuple(sizes) for sizes in resblock_dilation_sizes),
            upsample_rates=tuple(upsample_rates or (kernel // 2 for kernel in up_kernels)),
            upsample_kernel_sizes=up_kernels,
            sample_rate=sample_rate,
            num_speakers=len(weights["emb_g.weight"]) if "emb_g.weight" in weights else 1,
            use_sdp="dp.flows.0.m" in weights,
        )

    def check(self, weights: Mapping[str, np.ndarray]) -> None:
        """Compare with the weights."""
        seen = GraphConfig.from_weights(
            weights,
            sample_rate=self.sample_rate,
            upsample_rates=self.upsample_rates,
            resblock_dilation_sizes=self.resblock_dilation_sizes,
        )
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(seen, field.name)
            if mine != theirs:
                raise ExportError(
                    f"The configuration says {field.name}={mine}, but the weights are those of "
                    f"{field.name}={theirs}; give the weights' own configuration."
                )
        if len(self.upsample_rates) != len(self.upsample_kernel_sizes):
            raise ExportError(
                f"There are {len(self.upsample_rates)} upsample_rates, but the weights have "
                f"{len(self.upsample_kernel_sizes)} upsampling layers; give one rate a layer."
            )

    def to_json(self) -> str:
        """Return the configuration as JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> GraphConfig:
        """Parse what `to_json` wrote.

        Raises:
            ValueError: The text is something else.
        """
        data = parse_json(text, "the graph configuration")
        if not isinstance(data, dict) or set(data) != {field.name for field in fields(cls)}:
            raise ValueError(f"not a graph configuration: {text[:60]!r}")
        if not _is_configuration(data):
            raise ValueError(f"a graph configuration with a wrong value: {text[:200]!r}")
        return cls(**{name: _to_tuples(value) for name, value in data.items()})


def count(weights: Mapping[str, np.ndarray], prefix: str) -> int:
    """Return how many numbered modules there are under a name: `dec.ups.0`, `dec.ups.1`, …"""
    pattern = re.compile(rf"{re.escape(prefix)}\.(\d+)\.")
    numbers = [int(match[1]) for name in weights if (match := pattern.match(name))]
    return max(numbers, default=-1) + 1


def _is_configuration(data: Mapping[str, Any]) -> bool:
    counts = [data[name] for name in ("n_heads", "window", "sample_rate", "num_speakers")]
    lists = [data[f"resblock_{name}_sizes"] for name in ("dilation", "kernel")]
    lists += [data[f"upsample_{name}"] for name in ("rates", "kernel_sizes")]
    if not all(isinstance(one, list) for one in lists):
        return False
    dilations, *others = lists
    return (
        data["resblock"] in ("1", "2")
        and isinstance(data["use_sdp"], bool)
        and all(map(is_count, counts))
        and all(
            isinstance(one, list) and one and all(map(is_count, one))
            for one in (*dilations, *others)
        )
    )


def is_count(value: object) -> bool:
    """Say whether a value is a sensible number of something in a network's shape, 1 or more."""
    return type(value) is int and 0 < value <= _MAX_COUNT


def _to_tuples(value: Any) -> Any:
    return tuple(_to_tuples(item) for item in value) if isinstance(value, list) else value


def _shape(weights: Mapping[str, np.ndarray], name: str) -> tuple[int, ...]:
    if name not in weights:
        raise ExportError(
            f"The weights have no {name!r}; are they those of a Piper (VITS) voice, "
            "named as in its checkpoint without 'model_g.'?"
        )
    return weights[name].shape


def _conv_shape(weights: Mapping[str, np.ndarray], module: str) -> tuple[int, ...]:
    normed = f"{module}.weight_v"
    return _shape(weights, normed if normed in weights else f"{module}.weight")


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
    """Turn the graph's constants back into weights named as in a checkpoint."""
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

    Layer 0 is the first one in the checkpoint and the last one in speaking.
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
