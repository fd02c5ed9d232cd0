"""Builds the inference graph of a quick voice from named weights, and cuts it into parts.

Needs no torch. The network is `piper.train.quick.network`: text to latents (log mels, log F0,
voicing), latents to filters, one or several a frame, which shape pulses of that F0 and white noise.
Inputs and outputs are those of other Piper voices, for one sentence at a time. A fourth value of
`scales` is the pitch: clients that do not know it pass three and lose nothing (as an input with a
default it would make ONNX Runtime print a warning whenever another client loads the voice).

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
DECODER_INPUTS = ["z", "turns", "rows"]
"""Of the decoder's part."""
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
    writer = QuickWriter(fold_quick_weights(weights), config)
    noise, length, duration_noise, pitch = writer.split_scales()
    places, ids = writer.leave_out_padding()
    drawn = [writer.RandomNormalLike("input", dtype=_FLOAT) for _ in range(2)]
    rhythm_noise = writer.Mul(drawn[0], duration_noise, name="rhythm_noise")
    speaker = None
    if config.num_speakers > 1:
        table = writer.weight("text.speakers.weight")
        speaker = writer.Gather(table, "sid", axis=0, name="speaker")
    with writer.scope("text"):
        encoded = writer.encode(ids, speaker)
        rhythm_noise = writer.Gather(rhythm_noise, places, axis=1)
        frames = writer.durations(encoded, rhythm_noise)
    counts = writer.count_frames(frames, places, length)
    wander = writer.Mul(writer.Gather(drawn[1], places, axis=1), noise, name="wander")
    semitones = writer.Expand(pitch, writer.Shape(wander), name="semitones")
    phonemes, positions = writer.lay_out(counts)
    with writer.scope("text"):
        estimate = writer.estimate(encoded, phonemes, positions)
    hertz = writer.vary(estimate, writer.spread_changes(phonemes, wander, semitones))
    turns = writer.write_phase(hertz)
    with writer.scope("decoder"):
        writer.decode(turns)
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
    return writer.finish(inputs, outputs, describe_quick_graph(weights, config))


def describe_quick_graph(
    weights: Mapping[str, np.ndarray], config: QuickGraphConfig
) -> dict[str, str]:
    """Return what a graph's metadata say of a quick network's weights."""
    mean_hertz = math.exp(float(weights["latent_mean"][-2]))
    config = replace(config, mean_hertz=round(mean_hertz, 2))
    statistics = {name: np.asarray(weights[name], np.float32).tolist() for name in STATISTICS}
    return {
        QUICK_METADATA_KEY: json.dumps(asdict(config)),
        STATISTICS_KEY: json.dumps(statistics),
    }


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
    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model))
    speaker = ["speaker"] if config.num_speakers > 1 else []
    return VoiceParts(
        text=extractor.extract_model(
            ["input", "input_lengths", "rhythm_noise", *speaker], ["frames", "places", "encoded"]
        ),
        flow=extractor.extract_model(
            ["encoded", "counts", "wander", "times", "semitones"], ["z", "advance"]
        ),
        decoder=extractor.extract_model(DECODER_INPUTS, ["output"]),
        speakers=arrays["text.speakers.weight"] if speaker else None,
        flow_context_frames=compute_frame_context(arrays),
        decoder_context_frames=compute_decoder_context(arrays, config),
        num_symbols=len(arrays["text.embedding.weight"]),
    )


def compute_frame_context(arrays: Mapping[str, np.ndarray]) -> int:
    """Return the frames to each side that a frame's latents and pitch depend on."""
    entry = arrays["text.entry.weight"].shape[-1] // 2 if "text.entry.weight" in arrays else 0
    return entry + _sum_contexts(arrays, "text.frame_blocks.") + PITCH_SMOOTHING // 2


