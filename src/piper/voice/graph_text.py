"""The phonemes' half of the inference graph: text encoder and duration predictors.

Knows nothing of frames and audio. Shapes: B batch, C channels, P phonemes, G channels of a
speaker. Source: Kim et al. 2021 (VITS), with the paper's symbols: `m_p` and `logs_p` are mean and
log deviation of the prior, `g` is the speaker's embedding (B, G, 1).
"""

from __future__ import annotations

from piper.voice.graph_config import GraphConfig
from piper.voice.graph_layers import (
    RelativeAttention,
    inverse_spline,
    layer_norm,
    relative_index,
    separable_convs,
)
from piper.voice.graph_writer import GraphWriter

DDS_LAYERS = 3


def phoneme_mask(writer: GraphWriter, ids: str, lengths: str) -> str:
    """Return (B, 1, P) float32: 1 where there is a phoneme; ids (B, P), lengths (B,)."""
    with writer.scope("mask"):
        size = writer.op("Squeeze", writer.op("Shape", ids, start=1))
        places = writer.op("Range", writer.constant(0), size, writer.constant(1))
        ends = writer.op("Unsqueeze", lengths, writer.constant([1, 2]))
        return writer.op("Cast", writer.op("Less", places, ends), to=1)


def text_encoder(
    writer: GraphWriter, ids: str, mask: str | None, config: GraphConfig
) -> tuple[str, str]:
    """Write the text encoder; without a mask nothing is padded.

    Returns:
        The hidden text (B, C, P), and `m_p` above `logs_p` (B, 2 C', P); neither is masked.
    """
    with writer.scope("enc_p"):
        x = writer.op("Gather", writer.weight("emb.weight:scaled"), ids, axis=0)
        x = writer.op("Transpose", x, perm=[0, 2, 1])
        index = relative_index(writer, ids, mask, config)
        with writer.scope("encoder"):
            attention = RelativeAttention(writer, index, config.n_heads)
            for i in range(writer.last_numbered("attn_layers") + 1):
                y = attention(x, f"attn_layers.{i}")
                x = layer_norm(writer, writer.op("Add", x, y), f"norm_layers_1.{i}")
                with writer.scope(f"ffn_layers.{i}"):
                    y = writer.conv(writer.mask(x, mask), "conv_1")
                    y = writer.mask(writer.op("Relu", y), mask)
                    y = writer.conv(y, "conv_2")
                x = layer_norm(writer, writer.op("Add", x, y), f"norm_layers_2.{i}")
        return x, writer.conv(x, "proj")


def duration_noise(writer: GraphWriter, mask: str, noise_scale: str) -> list[str]:
    """Draw the stochastic predictor's noise: two values (B, 1, P)."""
    with writer.scope("dp"):
        return [
            writer.op("Mul", writer.op("RandomNormalLike", mask), noise_scale) for _ in range(2)
        ]


def log_durations(
    writer: GraphWriter,
    x: str,
    mask: str | None,
    g: str | None,
    noise: list[str],
    config: GraphConfig,
) -> str:
    """Write the voice's duration predictor; returns log durations in frames (B, 1, P).

    Args:
        writer: The graph.
        x: The hidden text (B, C, P).
        mask: (B, 1, P), or None where nothing is padded.
        g: The speaker, with several.
        noise: Two values (B, 1, P), which only the stochastic predictor reads.
        config: The network's shape.
    """
    with writer.scope("dp"):
        if config.use_sdp:
            return _stochastic_predictor(writer, x, mask, g, noise)
        return _plain_predictor(writer, x, mask, g)


def _plain_predictor(writer: GraphWriter, x: str, mask: str | None, g: str | None) -> str:
    if g is not None:
        x = writer.op("Add", x, writer.conv(g, "cond"))
    for i in (1, 2):
        x = writer.conv(writer.mask(x, mask), f"conv_{i}")
        x = layer_norm(writer, writer.op("Relu", x), f"norm_{i}")
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
        x = writer.op("Add", x, writer.conv(g, "cond"))
    x = separable_convs(writer, x, mask, DDS_LAYERS)
    x = writer.conv(x, "proj")
    first, second = noise
    flow = writer.last_numbered("flows")
    while flow > 1:
        with writer.scope(f"flows.{flow}"):
            h = writer.op("Add", writer.conv(second, "pre"), x)
            h = separable_convs(writer, h, mask, DDS_LAYERS)
            rows = writer.conv(h, "proj")
            bins = writer.array("proj.weight:spline").shape[0] // 4
            first, second = second, inverse_spline(writer, first, rows, bins)
        flow -= 2
    with writer.scope("flows.0"):
        channel = writer.constant([0])
        mean = writer.op("Gather", writer.weight("m"), channel, axis=0)
        scale = writer.op("Gather", writer.weight("logs:inverse_scale"), channel, axis=0)
        return writer.op("Mul", writer.op("Sub", second, mean), scale)
