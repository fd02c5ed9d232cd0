"""The frames' half of the inference graph: length regulator, flow and decoder.

Knows nothing of phonemes' meaning or of files. Shapes: B batch, C channels, P phonemes, T frames,
S samples; frames have an axis of height 1 before them (`graph_folding` says why). Source: Kim et
al. 2021 (VITS) and Kong et al. 2020 (HiFi-GAN), with the papers' symbols: `m_p`, `logs_p` mean and
log deviation of the prior, `z_p` a sample of it, `g` the speaker's embedding (B, G, 1, 1).
"""

from __future__ import annotations

import numpy as np

from piper.voice.graph_config import GraphConfig
from piper.voice.graph_folding import is_flipped
from piper.voice.graph_writer import GraphWriter

LEAKY_SLOPE = 0.1
LAST_LEAKY_SLOPE = 0.01
PHASES = 16
"""Samples that the compact graph's last convolution computes together."""


def regulate_length(writer: GraphWriter, durations: str, statistics: str) -> tuple[str, str]:
    """Repeat each phoneme's statistics as many times as it has frames.

    Args:
        writer: The graph.
        durations: (B, 1, P), whole numbers of frames.
        statistics: (B, 2 C, P).

    Returns:
        The repeated statistics (B, 2 C, T) and the frames' mask (B, 1, T).
    """
    with writer.scope("regulator"):
        ends = writer.op("CumSum", durations, writer.constant(2))
        totals = writer.op("ReduceMax", ends, axes=[2])
        # At least one frame, as in training's code; the decoder cannot take none.
        totals = writer.op("Max", totals, writer.number(1.0))
        longest = writer.op("ReduceMax", totals, keepdims=0)
        frames = writer.op("Range", writer.number(0.0), longest, writer.number(1.0))
        mask = writer.op("Cast", writer.op("Less", frames, totals), to=1)
        # A frame belongs to the first phoneme that ends after it; past the end that is number 0.
        column = writer.op("Unsqueeze", frames, writer.constant([1]))
        ended = writer.op("Cast", writer.op("Less", column, ends), to=1)
        index = writer.op("ArgMax", ended, axis=2, keepdims=1)
        rows = writer.op("Transpose", statistics, perm=[0, 2, 1])
        rows = writer.op("GatherND", rows, index, batch_dims=1)
        return writer.op("Transpose", rows, perm=[0, 2, 1]), mask


def sample_prior(writer: GraphWriter, statistics: str, noise_scale: str) -> str:
    """Draw z_p (B, C, 1, T) from repeated statistics (B, 2 C, T).

    The sum has no axis of height yet: programs that stream a voice cut its graph there, and the
    mask's too, along the third axis.
    """
    with writer.scope("prior"):
        m_p, logs_p = writer.op("Split", statistics, outputs=2, axis=1)
        noise = writer.op("Mul", writer.op("RandomNormalLike", m_p), noise_scale)
        z_p = writer.op("Add", m_p, writer.op("Mul", noise, writer.op("Exp", logs_p)))
        return str(writer.op("Unsqueeze", z_p, writer.constant([2])))


def _mask_frames(writer: GraphWriter, x: str, mask: str | None) -> str:
    """Write the product of x (B, C, 1, T) and a mask (B, 1, T); None stands for ones."""
    if mask is not None:
        mask = writer.op("Unsqueeze", mask, writer.constant([2]))
    return writer.mask(x, mask)


