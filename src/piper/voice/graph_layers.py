"""Layers of the inference graph for phonemes: norms, attention, splines, predictors of duration.

Knows nothing of weights' files, of the decoder or of the flow over frames. Shapes: B batch, C
channels, P phonemes, H heads, D channels a head, K bins of a spline. A mask is (B, 1, P), 1 where
there is a phoneme; it is applied only where values would otherwise leak: before convolutions that
look sideways, and at the durations. None stands for a mask of ones: nothing is padded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from piper.voice.graph_config import GraphConfig
from piper.voice.graph_folding import SPLINE_MIN_SLOPE
from piper.voice.graph_writer import GraphWriter

NORM_EPSILON = 1e-5
SPLINE_BOUND = 5.0
"""The splines act between -5 and 5 (Kim et al. 2021, code); outside they pass what comes."""
SPLINE_MIN_SIZE = 1e-3
"""Least width and height of a bin, as a part of the whole."""


def layer_norm(writer: GraphWriter, x: str, module: str) -> str:
    """Normalise over channels; x (B, C, P). Source: Ba et al. 2016."""
    with writer.scope(module):
        if writer.is_compact:
            # The operator normalises over the last axis only; ONNX Runtime joins the transposes
            # of neighbours.
            scale, shift = (
                writer.constant(writer.array(name)[:, 0], np.float32) for name in ("gamma", "beta")
            )
            x = writer.op("Transpose", x, perm=[0, 2, 1])
            x = writer.op("LayerNormalization", x, scale, shift, epsilon=NORM_EPSILON)
            return writer.op("Transpose", x, perm=[0, 2, 1])
        centred = writer.op("Sub", x, writer.op("ReduceMean", x, axes=[1]))
        variance = writer.op("ReduceMean", writer.op("Mul", centred, centred), axes=[1])
        deviation = writer.op("Sqrt", writer.op("Add", variance, writer.number(NORM_EPSILON)))
        scaled = writer.op("Mul", writer.op("Div", centred, deviation), writer.weight("gamma"))
        return writer.op("Add", scaled, writer.weight("beta"))


def gelu(writer: GraphWriter, x: str) -> str:
    """Write x Φ(x) in the form that ONNX Runtime fuses. Source: Hendrycks and Gimpel 2016."""
    if writer.is_compact:
        return writer.op("Gelu", x)
    inner = writer.op("Erf", writer.op("Div", x, writer.number(np.sqrt(2.0))))
    doubled = writer.op("Mul", x, writer.op("Add", inner, writer.number(1.0)))
    return writer.op("Mul", doubled, writer.number(0.5))


@dataclass(frozen=True)
class RelativeIndex:
    """What all attention layers share.

    Attributes:
        key_bias: (B, 1, 1, P), 0 where there is a phoneme and -10,000 elsewhere; None without
            a mask.
        to_distance: (1, 1, P, P) int64, which row of the padded relative table a pair reads.
        to_position: (1, 1, P, 2 W + 3) int64, which (padded) position each table row stands for.
    """

    key_bias: str | None
    to_distance: str
    to_position: str


def relative_index(
    writer: GraphWriter, ids: str, mask: str | None, config: GraphConfig
) -> RelativeIndex:
    """Compute once what relative attention needs in every layer."""
    reach = config.window + 1
    with writer.scope("relative"):
        length = writer.op("Squeeze", writer.op("Shape", ids, start=1))
        places = writer.op("Range", writer.constant(0), length, writer.constant(1))
        column = writer.op("Unsqueeze", places, writer.constant([1]))
        offset = writer.op("Sub", writer.op("Add", places, writer.constant(reach)), column)
        distance = writer.op("Clip", offset, writer.constant(0), writer.constant(2 * reach))
        position = writer.op("Add", column, writer.constant(np.arange(2 * reach + 1)))
        bias = None
        if mask is not None:
            absent = writer.op("Sub", mask, writer.number(1.0))
            bias = writer.op("Mul", absent, writer.number(1e4))
            bias = writer.op("Unsqueeze", bias, writer.constant([1]))
    return RelativeIndex(bias, distance, position)


class RelativeAttention:
    """Self-attention with relative positions; source: Shaw et al. 2018.

    The indices are stretched to all heads by the first layer and used by all.
    """

    def __init__(self, writer: GraphWriter, index: RelativeIndex, heads: int) -> None:
        self.writer = writer
        self.index = index
        self.heads = heads
        self._stretched: dict[str, str] = {}

    def __call__(self, x: str, module: str) -> str:
        """Write one layer; x (B, C, P) → (B, C, P)."""
        writer = self.writer
        with writer.scope(module):
            return self._layer(writer, x)

    def _layer(self, writer: GraphWriter, x: str) -> str:
        size = writer.array("emb_rel_v:padded").shape[1]
        joined = writer.conv(x, "conv_qkv")
        joined = writer.op("Reshape", joined, writer.constant([0, 3 * self.heads, size, -1]))
        query, key, value = writer.op("Split", joined, outputs=3, axis=1)
        query = writer.op("Transpose", query, perm=[0, 1, 3, 2])
        value = writer.op("Transpose", value, perm=[0, 1, 3, 2])
        scores = writer.op("MatMul", query, key)
        by_distance = writer.op("MatMul", query, writer.weight("emb_rel_k:padded"))
        distance = self._stretch(self.index.to_distance, scores)
        relative = writer.op("GatherElements", by_distance, distance, axis=3)
        scores = writer.op("Add", scores, relative)
        if self.index.key_bias is not None:
            scores = writer.op("Add", scores, self.index.key_bias)
        weights = writer.op("Softmax", scores, axis=3)
        reach = writer.array("emb_rel_v:padded").shape[0] // 2
        wider = writer.op("Pad", weights, writer.constant([0, 0, 0, reach, 0, 0, 0, reach]))
        position = self._stretch(self.index.to_position, by_distance)
        near = writer.op("GatherElements", wider, position, axis=3)
        near = writer.op("MatMul", near, writer.weight("emb_rel_v:padded"))
        out = writer.op("Add", writer.op("MatMul", weights, value), near)
        out = writer.op("Transpose", out, perm=[0, 1, 3, 2])
        out = writer.op("Reshape", out, writer.constant([0, self.heads * size, -1]))
        return writer.conv(out, "conv_o")

    def _stretch(self, index: str, like: str) -> str:
        if index not in self._stretched:
            shape = self.writer.op("Shape", like)
            self._stretched[index] = self.writer.op("Expand", index, shape)
        return self._stretched[index]


def separable_convs(writer: GraphWriter, x: str, mask: str | None, layers: int) -> str:
    """Write dilated depth-separable convolutions (Kim et al. 2021, appendix B.1); (B, C, P)."""
    with writer.scope("convs"):
        for i in range(layers):
            channels, _, kernel = writer.array(f"convs_sep.{i}.weight").shape
            y = writer.mask(x, mask)
            y = writer.conv(y, f"convs_sep.{i}", dilation=kernel**i, groups=channels)
            y = gelu(writer, layer_norm(writer, y, f"norms_1.{i}"))
            y = writer.conv(y, f"convs_1x1.{i}")
            y = gelu(writer, layer_norm(writer, y, f"norms_2.{i}"))
            x = writer.op("Add", x, y)
    return x


def inverse_spline(writer: GraphWriter, x: str, rows: str, bins: int) -> str:
    """Write the inverse of a monotonic rational-quadratic spline with linear tails.

    Args:
        writer: The graph.
        x: (B, 1, P).
        rows: (B, 4 K, P): widths, heights, left slopes, right slopes, all unnormalised.
        bins: K.

    Source: Durkan et al. 2019, section 3.1 and appendix A.2.
    """
    table = writer.op("Reshape", rows, writer.constant([0, 4, bins, -1]))
    sizes, slopes = writer.op("Split", table, outputs=2, axis=1)
    span = 2 * SPLINE_BOUND
    sizes = writer.op("Softmax", sizes, axis=2)
    sizes = writer.op("Mul", sizes, writer.number(span * (1 - SPLINE_MIN_SIZE * bins)))
    sizes = writer.op("Add", sizes, writer.number(span * SPLINE_MIN_SIZE))
    starts = writer.op("CumSum", sizes, writer.constant(2), exclusive=1)
    starts = writer.op("Sub", starts, writer.number(SPLINE_BOUND))
    slopes = writer.op("Add", writer.op("Softplus", slopes), writer.number(SPLINE_MIN_SLOPE))
    table = writer.op("Concat", starts, sizes, slopes, axis=1)
    inside = writer.op("Clip", x, writer.number(-SPLINE_BOUND), writer.number(SPLINE_BOUND))
    chosen = _choose_bin(writer, inside, starts, table, bins)
    y = _invert_bin(writer, inside, chosen)
    return writer.op("Where", writer.op("Equal", x, inside), y, x)


def _choose_bin(writer: GraphWriter, x: str, starts: str, table: str, bins: int) -> list[str]:
    """Return, each (B, 1, P), the six numbers of the bin whose height range holds x."""
    heights = writer.op("Gather", starts, writer.constant(1), axis=1)
    reached = writer.op("GreaterOrEqual", x, heights)
    # The last bin that starts at or below x.
    reached = writer.op("Cast", reached, to=1)
    index = writer.op("ArgMax", reached, axis=1, keepdims=1, select_last_index=1)
    values = writer.constant([0.0, 1.0], np.float32)
    chosen = writer.op("OneHot", index, writer.constant(bins), values, axis=2)
    picked = writer.op("Mul", table, chosen)
    picked = writer.op("ReduceSum", picked, writer.constant([2]), keepdims=0)
    return writer.op("Split", picked, outputs=6, axis=1)


def _invert_bin(writer: GraphWriter, x: str, chosen: list[str]) -> str:
    """Solve the bin's quadratic equation; all (B, 1, P)."""
    left, bottom, width, height, slope_0, slope_1 = chosen
    rise = writer.op("Sub", x, bottom)
    slope = writer.op("Div", height, width)
    excess = writer.op("Sub", writer.op("Add", slope_0, slope_1), writer.op("Add", slope, slope))
    bend = writer.op("Mul", rise, excess)
    a = writer.op("Add", bend, writer.op("Mul", height, writer.op("Sub", slope, slope_0)))
    b = writer.op("Sub", writer.op("Mul", height, slope_0), bend)
    minus_2c = writer.op("Mul", writer.op("Add", slope, slope), rise)
    minus_4ac = writer.op("Mul", writer.op("Add", a, a), minus_2c)
    discriminant = writer.op("Add", writer.op("Mul", b, b), minus_4ac)
    # Rounding can make it negative by a hair, and one NaN would silence the whole sentence.
    root = writer.op("Sqrt", writer.op("Relu", discriminant))
    part = writer.op("Div", minus_2c, writer.op("Add", b, root))
    return writer.op("Add", writer.op("Mul", part, width), left)
