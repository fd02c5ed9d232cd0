"""Builds the inference graph of a quick voice from named weights, without torch.

The network is `piper.train.quick.network`: text to latents (log mels, log F0, voicing), latents to
two filters a frame, which shape pulses of that F0 and white noise. Inputs and outputs are those of
other Piper voices, for one sentence at a time. A fourth value of `scales` is the pitch: clients
that do not know it pass three and lose nothing (as an input with a default it would make ONNX
Runtime print a warning whenever another client loads the voice). Needs the package `onnx` when
called. Shapes: P phonemes, N of them without padding symbols, T frames, S samples, C channels, L
latents, F frequency bins.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from piper.voice.graph_writer import GraphWriter, TensorSpec

if TYPE_CHECKING:
    import onnx

QUICK_METADATA_KEY = "piper_quick"
"""Where such a graph keeps its `QuickGraphConfig`, as JSON, in the model's metadata."""
F0_RANGE_HERTZ = (50.0, 600.0)
LOG_MAGNITUDE_RANGE = (-14.0, 6.0)
PITCH_SMOOTHING = 9
_LAYER_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class QuickGraphConfig:
    """What the graph must know beside its weights.

    Attributes:
        sample_rate: Hertz.
        filter_length: Samples of the Fourier transform.
        hop_length: Samples per frame.
        pad_id: The id of the padding symbol; None where there is none.
        num_speakers: 1 means no `sid` input.
    """

    sample_rate: int
    filter_length: int
    hop_length: int
    pad_id: int | None = 0
    num_speakers: int = 1


def build_quick_graph(
    weights: Mapping[str, np.ndarray], config: QuickGraphConfig
) -> onnx.ModelProto:
    """Build the whole graph.

    Inputs: `input` int64 (1, P), `input_lengths` int64 (1,), `scales` float32 (3,) or (4,): noise,
    length, duration noise, and semitones that are added to the pitch, 0 where they are not given;
    `sid` int64 (1,) only with several speakers. Outputs: `output` float32 (1, 1, 1, S), `durations`
    float32 (1, 1, P) in frames.

    Args:
        weights: Named as in a checkpoint without `model_g.`.
        config: The network's shape.

    Raises:
        ExportError: A weight is missing, or `onnx` is not installed.
    """
    writer = GraphWriter(_fold(weights))
    noise, length, duration_noise, pitch = _split_scales(writer)
    places, ids = _leave_out_padding(writer, config)
    with writer.scope("text"):
        encoded = _encode(writer, ids, config)
        durations = _durations(writer, encoded, length, duration_noise)
    _durations_of_all_ids(writer, places, durations)
    phonemes, positions = _lay_out(writer, durations)
    with writer.scope("text"):
        estimate = _latents(writer, encoded, phonemes, positions)
    latents, hertz = _vary(writer, estimate, phonemes, encoded, noise, pitch, weights)
    with writer.scope("decoder"):
        filters = _filters(writer, latents)
        _shape_sound(writer, filters, hertz, config)
    inputs: list[TensorSpec] = [
        ("input", np.int64, (1, "phonemes")),
        ("input_lengths", np.int64, (1,)),
        ("scales", np.float32, ("scales",)),
    ]
    if config.num_speakers > 1:
        inputs.append(("sid", np.int64, (1,)))
    outputs: list[TensorSpec] = [
        ("output", np.float32, (1, 1, 1, "samples")),
        ("durations", np.float32, (1, 1, "phonemes")),
    ]
    return writer.finish(inputs, outputs, {QUICK_METADATA_KEY: json.dumps(asdict(config))})