def reverse_flow(
    writer: GraphWriter, z_p: str, mask: str | None, g: str | None, layers: int
) -> str:
    """Run the residual coupling layers backwards; (B, C, 1, T) → (B, C, 1, T), masked.

    A mask (B, 1, T) of None stands for ones: nothing is padded.

    The channel reversal after each layer is folded into the weights (`graph_folding`), so each
    layer only chooses which half it changes.
    """
    with writer.scope("flow"):
        low, high = writer.op("Split", z_p, outputs=2, axis=1)
        for i in reversed(range(layers)):
            with writer.scope(f"flows.{2 * i}"):
                source = high if is_flipped(i, layers) else low
                h = _mask_frames(writer, writer.conv(source, "pre"), mask)
                mean = writer.conv(_wavenet(writer, h, mask, g), "post")
                if is_flipped(i, layers):
                    low = writer.op("Sub", low, mean)
                else:
                    high = writer.op("Sub", high, mean)
        return _mask_frames(writer, writer.op("Concat", low, high, axis=1), mask)


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
                y = writer.op("Add", y, conditions[i])
            filtered, gate = writer.op("Split", y, outputs=2, axis=1)
            y = writer.op("Mul", writer.op("Tanh", filtered), writer.op("Sigmoid", gate))
            y = writer.conv(y, f"res_skip_layers.{i}")
            if i < layers - 1:
                residual, y = writer.op("Split", y, outputs=2, axis=1)
                x = _mask_frames(writer, writer.op("Add", x, residual), mask)
            skips.append(y)
        return writer.op("Sum", *skips)


def decoder(writer: GraphWriter, z: str, g: str | None, config: GraphConfig) -> str:
    """Write the HiFi-GAN generator; z (B, C, 1, T) → `output` (B, 1, 1, S) in [-1, 1].

    In the compact graph the average over parallel blocks is a plain sum: the next convolution's
    weights hold the division (`graph_folding`). The whole graph keeps upsampling as it is in other
    voices, along one axis and with the weights' own names.
    """
    with writer.scope("dec"):
        x = writer.conv(z, "conv_pre")
        if g is not None:
            x = writer.op("Add", x, writer.conv(g, "cond"))
        blocks = len(config.resblock_kernel_sizes)
        for i, rate in enumerate(config.upsample_rates):
            x = writer.op("LeakyRelu", x, alpha=LEAKY_SLOPE)
            if not writer.is_compact:
                x = writer.op("Squeeze", x, writer.constant([2]))
            x = writer.conv_transpose(x, f"ups.{i}", stride=rate)
            if not writer.is_compact:
                x = writer.op("Unsqueeze", x, writer.constant([2]))
            else:
                # Changes nothing, but brings x into the blocked layout: `graph_blocked` says why.
                x = writer.op("MaxPool", x, kernel_shape=[1, 1])
            # All blocks begin with the same leaky ReLU of the same values.
            active = writer.op("LeakyRelu", x, alpha=LEAKY_SLOPE)
            sums = []
            for j, dilations in enumerate(config.resblock_dilation_sizes):
                with writer.scope(f"resblocks.{i * blocks + j}"):
                    sums.append(_residual_block(writer, x, active, dilations, config.resblock))
            x = writer.op("Sum" if writer.is_compact else "Mean", *sums)
        x = writer.op("LeakyRelu", x, alpha=LAST_LEAKY_SLOPE)
        if writer.is_compact and config.hop_length % PHASES == 0:
            return _last_conv_by_phases(writer, x)
        return writer.op("Tanh", writer.conv(x, "conv_post"), name="output")


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
        inputs = [x, writer.constant(moved, np.float32)]
        if writer.has("bias"):
            inputs.append(writer.constant(np.repeat(writer.array("bias"), PHASES), np.float32))
        y = writer.op(
            "Conv",
            *inputs,
            kernel_shape=[1, kernel],
            strides=[1, PHASES],
            pads=[0, size // 2, 0, size - 1 - size // 2],
        )
        y = writer.op("Transpose", writer.op("Tanh", y), perm=[0, 2, 3, 1])
        return writer.op("Reshape", y, writer.constant([1, 1, 1, -1]), name="output")


def _residual_block(
    writer: GraphWriter, x: str, active: str, dilations: tuple[int, ...], kind: str
) -> str:
    """Write one residual block of kind `"1"` or `"2"`; `active` is the leaky ReLU of x."""
    for i, dilation in enumerate(dilations):
        if i:
            active = writer.op("LeakyRelu", x, alpha=LEAKY_SLOPE)
        if kind == "1":
            y = writer.conv(active, f"convs1.{i}", dilation=dilation)
            y = writer.conv(writer.op("LeakyRelu", y, alpha=LEAKY_SLOPE), f"convs2.{i}")
        else:
            y = writer.conv(active, f"convs.{i}", dilation=dilation)
        x = writer.op("Add", x, y)
    return x
