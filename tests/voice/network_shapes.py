"""Names and shapes of a voice's weights, for tests: written down apart from the code under test."""

from __future__ import annotations

import zlib

import numpy as np

Shapes = dict[str, tuple[int, ...]]


def network_shapes(
    *,
    symbols: int = 256,
    hidden: int = 32,
    filters: int = 64,
    heads: int = 2,
    layers: int = 2,
    decoder_channels: int = 64,
    resblock: str = "2",
    kernels: tuple[int, ...] = (3, 5, 7),
    dilations: tuple[tuple[int, ...], ...] = ((1, 2), (2, 6), (3, 12)),
    upsample_kernels: tuple[int, ...] = (16, 16, 8),
    speakers: int = 1,
    speaker_channels: int = 0,
    use_sdp: bool = True,
) -> Shapes:
    """Return what speaking needs of a checkpoint, without `model_g.`."""
    gin = speaker_channels if speakers > 1 else 0
    shapes: Shapes = {"enc_p.emb.weight": (symbols, hidden)}
    for i in range(layers):
        layer = f"enc_p.encoder.attn_layers.{i}"
        for letter in "kv":
            shapes[f"{layer}.emb_rel_{letter}"] = (1, 9, hidden // heads)
        for letter in "qkvo":
            _conv(shapes, f"{layer}.conv_{letter}", hidden, hidden, 1)
        _conv(shapes, f"enc_p.encoder.ffn_layers.{i}.conv_1", filters, hidden, 3)
        _conv(shapes, f"enc_p.encoder.ffn_layers.{i}.conv_2", hidden, filters, 3)
        for kind in (1, 2):
            _norm(shapes, f"enc_p.encoder.norm_layers_{kind}.{i}", hidden)
    _conv(shapes, "enc_p.proj", 2 * hidden, hidden, 1)
    _duration_shapes(shapes, hidden, gin, use_sdp)
    for i in (0, 2, 4, 6):
        _coupling_shapes(shapes, f"flow.flows.{i}", hidden, gin)
    _decoder_shapes(shapes, hidden, decoder_channels, gin, resblock, kernels, dilations,
                    upsample_kernels)  # fmt: skip
    if gin:
        shapes["emb_g.weight"] = (speakers, gin)
    return shapes


def quick_shapes(
    *,
    channels: int = 16,
    blocks: int = 2,
    mels: int = 20,
    bins: int = 513,
    speakers: int = 1,
    filters: int = 2,
) -> Shapes:
    """Return what speaking needs of a quick voice's checkpoint, without `model_g.`."""
    latents = mels + 2
    shapes: Shapes = {"text.embedding.weight": (256, channels)}
    if speakers > 1:
        shapes["text.speakers.weight"] = (speakers, channels)
    for side, kernel, factor in (
        ("text.text_blocks", 5, 2),
        ("text.frame_blocks", 7, 3),
        ("decoder.blocks", 7, 3),
    ):
        for i in range(blocks):
            _quick_block(shapes, f"{side}.{i}", channels, kernel, factor)
    _quick_block(shapes, "text.duration_block", channels, 5, 1)
    for name in ("text.text_norm", "text.frame_norm", "decoder.norm"):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (channels,)
    for name, into, out in (
        ("text.duration_entry", channels, channels),
        ("text.duration_exit", channels, 2),
        ("text.position", 4, channels),
        ("text.exit", channels, latents + 1),
        ("decoder.exit", channels, filters * 2 * bins),
        ("decoder.phase", channels, filters * bins),
    ):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, into), (out,)
    _conv(shapes, "decoder.entry", channels, latents, 5)
    for name in ("latent_mean", "latent_deviation", "predicted_mean", "spread"):
        shapes[name] = (latents,)
    shapes["duration_scale"] = ()
    shapes["decoder.minimum_phase"] = (bins, bins)
    return shapes


def quick_weights(shapes: Shapes) -> dict[str, np.ndarray]:
    """Return golden weights of a voice that hums at 120 Hz, give or take three semitones."""
    weights = golden_weights(shapes)
    for name in weights:
        if name.endswith("norm.weight"):
            weights[name] = 1 + 0.1 * weights[name]
    weights["text.duration_exit.bias"][:] = (1.6, -1.5)
    weights["text.exit.bias"][-1] = -1.0
    weights["latent_mean"][-2], weights["latent_deviation"][-2] = np.log(120.0), 0.15
    weights["spread"][:] = 1.1
    weights["duration_scale"] = np.float32(1.1)
    weights["decoder.exit.weight"] *= 0.3
    bins = len(weights["decoder.minimum_phase"])
    weights["decoder.minimum_phase"][:] = 0.0
    levels = weights["decoder.exit.bias"].reshape(-1, 2, bins)
    levels[:, 0] -= 3 + 4 * np.arange(bins, dtype=np.float32) / bins
    levels[:, 1] -= 6
    return weights


def golden_weights(shapes: Shapes) -> dict[str, np.ndarray]:
    """Return weights that follow from their names; they are crc32-seeded normal numbers."""
    return {name: _golden(f"model_g.{name}", shape) for name, shape in shapes.items()}


