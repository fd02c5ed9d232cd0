"""Builds the inference graph of a VITS voice from named weights, whole or in three parts.

Needs the package `onnx` when called.

Shapes: B batch, C channels, P phonemes, T frames, S samples, G channels of a speaker, H heads,
D channels a head, K bins of a spline. Frames have an axis of height 1 before them, for which
`graph_config` shapes the weights. Source: Kim et al. 2021 (VITS) and Kong et al. 2020 (HiFi-GAN),
with the papers' symbols: `m_p`, `logs_p` mean and log deviation of the prior, `z_p` a sample of it,
`g` the speaker's embedding, (B, G, 1) beside phonemes and (B, G, 1, 1) beside frames.

A mask is (B, 1, P) or (B, 1, T), 1 where there is a phoneme or a frame; it is applied only where
values would otherwise leak: before convolutions that look sideways, and at the durations. None
stands for a mask of ones: nothing is padded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from piper.voice.graph_config import (
    SPLINE_MIN_SLOPE,
    GraphConfig,
    coupling_layers,
    fold_weights,
    is_flipped,
)
from piper.voice.graph_writer import COMPACT_OPSET, GraphWriter, TensorSpec, VoiceParts

if TYPE_CHECKING:
    import onnx

__all__ = ["METADATA_KEY", "GraphConfig", "build_graph"]

METADATA_KEY = "piper_graph"
"""Where a graph written here keeps its `GraphConfig`, as JSON, in the model's metadata."""
LEAKY_SLOPE = 0.1
LAST_LEAKY_SLOPE = 0.01
PHASES = 16
"""Samples that the compact graph's last convolution computes together."""
DDS_LAYERS = 3
NORM_EPSILON = 1e-5
SPLINE_BOUND = 5.0
"""The splines act between -5 and 5 (Kim et al. 2021, code); outside they pass what comes."""
SPLINE_MIN_SIZE = 1e-3
"""Least width and height of a bin, as a part of the whole."""


def build_graph(
    weights: Mapping[str, np.ndarray], config: GraphConfig, *, include_durations: bool = True
) -> onnx.ModelProto:
    """Build the whole inference graph of a voice.

    Inputs: `input` int64 (B, P), `input_lengths` int64 (B,), `scales` float32 (3,): noise, length
    and duration noise; `sid` int64 (B,) only with several speakers. Outputs: `output` float32
    (B, 1, 1, S) and, if asked for, `durations` float32 (B, 1, P) in frames, which is the graph's
    single `Ceil`. Source: Kim et al. 2021 (VITS).

    Args:
        weights: Named as in a checkpoint without `model_g.`; weight norm folded or not. What only
            training needs may be there or not.
        config: The network's shape; `GraphConfig.from_weights` reads most of it.
        include_durations: Give the durations as the second output.
    """
    config.check(weights)
    constants = fold_weights(weights, config, is_plain=True)
    writer = GraphWriter(constants)
    noise, length, rhythm_noise = writer.split("scales", 3, axis=0)
    speaker = flat_speaker = None
    if config.num_speakers > 1:
        speaker = writer.Gather(writer.weight("emb_g.weight"), "sid", axis=0)
        speaker = writer.Unsqueeze(speaker, [2])
        flat_speaker = writer.Unsqueeze(speaker, [3])
    mask = phoneme_mask(writer, "input", "input_lengths")
    hidden, statistics = text_encoder(writer, "input", mask, config)
    draws = duration_noise(writer, mask, rhythm_noise) if config.use_sdp else []
    logarithm = log_durations(writer, hidden, mask, speaker, draws, config)
    exact = writer.Mul(writer.Exp(logarithm), mask)
    durations = writer.Ceil(writer.Mul(exact, length), name="durations")
    statistics, frame_mask = regulate_length(writer, durations, statistics)
    z_p = sample_prior(writer, statistics, noise)
    z = reverse_flow(writer, z_p, frame_mask, flat_speaker, coupling_layers(constants))
    decoder(writer, z, flat_speaker, config)
    return _finish(writer, config, include_durations)


