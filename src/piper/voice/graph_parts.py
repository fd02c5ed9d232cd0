"""Builds the inference graph in three parts by the same functions as the whole.

Knows nothing of files, caches and of who runs the parts. The text's part turns a sentence's ids
into durations and the prior's statistics; flow and decoder turn a window of latents into samples.
What stands between, lengths and noise, is left to NumPy, so that noise can have a seed and a
window of frames is enough for sound. Nothing is padded, so there are no masks. Needs the package
`onnx` when called. Shapes: P phonemes, C latent channels, G channels of a speaker, T frames, S
samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from piper.voice.graph_config import GraphConfig
from piper.voice.graph_folding import coupling_layers, fold_weights
from piper.voice.graph_frames import decoder, reverse_flow
from piper.voice.graph_text import log_durations, text_encoder
from piper.voice.graph_writer import COMPACT_OPSET, GraphWriter, TensorSpec

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class GraphParts:
    """The parts of a voice's graph.

    Attributes:
        text: `input` int64 (1, P), `rhythm_noise` float32 (1, 2, P) (already scaled; only with
            the stochastic predictor), `speaker` float32 (1, G, 1) (only with several) →
            `frames` float32 (1, 1, P), durations before length scale and rounding, and
            `statistics` float32 (1, 2 C, P), mean above log deviation.
        flow: `z_p` float32 (1, C, 1, T), `speaker` float32 (1, G, 1, 1) → `z` (1, C, 1, T).
        decoder: `z`, `speaker` as the flow → `output` float32 (1, 1, 1, S).
        speakers: (number of speakers, G) float32; None with one speaker.
        flow_reach: Frames to each side that a frame of the flow's result depends on.
        decoder_reach: Frames to each side that a frame's samples depend on.
        num_symbols: Ids that the graph knows.
    """

    text: onnx.ModelProto
    flow: onnx.ModelProto
    decoder: onnx.ModelProto
    speakers: np.ndarray | None
    flow_reach: int
    decoder_reach: int
    num_symbols: int


def build_parts(weights: Mapping[str, np.ndarray], config: GraphConfig) -> GraphParts:
    """Build the parts.

    Args:
        weights: As for `piper.voice.graph.build_graph`.
        config: The network's shape.

    Raises:
        ExportError: A weight is missing, does not fit the configuration, or `onnx` is not
            installed.
    """
    config.check(weights)
    constants = fold_weights(weights, config)
    return GraphParts(
        text=_build_text(constants, config),
        flow=_build_flow(constants, config),
        decoder=_build_decoder(constants, config),
        speakers=constants["emb_g.weight"] if config.num_speakers > 1 else None,
        flow_reach=find_flow_reach(constants),
        decoder_reach=find_decoder_reach(constants, config),
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
    writer.op("Exp", logarithm, name="frames")
    writer.op("Identity", statistics, name="statistics")
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
    writer.op("Identity", z, name="z")
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


def find_flow_reach(constants: Mapping[str, np.ndarray]) -> int:
    """Return the frames to each side that the flow looks at: the sum over its convolutions."""
    kernels = (
        array.shape[-1]
        for name, array in constants.items()
        if name.startswith("flow.") and ".in_layers." in name and array.ndim == 4
    )
    return sum(kernel // 2 for kernel in kernels)


def find_decoder_reach(constants: Mapping[str, np.ndarray], config: GraphConfig) -> int:
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
    reach = constants["dec.conv_post.weight:scaled"].shape[-1] // 2
    for rate, kernel in zip(
        reversed(config.upsample_rates), reversed(config.upsample_kernel_sizes), strict=True
    ):
        reach = math.ceil((reach + widest + (kernel - rate) / 2) / rate)
    first = "dec.conv_pre.weight"
    first = first if first in constants else f"{first}:flipped"
    return reach + constants[first].shape[-1] // 2
