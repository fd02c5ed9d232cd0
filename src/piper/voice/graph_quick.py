"""Builds the inference graph of a quick voice from named weights, and cuts it into parts.

Needs no torch. The network is `piper.train.quick.network`: text to latents (log mels, log F0,
voicing), latents to two filters a frame, which shape pulses of that F0 and white noise. Inputs and
outputs are those of other Piper voices, for one sentence at a time. A fourth value of `scales` is
the pitch: clients that do not know it pass three and lose nothing (as an input with a default it
would make ONNX Runtime print a warning whenever another client loads the voice).

The white noise is a table in the file, so that a scale of 0 gives the same sound each time, as with
other voices, and a window of frames the same as the whole sentence. Values that stand between the
parts have names, by which `cut_quick_parts` cuts.

Needs the package `onnx` when called. Shapes: P phonemes, N of them without padding symbols, T
frames, S samples, C channels, L latents, F frequency bins.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from piper.files import parse_json
from piper.voice.graph_config import is_count
from piper.voice.graph_writer import (
    QUICK_OPSET,
    GraphWriter,
    TensorSpec,
    VoiceParts,
    import_onnx,
)

if TYPE_CHECKING:
    import onnx

QUICK_METADATA_KEY = "piper_quick"
"""Where such a graph keeps its `QuickGraphConfig`, as JSON, in its metadata."""
STATISTICS_KEY = "piper_quick_statistics"
"""Likewise, how latents are standardised and what is made good when it speaks: `STATISTICS`."""
STATISTICS = ("latent_mean", "latent_deviation", "predicted_mean", "spread", "duration_scale")
BLOCK_SCALE = 0.3
"""That a block of a fresh network has; in the graph it is part of a linear layer."""
F0_RANGE_HERTZ = (50.0, 600.0)
LOG_MAGNITUDE_RANGE = (-14.0, 6.0)
"""Of the filters: beyond it a gradient step too far would end in infinities."""
PITCH_SMOOTHING = 9
"""Frames over which a phoneme's random pitch passes into the next one's."""
NOISE_SMOOTHING = 5
"""Phonemes over which pitch and rhythm wander: a number of its own for each phoneme is a jitter,
with which the phoneme error was 0.175 instead of 0.135."""
PITCH_NOISE_GAIN = 2.0
"""Makes good what the mean over so many phonemes takes from the pitch's deviation."""
_FLOAT, _INT64, _DOUBLE = 1, 7, 11
"""Types, as ONNX numbers them."""
NOISE_FRAMES = 256
"""After so many frames, three or four seconds, the noise repeats itself."""
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
        mean_hertz: Of the voice's pitch; `build_quick_graph` reads it in the weights.
    """

    sample_rate: int
    filter_length: int
    hop_length: int
    pad_id: int | None = 0
    num_speakers: int = 1
    mean_hertz: float = 0.0

    @classmethod
    def from_json(cls, text: str) -> QuickGraphConfig:
        """Parse what a graph's metadata say.

        Raises:
            ValueError: They are no such configuration.
        """
        data = parse_json(text, "the graph configuration")
        if not isinstance(data, dict) or set(data) != {field.name for field in fields(cls)}:
            raise ValueError(f"not a quick voice's configuration: {text[:60]!r}")
        counts = [data[name] for name in ("sample_rate", "filter_length", "hop_length")]
        pad_id, hertz = data["pad_id"], data["mean_hertz"]
        if (
            not all(map(is_count, (*counts, data["num_speakers"])))
            or not (pad_id is None or pad_id == 0 or is_count(pad_id))
            or not (isinstance(hertz, float) and 1.0 <= hertz <= 10_000.0)
        ):
            raise ValueError(f"a quick voice's configuration with a wrong value: {text[:200]!r}")
        return cls(**data)


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
    """
    writer = GraphWriter(_fold(weights), opset=QUICK_OPSET)
    noise, length, duration_noise, pitch = _split_scales(writer)
    places, ids = _leave_out_padding(writer, config)
    drawn = [writer.RandomNormalLike("input", dtype=_FLOAT) for _ in range(2)]
    rhythm_noise = writer.Mul(drawn[0], duration_noise, name="rhythm_noise")
    speaker = None
    if config.num_speakers > 1:
        table = writer.weight("text.speakers.weight")
        speaker = writer.Gather(table, "sid", axis=0, name="speaker")
    with writer.scope("text"):
        encoded = _encode(writer, ids, speaker)
        rhythm_noise = writer.Gather(rhythm_noise, places, axis=1)
        frames = _durations(writer, encoded, rhythm_noise)
    counts = _count_frames(writer, frames, places, length)
    wander = writer.Mul(writer.Gather(drawn[1], places, axis=1), noise, name="wander")
    semitones = writer.Expand(pitch, writer.Shape(wander), name="semitones")
    phonemes, positions = _lay_out(writer, counts)
    with writer.scope("text"):
        estimate = _estimate(writer, encoded, phonemes, positions)
    hertz = _vary(writer, estimate, phonemes, (wander, semitones))
    turns = _find_phase(writer, hertz, config)
    with writer.scope("decoder"):
        _decode(writer, len(weights["latent_mean"]), turns, config)
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
    mean_hertz = math.exp(float(writer.array("latent_mean")[-2]))
    config = replace(config, mean_hertz=round(mean_hertz, 2))
    statistics = {name: np.asarray(weights[name], np.float32).tolist() for name in STATISTICS}
    metadata = {QUICK_METADATA_KEY: json.dumps(asdict(config))}
    return writer.finish(inputs, outputs, metadata | {STATISTICS_KEY: json.dumps(statistics)})