def _finish(writer: GraphWriter, config: GraphConfig, include_durations: bool) -> onnx.ModelProto:
    inputs: list[TensorSpec] = [
        ("input", np.int64, ("batch_size", "phonemes")),
        ("input_lengths", np.int64, ("batch_size",)),
        ("scales", np.float32, (3,)),
    ]
    if config.num_speakers > 1:
        inputs.append(("sid", np.int64, ("batch_size",)))
    outputs: list[TensorSpec] = [("output", np.float32, ("batch_size", 1, 1, "samples"))]
    if include_durations:
        outputs.append(("durations", np.float32, ("batch_size", 1, "phonemes")))
    return writer.finish(inputs, outputs, {METADATA_KEY: config.to_json()})


def build_parts(weights: Mapping[str, np.ndarray], config: GraphConfig) -> VoiceParts:
    """Build the parts: phonemes to durations and statistics, windows of frames to sound.

    What stands between, lengths and noise, is left to NumPy, so that noise can have a seed and a
    window of frames is enough for sound. Nothing is padded, so there are no masks.

    text: `input` int64 (1, P), `rhythm_noise` float32 (1, 2, P) (already scaled; only with the
    stochastic predictor), `speaker` float32 (1, G, 1) (only with several) → `frames` float32
    (1, 1, P), durations before length scale and rounding, and `statistics` float32 (1, 2 C, P),
    mean above log deviation. flow: `z_p` float32 (1, C, 1, T), `speaker` float32 (1, G, 1, 1) →
    `z` (1, C, 1, T). decoder: `z`, `speaker` as the flow → `output` float32 (1, 1, 1, S).

    Args:
        weights: As for `build_graph`.
        config: The network's shape.
    """
    config.check(weights)
    constants = fold_weights(weights, config)
    names = [f"dec.conv_pre.weight{kind}" for kind in ("", ":flipped")]
    first = next(constants[name] for name in names if name in constants)
    last = constants["dec.conv_post.weight:scaled"]
    return VoiceParts(
        text=_build_text(constants, config),
        flow=_build_flow(constants, config),
        decoder=_build_decoder(constants, config),
        speakers=constants["emb_g.weight"] if config.num_speakers > 1 else None,
        flow_context_frames=compute_flow_context(constants),
        decoder_context_frames=compute_decoder_context(config, first.shape[-1], last.shape[-1]),
        num_symbols=len(weights["enc_p.emb.weight"]),
    )


def _build_text(constants: Mapping[str, np.ndarray], config: GraphConfig) -> onnx.ModelProto:
    writer = GraphWriter(constants, opset=COMPACT_OPSET)
    inputs: list[TensorSpec] = [("input", np.int64, (1, "phonemes"))]
    noise: list[str] = []
    if config.use_sdp:
        inputs.append(("rhythm_noise", np.float32, (1, 2, "phonemes")))
        noise = writer.split("rhythm_noise", 2, axis=1)
    speaker = _add_speaker(inputs, constants, config, axes=1)
    hidden, statistics = text_encoder(writer, "input", None, config)
    logarithm = log_durations(writer, hidden, None, speaker, noise, config)
    writer.Exp(logarithm, name="frames")
    writer.Identity(statistics, name="statistics")
    outputs: list[TensorSpec] = [
        ("frames", np.float32, (1, 1, "phonemes")),
        ("statistics", np.float32, (1, 2 * _latent_channels(constants), "phonemes")),
    ]
    return writer.finish(inputs, outputs, {})


def _build_flow(constants: Mapping[str, np.ndarray], config: GraphConfig) -> onnx.ModelProto:
    writer = GraphWriter(constants, opset=COMPACT_OPSET)
    channels = _latent_channels(constants)
    inputs: list[TensorSpec] = [("z_p", np.float32, (1, channels, 1, "frames"))]
    speaker = _add_speaker(inputs, constants, config, axes=2)
    z = reverse_flow(writer, "z_p", None, speaker, coupling_layers(constants))
    writer.Identity(z, name="z")
    return writer.finish(inputs, [("z", np.float32, (1, channels, 1, "frames"))], {})


def _build_decoder(constants: Mapping[str, np.ndarray], config: GraphConfig) -> onnx.ModelProto:
    writer = GraphWriter(constants, opset=COMPACT_OPSET)
    inputs: list[TensorSpec] = [("z", np.float32, (1, _latent_channels(constants), 1, "frames"))]
    speaker = _add_speaker(inputs, constants, config, axes=2)
    decoder(writer, "z", speaker, config)
    return writer.finish(inputs, [("output", np.float32, (1, 1, 1, "samples"))], {})


