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
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from piper.files import parse_json
from piper.voice.graph_config import (
    SPLINE_MIN_SLOPE,
    GraphConfig,
    coupling_layers,
    fold_weights,
    is_flipped,
)
from piper.voice.graph_quick import (
    DECODER_INPUTS,
    STATISTICS,
    STATISTICS_KEY,
    QuickGraphConfig,
    QuickWriter,
    compute_frame_context,
    describe_quick_graph,
    fold_quick_weights,
)
from piper.voice.graph_quick import compute_decoder_context as compute_quick_context
from piper.voice.graph_writer import (
    COMPACT_OPSET,
    OPSET,
    QUICK_OPSET,
    GraphWriter,
    TensorSpec,
    VoiceParts,
    import_onnx,
)

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


MAX_KEPT_DIFFERENCE = 1e-2
"""Largest difference between samples of two ways to speak by a copy that keeps its text side:
rounding in the flow moves the pitch by a millionth, and in seconds its highest harmonics."""


@dataclass(frozen=True)
class QuickDecoder:
    """What stands in place of a voice's decoder in a copy that keeps its text side.

    Attributes:
        weights: Of a quick voice's network with `kept_latents`, named as in its checkpoint.
        config: Its shape.
    """

    weights: Mapping[str, np.ndarray]
    config: QuickGraphConfig