def cut_quick_parts(model: onnx.ModelProto, config: QuickGraphConfig) -> VoiceParts:
    """Cut a graph that `build_quick_graph` wrote.

    text: `input` int64 (1, P), `input_lengths` int64 (1,), `rhythm_noise` float32 (1, P) (already
    scaled), `speaker` float32 (1, C) (only with several) → `frames` float32 (N,), durations before
    length scale and rounding, `places` int64 (N,), the ids that they belong to, and `encoded`
    float32 (1, N, C). flow: `encoded`, `counts` float32 (N,), whole numbers of frames, `wander`
    float32 (1, N) (noise, already scaled), `semitones` float32 (1, N), added to the pitch, and
    `times` float32 (T,), the frames that are wanted → `z` float32 (1, L + 1, T), latents above
    hertz, and `advance` float64 (T,), turns of the pitch's phase. decoder: `z`, `turns` float32
    (T, 1), the phase at each frame's start, and `rows` int64 (T,), the frames' places in the table
    of noise → `output` float32 (1, 1, 1, S).

    Args:
        model: The graph.
        config: What its metadata say.

    Raises:
        ValueError: It has not the values by which it is to be cut.
    """
    onnx = import_onnx()
    arrays = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name.endswith(".weight")
    }
    entry = arrays["decoder.entry.weight"].shape[-1]
    contexts = {
        side: sum(
            array.shape[-1] // 2
            for name, array in arrays.items()
            if name.startswith(side) and name.endswith(".mix.weight")
        )
        for side in ("text.frame_blocks.", "decoder.blocks.")
    }
    # A frame's sound has a share of all frames whose windows reach into it.
    overlap = -(-(config.filter_length // 2) // config.hop_length)
    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model))
    speaker = ["speaker"] if config.num_speakers > 1 else []
    return VoiceParts(
        text=extractor.extract_model(
            ["input", "input_lengths", "rhythm_noise", *speaker], ["frames", "places", "encoded"]
        ),
        flow=extractor.extract_model(
            ["encoded", "counts", "wander", "times", "semitones"], ["z", "advance"]
        ),
        decoder=extractor.extract_model(["z", "turns", "rows"], ["output"]),
        speakers=arrays["text.speakers.weight"] if speaker else None,
        flow_context_frames=contexts["text.frame_blocks."] + PITCH_SMOOTHING // 2,
        decoder_context_frames=contexts["decoder.blocks."] + entry // 2 + 2 * overlap + 1,
        num_symbols=len(arrays["text.embedding.weight"]),
    )