def _add_speaker(
    inputs: list[TensorSpec],
    constants: Mapping[str, np.ndarray],
    config: GraphConfig,
    *,
    axes: int,
) -> str | None:
    """Declare the speaker's embedding, with so many axes of length 1 after it."""
    if config.num_speakers == 1:
        return None
    width = constants["emb_g.weight"].shape[1]
    inputs.append(("speaker", np.float32, (1, width, *[1] * axes)))
    return "speaker"


def _latent_channels(constants: Mapping[str, np.ndarray]) -> int:
    return constants["enc_p.proj.weight"].shape[0] // 2


def compute_flow_context(constants: Mapping[str, np.ndarray]) -> int:
    """Return the frames to each side that the flow looks at: the sum over its convolutions."""
    kernels = (
        array.shape[-1]
        for name, array in constants.items()
        if name.startswith("flow.") and ".in_layers." in name and array.ndim == 4
    )
    return sum(kernel // 2 for kernel in kernels)


def compute_decoder_context(config: GraphConfig, first_kernel: int, last_kernel: int) -> int:
    """Return the frames to each side that a frame's samples depend on, from the end to the start.

    A transposed convolution of stride s and kernel k, whose margins of (k - s) / 2 are cut off,
    needs (r + (k - s) / 2) / s steps of its input for r of its output.
    """
    widest = 0
    for kernel, dilations in zip(
        config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
    ):
        # Blocks of kind "1" have a second convolution, without dilation, after each.
        steps = sum(dilations) + (len(dilations) if config.resblock == "1" else 0)
        widest = max(widest, steps * (kernel // 2))
    context = last_kernel // 2
    for rate, kernel in zip(
        reversed(config.upsample_rates), reversed(config.upsample_kernel_sizes), strict=True
    ):
        context = math.ceil((context + widest + (kernel - rate) / 2) / rate)
    return context + first_kernel // 2


def phoneme_mask(writer: GraphWriter, ids: str, lengths: str) -> str:
    """Return (B, 1, P) float32: 1 where there is a phoneme; ids (B, P), lengths (B,)."""
    with writer.scope("mask"):
        places = writer.Range(0, writer.Squeeze(writer.Shape(ids, start=1)), 1)
        return writer.Cast(writer.Less(places, writer.Unsqueeze(lengths, [1, 2])), to=1)


def text_encoder(
    writer: GraphWriter, ids: str, mask: str | None, config: GraphConfig
) -> tuple[str, str]:
    """Return the hidden text (B, C, P), and `m_p` above `logs_p` (B, 2 C', P), not masked."""
    with writer.scope("enc_p"):
        x = writer.Gather(writer.weight("emb.weight:scaled"), ids, axis=0)
        x = writer.Transpose(x, perm=[0, 2, 1])
        index = relative_index(writer, ids, mask, config)
        with writer.scope("encoder"):
            attention = RelativeAttention(writer, index, config.n_heads)
            for i in range(writer.last_numbered("attn_layers") + 1):
                with writer.scope(f"attn_layers.{i}"):
                    y = attention.layer(x)
                x = layer_norm(writer, writer.Add(x, y), f"norm_layers_1.{i}")
                with writer.scope(f"ffn_layers.{i}"):
                    y = writer.conv(writer.mask(x, mask), "conv_1")
                    y = writer.mask(writer.Relu(y), mask)
                    y = writer.conv(y, "conv_2")
                x = layer_norm(writer, writer.Add(x, y), f"norm_layers_2.{i}")
        return x, writer.conv(x, "proj")


@dataclass(frozen=True)
class RelativeIndex:
    """What all attention layers share."""

    key_bias: str | None
    """(B, 1, 1, P), 0 where there is a phoneme and -10,000 elsewhere; None without a mask."""
    to_distance: str
    """(1, 1, P, P) int64, which row of the padded relative table a pair reads."""
    to_position: str
    """(1, 1, P, 2 W + 3) int64, which (padded) position each table row stands for."""


def relative_index(
    writer: GraphWriter, ids: str, mask: str | None, config: GraphConfig
) -> RelativeIndex:
    """Compute once what relative attention needs in every layer."""
    margin = config.window + 1
    with writer.scope("relative"):
        places = writer.Range(0, writer.Squeeze(writer.Shape(ids, start=1)), 1)
        column = writer.Unsqueeze(places, [1])
        distance = writer.Clip(writer.Sub(writer.Add(places, margin), column), 0, 2 * margin)
        position = writer.Add(column, np.arange(2 * margin + 1))
        bias = None
        if mask is not None:
            bias = writer.Unsqueeze(writer.Mul(writer.Sub(mask, 1.0), 1e4), [1])
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

    def layer(self, x: str) -> str:
        """Write one layer; x (B, C, P) → (B, C, P)."""
        writer = self.writer
        size = writer.array("emb_rel_v:padded").shape[1]
        joined = writer.Reshape(writer.conv(x, "conv_qkv"), [0, 3 * self.heads, size, -1])
        query, key, value = writer.Split(joined, outputs=3, axis=1)
        query = writer.Transpose(query, perm=[0, 1, 3, 2])
        value = writer.Transpose(value, perm=[0, 1, 3, 2])
        scores = writer.MatMul(query, key)
        by_distance = writer.MatMul(query, writer.weight("emb_rel_k:padded"))
        distance = self._stretch(self.index.to_distance, scores)
        relative = writer.GatherElements(by_distance, distance, axis=3)
        scores = writer.Add(scores, relative)
        if self.index.key_bias is not None:
            scores = writer.Add(scores, self.index.key_bias)
        weights = writer.Softmax(scores, axis=3)
        margin = writer.array("emb_rel_v:padded").shape[0] // 2
        wider = writer.Pad(weights, [0, 0, 0, margin, 0, 0, 0, margin])
        position = self._stretch(self.index.to_position, by_distance)
        near = writer.GatherElements(wider, position, axis=3)
        near = writer.MatMul(near, writer.weight("emb_rel_v:padded"))
        out = writer.Add(writer.MatMul(weights, value), near)
        out = writer.Reshape(writer.Transpose(out, perm=[0, 1, 3, 2]), [0, self.heads * size, -1])
        return writer.conv(out, "conv_o")

    def _stretch(self, index: str, like: str) -> str:
        if index not in self._stretched:
            self._stretched[index] = self.writer.Expand(index, self.writer.Shape(like))
        return self._stretched[index]


def layer_norm(writer: GraphWriter, x: str, module: str) -> str:
    """Normalise over channels; x (B, C, P). Source: Ba et al. 2016."""
    with writer.scope(module):
        if writer.is_compact:
            # The operator normalises over the last axis only; ONNX Runtime joins the transposes
            # of neighbours.
            scale, shift = (writer.array(name)[:, 0] for name in ("gamma", "beta"))
            x = writer.Transpose(x, perm=[0, 2, 1])
            x = writer.LayerNormalization(x, scale, shift, epsilon=NORM_EPSILON)
            return writer.Transpose(x, perm=[0, 2, 1])
        centred = writer.Sub(x, writer.ReduceMean(x, axes=[1]))
        variance = writer.ReduceMean(writer.Mul(centred, centred), axes=[1])
        deviation = writer.Sqrt(writer.Add(variance, NORM_EPSILON))
        scaled = writer.Mul(writer.Div(centred, deviation), writer.weight("gamma"))
        return writer.Add(scaled, writer.weight("beta"))


def duration_noise(writer: GraphWriter, mask: str, noise_scale: str) -> list[str]:
    """Draw the stochastic predictor's noise: two values (B, 1, P)."""
    with writer.scope("dp"):
        return [writer.Mul(writer.RandomNormalLike(mask), noise_scale) for _ in range(2)]


def log_durations(
    writer: GraphWriter,
    x: str,
    mask: str | None,
    g: str | None,
    noise: list[str],
    config: GraphConfig,
) -> str:
    """Write the voice's duration predictor; returns log durations in frames (B, 1, P).

    The noise is two values (B, 1, P), which only the stochastic predictor reads.
    """
    with writer.scope("dp"):
        if config.use_sdp:
            return _stochastic_predictor(writer, x, mask, g, noise)
        return _plain_predictor(writer, x, mask, g)


def _plain_predictor(writer: GraphWriter, x: str, mask: str | None, g: str | None) -> str:
    if g is not None:
        x = writer.Add(x, writer.conv(g, "cond"))
    for i in (1, 2):
        x = writer.conv(writer.mask(x, mask), f"conv_{i}")
        x = layer_norm(writer, writer.Relu(x), f"norm_{i}")
    return writer.conv(x, "proj")


def _stochastic_predictor(
    writer: GraphWriter, x: str, mask: str | None, g: str | None, noise: list[str]
) -> str:
    """Write the stochastic predictor, from noise to log durations (section 2.2.2, appendix B).

    The flow has two channels, each spline moves one of them as the other says, and a flip stands
    between: so here two values take turns, and nothing is flipped.
    """
    x = writer.conv(x, "pre")
    if g is not None:
        x = writer.Add(x, writer.conv(g, "cond"))
    x = separable_convs(writer, x, mask, DDS_LAYERS)
    x = writer.conv(x, "proj")
    first, second = noise
    flow = writer.last_numbered("flows")
    while flow > 1:
        with writer.scope(f"flows.{flow}"):
            h = writer.Add(writer.conv(second, "pre"), x)
            h = separable_convs(writer, h, mask, DDS_LAYERS)
            rows = writer.conv(h, "proj")
            bins = writer.array("proj.weight:spline").shape[0] // 4
            first, second = second, inverse_spline(writer, first, rows, bins)
        flow -= 2
    with writer.scope("flows.0"):
        channel = writer.constant([0])
        mean = writer.Gather(writer.weight("m"), channel, axis=0)
        scale = writer.Gather(writer.weight("logs:inverse_scale"), channel, axis=0)
        return writer.Mul(writer.Sub(second, mean), scale)


def separable_convs(writer: GraphWriter, x: str, mask: str | None, layers: int) -> str:
    """Write dilated depth-separable convolutions (Kim et al. 2021, appendix B.1); (B, C, P)."""
    with writer.scope("convs"):
        for i in range(layers):
            channels, _, kernel = writer.array(f"convs_sep.{i}.weight").shape
            y = writer.mask(x, mask)
            y = writer.conv(y, f"convs_sep.{i}", dilation=kernel**i, groups=channels)
            y = writer.gelu(layer_norm(writer, y, f"norms_1.{i}"))
            y = writer.conv(y, f"convs_1x1.{i}")
            y = writer.gelu(layer_norm(writer, y, f"norms_2.{i}"))
            x = writer.Add(x, y)
    return x


def inverse_spline(writer: GraphWriter, x: str, rows: str, bins: int) -> str:
    """Write the inverse of a monotonic rational-quadratic spline with linear tails, of (B, 1, P).

    The rows are (B, 4 K, P): widths, heights, left slopes, right slopes, all unnormalised. Source:
    Durkan et al. 2019, section 3.1 and appendix A.2.
    """
    table = writer.Reshape(rows, [0, 4, bins, -1])
    sizes, slopes = writer.Split(table, outputs=2, axis=1)
    span = 2 * SPLINE_BOUND
    sizes = writer.Softmax(sizes, axis=2)
    sizes = writer.Mul(sizes, span * (1 - SPLINE_MIN_SIZE * bins))
    sizes = writer.Add(sizes, span * SPLINE_MIN_SIZE)
    starts = writer.CumSum(sizes, 2, exclusive=1)
    starts = writer.Sub(starts, SPLINE_BOUND)
    slopes = writer.Add(writer.Softplus(slopes), SPLINE_MIN_SLOPE)
    table = writer.Concat(starts, sizes, slopes, axis=1)
    inside = writer.Clip(x, -SPLINE_BOUND, SPLINE_BOUND)
    chosen = _choose_bin(writer, inside, starts, table, bins)
    y = _invert_bin(writer, inside, chosen)
    return writer.Where(writer.Equal(x, inside), y, x)


def _choose_bin(writer: GraphWriter, x: str, starts: str, table: str, bins: int) -> list[str]:
    """Return, each (B, 1, P), the six numbers of the bin whose height range holds x."""
    heights = writer.Gather(starts, 1, axis=1)
    reached = writer.GreaterOrEqual(x, heights)
    # The last bin that starts at or below x.
    reached = writer.Cast(reached, to=1)
    index = writer.ArgMax(reached, axis=1, keepdims=1, select_last_index=1)
    values = writer.constant([0.0, 1.0], np.float32)
    chosen = writer.OneHot(index, bins, values, axis=2)
    picked = writer.Mul(table, chosen)
    picked = writer.ReduceSum(picked, [2], keepdims=0)
    return writer.Split(picked, outputs=6, axis=1)


def _invert_bin(writer: GraphWriter, x: str, chosen: list[str]) -> str:
    """Solve the bin's quadratic equation; all (B, 1, P)."""
    left, bottom, width, height, slope_0, slope_1 = chosen
    rise = writer.Sub(x, bottom)
    slope = writer.Div(height, width)
    excess = writer.Sub(writer.Add(slope_0, slope_1), writer.Add(slope, slope))
    bend = writer.Mul(rise, excess)
    a = writer.Add(bend, writer.Mul(height, writer.Sub(slope, slope_0)))
    b = writer.Sub(writer.Mul(height, slope_0), bend)
    minus_2c = writer.Mul(writer.Add(slope, slope), rise)
    minus_4ac = writer.Mul(writer.Add(a, a), minus_2c)
    discriminant = writer.Add(writer.Mul(b, b), minus_4ac)
    # Rounding can make it negative by a hair, and one NaN would silence the whole sentence.
    root = writer.Sqrt(writer.Relu(discriminant))
    part = writer.Div(minus_2c, writer.Add(b, root))
    return writer.Add(writer.Mul(part, width), left)


def regulate_length(writer: GraphWriter, durations: str, statistics: str) -> tuple[str, str]:
    """Repeat each phoneme's statistics (B, 2 C, P) over its frames; return them with a mask."""
    with writer.scope("regulator"):
        ends = writer.CumSum(durations, 2)
        totals = writer.ReduceMax(ends, axes=[2])
        # At least one frame, as in training's code; the decoder cannot take none.
        totals = writer.Max(totals, 1.0)
        longest = writer.ReduceMax(totals, keepdims=0)
        frames = writer.Range(0.0, longest, 1.0)
        mask = writer.Cast(writer.Less(frames, totals), to=1)
        # A frame belongs to the first phoneme that ends after it; past the end that is number 0.
        column = writer.Unsqueeze(frames, [1])
        ended = writer.Cast(writer.Less(column, ends), to=1)
        index = writer.ArgMax(ended, axis=2, keepdims=1)
        rows = writer.Transpose(statistics, perm=[0, 2, 1])
        rows = writer.GatherND(rows, index, batch_dims=1)
        return writer.Transpose(rows, perm=[0, 2, 1]), mask


def sample_prior(writer: GraphWriter, statistics: str, noise_scale: str) -> str:
    """Draw z_p (B, C, 1, T) from repeated statistics (B, 2 C, T).

    The sum has no axis of height yet: programs that stream a voice cut its graph there, and the
    mask's too, along the third axis.
    """
    with writer.scope("prior"):
        m_p, logs_p = writer.Split(statistics, outputs=2, axis=1)
        noise = writer.Mul(writer.RandomNormalLike(m_p), noise_scale)
        z_p = writer.Add(m_p, writer.Mul(noise, writer.Exp(logs_p)))
        return writer.Unsqueeze(z_p, [2])


def reverse_flow(
    writer: GraphWriter, z_p: str, mask: str | None, g: str | None, layers: int
) -> str:
    """Run the residual coupling layers backwards; (B, C, 1, T) → (B, C, 1, T), masked.

    The channel reversal after each layer is folded into the weights (`fold_weights`), so each
    layer only chooses which half it changes.
    """
    with writer.scope("flow"):
        low, high = writer.Split(z_p, outputs=2, axis=1)
        for i in reversed(range(layers)):
            with writer.scope(f"flows.{2 * i}"):
                source = high if is_flipped(i, layers) else low
                h = _mask_frames(writer, writer.conv(source, "pre"), mask)
                mean = writer.conv(_wavenet(writer, h, mask, g), "post")
                if is_flipped(i, layers):
                    low = writer.Sub(low, mean)
                else:
                    high = writer.Sub(high, mean)
        return _mask_frames(writer, writer.Concat(low, high, axis=1), mask)


def _wavenet(writer: GraphWriter, x: str, mask: str | None, g: str | None) -> str:
    """Write gated convolutions (van den Oord et al. 2016); x (B, C, 1, T), masked."""
    with writer.scope("enc"):
        layers = writer.last_numbered("in_layers") + 1
        conditions = []
        if g is not None:
            condition = writer.conv(g, "cond_layer")
            conditions = writer.split(condition, layers, axis=1)
        skips = []
        for i in range(layers):
            y = writer.conv(x, f"in_layers.{i}")
            if conditions:
                y = writer.Add(y, conditions[i])
            filtered, gate = writer.Split(y, outputs=2, axis=1)
            y = writer.Mul(writer.Tanh(filtered), writer.Sigmoid(gate))
            y = writer.conv(y, f"res_skip_layers.{i}")
            if i < layers - 1:
                residual, y = writer.Split(y, outputs=2, axis=1)
                x = _mask_frames(writer, writer.Add(x, residual), mask)
            skips.append(y)
        return writer.Sum(*skips)


def _mask_frames(writer: GraphWriter, x: str, mask: str | None) -> str:
    """Write the product of x (B, C, 1, T) and a mask (B, 1, T); None stands for ones."""
    if mask is not None:
        mask = writer.Unsqueeze(mask, [2])
    return writer.mask(x, mask)


def decoder(writer: GraphWriter, z: str, g: str | None, config: GraphConfig) -> str:
    """Write the HiFi-GAN generator; z (B, C, 1, T) → `output` (B, 1, 1, S) in [-1, 1].

    In the compact graph the average over parallel blocks is a plain sum: the next convolution's
    weights hold the division (`fold_weights`). The whole graph keeps upsampling as it is in other
    voices, along one axis and with the weights' own names.
    """
    with writer.scope("dec"):
        x = writer.conv(z, "conv_pre")
        if g is not None:
            x = writer.Add(x, writer.conv(g, "cond"))
        blocks = len(config.resblock_kernel_sizes)
        for i, rate in enumerate(config.upsample_rates):
            x = writer.LeakyRelu(x, alpha=LEAKY_SLOPE)
            if not writer.is_compact:
                x = writer.Squeeze(x, [2])
            x = writer.conv_transpose(x, f"ups.{i}", stride=rate)
            if not writer.is_compact:
                x = writer.Unsqueeze(x, [2])
            # All blocks begin with the same leaky ReLU of the same values.
            active = writer.LeakyRelu(x, alpha=LEAKY_SLOPE)
            sums = []
            for j, dilations in enumerate(config.resblock_dilation_sizes):
                with writer.scope(f"resblocks.{i * blocks + j}"):
                    sums.append(_residual_block(writer, x, active, dilations, config.resblock))
            x = writer.op("Sum" if writer.is_compact else "Mean", *sums)
        x = writer.LeakyRelu(x, alpha=LAST_LEAKY_SLOPE)
        if writer.is_compact and config.hop_length % PHASES == 0:
            return _last_conv_by_phases(writer, x)
        return writer.Tanh(writer.conv(x, "conv_post"), name="output")


def _residual_block(
    writer: GraphWriter, x: str, active: str, dilations: tuple[int, ...], kind: str
) -> str:
    """Write one residual block of kind `"1"` or `"2"`; `active` is the leaky ReLU of x."""
    for i, dilation in enumerate(dilations):
        if i:
            active = writer.LeakyRelu(x, alpha=LEAKY_SLOPE)
        if kind == "1":
            y = writer.conv(active, f"convs1.{i}", dilation=dilation)
            y = writer.conv(writer.LeakyRelu(y, alpha=LEAKY_SLOPE), f"convs2.{i}")
        else:
            y = writer.conv(active, f"convs.{i}", dilation=dilation)
        x = writer.Add(x, y)
    return x


def _last_conv_by_phases(writer: GraphWriter, x: str) -> str:
    """Write the convolution to a single channel as one to `PHASES` channels with that stride.

    Blocked convolutions compute at least 16 channels, used or not. So each of them gets one of 16
    neighbouring samples, by the same taps moved: a kernel of K + 15 taps, a third of the work.
    """
    with writer.scope("conv_post"):
        taps = writer.array("weight:scaled")
        _, channels, _, size = taps.shape
        kernel = size + PHASES - 1
        moved = np.zeros((PHASES, channels, 1, kernel), np.float32)
        for phase in range(PHASES):
            moved[phase, :, :, phase : phase + size] = taps[0]
        inputs = [x, moved]
        if writer.has("bias"):
            inputs.append(np.repeat(writer.array("bias"), PHASES))
        y = writer.Conv(
            *inputs,
            kernel_shape=[1, kernel],
            strides=[1, PHASES],
            pads=[0, size // 2, 0, size - 1 - size // 2],
        )
        y = writer.Transpose(writer.Tanh(y), perm=[0, 2, 3, 1])
        return writer.Reshape(y, [1, 1, 1, -1], name="output")