def _fold(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights as the graph wants them.

    A layer norm's factor and shift go into the linear layer after it, a block's scale into the
    linear layer before it, and linear layers are transposed.
    """
    folded = {name: np.asarray(value, np.float32) for name, value in weights.items()}
    pairs = {"text.frame_norm": "text.exit", "decoder.norm": "decoder.exit"}
    for name in weights:
        if name.endswith(".scale"):
            block = name.removesuffix(".scale")
            pairs[f"{block}.norm"] = f"{block}.expand"
            scale = folded[name]
            folded[f"{block}.reduce.weight"] = folded[f"{block}.reduce.weight"] * scale[:, None]
            folded[f"{block}.reduce.bias"] = folded[f"{block}.reduce.bias"] * scale
    for norm, linear in pairs.items():
        matrix = folded[f"{linear}.weight"]
        folded[f"{linear}.bias"] = folded[f"{linear}.bias"] + matrix @ folded[f"{norm}.bias"]
        folded[f"{linear}.weight"] = matrix * folded[f"{norm}.weight"]
    for name, value in folded.items():
        is_table = name.endswith(("embedding.weight", "speakers.weight"))
        if value.ndim == 2 and not is_table:
            folded[name] = np.ascontiguousarray(value.T)
    return folded


def _split_scales(writer: GraphWriter) -> list[str]:
    """Return noise, length, duration noise and pitch, each (1,)."""
    with writer.scope("scales"):
        padded = writer.op("Concat", "scales", writer.constant([0.0], np.float32), axis=0)
        places = (writer.constant([place]) for place in range(4))
        return [writer.op("Gather", padded, place, axis=0) for place in places]


def _leave_out_padding(writer: GraphWriter, config: QuickGraphConfig) -> tuple[str, str]:
    """Return the places (N,) and ids (1, N) of what is no padding symbol."""
    with writer.scope("input"):
        size = writer.op("Squeeze", writer.op("Shape", "input", start=1))
        places = writer.op("Range", writer.constant(0), size, writer.constant(1))
        is_kept = writer.op("Less", places, "input_lengths")
        if config.pad_id is not None:
            row = writer.op("Squeeze", "input", writer.constant([0]))
            is_padding = writer.op("Equal", row, writer.constant(config.pad_id))
            is_kept = writer.op("And", is_kept, writer.op("Not", is_padding))
        kept = writer.op("Compress", places, is_kept, axis=0)
        return kept, writer.op("Gather", "input", kept, axis=1)


def _encode(writer: GraphWriter, ids: str, config: QuickGraphConfig) -> str:
    """Write the text encoder; (1, N) → (1, N, C)."""
    x = writer.op("Gather", writer.weight("embedding.weight"), ids, axis=0)
    if config.num_speakers > 1:
        speaker = writer.op("Gather", writer.weight("speakers.weight"), "sid", axis=0)
        x = writer.op("Add", x, writer.op("Unsqueeze", speaker, writer.constant([1])))
    for i in range(writer.last_numbered("text_blocks") + 1):
        x = _block(writer, x, f"text_blocks.{i}")
    x = _normalise(writer, x)
    x = writer.op("Mul", x, writer.weight("text_norm.weight"))
    return writer.op("Add", x, writer.weight("text_norm.bias"))


def _durations(writer: GraphWriter, encoded: str, length: str, noise: str) -> str:
    """Write the durations, (N,) float32, whole numbers of frames."""
    x = _gelu(writer, _linear(writer, encoded, "duration_entry"))
    x = _linear(writer, _block(writer, x, "duration_block"), "duration_exit")
    mean, deviation = writer.op("Split", x, outputs=2, axis=2)
    deviation = _clip(writer, deviation, -5.0, 1.0)
    drawn = writer.op("Mul", writer.op("RandomNormalLike", mean), noise)
    logarithm = writer.op("Add", mean, writer.op("Mul", drawn, writer.op("Exp", deviation)))
    exact = writer.op("Sub", writer.op("Exp", logarithm), writer.number(1.0))
    exact = writer.op("Mul", exact, length)
    scale = writer.number(float(writer.outside("duration_scale")))
    exact = writer.op("Sub", writer.op("Mul", exact, scale), writer.number(0.5))
    exact = writer.op("Max", exact, writer.number(0.0))
    return writer.op("Reshape", writer.op("Ceil", exact), writer.constant([-1]))


def _durations_of_all_ids(writer: GraphWriter, places: str, durations: str) -> None:
    """Write the output `durations` (1, 1, P): 0 for padding symbols."""
    with writer.scope("durations"):
        shape = writer.op("Shape", "input", start=1)
        zeros = writer.op("Expand", writer.number(0.0), shape)
        spread = writer.op("ScatterElements", zeros, places, durations, axis=0)
        writer.op("Unsqueeze", spread, writer.constant([0, 1]), name="durations")


def _lay_out(writer: GraphWriter, durations: str) -> tuple[str, str]:
    """Return each frame's phoneme (T,) int64, and where in it the frame lies, (1, T, 4)."""
    with writer.scope("frames"):
        ends = writer.op("CumSum", durations, writer.constant(0))
        total = writer.op("ReduceMax", ends, keepdims=0)
        # At least one frame: the decoder cannot take none.
        total = writer.op("Max", total, writer.number(1.0))
        times = writer.op("Range", writer.number(0.0), total, writer.number(1.0))
        column = writer.op("Unsqueeze", times, writer.constant([1]))
        ended = writer.op("Cast", writer.op("LessOrEqual", ends, column), to=7)
        phonemes = writer.op("ReduceSum", ended, writer.constant([1]), keepdims=0)
        last = writer.op("Sub", writer.op("Squeeze", writer.op("Shape", ends)), writer.constant(1))
        phonemes = writer.op("Min", phonemes, last)
        lengths = writer.op("Gather", durations, phonemes, axis=0)
        lengths = writer.op("Max", lengths, writer.number(1.0))
        starts = writer.op("Gather", writer.op("Sub", ends, durations), phonemes, axis=0)
        since = writer.op("Add", writer.op("Sub", times, starts), writer.number(0.5))
        until = writer.op("Max", writer.op("Sub", lengths, since), writer.number(0.0))
        one = writer.number(1.0)
        features = (
            writer.op("Div", since, lengths),
            writer.op("Log", writer.op("Add", since, one)),
            writer.op("Log", writer.op("Add", until, one)),
            writer.op("Log", lengths),
        )
        rows = [writer.op("Unsqueeze", row, writer.constant([0, 2])) for row in features]
        return phonemes, writer.op("Concat", *rows, axis=2)


def _latents(writer: GraphWriter, encoded: str, phonemes: str, positions: str) -> str:
    """Write the frames' half of the text side, (1, T, L + 1)."""
    x = writer.op("Gather", encoded, phonemes, axis=1)
    x = writer.op("Add", x, _linear(writer, positions, "position"))
    for i in range(writer.last_numbered("frame_blocks") + 1):
        x = _block(writer, x, f"frame_blocks.{i}")
    return _linear(writer, _normalise(writer, x), "exit")


def _vary(
    writer: GraphWriter,
    estimate: str,
    phonemes: str,
    encoded: str,
    noise: str,
    semitones: str,
    weights: Mapping[str, np.ndarray],
) -> tuple[str, str]:
    """Return latents (1, T, L) and pitch in hertz (1, T, 1), with their random share."""
    size = len(weights["latent_mean"])
    place = size - 2
    with writer.scope("vary"):
        mean, deviation = writer.op(
            "Split", estimate, writer.constant([size, 1]), outputs=2, axis=2
        )
        spread, centre = weights["spread"], weights["predicted_mean"]
        mean = writer.op("Mul", mean, writer.constant(spread, np.float32))
        mean = writer.op("Add", mean, writer.constant(centre * (1 - spread), np.float32))
        # A random number a phoneme, with soft passages from one to the next.
        flat = writer.op("ReduceMean", encoded, axes=[2], keepdims=0)
        drawn = writer.op("Gather", writer.op("RandomNormalLike", flat), phonemes, axis=1)
        drawn = writer.op("Unsqueeze", drawn, writer.constant([1]))
        half = PITCH_SMOOTHING // 2
        drawn = writer.op("Pad", drawn, writer.constant([0, 0, half, 0, 0, half]), mode="edge")
        drawn = writer.op("AveragePool", drawn, kernel_shape=[PITCH_SMOOTHING])
        wander = writer.op("Transpose", drawn, perm=[0, 2, 1])
        deviation = writer.op("Exp", _clip(writer, deviation, -5.0, 1.0))
        wander = writer.op("Mul", writer.op("Mul", wander, deviation), noise)
        mels, pitch, voicing = writer.op(
            "Split", mean, writer.constant([place, 1, 1]), outputs=3, axis=2
        )
        pitch = writer.op("Add", pitch, wander)
        latents = writer.op("Concat", mels, pitch, voicing, axis=2)
        logarithm = writer.op("Mul", pitch, writer.number(weights["latent_deviation"][place]))
        logarithm = writer.op("Add", logarithm, writer.number(weights["latent_mean"][place]))
        octave = writer.op("Mul", semitones, writer.number(math.log(2.0) / 12.0))
        hertz = writer.op("Exp", writer.op("Add", logarithm, octave))
        return latents, _clip(writer, hertz, *F0_RANGE_HERTZ)


def _filters(writer: GraphWriter, latents: str) -> str:
    """Write the decoder's body, (1, T, L) → magnitudes (1, 2 F, T), of pulses above noise."""
    x = writer.op("Transpose", latents, perm=[0, 2, 1])
    x = writer.op("Transpose", writer.conv(x, "entry"), perm=[0, 2, 1])
    for i in range(writer.last_numbered("blocks") + 1):
        x = _block(writer, x, f"blocks.{i}")
    x = _linear(writer, _normalise(writer, x), "exit")
    x = writer.op("Exp", _clip(writer, x, *LOG_MAGNITUDE_RANGE))
    return writer.op("Transpose", x, perm=[0, 2, 1])


def _shape_sound(writer: GraphWriter, filters: str, hertz: str, config: QuickGraphConfig) -> None:
    """Write pulses and noise through their filters to `output` (1, 1, 1, S)."""
    size, hop = config.filter_length, config.hop_length
    margin = (size - hop) // 2
    pulses = _pulses(writer, hertz, config)
    white = writer.op("RandomNormalLike", pulses)
    excitations = writer.op("Concat", pulses, white, axis=0)  # (2, 1, S)
    padded = writer.op("Pad", excitations, writer.constant([0, 0, margin, 0, 0, margin]))
    forward, inverse, squares = _fourier(size)
    spectra = writer.op(
        "Conv", padded, writer.constant(forward, np.float32), kernel_shape=[size], strides=[hop]
    )
    harmonic, aperiodic = writer.op("Split", filters, outputs=2, axis=1)
    tuned, hissing = writer.op("Split", spectra, outputs=2, axis=0)
    parts = []
    for spectrum, magnitudes in ((tuned, harmonic), (hissing, aperiodic)):
        both = writer.op("Concat", magnitudes, magnitudes, axis=1)  # real and imaginary parts
        parts.append(writer.op("Mul", spectrum, both))
    spectrum = writer.op("Add", *parts)

    def add_up(rows: str, kernel: np.ndarray) -> str:
        taps = writer.constant(kernel, np.float32)
        return str(writer.op("ConvTranspose", rows, taps, kernel_shape=[size], strides=[hop]))

    sound = add_up(spectrum, inverse)
    ones = writer.op("Slice", spectrum, *map(writer.constant, ([0], [1], [1])))
    ones = writer.op("Add", writer.op("Mul", ones, writer.number(0.0)), writer.number(1.0))
    weight = writer.op("Max", add_up(ones, squares), writer.number(1e-3))
    sound = writer.op("Div", sound, weight)
    sound = writer.op("Slice", sound, *map(writer.constant, ([margin], [-margin], [2])))
    sound = writer.op("Unsqueeze", sound, writer.constant([1]))
    writer.op("Clip", sound, writer.number(-1.0), writer.number(1.0), name="output")


def _pulses(writer: GraphWriter, hertz: str, config: QuickGraphConfig) -> str:
    """Write band-limited pulses (1, 1, S) of pitches (1, T, 1)."""
    hop = config.hop_length
    with writer.scope("pulses"):
        # Linear between the frames' middles, by the frame before, the frame and the one after.
        column = writer.op("Pad", hertz, writer.constant([0, 1, 0, 0, 1, 0]), mode="edge")
        ends = ([0, -2], [1, -1], [2, 2**31 - 1])
        three = [
            writer.op("Slice", column, *map(writer.constant, ([start], [end], [1])))
            for start, end in ends
        ]
        offset = (np.arange(hop) + 0.5) / hop - 0.5
        shares = np.stack([np.maximum(-offset, 0), 1 - np.abs(offset), np.maximum(offset, 0)])
        rows = writer.op(
            "MatMul", writer.op("Concat", *three, axis=2), writer.constant(shares, np.float32)
        )
        pitch = writer.op("Reshape", rows, writer.constant([1, 1, -1]))
        turns = writer.op(
            "Div",
            writer.op("Cast", pitch, to=11),
            writer.constant(float(config.sample_rate), np.float64),
        )
        turns = writer.op("CumSum", turns, writer.constant(2))
        part = writer.op("Cast", writer.op("Sub", turns, writer.op("Round", turns)), to=1)
        phase = writer.op("Mul", part, writer.number(math.pi))
        one, two = writer.number(1.0), writer.number(2.0)
        room = writer.op("Div", writer.number(0.5 * config.sample_rate), pitch)
        room = writer.op("Sub", room, writer.number(0.5))
        harmonics = writer.op("Floor", room)
        twice = writer.op("Mul", harmonics, two)
        count = writer.op("Add", twice, one)
        sine = writer.op("Sin", phase)
        # At the pulse itself both sines are 0, and their quotient is the number of harmonics.
        is_pulse = writer.op("Less", writer.op("Abs", sine), writer.number(1e-4))
        kernel = writer.op("Sin", writer.op("Mul", count, phase))
        kernel = writer.op("Div", kernel, writer.op("Where", is_pulse, one, sine))
        kernel = writer.op("Sub", writer.op("Where", is_pulse, count, kernel), one)
        # The highest harmonic fades in and out with the pitch, instead of coming and going at once.
        share = writer.op("Mul", writer.op("Sub", room, harmonics), two)
        highest = writer.op("Cos", writer.op("Mul", writer.op("Add", twice, two), phase))
        kernel = writer.op("Add", kernel, writer.op("Mul", share, highest))
        power = writer.op("Sqrt", writer.op("Div", writer.number(0.5), room))
        return str(writer.op("Mul", kernel, power))


def _fourier(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Fourier transform and inverse as taps of convolutions, and the window's squares.

    Returns:
        Forward (2 F, 1, size) and inverse (2 F, 1, size), both with a Hann window, real parts above
        imaginary ones; squares (1, 1, size).
    """
    bins = size // 2 + 1
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    angle = 2 * np.pi * np.outer(np.arange(bins), np.arange(size)) / size
    forward = np.concatenate([np.cos(angle), -np.sin(angle)]) * window
    twice = np.full((bins, 1), 2.0)
    twice[0] = twice[-1] = 1.0
    inverse = np.concatenate([np.cos(angle) * twice, -np.sin(angle) * twice]) / size * window
    return forward[:, None], inverse[:, None], (window**2)[None, None]


def _block(writer: GraphWriter, x: str, module: str) -> str:
    """Write a ConvNeXt block, (1, T, C) → (1, T, C)."""
    with writer.scope(module):
        channels = len(writer.array("mix.weight"))
        y = writer.op("Transpose", x, perm=[0, 2, 1])
        y = writer.conv(y, "mix", groups=channels)
        y = _normalise(writer, writer.op("Transpose", y, perm=[0, 2, 1]))
        y = _linear(writer, _gelu(writer, _linear(writer, y, "expand")), "reduce")
        return str(writer.op("Add", x, y))


def _normalise(writer: GraphWriter, x: str) -> str:
    """Write a layer norm over the last axis, whose factor and shift are elsewhere."""
    x = writer.op("Sub", x, writer.op("ReduceMean", x, axes=[2]))
    variance = writer.op("ReduceMean", writer.op("Mul", x, x), axes=[2])
    deviation = writer.op("Sqrt", writer.op("Add", variance, writer.number(_LAYER_NORM_EPSILON)))
    return str(writer.op("Div", x, deviation))


def _linear(writer: GraphWriter, x: str, module: str) -> str:
    y = writer.op("MatMul", x, writer.weight(f"{module}.weight"))
    return str(writer.op("Add", y, writer.weight(f"{module}.bias")))


def _gelu(writer: GraphWriter, x: str) -> str:
    inner = writer.op("Erf", writer.op("Div", x, writer.number(math.sqrt(2.0))))
    raised = writer.op("Mul", x, writer.op("Add", inner, writer.number(1.0)))
    return str(writer.op("Mul", raised, writer.number(0.5)))


def _clip(writer: GraphWriter, x: str, low: float, high: float) -> str:
    return str(writer.op("Clip", x, writer.number(low), writer.number(high)))