def _golden(name: str, shape: tuple[int, ...]) -> np.ndarray:
    x = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith(("weight_g", "gamma")):
        x = 1 + 0.1 * x
    elif name.endswith(("bias", "beta", ".m", ".logs")):
        x = 0.1 * x
    else:
        x = x / np.sqrt(max(1, np.prod(shape[1:])))
    return x.astype(np.float32)


def _conv(
    shapes: Shapes, name: str, out: int, into: int, kernel: int, *, normed: bool = False
) -> None:
    if normed:
        shapes[f"{name}.weight_g"] = (out, 1, 1)
        shapes[f"{name}.weight_v"] = (out, into, kernel)
    else:
        shapes[f"{name}.weight"] = (out, into, kernel)
    shapes[f"{name}.bias"] = (out,)


def _quick_block(shapes: Shapes, name: str, channels: int, kernel: int, factor: int) -> None:
    _conv(shapes, f"{name}.mix", channels, 1, kernel)
    shapes[f"{name}.norm.weight"] = shapes[f"{name}.norm.bias"] = (channels,)
    for layer, out, into in (("expand", factor, 1), ("reduce", 1, factor)):
        shapes[f"{name}.{layer}.weight"] = (out * channels, into * channels)
        shapes[f"{name}.{layer}.bias"] = (out * channels,)
    shapes[f"{name}.scale"] = (channels,)


def _norm(shapes: Shapes, name: str, channels: int) -> None:
    shapes[f"{name}.gamma"] = shapes[f"{name}.beta"] = (channels,)


def _duration_shapes(shapes: Shapes, hidden: int, gin: int, use_sdp: bool) -> None:
    if gin:
        _conv(shapes, "dp.cond", hidden, gin, 1)
    if not use_sdp:
        for i, into in ((1, hidden), (2, 256)):
            _conv(shapes, f"dp.conv_{i}", 256, into, 3)
            _norm(shapes, f"dp.norm_{i}", 256)
        _conv(shapes, "dp.proj", 1, 256, 1)
        return
    # Unlike other widths, this one follows the input, not `filter_channels`.
    for name in ("dp.pre", "dp.proj"):
        _conv(shapes, name, hidden, hidden, 1)
    _separable_shapes(shapes, "dp.convs", hidden)
    shapes["dp.flows.0.m"] = shapes["dp.flows.0.logs"] = (2, 1)
    for i in (1, 3, 5, 7):
        _conv(shapes, f"dp.flows.{i}.pre", hidden, 1, 1)
        _conv(shapes, f"dp.flows.{i}.proj", 29, hidden, 1)
        _separable_shapes(shapes, f"dp.flows.{i}.convs", hidden)


def _separable_shapes(shapes: Shapes, name: str, channels: int) -> None:
    for i in range(3):
        _conv(shapes, f"{name}.convs_sep.{i}", channels, 1, 3)
        _conv(shapes, f"{name}.convs_1x1.{i}", channels, channels, 1)
        for kind in (1, 2):
            _norm(shapes, f"{name}.norms_{kind}.{i}", channels)


def _coupling_shapes(shapes: Shapes, name: str, hidden: int, gin: int) -> None:
    _conv(shapes, f"{name}.pre", hidden, hidden // 2, 1)
    _conv(shapes, f"{name}.post", hidden // 2, hidden, 1)
    for i in range(4):
        last = i == 3
        _conv(shapes, f"{name}.enc.in_layers.{i}", 2 * hidden, hidden, 5, normed=True)
        out = hidden if last else 2 * hidden
        _conv(shapes, f"{name}.enc.res_skip_layers.{i}", out, hidden, 1, normed=True)
    if gin:
        _conv(shapes, f"{name}.enc.cond_layer", 8 * hidden, gin, 1, normed=True)


def _decoder_shapes(
    shapes: Shapes,
    hidden: int,
    channels: int,
    gin: int,
    resblock: str,
    kernels: tuple[int, ...],
    dilations: tuple[tuple[int, ...], ...],
    upsample_kernels: tuple[int, ...],
) -> None:
    _conv(shapes, "dec.conv_pre", channels, hidden, 7)
    if gin:
        _conv(shapes, "dec.cond", channels, gin, 1)
    for i, kernel in enumerate(upsample_kernels):
        channels //= 2
        shapes[f"dec.ups.{i}.weight_g"] = (2 * channels, 1, 1)
        shapes[f"dec.ups.{i}.weight_v"] = (2 * channels, channels, kernel)
        shapes[f"dec.ups.{i}.bias"] = (channels,)
        for j, (size, steps) in enumerate(zip(kernels, dilations, strict=True)):
            block = f"dec.resblocks.{i * len(kernels) + j}"
            for step in range(len(steps)):
                for convs in ("convs1", "convs2") if resblock == "1" else ("convs",):
                    name = f"{block}.{convs}.{step}"
                    _conv(shapes, name, channels, channels, size, normed=True)
    shapes["dec.conv_post.weight"] = (1, channels, 7)