def _fold(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights as the graph wants them.

    A block's scale goes into the linear layer before it, the least phase of the magnitudes into the
    layer of what is learned beside it, and linear layers are transposed.
    """
    folded = {name: np.asarray(value, np.float32) for name, value in weights.items()}
    for name in weights:
        if name.endswith(".scale"):
            block = name.removesuffix(".scale")
            scale = folded[name]
            folded[f"{block}.reduce.weight"] = folded[f"{block}.reduce.weight"] * scale[:, None]
            folded[f"{block}.reduce.bias"] = folded[f"{block}.reduce.bias"] * scale
    if "decoder.minimum_phase" in folded:
        least = folded.pop("decoder.minimum_phase").T
        for kind in ("weight", "bias"):
            share = least @ folded[f"decoder.exit.{kind}"][: len(least)]
            folded[f"decoder.phase.{kind}"] = folded[f"decoder.phase.{kind}"] + share
    return _transpose(folded)


def _transpose(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights with those of linear layers transposed."""
    is_table = {name: name.endswith(("embedding.weight", "speakers.weight")) for name in weights}
    return {
        name: np.ascontiguousarray(value.T) if value.ndim == 2 and not is_table[name] else value
        for name, value in weights.items()
    }


def unfold_quick_weights(
    arrays: Mapping[str, np.ndarray], config: QuickGraphConfig, statistics: str
) -> dict[str, np.ndarray]:
    """Return a graph's weights as a checkpoint names them, without `model_g.`; undoes `_fold`.

    Raises:
        ValueError, KeyError: A part is missing, or another one than it should be.
    """
    own = {name: array for name, array in arrays.items() if name.startswith(("text.", "decoder."))}
    weights = _transpose(own)
    for name in own:
        block, is_reduced, _ = name.rpartition(".reduce.")
        if is_reduced:
            weights[name] = weights[name] / BLOCK_SCALE
            weights[f"{block}.scale"] = np.full(len(weights[name]), BLOCK_SCALE, np.float32)
    if len(weights["decoder.exit.weight"]) != config.filter_length + 2:
        raise ValueError(f"its filters are not of {config.filter_length} samples")
    least = create_minimum_phase(config.filter_length)
    weights["decoder.minimum_phase"] = least
    for kind in ("weight", "bias"):
        share = least.T @ weights[f"decoder.exit.{kind}"][: len(least)]
        weights[f"decoder.phase.{kind}"] = weights[f"decoder.phase.{kind}"] - share
    said = parse_json(statistics, "a quick voice's statistics")
    for name in STATISTICS:
        weights[name] = np.asarray(said[name], np.float32)
    weights["pad_id"] = np.asarray(-1 if config.pad_id is None else config.pad_id, np.int64)
    return weights


def create_minimum_phase(filter_length: int) -> np.ndarray:
    """Return what each log magnitude adds to the least phase of a filter, (F, F), radians.

    Log magnitude and phase are then the spectrum of a cepstrum without its negative half
    (Oppenheim and Schafer).
    """
    half = filter_length // 2
    cepstra = np.fft.irfft(np.eye(half + 1), filter_length)
    cepstra[:, 1:half] *= 2.0
    cepstra[:, half + 1 :] = 0.0
    phase: np.ndarray = np.fft.rfft(cepstra).imag.astype(np.float32)
    return phase


def _split_scales(writer: GraphWriter) -> list[str]:
    """Return noise, length, duration noise and pitch, each (1,)."""
    with writer.scope("scales"):
        padded = writer.Concat("scales", [0.0], axis=0)
        return [writer.Gather(padded, [place], axis=0) for place in range(4)]


def _leave_out_padding(writer: GraphWriter, config: QuickGraphConfig) -> tuple[str, str]:
    """Return the places (N,) and ids (1, N) of what is no padding symbol."""
    with writer.scope("input"):
        places = writer.Range(0, writer.Squeeze(writer.Shape("input", start=1)), 1)
        is_kept = writer.Less(places, "input_lengths")
        if config.pad_id is not None:
            is_other = writer.Not(writer.Equal(writer.Squeeze("input", [0]), config.pad_id))
            # The first one is BOS. In ids of somebody's own it is kept, lest nothing be left.
            is_kept = writer.And(is_kept, writer.Or(is_other, writer.Equal(places, 0)))
        kept = writer.Compress(places, is_kept, axis=0, name="places")
        return kept, writer.Gather("input", kept, axis=1)


def _encode(writer: GraphWriter, ids: str, speaker: str | None) -> str:
    """Write the text encoder; (1, N) → `encoded` (1, N, C)."""
    x = writer.Gather(writer.weight("embedding.weight"), ids, axis=0)
    if speaker is not None:
        x = writer.Add(x, writer.Unsqueeze(speaker, [1]))
    for i in range(writer.last_numbered("text_blocks") + 1):
        x = _block(writer, x, f"text_blocks.{i}")
    return writer.Identity(_normalise(writer, x, "text_norm"), name="encoded")


def _durations(writer: GraphWriter, encoded: str, noise: str) -> str:
    """Write durations before length scale and rounding, `frames` (N,)."""
    x = writer.gelu(_linear(writer, encoded, "duration_entry"))
    x = _linear(writer, _block(writer, x, "duration_block"), "duration_exit")
    mean, deviation = writer.Split(x, outputs=2, axis=2)
    deviation = writer.Exp(writer.Clip(deviation, -5.0, 1.0))
    noise = writer.Unsqueeze(_smooth_noise(writer, noise), [2])
    exact = writer.Sub(writer.Exp(writer.Add(mean, writer.Mul(noise, deviation))), 1.0)
    exact = writer.Mul(exact, float(writer.outside("duration_scale")))
    return writer.Reshape(exact, [-1], name="frames")


def _smooth_noise(writer: GraphWriter, noise: str) -> str:
    """Return the means of random numbers (1, N) over neighbouring phonemes."""
    half = NOISE_SMOOTHING // 2
    row = writer.Unsqueeze(noise, [0])
    row = writer.Pad(row, [0, 0, half, 0, 0, half], mode="edge")
    row = writer.AveragePool(row, kernel_shape=[NOISE_SMOOTHING])
    return writer.Squeeze(row, [0])


def _count_frames(writer: GraphWriter, frames: str, places: str, length: str) -> str:
    """Return `counts` (N,), whole numbers; write `durations` (1, 1, P), 0 for padding symbols."""
    with writer.scope("durations"):
        exact = writer.Max(writer.Sub(writer.Mul(frames, length), 0.5), 0.0)
        zeros = writer.Expand(0.0, writer.Shape("input", start=1))
        spread = writer.Unsqueeze(writer.ScatterElements(zeros, places, exact, axis=0), [0, 1])
        # As in other voices, the graph's single `Ceil` gives the durations of all ids.
        spread = writer.Reshape(writer.Ceil(spread, name="durations"), [-1])
        return writer.Gather(spread, places, axis=0, name="counts")


def _lay_out(writer: GraphWriter, counts: str) -> tuple[str, str]:
    """Return each frame's phoneme (T,) int64, and where in it the frame lies, (1, T, 4)."""
    with writer.scope("frames"):
        ends = writer.CumSum(counts, 0)
        # At least one frame: the decoder cannot take none.
        total = writer.Max(writer.ReduceMax(ends, keepdims=0), 1.0)
        times = writer.Range(0.0, total, 1.0, name="times")
        ended = writer.LessOrEqual(ends, writer.Unsqueeze(times, [1]))
        phonemes = writer.ReduceSum(writer.Cast(ended, to=_INT64), [1], keepdims=0)
        last = writer.Sub(writer.Squeeze(writer.Shape(ends)), 1)
        phonemes = writer.Min(phonemes, last)
        lengths = writer.Max(writer.Gather(counts, phonemes, axis=0), 1.0)
        starts = writer.Gather(writer.Sub(ends, counts), phonemes, axis=0)
        since = writer.Add(writer.Sub(times, starts), 0.5)
        until = writer.Max(writer.Sub(lengths, since), 0.0)
        features = (
            writer.Div(since, lengths),
            writer.Log(writer.Add(since, 1.0)),
            writer.Log(writer.Add(until, 1.0)),
            writer.Log(lengths),
        )
        rows = [writer.Unsqueeze(row, [0, 2]) for row in features]
        return phonemes, writer.Concat(*rows, axis=2)


def _estimate(writer: GraphWriter, encoded: str, phonemes: str, positions: str) -> str:
    """Write the frames' half of the text side, (1, L + 1, T)."""
    x = writer.Add(writer.Gather(encoded, phonemes, axis=1), _linear(writer, positions, "position"))
    for i in range(writer.last_numbered("frame_blocks") + 1):
        x = _block(writer, x, f"frame_blocks.{i}")
    x = _linear(writer, _normalise(writer, x, "frame_norm"), "exit")
    return writer.Transpose(x, perm=[0, 2, 1])


def _vary(writer: GraphWriter, estimate: str, phonemes: str, changes: tuple[str, str]) -> str:
    """Write `z` (1, L + 1, T), the latents with their random share; return hertz (1, 1, T).

    The changes are those of each phoneme's pitch: noise (1, N), and semitones (1, N).
    """
    spread, centre, mean, deviation = (
        writer.array(name)
        for name in ("spread", "predicted_mean", "latent_mean", "latent_deviation")
    )
    place = len(spread) - 2
    with writer.scope("vary"):
        x, uncertainty = writer.Split(estimate, [place + 2, 1], outputs=2, axis=1)
        x = writer.Mul(x, spread[:, None])
        x = writer.Add(x, (centre * (1 - spread))[:, None])
        # A number a phoneme, with soft passages from one to the next.
        wander, semitones = changes
        wander = writer.Mul(_smooth_noise(writer, wander), PITCH_NOISE_GAIN)
        rows = writer.Gather(writer.Concat(wander, semitones, axis=0), phonemes, axis=1)
        rows = writer.Unsqueeze(rows, [0])
        half = PITCH_SMOOTHING // 2
        rows = writer.Pad(rows, [0, 0, half, 0, 0, half], mode="edge")
        rows = writer.AveragePool(rows, kernel_shape=[PITCH_SMOOTHING])
        drawn, semitones = writer.Split(rows, outputs=2, axis=1)
        drawn = writer.Mul(drawn, writer.Exp(writer.Clip(uncertainty, -5.0, 1.0)))
        mels, pitch, voicing = writer.Split(x, [place, 1, 1], outputs=3, axis=1)
        pitch = writer.Add(pitch, drawn)
        logarithm = writer.Mul(pitch, deviation[place])
        octave = writer.Mul(semitones, math.log(2.0) / 12.0)
        # The mean as a factor: of a sum with it the last digits would be lost.
        hertz = writer.Mul(writer.Exp(writer.Add(logarithm, octave)), math.exp(mean[place]))
        hertz = writer.Clip(hertz, *F0_RANGE_HERTZ)
        writer.Concat(mels, pitch, voicing, hertz, axis=1, name="z")
        return hertz


def _find_phase(writer: GraphWriter, hertz: str, config: QuickGraphConfig) -> str:
    """Write `advance` (T,), the turns of each frame, and return `turns` (T, 1), where it starts.

    In double precision: of thousands of turns the last ones would be off by a sample.
    """
    with writer.scope("phase"):
        three = writer.Cast(_neighbours(writer, hertz), to=_DOUBLE)
        shares = _pitch_shares(config).sum(axis=1, keepdims=True)
        advance = writer.MatMul(three, writer.constant(shares, np.float64))
        advance = writer.Reshape(advance, [-1], name="advance")
        turns = writer.CumSum(advance, 0, exclusive=1)
        part = writer.Cast(writer.Sub(turns, writer.Round(turns)), to=_FLOAT)
        return writer.Unsqueeze(part, [1], name="turns")


def _neighbours(writer: GraphWriter, hertz: str) -> str:
    """Return the pitch of the frame before, the frame, and the one after; (1, 1, T) → (T, 3)."""
    row = writer.Pad(writer.Reshape(hertz, [-1]), [1, 1], mode="edge")
    slices = [_slice(writer, row, i, i - 2 or None, 0) for i in range(3)]
    columns = [writer.Unsqueeze(part, [1]) for part in slices]
    return writer.Concat(*columns, axis=1)


def _pitch_shares(config: QuickGraphConfig) -> np.ndarray:
    """Return what three frames add to the turns of samples, (3, hop): linear."""
    offset = (np.arange(config.hop_length) + 0.5) / config.hop_length - 0.5
    shares = [np.maximum(-offset, 0), 1 - np.abs(offset), np.maximum(offset, 0)]
    return np.stack(shares) / config.sample_rate


def _filters(writer: GraphWriter, latents: str) -> tuple[str, str, str]:
    """Write the decoder's body, (1, L, T) → filters (T, F): real and imaginary, and of noise."""
    x = writer.Transpose(writer.conv(latents, "entry"), perm=[0, 2, 1])
    for i in range(writer.last_numbered("blocks") + 1):
        x = _block(writer, x, f"blocks.{i}")
    x = writer.Squeeze(_normalise(writer, x, "norm"), [0])
    magnitudes = writer.Exp(writer.Clip(_linear(writer, x, "exit"), *LOG_MAGNITUDE_RANGE))
    harmonic, aperiodic = writer.Split(magnitudes, outputs=2, axis=1)
    phase = _linear(writer, x, "phase")
    parts = (writer.Mul(harmonic, writer.op(wave, phase)) for wave in ("Cos", "Sin"))
    return *parts, aperiodic


def _decode(writer: GraphWriter, latents: int, turns: str, config: QuickGraphConfig) -> None:
    """Write the decoder: pulses and noise through filters; `z` → `output` (1, 1, 1, S)."""
    z, hertz = writer.Split("z", [latents, 1], outputs=2, axis=1)
    even, odd, hissing = _filters(writer, z)
    fourier = _Fourier(writer, config)
    real, imaginary = fourier.transform(_pulses(writer, hertz, turns, config))
    frames = writer.Squeeze(writer.Shape(turns, end=1))
    rows = writer.Mod(writer.Range(0, frames, 1), NOISE_FRAMES, name="rows")
    noise = [writer.Gather(table, rows, axis=0) for table in fourier.noise_spectra()]
    # The first and the last frequency have no imaginary part, neither of pulses nor of sound.
    turned = writer.Pad(writer.Mul(imaginary, _slice(writer, odd, 1, -1, 1)), [0, 1, 0, 1])
    parts = (
        writer.Sub(writer.Mul(real, even), turned),
        writer.Mul(noise[0], hissing),
        writer.Mul(imaginary, _slice(writer, even, 1, -1, 1)),
        _slice(writer, writer.Mul(real, odd), 1, -1, 1),
        writer.Mul(noise[1], _slice(writer, hissing, 1, -1, 1)),
    )
    sound = fourier.invert(writer.Add(parts[0], parts[1]), writer.Sum(*parts[2:]))
    writer.Clip(writer.Reshape(sound, [1, 1, 1, -1]), -1.0, 1.0, name="output")


def _pulses(writer: GraphWriter, hertz: str, turns: str, config: QuickGraphConfig) -> str:
    """Write band-limited pulses (T, hop) of pitches (1, 1, T)."""
    with writer.scope("pulses"):
        three = _neighbours(writer, hertz)
        shares = _pitch_shares(config)
        rate = config.sample_rate
        pitch = writer.MatMul(three, shares * rate)
        turns = writer.Add(writer.MatMul(three, shares.cumsum(axis=1)), turns)
        # Half a turn to each side of a pulse, where the sines are small and so exact.
        phase = writer.Mul(writer.Sub(turns, writer.Round(turns)), math.pi)
        room = writer.Sub(writer.Div(0.5 * rate, pitch), 0.5)
        harmonics = writer.Floor(room)
        twice = writer.Mul(harmonics, 2.0)
        count = writer.Add(twice, 1.0)
        sine = writer.Sin(phase)
        # At the pulse itself both sines are 0, and their quotient is the number of harmonics.
        is_pulse = writer.Less(writer.Abs(sine), 1e-4)
        kernel = writer.Sin(writer.Mul(count, phase))
        kernel = writer.Div(kernel, writer.Where(is_pulse, 1.0, sine))
        kernel = writer.Sub(writer.Where(is_pulse, count, kernel), 1.0)
        # The highest harmonic fades in and out with the pitch, instead of coming and going at once.
        share = writer.Mul(writer.Sub(room, harmonics), 2.0)
        highest = writer.Cos(writer.Mul(writer.Add(twice, 2.0), phase))
        kernel = writer.Add(kernel, writer.Mul(share, highest))
        return writer.Mul(kernel, writer.Sqrt(writer.Div(0.5, room)))


def excitation_noise(config: QuickGraphConfig) -> np.ndarray:
    """Return the white noise that every sentence is spoken with, over and over: (S,) float32."""
    noise = np.random.default_rng(0).standard_normal(NOISE_FRAMES * config.hop_length)
    return (noise / noise.std()).astype(np.float32)


class _Fourier:
    """Writes Fourier transforms of frames centred at (t + 1/2) hops, with a Hann window.

    Cosines see only the even half of a frame, sines only the odd one: half the work, and one
    matrix serves both directions. Spectra are real parts (T, F) and imaginary parts (T, F - 2),
    which lack the first and the last frequency, where they are 0.
    """

    def __init__(self, writer: GraphWriter, config: QuickGraphConfig) -> None:
        self._writer = writer
        self._config = config
        self._size, self._hop = config.filter_length, config.hop_length
        self._pieces = -(-self._size // self._hop)
        self._margin = (self._size - self._hop) // 2
        half = self._size // 2
        angle = 2 * np.pi / self._size * np.arange(half + 1)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self._size) / self._size)
        self._window = window
        self._half_window = writer.constant(window[: half + 1], np.float32)
        self._inner_window = writer.constant(window[1:half], np.float32)
        grid = np.outer(np.arange(half + 1), angle)
        self._cosines = writer.constant(np.cos(grid), np.float32)
        self._sines = writer.constant(-np.sin(grid)[1:-1, 1:-1], np.float32)

    def noise_spectra(self) -> tuple[str, str]:
        """Return the spectra of the white noise, which begins anew where it ends."""
        noise = excitation_noise(self._config)
        first = np.arange(NOISE_FRAMES)[:, None] * self._hop - self._margin
        frames = noise[(first + np.arange(self._size)) % len(noise)]
        spectra = np.fft.rfft(frames * self._window)
        table = self._writer.constant
        return table(spectra.real, np.float32), table(spectra.imag[:, 1:-1], np.float32)

    def transform(self, samples: str) -> tuple[str, str]:
        """Write the transform of samples (T, hop)."""
        writer, half = self._writer, self._size // 2
        after = (self._pieces - 1) * self._hop - self._margin
        flat = writer.Pad(writer.Reshape(samples, [-1]), [self._margin, after])
        rows = writer.Reshape(flat, [-1, self._hop])
        steps = range(self._pieces)
        parts = [_slice(writer, rows, i, i + 1 - self._pieces or None, 0) for i in steps]
        frames = writer.Concat(*parts, axis=1)
        front = _slice(writer, frames, 1, half, 1)
        back = _slice(writer, frames, self._size - 1, half, 1, step=-1)
        ends = _slice(writer, frames, 0, 1, 1), _slice(writer, frames, half, half + 1, 1)
        even = writer.Concat(ends[0], writer.Add(front, back), ends[1], axis=1)
        even = writer.Mul(even, self._half_window)
        odd = writer.Mul(writer.Sub(front, back), self._inner_window)
        return writer.MatMul(even, self._cosines), writer.MatMul(odd, self._sines)

    def invert(self, real: str, imaginary: str) -> str:
        """Write the sound (S,) of a spectrum: frames added up, divided by the windows' squares."""
        writer, half = self._writer, self._size // 2
        # Each frequency but the first and the last stands for itself and its mirror image.
        share = np.full(half + 1, 2.0 / self._size)
        share[[0, -1]] /= 2.0
        even = writer.MatMul(writer.Mul(real, share), self._cosines)
        even = writer.Mul(even, self._half_window)
        odd = writer.MatMul(imaginary, self._sines)
        odd = writer.Mul(odd, share[1] * self._window[1:half])
        inner = _slice(writer, even, 1, -1, 1)
        back = _slice(writer, writer.Sub(inner, odd), -1, -self._size, 1, step=-1)
        frames = writer.Concat(
            _slice(writer, even, 0, 1, 1),
            writer.Add(inner, odd),
            _slice(writer, even, half, half + 1, 1),
            back,
            axis=1,
        )
        rest = self._pieces * self._hop - self._size
        if rest:
            frames = writer.Pad(frames, [0, 0, 0, rest])
        taps = np.zeros(self._pieces * self._hop)
        taps[: self._size] = self._window**2
        ones = writer.Expand(1.0, writer.Shape(writer.Slice(frames, [0], [1], [1])))
        hop = self._hop
        steps = range(self._pieces)
        sound = writer.Sum(
            *(self._delay(_slice(writer, frames, i * hop, (i + 1) * hop, 1), i) for i in steps),
        )
        covered = writer.Concat(*(self._delay(ones, i) for i in steps), axis=1)
        squares = taps.reshape(self._pieces, hop)
        weight = writer.Max(writer.MatMul(covered, squares), 1e-3)
        sound = writer.Reshape(writer.Div(sound, weight), [-1])
        after = (self._pieces - 1) * hop - self._margin
        return _slice(writer, sound, self._margin, -after, 0)

    def _delay(self, rows: str, by: int) -> str:
        """Return rows with so many empty ones before, and others after, up to a whole frame."""
        return self._writer.Pad(rows, [by, 0, self._pieces - 1 - by, 0])