def compute_decoder_context(arrays: Mapping[str, np.ndarray], config: QuickGraphConfig) -> int:
    """Return the frames to each side that a frame's samples depend on, given the latents."""
    entry = arrays["decoder.entry.weight"].shape[-1] // 2
    # A frame's sound has a share of all frames whose windows reach into it.
    overlap = -(-(config.filter_length // 2) // config.hop_length)
    return _sum_contexts(arrays, "decoder.blocks.") + entry + 2 * overlap + 1


def _sum_contexts(arrays: Mapping[str, np.ndarray], blocks: str) -> int:
    return sum(
        array.shape[-1] // 2
        for name, array in arrays.items()
        if name.startswith(blocks) and name.endswith(".mix.weight")
    )


def fold_quick_weights(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
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
        for name, share in _least_phase(folded, folded.pop("decoder.minimum_phase")).items():
            folded[name] = folded[name] + share
    return _transpose(folded)


def _least_phase(
    weights: Mapping[str, np.ndarray], minimum_phase: np.ndarray
) -> dict[str, np.ndarray]:
    """Return what the filters' magnitudes add to the weights of their phases, by name."""
    bins = len(minimum_phase)
    shares = {}
    for kind in ("weight", "bias"):
        exit_ = weights[f"decoder.exit.{kind}"]
        of_pulses = exit_.reshape(-1, 2, bins, *exit_.shape[1:])[:, 0]
        share = np.einsum("ij,si...->sj...", minimum_phase, of_pulses)
        shares[f"decoder.phase.{kind}"] = share.reshape(-1, *exit_.shape[1:])
    return shares


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
    """Return a graph's weights as a checkpoint names them; undoes `fold_quick_weights`.

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
    filters, rest = divmod(len(weights["decoder.exit.weight"]), config.filter_length + 2)
    if rest or not filters:
        raise ValueError(f"its filters are not of {config.filter_length} samples")
    least = create_minimum_phase(config.filter_length)
    weights["decoder.minimum_phase"] = least
    for name, share in _least_phase(weights, least).items():
        weights[name] = weights[name] - share
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


def excitation_noise(config: QuickGraphConfig) -> np.ndarray:
    """Return the white noise that every sentence is spoken with, over and over: (S,) float32."""
    noise = np.random.default_rng(0).standard_normal(NOISE_FRAMES * config.hop_length)
    return (noise / noise.std()).astype(np.float32)


class QuickWriter(GraphWriter):
    """Writes the parts of the network.

    Fourier transforms are of W windows centred at (w + 1/2) hops, with the shape of Hann. A frame
    has a whole number of these hops, one in voices of earlier versions. Cosines see only
    the even half of a frame, sines only the odd one: half the work, and one matrix serves both
    directions. Spectra are real parts (W, F) and imaginary parts (W, F - 2), which lack the first
    and the last frequency, where they are 0.
    """

    def __init__(
        self,
        weights: Mapping[str, np.ndarray],
        config: QuickGraphConfig,
        *,
        into: GraphWriter | None = None,
    ) -> None:
        super().__init__(weights, opset=QUICK_OPSET, into=into)
        self.config = config
        self._size = config.filter_length
        self._filters_per_frame = weights["decoder.exit.bias"].size // (self._size + 2)
        self._hop = config.hop_length // self._filters_per_frame
        self._pieces = -(-self._size // self._hop)
        self._margin = (self._size - self._hop) // 2
        half = self._size // 2
        angle = 2 * np.pi / self._size * np.arange(half + 1)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self._size) / self._size)
        self._window = window
        self._half_window = self.constant(window[: half + 1], np.float32)
        self._inner_window = self.constant(window[1:half], np.float32)
        grid = np.outer(np.arange(half + 1), angle)
        self._cosines = self.constant(np.cos(grid), np.float32)
        self._sines = self.constant(-np.sin(grid)[1:-1, 1:-1], np.float32)

    def split_scales(self) -> list[str]:
        """Return noise, length, duration noise and pitch, each (1,)."""
        with self.scope("scales"):
            padded = self.Concat("scales", [0.0], axis=0)
            return [self.Gather(padded, [place], axis=0) for place in range(4)]

    def leave_out_padding(self) -> tuple[str, str]:
        """Return the places (N,) and ids (1, N) of what is no padding symbol."""
        with self.scope("input"):
            places = self.Range(0, self.Squeeze(self.Shape("input", start=1)), 1)
            is_kept = self.Less(places, "input_lengths")
            if self.config.pad_id is not None:
                is_other = self.Not(self.Equal(self.Squeeze("input", [0]), self.config.pad_id))
                # The first one is BOS. In ids of somebody's own it is kept, lest nothing be left.
                is_kept = self.And(is_kept, self.Or(is_other, self.Equal(places, 0)))
            kept = self.Compress(places, is_kept, axis=0, name="places")
            return kept, self.Gather("input", kept, axis=1)

    def encode(self, ids: str, speaker: str | None) -> str:
        """Write the text encoder; (1, N) → `encoded` (1, N, C)."""
        x = self.Gather(self.weight("embedding.weight"), ids, axis=0)
        if speaker is not None:
            x = self.Add(x, self.Unsqueeze(speaker, [1]))
        for i in range(self.last_numbered("text_blocks") + 1):
            x = self._block(x, f"text_blocks.{i}")
        return self.Identity(self._normalise(x, "text_norm"), name="encoded")

    def durations(self, encoded: str, noise: str) -> str:
        """Write durations before length scale and rounding, `frames` (N,)."""
        x = self.gelu(self._linear(encoded, "duration_entry"))
        x = self._linear(self._block(x, "duration_block"), "duration_exit")
        mean, deviation = self.Split(x, outputs=2, axis=2)
        deviation = self.Exp(self.Clip(deviation, -5.0, 1.0))
        noise = self.Unsqueeze(self._smooth_noise(noise), [2])
        exact = self.Sub(self.Exp(self.Add(mean, self.Mul(noise, deviation))), 1.0)
        exact = self.Mul(exact, float(self.outside("duration_scale")))
        return self.Reshape(exact, [-1], name="frames")

    def _smooth_noise(self, noise: str) -> str:
        """Return the means of random numbers (1, N) over neighbouring phonemes."""
        half = NOISE_SMOOTHING // 2
        row = self.Unsqueeze(noise, [0])
        row = self.Pad(row, [0, 0, half, 0, 0, half], mode="edge")
        row = self.AveragePool(row, kernel_shape=[NOISE_SMOOTHING])
        return self.Squeeze(row, [0])

    def count_frames(self, frames: str, places: str, length: str) -> str:
        """Return `counts` (N,), whole numbers; write `durations` (1, 1, P), 0 for padding."""
        with self.scope("durations"):
            exact = self.Max(self.Sub(self.Mul(frames, length), 0.5), 0.0)
            zeros = self.Expand(0.0, self.Shape("input", start=1))
            spread = self.Unsqueeze(self.ScatterElements(zeros, places, exact, axis=0), [0, 1])
            # As in other voices, the graph's single `Ceil` gives the durations of all ids.
            spread = self.Reshape(self.Ceil(spread, name="durations"), [-1])
            return self.Gather(spread, places, axis=0, name="counts")

    def lay_out(self, counts: str) -> tuple[str, str]:
        """Return each frame's phoneme (T,) int64, and where in it the frame lies, (1, T, 4)."""
        with self.scope("frames"):
            ends = self.CumSum(counts, 0)
            # At least one frame: the decoder cannot take none.
            total = self.Max(self.ReduceMax(ends, keepdims=0), 1.0)
            times = self.Range(0.0, total, 1.0, name="times")
            ended = self.LessOrEqual(ends, self.Unsqueeze(times, [1]))
            phonemes = self.ReduceSum(self.Cast(ended, to=_INT64), [1], keepdims=0)
            last = self.Sub(self.Squeeze(self.Shape(ends)), 1)
            phonemes = self.Min(phonemes, last)
            lengths = self.Max(self.Gather(counts, phonemes, axis=0), 1.0)
            starts = self.Gather(self.Sub(ends, counts), phonemes, axis=0)
            since = self.Add(self.Sub(times, starts), 0.5)
            until = self.Max(self.Sub(lengths, since), 0.0)
            features = (
                self.Div(since, lengths),
                self.Log(self.Add(since, 1.0)),
                self.Log(self.Add(until, 1.0)),
                self.Log(lengths),
            )
            rows = [self.Unsqueeze(row, [0, 2]) for row in features]
            return phonemes, self.Concat(*rows, axis=2)

    def estimate(self, encoded: str, phonemes: str, positions: str) -> str:
        """Write the frames' half of the text side, (1, L + 1, T)."""
        x = self.Add(self.Gather(encoded, phonemes, axis=1), self._linear(positions, "position"))
        return self._estimate_frames(x)

    def estimate_kept(self, kept: str, semitones: str, speaker: str | None) -> str:
        """Write `z` of the frames of a VITS voice's text side; return hertz (1, 1, T).

        Args:
            kept: (1, Z, T), what that voice decodes.
            semitones: (1, 1, T), added to the pitch.
            speaker: (1, 1, C), with several.
        """
        with self.scope("text"):
            x = self.Transpose(self.conv(kept, "entry"), perm=[0, 2, 1])
            if speaker is not None:
                x = self.Add(x, speaker)
            estimate = self._estimate_frames(x)
        # The noise is that of the text side.
        rows = self.Concat(self.Mul(semitones, 0.0), semitones, axis=1)
        return self.vary(estimate, rows, kept)

    def decode_kept(self, kept: str, pitch: str, speaker: str | None) -> None:
        """Write all that stands in place of a VITS voice's decoder; the pitch is (1,)."""
        semitones = self.Expand(pitch, self.Shape(self._slice(kept, 0, 1, 1)))
        turns = self.write_phase(self.estimate_kept(kept, semitones, speaker))
        with self.scope("decoder"):
            self.decode(turns)

    def _estimate_frames(self, x: str) -> str:
        for i in range(self.last_numbered("frame_blocks") + 1):
            x = self._block(x, f"frame_blocks.{i}")
        x = self._linear(self._normalise(x, "frame_norm"), "exit")
        return self.Transpose(x, perm=[0, 2, 1])

    def spread_changes(self, phonemes: str, wander: str, semitones: str) -> str:
        """Return what changes each frame's pitch, (1, 2, T): noise and semitones, from (1, N)."""
        with self.scope("vary"):
            wander = self.Mul(self._smooth_noise(wander), PITCH_NOISE_GAIN)
            rows = self.Gather(self.Concat(wander, semitones, axis=0), phonemes, axis=1)
            return self.Unsqueeze(rows, [0])

    def vary(self, estimate: str, rows: str, kept: str | None = None) -> str:
        """Write `z` (1, L + 1, T), the latents with their random share; return hertz (1, 1, T).

        A kept text side's (1, Z, T) stand among them. The rows are what changes the pitch.
        """
        spread, centre, mean, deviation = (
            self.array(name)
            for name in ("spread", "predicted_mean", "latent_mean", "latent_deviation")
        )
        place = len(spread) - 2
        with self.scope("vary"):
            x, uncertainty = self.Split(estimate, [place + 2, 1], outputs=2, axis=1)
            x = self.Mul(x, spread[:, None])
            x = self.Add(x, (centre * (1 - spread))[:, None])
            # A number a phoneme, with soft passages from one to the next.
            half = PITCH_SMOOTHING // 2
            rows = self.Pad(rows, [0, 0, half, 0, 0, half], mode="edge")
            rows = self.AveragePool(rows, kernel_shape=[PITCH_SMOOTHING])
            drawn, semitones = self.Split(rows, outputs=2, axis=1)
            drawn = self.Mul(drawn, self.Exp(self.Clip(uncertainty, -5.0, 1.0)))
            mels, pitch, voicing = self.Split(x, [place, 1, 1], outputs=3, axis=1)
            pitch = self.Add(pitch, drawn)
            logarithm = self.Mul(pitch, deviation[place])
            octave = self.Mul(semitones, math.log(2.0) / 12.0)
            # The mean as a factor: of a sum with it the last digits would be lost.
            hertz = self.Mul(self.Exp(self.Add(logarithm, octave)), math.exp(mean[place]))
            hertz = self.Clip(hertz, *F0_RANGE_HERTZ)
            more = [] if kept is None else [kept]
            self.Concat(mels, pitch, voicing, *more, hertz, axis=1, name="z")
            return hertz

    def write_phase(self, hertz: str) -> str:
        """Write `advance` (T,), the turns of each frame; return `turns` (T, 1), where it starts.

        In double precision: of thousands of turns the last ones would be off by a sample.
        """
        with self.scope("phase"):
            three = self.Cast(self._neighbours(hertz), to=_DOUBLE)
            shares = self._pitch_shares().sum(axis=1, keepdims=True)
            advance = self.MatMul(three, self.constant(shares, np.float64))
            advance = self.Reshape(advance, [-1], name="advance")
            turns = self.CumSum(advance, 0, exclusive=1)
            part = self.Cast(self.Sub(turns, self.Round(turns)), to=_FLOAT)
            return self.Unsqueeze(part, [1], name="turns")

    def _neighbours(self, hertz: str) -> str:
        """Return the pitch of the frame before, the frame, the one after; (1, 1, T) → (T, 3)."""
        row = self.Pad(self.Reshape(hertz, [-1]), [1, 1], mode="edge")
        slices = [self._slice(row, i, i - 2 or None, 0) for i in range(3)]
        columns = [self.Unsqueeze(part, [1]) for part in slices]
        return self.Concat(*columns, axis=1)

    def _pitch_shares(self) -> np.ndarray:
        """Return what three frames add to the turns of samples, (3, hop): linear."""
        offset = (np.arange(self.config.hop_length) + 0.5) / self.config.hop_length - 0.5
        shares = [np.maximum(-offset, 0), 1 - np.abs(offset), np.maximum(offset, 0)]
        return np.stack(shares) / self.config.sample_rate

    def _filters(self, latents: str) -> tuple[str, str, str]:
        """Write the decoder's body, (1, L, T) → filters (W, F): real, imaginary, and of noise."""
        x = self.Transpose(self.conv(latents, "entry"), perm=[0, 2, 1])
        for i in range(self.last_numbered("blocks") + 1):
            x = self._block(x, f"blocks.{i}")
        x = self.Squeeze(self._normalise(x, "norm"), [0])
        logarithms = self.Reshape(self._linear(x, "exit"), [-1, self._size + 2])
        magnitudes = self.Exp(self.Clip(logarithms, *LOG_MAGNITUDE_RANGE))
        harmonic, aperiodic = self.Split(magnitudes, outputs=2, axis=1)
        phase = self.Reshape(self._linear(x, "phase"), [-1, self._size // 2 + 1])
        parts = (self.Mul(harmonic, self.op(wave, phase)) for wave in ("Cos", "Sin"))
        return *parts, aperiodic

    def decode(self, turns: str) -> None:
        """Write the decoder: pulses and noise through filters; `z` → `output` (1, 1, 1, S)."""
        inputs = self.array("entry.weight").shape[1]
        z, hertz = self.Split("z", [inputs, 1], outputs=2, axis=1)
        even, odd, hissing = self._filters(z)
        real, imaginary = self.transform(self._pulses(hertz, turns))
        frames = self.Squeeze(self.Shape(turns, end=1))
        rows = self.Mod(self.Range(0, frames, 1), NOISE_FRAMES, name="rows")
        noise = [
            self.Reshape(self.Gather(table, rows, axis=0), [-1, self._size // 2 + inner])
            for table, inner in zip(self.noise_spectra(), (1, -1), strict=True)
        ]
        # The first and the last frequency have no imaginary part, neither of pulses nor of sound.
        turned = self.Pad(self.Mul(imaginary, self._slice(odd, 1, -1, 1)), [0, 1, 0, 1])
        parts = (
            self.Sub(self.Mul(real, even), turned),
            self.Mul(noise[0], hissing),
            self.Mul(imaginary, self._slice(even, 1, -1, 1)),
            self._slice(self.Mul(real, odd), 1, -1, 1),
            self.Mul(noise[1], self._slice(hissing, 1, -1, 1)),
        )
        sound = self.invert(self.Add(parts[0], parts[1]), self.Sum(*parts[2:]))
        self.Clip(self.Reshape(sound, [1, 1, 1, -1]), -1.0, 1.0, name="output")

    def _pulses(self, hertz: str, turns: str) -> str:
        """Write band-limited pulses (T, hop) of pitches (1, 1, T)."""
        with self.scope("pulses"):
            three = self._neighbours(hertz)
            shares = self._pitch_shares()
            rate = self.config.sample_rate
            pitch = self.MatMul(three, shares * rate)
            turns = self.Add(self.MatMul(three, shares.cumsum(axis=1)), turns)
            # Half a turn to each side of a pulse, where the sines are small and so exact.
            phase = self.Mul(self.Sub(turns, self.Round(turns)), math.pi)
            room = self.Sub(self.Div(0.5 * rate, pitch), 0.5)
            harmonics = self.Floor(room)
            twice = self.Mul(harmonics, 2.0)
            count = self.Add(twice, 1.0)
            sine = self.Sin(phase)
            # At the pulse itself both sines are 0, and their quotient is the number of harmonics.
            is_pulse = self.Less(self.Abs(sine), 1e-4)
            kernel = self.Sin(self.Mul(count, phase))
            kernel = self.Div(kernel, self.Where(is_pulse, 1.0, sine))
            kernel = self.Sub(self.Where(is_pulse, count, kernel), 1.0)
            # The highest harmonic fades in and out with the pitch; it does not come at once.
            share = self.Mul(self.Sub(room, harmonics), 2.0)
            highest = self.Cos(self.Mul(self.Add(twice, 2.0), phase))
            kernel = self.Add(kernel, self.Mul(share, highest))
            return self.Mul(kernel, self.Sqrt(self.Div(0.5, room)))

    def _slice(self, x: str, start: int, end: int | None, axis: int, step: int = 1) -> str:
        end = 2**31 - 1 if end is None else end
        return self.Slice(x, [start], [end], [axis], [step])

    def _block(self, x: str, module: str) -> str:
        """Write a ConvNeXt block, (1, T, C) → (1, T, C)."""
        with self.scope(module):
            channels = len(self.array("mix.weight"))
            y = self.Transpose(x, perm=[0, 2, 1])
            y = self.conv(y, "mix", groups=channels)
            y = self._normalise(self.Transpose(y, perm=[0, 2, 1]), "norm")
            y = self._linear(self.gelu(self._linear(y, "expand")), "reduce")
            return self.Add(x, y)

    def _normalise(self, x: str, module: str) -> str:
        """Write a layer norm over the last axis."""
        weight, bias = (self.weight(f"{module}.{name}") for name in ("weight", "bias"))
        return self.LayerNormalization(x, weight, bias, epsilon=_LAYER_NORM_EPSILON)

    def _linear(self, x: str, module: str) -> str:
        y = self.MatMul(x, self.weight(f"{module}.weight"))
        return self.Add(y, self.weight(f"{module}.bias"))

    def noise_spectra(self) -> tuple[str, str]:
        """Return the spectra of the white noise, which begins anew where it ends, by frames."""
        noise = excitation_noise(self.config)
        count = NOISE_FRAMES * self._filters_per_frame
        first = np.arange(count)[:, None] * self._hop - self._margin
        frames = noise[(first + np.arange(self._size)) % len(noise)]
        spectra = np.fft.rfft(frames * self._window)
        spectra = spectra.reshape(NOISE_FRAMES, self._filters_per_frame, -1)
        table = self.constant
        return table(spectra.real, np.float32), table(spectra.imag[..., 1:-1], np.float32)

    def transform(self, samples: str) -> tuple[str, str]:
        """Write the transform of samples (T, samples of a frame)."""
        half = self._size // 2
        after = (self._pieces - 1) * self._hop - self._margin
        flat = self.Pad(self.Reshape(samples, [-1]), [self._margin, after])
        rows = self.Reshape(flat, [-1, self._hop])
        steps = range(self._pieces)
        parts = [self._slice(rows, i, i + 1 - self._pieces or None, 0) for i in steps]
        frames = self.Concat(*parts, axis=1)
        front = self._slice(frames, 1, half, 1)
        back = self._slice(frames, self._size - 1, half, 1, step=-1)
        ends = self._slice(frames, 0, 1, 1), self._slice(frames, half, half + 1, 1)
        even = self.Concat(ends[0], self.Add(front, back), ends[1], axis=1)
        even = self.Mul(even, self._half_window)
        odd = self.Mul(self.Sub(front, back), self._inner_window)
        return self.MatMul(even, self._cosines), self.MatMul(odd, self._sines)

    def invert(self, real: str, imaginary: str) -> str:
        """Write the sound (S,) of a spectrum: frames added up, divided by the windows' squares."""
        half = self._size // 2
        # Each frequency but the first and the last stands for itself and its mirror image.
        share = np.full(half + 1, 2.0 / self._size)
        share[[0, -1]] /= 2.0
        even = self.MatMul(self.Mul(real, share), self._cosines)
        even = self.Mul(even, self._half_window)
        odd = self.MatMul(imaginary, self._sines)
        odd = self.Mul(odd, share[1] * self._window[1:half])
        inner = self._slice(even, 1, -1, 1)
        back = self._slice(self.Sub(inner, odd), -1, -self._size, 1, step=-1)
        frames = self.Concat(
            self._slice(even, 0, 1, 1),
            self.Add(inner, odd),
            self._slice(even, half, half + 1, 1),
            back,
            axis=1,
        )
        rest = self._pieces * self._hop - self._size
        if rest:
            frames = self.Pad(frames, [0, 0, 0, rest])
        taps = np.zeros(self._pieces * self._hop)
        taps[: self._size] = self._window**2
        ones = self.Expand(1.0, self.Shape(self.Slice(frames, [0], [1], [1])))
        hop = self._hop
        steps = range(self._pieces)
        sound = self.Sum(
            *(self._delay(self._slice(frames, i * hop, (i + 1) * hop, 1), i) for i in steps),
        )
        covered = self.Concat(*(self._delay(ones, i) for i in steps), axis=1)
        squares = taps.reshape(self._pieces, hop)
        weight = self.Max(self.MatMul(covered, squares), 1e-3)
        sound = self.Reshape(self.Div(sound, weight), [-1])
        after = (self._pieces - 1) * hop - self._margin
        return self._slice(sound, self._margin, -after, 0)

    def _delay(self, rows: str, by: int) -> str:
        """Return rows with so many empty ones before, and others after, up to a whole frame."""
        return self.Pad(rows, [by, 0, self._pieces - 1 - by, 0])