def build_graph(
    weights: Mapping[str, np.ndarray],
    config: GraphConfig,
    *,
    include_durations: bool = True,
    decoder: QuickDecoder | None = None,
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
        decoder: Another one in place of the voice's own; B is 1 then, and a fourth value of
            `scales` the pitch, as in quick voices.
    """
    config.check(weights)
    writer = VitsWriter(
        fold_weights(weights, config, is_plain=True),
        config,
        opset=OPSET if decoder is None else QUICK_OPSET,
    )
    metadata = {METADATA_KEY: config.to_json()}
    batch: str | int = "batch_size"
    if decoder is None:
        noise, length, rhythm_noise = writer.split("scales", 3, axis=0)
    else:
        batch = 1
        own = QuickWriter(fold_quick_weights(decoder.weights), decoder.config, into=writer)
        metadata |= describe_quick_graph(decoder.weights, decoder.config)
        noise, length, rhythm_noise, pitch = own.split_scales()
    inputs: list[TensorSpec] = [
        ("input", np.int64, (batch, "phonemes")),
        ("input_lengths", np.int64, (batch,)),
        ("scales", np.float32, (3,) if decoder is None else ("scales",)),
    ]
    if config.num_speakers > 1:
        inputs.append(("sid", np.int64, (batch,)))
        speaker = writer.Gather(writer.weight("emb_g.weight"), "sid", axis=0)
        writer.speaker = writer.Unsqueeze(speaker, [2])
        writer.frame_speaker = writer.Unsqueeze(writer.speaker, [3])
    mask = writer.phoneme_mask = writer.create_phoneme_mask()
    hidden, statistics = writer.text_encoder()
    draws = writer.draw_duration_noise(mask, rhythm_noise) if config.use_sdp else []
    exact = writer.Mul(writer.Exp(writer.log_durations(hidden, draws)), mask)
    durations = writer.Ceil(writer.Mul(exact, length), name="durations")
    statistics = writer.regulate_length(durations, statistics)
    z = writer.reverse_flow(writer.sample_prior(statistics, noise))
    if decoder is None:
        writer.decoder(z)
    else:
        frame_speaker = None
        if config.num_speakers > 1:
            speaker = writer.Gather(own.weight("text.speakers.weight"), "sid", axis=0)
            frame_speaker = writer.Unsqueeze(speaker, [1])
        own.decode_kept(writer.Squeeze(z, [2]), pitch, frame_speaker)
    outputs: list[TensorSpec] = [("output", np.float32, (batch, 1, 1, "samples"))]
    if include_durations:
        outputs.append(("durations", np.float32, (batch, 1, "phonemes")))
    return writer.finish(inputs, outputs, metadata)


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


def build_kept_parts(model: onnx.ModelProto, quick: QuickGraphConfig) -> VoiceParts:
    """Build the parts of a copy that keeps its text side, of the graph that `build_graph` wrote.

    They are those of `build_parts`, but for the flow's end and the decoder, which are a quick
    voice's: `z` and `advance` as in `cut_quick_parts`, of `semitones` float32 (1, 1, T) beside
    the flow's inputs. A speaker's embedding is that of the text side and that of the frames.

    Raises:
        ValueError: The model's metadata are those of no such graph.
    """
    onnx = import_onnx()
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    config = GraphConfig.from_json(metadata[METADATA_KEY])
    statistics = parse_json(metadata[STATISTICS_KEY], "a quick voice's statistics")
    constants = {
        **{name: np.asarray(statistics[name], np.float32) for name in STATISTICS},
        **{tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer},
    }
    speakers = None
    if config.num_speakers > 1:
        tables = [constants["emb_g.weight"], constants["text.speakers.weight"]]
        speakers = np.concatenate(tables, axis=1)
    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model))
    return VoiceParts(
        text=_build_text(constants, config),
        flow=_build_kept_flow(constants, config, quick),
        decoder=extractor.extract_model(DECODER_INPUTS, ["output"]),
        speakers=speakers,
        flow_context_frames=compute_flow_context(constants) + compute_frame_context(constants),
        decoder_context_frames=compute_quick_context(constants, quick),
        num_symbols=len(constants["enc_p.emb.weight:scaled"]),
        max_difference=MAX_KEPT_DIFFERENCE,
    )


def _build_kept_flow(
    constants: Mapping[str, np.ndarray], config: GraphConfig, quick: QuickGraphConfig
) -> onnx.ModelProto:
    writer = VitsWriter(constants, config, opset=COMPACT_OPSET)
    own = QuickWriter(constants, quick, into=writer)
    inputs: list[TensorSpec] = [
        ("z_p", np.float32, (1, writer.latent_channels, 1, "frames")),
        ("semitones", np.float32, (1, 1, "frames")),
    ]
    speaker = None
    if config.num_speakers > 1:
        sizes = [constants[name].shape[1] for name in ("emb_g.weight", "text.speakers.weight")]
        inputs.append(("speaker", np.float32, (1, sum(sizes), 1, 1)))
        writer.frame_speaker, speaker = writer.Split("speaker", sizes, outputs=2, axis=1)
        speaker = writer.Reshape(speaker, [1, 1, -1])
    kept = writer.Squeeze(writer.reverse_flow("z_p"), [2])
    own.write_phase(own.estimate_kept(kept, "semitones", speaker))
    size = constants["decoder.entry.weight"].shape[1] + 1
    outputs: list[TensorSpec] = [
        ("z", np.float32, (1, size, "frames")),
        ("advance", np.float64, ("frames",)),
    ]
    return writer.finish(inputs, outputs, {})


def _build_text(constants: Mapping[str, np.ndarray], config: GraphConfig) -> onnx.ModelProto:
    writer = VitsWriter(constants, config, opset=COMPACT_OPSET)
    inputs: list[TensorSpec] = [("input", np.int64, (1, "phonemes"))]
    noise: list[str] = []
    if config.use_sdp:
        inputs.append(("rhythm_noise", np.float32, (1, 2, "phonemes")))
        noise = writer.split("rhythm_noise", 2, axis=1)
    inputs += writer.declare_speaker(1)
    hidden, statistics = writer.text_encoder()
    writer.Exp(writer.log_durations(hidden, noise), name="frames")
    writer.Identity(statistics, name="statistics")
    outputs: list[TensorSpec] = [
        ("frames", np.float32, (1, 1, "phonemes")),
        ("statistics", np.float32, (1, 2 * writer.latent_channels, "phonemes")),
    ]
    return writer.finish(inputs, outputs, {})


def _build_flow(constants: Mapping[str, np.ndarray], config: GraphConfig) -> onnx.ModelProto:
    writer = VitsWriter(constants, config, opset=COMPACT_OPSET)
    axes = (1, writer.latent_channels, 1, "frames")
    inputs: list[TensorSpec] = [("z_p", np.float32, axes), *writer.declare_speaker(2)]
    writer.Identity(writer.reverse_flow("z_p"), name="z")
    return writer.finish(inputs, [("z", np.float32, axes)], {})


def _build_decoder(constants: Mapping[str, np.ndarray], config: GraphConfig) -> onnx.ModelProto:
    writer = VitsWriter(constants, config, opset=COMPACT_OPSET)
    axes = (1, writer.latent_channels, 1, "frames")
    inputs: list[TensorSpec] = [("z", np.float32, axes), *writer.declare_speaker(2)]
    writer.decoder("z")
    return writer.finish(inputs, [("output", np.float32, (1, 1, 1, "samples"))], {})


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


class RelativeIndex(NamedTuple):
    """What all attention layers share."""

    key_bias: str | None
    """(B, 1, 1, P), 0 where there is a phoneme and -10,000 elsewhere; None without a mask."""
    to_distance: str
    """(1, 1, P, P) int64, which row of the padded relative table a pair reads."""
    to_position: str
    """(1, 1, P, 2 W + 3) int64, which (padded) position each table row stands for."""


class VitsWriter(GraphWriter):
    """Writes the parts of the network.

    Attributes:
        phoneme_mask: (B, 1, P); None where nothing is padded.
        frame_mask: (B, 1, T), likewise.
        speaker: `g` beside phonemes; None with one speaker.
        frame_speaker: `g` beside frames.
    """

    def __init__(
        self, constants: Mapping[str, np.ndarray], config: GraphConfig, *, opset: int = OPSET
    ) -> None:
        super().__init__(constants, opset=opset)
        self.config = config
        self.latent_channels = constants["enc_p.proj.weight"].shape[0] // 2
        self.phoneme_mask: str | None = None
        self.frame_mask: str | None = None
        self.speaker: str | None = None
        self.frame_speaker: str | None = None
        self._stretched: dict[str, str] = {}

    def declare_speaker(self, axes: int) -> list[TensorSpec]:
        """Take the speaker's embedding, with so many axes of length 1 after it, as an input."""
        if self.config.num_speakers == 1:
            return []
        self.speaker = self.frame_speaker = "speaker"
        width = self.array("emb_g.weight").shape[1]
        return [("speaker", np.float32, (1, width, *[1] * axes))]

    def create_phoneme_mask(self) -> str:
        """Return (B, 1, P) float32: 1 where there is a phoneme."""
        with self.scope("mask"):
            places = self.Range(0, self.Squeeze(self.Shape("input", start=1)), 1)
            return self.Cast(self.Less(places, self.Unsqueeze("input_lengths", [1, 2])), to=1)

    def text_encoder(self) -> tuple[str, str]:
        """Return the hidden text (B, C, P), and `m_p` above `logs_p` (B, 2 C', P), not masked."""
        with self.scope("enc_p"):
            x = self.Gather(self.weight("emb.weight:scaled"), "input", axis=0)
            x = self.Transpose(x, perm=[0, 2, 1])
            index = self._relative_index()
            with self.scope("encoder"):
                for i in range(self.last_numbered("attn_layers") + 1):
                    with self.scope(f"attn_layers.{i}"):
                        y = self._attention(x, index)
                    x = self._layer_norm(self.Add(x, y), f"norm_layers_1.{i}")
                    with self.scope(f"ffn_layers.{i}"):
                        y = self.conv(self.mask(x, self.phoneme_mask), "conv_1")
                        y = self.mask(self.Relu(y), self.phoneme_mask)
                        y = self.conv(y, "conv_2")
                    x = self._layer_norm(self.Add(x, y), f"norm_layers_2.{i}")
            return x, self.conv(x, "proj")

    def _relative_index(self) -> RelativeIndex:
        """Compute once what relative attention needs in every layer."""
        margin = self.config.window + 1
        with self.scope("relative"):
            places = self.Range(0, self.Squeeze(self.Shape("input", start=1)), 1)
            column = self.Unsqueeze(places, [1])
            distance = self.Clip(self.Sub(self.Add(places, margin), column), 0, 2 * margin)
            position = self.Add(column, np.arange(2 * margin + 1))
            bias = None
            if self.phoneme_mask is not None:
                bias = self.Mul(self.Sub(self.phoneme_mask, 1.0), 1e4)
                bias = self.Unsqueeze(bias, [1])
        return RelativeIndex(bias, distance, position)

    def _attention(self, x: str, index: RelativeIndex) -> str:
        """Write self-attention with relative positions, (B, C, P); source: Shaw et al. 2018."""
        heads = self.config.n_heads
        size = self.array("emb_rel_v:padded").shape[1]
        joined = self.Reshape(self.conv(x, "conv_qkv"), [0, 3 * heads, size, -1])
        query, key, value = self.Split(joined, outputs=3, axis=1)
        query = self.Transpose(query, perm=[0, 1, 3, 2])
        value = self.Transpose(value, perm=[0, 1, 3, 2])
        scores = self.MatMul(query, key)
        by_distance = self.MatMul(query, self.weight("emb_rel_k:padded"))
        distance = self._stretch(index.to_distance, scores)
        relative = self.GatherElements(by_distance, distance, axis=3)
        scores = self.Add(scores, relative)
        if index.key_bias is not None:
            scores = self.Add(scores, index.key_bias)
        weights = self.Softmax(scores, axis=3)
        margin = self.array("emb_rel_v:padded").shape[0] // 2
        wider = self.Pad(weights, [0, 0, 0, margin, 0, 0, 0, margin])
        position = self._stretch(index.to_position, by_distance)
        near = self.GatherElements(wider, position, axis=3)
        near = self.MatMul(near, self.weight("emb_rel_v:padded"))
        out = self.Add(self.MatMul(weights, value), near)
        out = self.Reshape(self.Transpose(out, perm=[0, 1, 3, 2]), [0, heads * size, -1])
        return self.conv(out, "conv_o")

    def _stretch(self, index: str, like: str) -> str:
        """Stretch an index to all heads; what the first layer has stretched is used by all."""
        if index not in self._stretched:
            self._stretched[index] = self.Expand(index, self.Shape(like))
        return self._stretched[index]

    def _layer_norm(self, x: str, module: str) -> str:
        """Normalise over channels; x (B, C, P). Source: Ba et al. 2016."""
        with self.scope(module):
            if self.is_compact:
                # The operator normalises over the last axis only; ONNX Runtime joins the transposes
                # of neighbours.
                scale, shift = (self.array(name)[:, 0] for name in ("gamma", "beta"))
                x = self.Transpose(x, perm=[0, 2, 1])
                x = self.LayerNormalization(x, scale, shift, epsilon=NORM_EPSILON)
                return self.Transpose(x, perm=[0, 2, 1])
            centred = self.Sub(x, self.ReduceMean(x, axes=[1]))
            variance = self.ReduceMean(self.Mul(centred, centred), axes=[1])
            deviation = self.Sqrt(self.Add(variance, NORM_EPSILON))
            scaled = self.Mul(self.Div(centred, deviation), self.weight("gamma"))
            return self.Add(scaled, self.weight("beta"))

    def draw_duration_noise(self, mask: str, noise_scale: str) -> list[str]:
        """Draw the stochastic predictor's noise: two values (B, 1, P)."""
        with self.scope("dp"):
            return [self.Mul(self.RandomNormalLike(mask), noise_scale) for _ in range(2)]

    def log_durations(self, x: str, noise: list[str]) -> str:
        """Write the voice's duration predictor; returns log durations in frames (B, 1, P).

        The noise is two values (B, 1, P), which only the stochastic predictor reads.
        """
        with self.scope("dp"):
            return self._stochastic_predictor(x, noise) if noise else self._plain_predictor(x)

    def _plain_predictor(self, x: str) -> str:
        x = self._add_condition(x, self.speaker)
        for i in (1, 2):
            x = self.conv(self.mask(x, self.phoneme_mask), f"conv_{i}")
            x = self._layer_norm(self.Relu(x), f"norm_{i}")
        return self.conv(x, "proj")

    def _stochastic_predictor(self, x: str, noise: list[str]) -> str:
        """Write the stochastic predictor, from noise to log durations (section 2.2.2, appendix B).

        The flow has two channels, each spline moves one of them as the other says, and a flip
        stands between: so here two values take turns, and nothing is flipped.
        """
        x = self._add_condition(self.conv(x, "pre"), self.speaker)
        x = self.conv(self._separable_convs(x), "proj")
        first, second = noise
        flow = self.last_numbered("flows")
        while flow > 1:
            with self.scope(f"flows.{flow}"):
                h = self.Add(self.conv(second, "pre"), x)
                rows = self.conv(self._separable_convs(h), "proj")
                bins = self.array("proj.weight:spline").shape[0] // 4
                first, second = second, self._inverse_spline(first, rows, bins)
            flow -= 2
        with self.scope("flows.0"):
            channel = self.constant([0])
            mean = self.Gather(self.weight("m"), channel, axis=0)
            scale = self.Gather(self.weight("logs:inverse_scale"), channel, axis=0)
            return self.Mul(self.Sub(second, mean), scale)

    def _separable_convs(self, x: str) -> str:
        """Write dilated depth-separable convolutions (Kim et al. 2021, appendix B.1); (B, C, P)."""
        with self.scope("convs"):
            for i in range(DDS_LAYERS):
                channels, _, kernel = self.array(f"convs_sep.{i}.weight").shape
                y = self.mask(x, self.phoneme_mask)
                y = self.conv(y, f"convs_sep.{i}", dilation=kernel**i, groups=channels)
                y = self.gelu(self._layer_norm(y, f"norms_1.{i}"))
                y = self.conv(y, f"convs_1x1.{i}")
                y = self.gelu(self._layer_norm(y, f"norms_2.{i}"))
                x = self.Add(x, y)
        return x

    def _inverse_spline(self, x: str, rows: str, bins: int) -> str:
        """Write the inverse of a monotonic rational-quadratic spline with linear tails; (B, 1, P).

        The rows are (B, 4 K, P): widths, heights, left slopes, right slopes, all unnormalised.
        Source: Durkan et al. 2019, section 3.1 and appendix A.2.
        """
        table = self.Reshape(rows, [0, 4, bins, -1])
        sizes, slopes = self.Split(table, outputs=2, axis=1)
        span = 2 * SPLINE_BOUND
        sizes = self.Softmax(sizes, axis=2)
        sizes = self.Mul(sizes, span * (1 - SPLINE_MIN_SIZE * bins))
        sizes = self.Add(sizes, span * SPLINE_MIN_SIZE)
        starts = self.CumSum(sizes, 2, exclusive=1)
        starts = self.Sub(starts, SPLINE_BOUND)
        slopes = self.Add(self.Softplus(slopes), SPLINE_MIN_SLOPE)
        table = self.Concat(starts, sizes, slopes, axis=1)
        inside = self.Clip(x, -SPLINE_BOUND, SPLINE_BOUND)
        chosen = self._choose_bin(inside, starts, table, bins)
        y = self._invert_bin(inside, chosen)
        return self.Where(self.Equal(x, inside), y, x)

    def _choose_bin(self, x: str, starts: str, table: str, bins: int) -> list[str]:
        """Return, each (B, 1, P), the six numbers of the bin whose height range holds x."""
        heights = self.Gather(starts, 1, axis=1)
        reached = self.GreaterOrEqual(x, heights)
        # The last bin that starts at or below x.
        reached = self.Cast(reached, to=1)
        index = self.ArgMax(reached, axis=1, keepdims=1, select_last_index=1)
        values = self.constant([0.0, 1.0], np.float32)
        chosen = self.OneHot(index, bins, values, axis=2)
        picked = self.Mul(table, chosen)
        picked = self.ReduceSum(picked, [2], keepdims=0)
        return self.Split(picked, outputs=6, axis=1)

    def _invert_bin(self, x: str, chosen: list[str]) -> str:
        """Solve the bin's quadratic equation; all (B, 1, P)."""
        left, bottom, width, height, slope_0, slope_1 = chosen
        rise = self.Sub(x, bottom)
        slope = self.Div(height, width)
        excess = self.Sub(self.Add(slope_0, slope_1), self.Add(slope, slope))
        bend = self.Mul(rise, excess)
        a = self.Add(bend, self.Mul(height, self.Sub(slope, slope_0)))
        b = self.Sub(self.Mul(height, slope_0), bend)
        minus_2c = self.Mul(self.Add(slope, slope), rise)
        minus_4ac = self.Mul(self.Add(a, a), minus_2c)
        discriminant = self.Add(self.Mul(b, b), minus_4ac)
        # Rounding can make it negative by a hair, and one NaN would silence the whole sentence.
        root = self.Sqrt(self.Relu(discriminant))
        part = self.Div(minus_2c, self.Add(b, root))
        return self.Add(self.Mul(part, width), left)

    def regulate_length(self, durations: str, statistics: str) -> str:
        """Repeat each phoneme's statistics (B, 2 C, P) over its frames; set the frames' mask."""
        with self.scope("regulator"):
            ends = self.CumSum(durations, 2)
            # At least one frame, as in training's code; the decoder cannot take none.
            totals = self.Max(self.ReduceMax(ends, axes=[2]), 1.0)
            frames = self.Range(0.0, self.ReduceMax(totals, keepdims=0), 1.0)
            self.frame_mask = self.Cast(self.Less(frames, totals), to=1)
            # A frame belongs to the first phoneme that ends after it, past the end to number 0.
            ended = self.Cast(self.Less(self.Unsqueeze(frames, [1]), ends), to=1)
            index = self.ArgMax(ended, axis=2, keepdims=1)
            rows = self.Transpose(statistics, perm=[0, 2, 1])
            rows = self.GatherND(rows, index, batch_dims=1)
            return self.Transpose(rows, perm=[0, 2, 1])

    def sample_prior(self, statistics: str, noise_scale: str) -> str:
        """Draw z_p (B, C, 1, T) from repeated statistics (B, 2 C, T).

        The sum has no axis of height yet: programs that stream a voice cut its graph there, and the
        mask's too, along the third axis.
        """
        with self.scope("prior"):
            m_p, logs_p = self.Split(statistics, outputs=2, axis=1)
            noise = self.Mul(self.RandomNormalLike(m_p), noise_scale)
            z_p = self.Add(m_p, self.Mul(noise, self.Exp(logs_p)))
            return self.Unsqueeze(z_p, [2])

    def reverse_flow(self, z_p: str) -> str:
        """Run the residual coupling layers backwards; (B, C, 1, T) → (B, C, 1, T), masked.

        The channel reversal after each layer is folded into the weights (`fold_weights`), so each
        layer only chooses which half it changes.
        """
        layers = coupling_layers(self.constants)
        with self.scope("flow"):
            low, high = self.Split(z_p, outputs=2, axis=1)
            for i in reversed(range(layers)):
                with self.scope(f"flows.{2 * i}"):
                    source = high if is_flipped(i, layers) else low
                    h = self._mask_frames(self.conv(source, "pre"))
                    mean = self.conv(self._wavenet(h), "post")
                    if is_flipped(i, layers):
                        low = self.Sub(low, mean)
                    else:
                        high = self.Sub(high, mean)
            return self._mask_frames(self.Concat(low, high, axis=1))

    def _wavenet(self, x: str) -> str:
        """Write gated convolutions (van den Oord et al. 2016); x (B, C, 1, T), masked."""
        with self.scope("enc"):
            layers = self.last_numbered("in_layers") + 1
            conditions = []
            if self.frame_speaker is not None:
                condition = self.conv(self.frame_speaker, "cond_layer")
                conditions = self.split(condition, layers, axis=1)
            skips = []
            for i in range(layers):
                y = self.conv(x, f"in_layers.{i}")
                if conditions:
                    y = self.Add(y, conditions[i])
                filtered, gate = self.Split(y, outputs=2, axis=1)
                y = self.Mul(self.Tanh(filtered), self.Sigmoid(gate))
                y = self.conv(y, f"res_skip_layers.{i}")
                if i < layers - 1:
                    residual, y = self.Split(y, outputs=2, axis=1)
                    x = self._mask_frames(self.Add(x, residual))
                skips.append(y)
            return self.Sum(*skips)

    def _mask_frames(self, x: str) -> str:
        """Write the product of x (B, C, 1, T) and the frames' mask."""
        if self.frame_mask is None:
            return x
        return self.mask(x, self.Unsqueeze(self.frame_mask, [2]))

    def _add_condition(self, x: str, g: str | None) -> str:
        return x if g is None else self.Add(x, self.conv(g, "cond"))

    def decoder(self, z: str) -> str:
        """Write the HiFi-GAN generator; z (B, C, 1, T) → `output` (B, 1, 1, S) in [-1, 1].

        In the compact graph the average over parallel blocks is a plain sum: the next
        convolution's weights hold the division (`fold_weights`). The whole graph keeps upsampling
        as it is in other voices, along one axis and with the weights' own names.
        """
        with self.scope("dec"):
            config = self.config
            x = self._add_condition(self.conv(z, "conv_pre"), self.frame_speaker)
            blocks = len(config.resblock_kernel_sizes)
            for i, rate in enumerate(config.upsample_rates):
                x = self.LeakyRelu(x, alpha=LEAKY_SLOPE)
                if not self.is_compact:
                    x = self.Squeeze(x, [2])
                x = self.conv_transpose(x, f"ups.{i}", stride=rate)
                if not self.is_compact:
                    x = self.Unsqueeze(x, [2])
                # All blocks begin with the same leaky ReLU of the same values.
                active = self.LeakyRelu(x, alpha=LEAKY_SLOPE)
                sums = []
                for j, dilations in enumerate(config.resblock_dilation_sizes):
                    with self.scope(f"resblocks.{i * blocks + j}"):
                        sums.append(self._residual_block(x, active, dilations))
                x = self.op("Sum" if self.is_compact else "Mean", *sums)
            x = self.LeakyRelu(x, alpha=LAST_LEAKY_SLOPE)
            if self.is_compact and config.hop_length % PHASES == 0:
                return self._last_conv_by_phases(x)
            return self.Tanh(self.conv(x, "conv_post"), name="output")

    def _residual_block(self, x: str, active: str, dilations: tuple[int, ...]) -> str:
        """Write one residual block of either kind; `active` is the leaky ReLU of x."""
        for i, dilation in enumerate(dilations):
            if i:
                active = self.LeakyRelu(x, alpha=LEAKY_SLOPE)
            if self.config.resblock == "1":
                y = self.conv(active, f"convs1.{i}", dilation=dilation)
                y = self.conv(self.LeakyRelu(y, alpha=LEAKY_SLOPE), f"convs2.{i}")
            else:
                y = self.conv(active, f"convs.{i}", dilation=dilation)
            x = self.Add(x, y)
        return x

    def _last_conv_by_phases(self, x: str) -> str:
        """Write the convolution to a single channel as one to `PHASES` channels with that stride.

        Blocked convolutions compute at least 16 channels, used or not. So each of them gets one of
        16 neighbouring samples, by the same taps moved: a kernel of K + 15 taps, a third of the
        work.
        """
        with self.scope("conv_post"):
            taps = self.array("weight:scaled")
            _, channels, _, size = taps.shape
            kernel = size + PHASES - 1
            moved = np.zeros((PHASES, channels, 1, kernel), np.float32)
            for phase in range(PHASES):
                moved[phase, :, :, phase : phase + size] = taps[0]
            inputs = [x, moved]
            if self.has("bias"):
                inputs.append(np.repeat(self.array("bias"), PHASES))
            y = self.Conv(
                *inputs,
                kernel_shape=[1, kernel],
                strides=[1, PHASES],
                pads=[0, size // 2, 0, size - 1 - size // 2],
            )
            y = self.Transpose(self.Tanh(y), perm=[0, 2, 3, 1])
            return self.Reshape(y, [1, 1, 1, -1], name="output")