def _slice(
    writer: GraphWriter, x: str, start: int, end: int | None, axis: int, step: int = 1
) -> str:
    end = 2**31 - 1 if end is None else end
    return writer.Slice(x, [start], [end], [axis], [step])


def _block(writer: GraphWriter, x: str, module: str) -> str:
    """Write a ConvNeXt block, (1, T, C) → (1, T, C)."""
    with writer.scope(module):
        channels = len(writer.array("mix.weight"))
        y = writer.Transpose(x, perm=[0, 2, 1])
        y = writer.conv(y, "mix", groups=channels)
        y = _normalise(writer, writer.Transpose(y, perm=[0, 2, 1]), "norm")
        y = _linear(writer, writer.gelu(_linear(writer, y, "expand")), "reduce")
        return writer.Add(x, y)


def _normalise(writer: GraphWriter, x: str, module: str) -> str:
    """Write a layer norm over the last axis."""
    weight, bias = (writer.weight(f"{module}.{name}") for name in ("weight", "bias"))
    return writer.LayerNormalization(x, weight, bias, epsilon=_LAYER_NORM_EPSILON)


def _linear(writer: GraphWriter, x: str, module: str) -> str:
    y = writer.MatMul(x, writer.weight(f"{module}.weight"))
    return writer.Add(y, writer.weight(f"{module}.bias"))
