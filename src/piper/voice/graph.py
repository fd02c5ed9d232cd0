"""Builds the inference graph of a VITS voice from named weights, without torch.

Knows nothing of checkpoints, of where voices lie, or of who runs the graph. Needs the package
`onnx` when called. Shapes: B batch, P phonemes, T frames, S samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from piper.voice.graph_config import GraphConfig
from piper.voice.graph_folding import coupling_layers, fold_weights
from piper.voice.graph_frames import decoder, regulate_length, reverse_flow, sample_prior
from piper.voice.graph_text import duration_noise, log_durations, phoneme_mask, text_encoder
from piper.voice.graph_writer import GraphWriter, TensorSpec

if TYPE_CHECKING:
    import onnx

__all__ = ["METADATA_KEY", "GraphConfig", "build_graph"]

METADATA_KEY = "piper_graph"
"""Where a graph written here keeps its `GraphConfig`, as JSON, in the model's metadata."""


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

    Raises:
        ExportError: A weight is missing, does not fit the configuration, or `onnx` is not
            installed.
    """
    config.check(weights)
    constants = fold_weights(weights, config, is_plain=True)
    writer = GraphWriter(constants)
    noise, length, rhythm_noise = writer.split("scales", 3, axis=0)
    speaker = flat_speaker = None
    if config.num_speakers > 1:
        speaker = writer.op("Gather", writer.weight("emb_g.weight"), "sid", axis=0)
        speaker = writer.op("Unsqueeze", speaker, writer.constant([2]))
        flat_speaker = writer.op("Unsqueeze", speaker, writer.constant([3]))
    mask = phoneme_mask(writer, "input", "input_lengths")
    hidden, statistics = text_encoder(writer, "input", mask, config)
    draws = duration_noise(writer, mask, rhythm_noise) if config.use_sdp else []
    logarithm = log_durations(writer, hidden, mask, speaker, draws, config)
    exact = writer.op("Mul", writer.op("Exp", logarithm), mask)
    durations = writer.op("Ceil", writer.op("Mul", exact, length), name="durations")
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
