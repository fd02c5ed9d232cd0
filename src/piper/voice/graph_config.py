"""What the inference graph must know beside its weights. Knows nothing of ONNX, files or torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from piper.errors import ExportError
from piper.json_reader import parse_json

DEFAULT_SAMPLE_RATE = 22050
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

        Raises:
            ExportError: The weights are not those of a Piper voice.
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
        """Compare with the weights.

        Raises:
            ExportError: Something that the weights' shapes show is different here.
        """
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
