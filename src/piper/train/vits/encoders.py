"""Text to the latents' prior, spectrograms to their posterior, and the flow between them.

Symbols of the paper (Kim et al. 2021, "Conditional variational autoencoder with adversarial
learning for end-to-end text-to-speech"): `m` and `logs` are a normal distribution's mean and log
deviation, `g` is the speaker embedding.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from piper.train.vits.config import NetworkConfig
from piper.train.vits.layers import (
    ChannelNorm,
    Dropout,
    WeightNormConv1d,
    channels_last,
    convolve,
    fold_together,
    mix_channels,
)

WINDOW = 4  # positions on each side that have an embedding of their distance
_MASKED_SCORE = -1e4  # representable in float16
FLOW_COUNT = 4
FLOW_LAYERS = 4
FLOW_KERNEL_SIZE = 5
POSTERIOR_LAYERS = 16
POSTERIOR_KERNEL_SIZE = 5


class RelativeAttention(nn.Module):
    """Self-attention with learned distances within a window (Shaw et al. 2018)."""

    def __init__(self, channels: int, n_heads: int, p_dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.head_channels = channels // n_heads
        distances = 2 * WINDOW + 1
        scale = self.head_channels**-0.5
        self.emb_rel_k = nn.Parameter(torch.randn(1, distances, self.head_channels) * scale)
        self.emb_rel_v = nn.Parameter(torch.randn(1, distances, self.head_channels) * scale)
        self.conv_q = nn.Conv1d(channels, channels, 1)
        self.conv_k = nn.Conv1d(channels, channels, 1)
        self.conv_v = nn.Conv1d(channels, channels, 1)
        self.conv_o = nn.Conv1d(channels, channels, 1)
        self.drop = Dropout(p_dropout)
        for conv in (self.conv_q, self.conv_k, self.conv_v):
            nn.init.xavier_uniform_(conv.weight)

    def forward(self, x: Tensor, penalty: Tensor, distances: tuple[Tensor, Tensor]) -> Tensor:
        """Attend.

        Args:
            x: (B, C, P).
            penalty: (B, 1, 1, P), added to scores: 0, or far below where no position may look.
            distances: As `place_distances` gives them.

        Returns:
            (B, C, P), channels last; what stands at padding means nothing.
        """
        columns, has_column = distances
        columns = columns.expand(x.shape[0], self.n_heads, -1, -1)
        # one product for all three, and one copy to (3, B, H, P, C / H)
        convs = (self.conv_q, self.conv_k, self.conv_v)
        weight = torch.cat([conv.weight for conv in convs])
        bias = torch.cat([conv.bias for conv in convs if conv.bias is not None])
        mixed = F.linear(x.mT, weight.squeeze(2), bias)
        heads = mixed.unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4).contiguous()
        query, key, value = heads.unbind(0)
        query = query * self.head_channels**-0.5

        near = torch.matmul(query, self.emb_rel_k.transpose(1, 2))  # (B, H, P, distances)
        scores = torch.matmul(query, key.transpose(2, 3))
        scores = scores.scatter_add_(3, columns, (near * has_column).to(scores.dtype))
        weights = self.drop(torch.softmax(scores + penalty, dim=3))

        near_weights = weights.gather(3, columns) * has_column
        output = torch.matmul(weights, value) + torch.matmul(near_weights, self.emb_rel_v)
        output = output.transpose(1, 2).flatten(2)  # (B, P, C)
        return mix_channels(output.transpose(1, 2), self.conv_o.weight, self.conv_o.bias)


def place_distances(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where distance d of row i stands: in column i + d - WINDOW, if there is one.

    Returns:
        Columns (size, distances), and whether there are such.
    """
    columns = torch.arange(size, device=device).unsqueeze(1) - WINDOW
    columns = columns + torch.arange(2 * WINDOW + 1, device=device)
    return columns.clamp(0, size - 1), (columns >= 0) & (columns < size)


class FeedForward(nn.Module):
    """Two convolutions with a rectifier between them."""

    def __init__(
        self, channels: int, filter_channels: int, kernel_size: int, p_dropout: float
    ) -> None:
        super().__init__()
        self.conv_1 = nn.Conv1d(channels, filter_channels, kernel_size)
        self.conv_2 = nn.Conv1d(filter_channels, channels, kernel_size)
        self.drop = Dropout(p_dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, C, P) and mask (B, 1, P) to (B, C, P); what stands at padding means nothing."""
        x = self.drop(torch.relu(_convolve_same(x * mask, self.conv_1)))
        return _convolve_same(x * mask, self.conv_2)


class AttentionEncoder(nn.Module):
    """Layers of attention and feed-forward, each normalised after its residual sum."""

    def __init__(
        self,
        channels: int,
        filter_channels: int,
        *,
        n_heads: int,
        n_layers: int,
        kernel_size: int,
        p_dropout: float,
    ) -> None:
        super().__init__()
        layers = range(n_layers)
        self.drop = Dropout(p_dropout)
        self.attn_layers = nn.ModuleList(
            RelativeAttention(channels, n_heads, p_dropout) for _ in layers
        )
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(channels) for _ in layers)
        self.ffn_layers = nn.ModuleList(
            FeedForward(channels, filter_channels, kernel_size, p_dropout) for _ in layers
        )
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(channels) for _ in layers)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, C, P) and mask (B, 1, P) to (B, C, P), channels last."""
        penalty = (1.0 - mask.unsqueeze(2)) * _MASKED_SCORE
        x = channels_last(x * mask)
        distances = place_distances(x.shape[2], x.device)
        layers = zip(
            self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2, strict=True
        )
        for attention, norm_1, feed_forward, norm_2 in layers:
            x = norm_1(x + self.drop(attention(x, penalty, distances)))
            x = norm_2(x + self.drop(feed_forward(x, mask)))
        return x * mask


def _convolve_same(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """(B, C, P) to (B, C', P); an even kernel looks one further to the right."""
    size = conv.weight.shape[2]
    if size % 2 == 0:
        x = F.pad(x, (0, 1))
    return convolve(x, conv.weight, conv.bias, padding=(size - 1) // 2)


class WaveNet(nn.Module):
    """Non-causal WaveNet (van den Oord et al. 2016; WaveGlow, Prenger et al. 2018).

    Args:
        channels: C, of the input, the residual path and the output.
        kernel_size: Odd kernel of the gated convolutions.
        n_layers: Gated layers; none is dilated, as in Piper's networks.
        speaker_channels: Channels of the speaker embedding, 0 for none.
    """

    def __init__(
        self, channels: int, *, kernel_size: int, n_layers: int, speaker_channels: int
    ) -> None:
        super().__init__()
        self.channels = channels
        self.n_layers = n_layers
        self.in_layers = nn.ModuleList(
            WeightNormConv1d(channels, 2 * channels, kernel_size, padding=kernel_size // 2)
            for _ in range(n_layers)
        )
        # the last layer has no residual half
        self.res_skip_layers = nn.ModuleList(
            WeightNormConv1d(channels, channels if layer == n_layers - 1 else 2 * channels, 1)
            for layer in range(n_layers)
        )
        self.cond_layer: WeightNormConv1d | None = None
        if speaker_channels:
            self.cond_layer = WeightNormConv1d(speaker_channels, 2 * channels * n_layers, 1)

    def forward(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """(B, C, T), mask (B, 1, T), g (B, G, 1) to the sum of skips (B, C, T), channels last."""
        conditions: list[Tensor | None] = [None] * self.n_layers
        if self.cond_layer is not None and g is not None:
            conditions = list(self.cond_layer(g).transpose(1, 2).chunk(self.n_layers, dim=2))
        # from here to the end signals are (B, T, C), so that gates and products read in order
        x, mask = x.transpose(1, 2).contiguous(), mask.transpose(1, 2)
        gated = fold_together(cast(list[WeightNormConv1d], [*self.in_layers]))
        *mixed, last = cast(list[WeightNormConv1d], [*self.res_skip_layers])
        mixing = [*(fold_together(mixed) if mixed else []), *fold_together([last])]
        skips: Tensor | None = None
        for (weight, bias), mix, condition in zip(gated, mixing, conditions, strict=True):
            y = convolve(x.transpose(1, 2), weight, bias, padding=weight.shape[2] // 2)
            y = y.transpose(1, 2)
            if condition is not None:
                y = y + condition
            *residual, skip = gate_and_mix(y, *mix).split(self.channels, dim=2)
            if residual:
                x = (x + residual[0]) * mask
            skips = skip if skips is None else skips + skip
        assert skips is not None  # n_layers is at least 1
        return (skips * mask).transpose(1, 2)


def gate_and_mix(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Gate (B, T, 2 C) by its second half of channels, then convolve with a kernel of 1.

    Returns:
        (B, T, n C), what weight (n C, C, 1) and bias (n C) make of
        `tanh(x[..., :C]) * sigmoid(x[..., C:])`.
    """
    dtype = x.dtype  # under autocast the weights are float32 and the signal is not
    mixed: Tensor = _GateAndMix.apply(x, weight.squeeze(2).to(dtype), bias.to(dtype))
    return mixed


class _GateAndMix(torch.autograd.Function):
    """Keeps tanh and sigmoid for the backward pass, but not their product: 2 C instead of 3 C."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """(B, T, 2 C), (n C, C) and (n C) to (B, T, n C)."""
        signal, gate = x.chunk(2, dim=2)
        signal, gate = torch.tanh(signal), torch.sigmoid(gate)
        ctx.save_for_backward(signal, gate, weight)
        return F.linear(signal * gate, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of the signal, the weight and the bias."""
        signal, gate, weight = ctx.saved_tensors
        channels = weight.shape[1]
        rows = gradient.flatten(0, 1)
        of_product = rows @ weight
        of_x = signal.new_empty((*signal.shape[:2], 2 * channels))
        # the slopes are sigmoid * (1 - tanh^2) and tanh * sigmoid * (1 - sigmoid)
        share = of_product.view_as(gate) * gate
        both = share * signal
        torch.addcmul(share, both, signal, value=-1, out=of_x[..., :channels])
        torch.addcmul(both, both, gate, value=-1, out=of_x[..., channels:])
        product = (signal * gate).flatten(0, 1)
        return of_x, rows.t() @ product, rows.sum(0)


class Flip(nn.Module):
    """Reverse the order of channels, so that the next coupling moves the other half."""

    def forward(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        return torch.flip(x, [1])

    def inverse(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """The same again, which undoes it."""
        return torch.flip(x, [1])


class ResidualCoupling(nn.Module):
    """Shift one half of the channels by a function of the other half.

    It only shifts (Kim et al. 2021, section 2.5.1), so that the volume, and with it the
    log-determinant, stays the same.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        half = config.inter_channels // 2
        self.pre = nn.Conv1d(half, config.hidden_channels, 1)
        self.enc = WaveNet(
            config.hidden_channels,
            kernel_size=FLOW_KERNEL_SIZE,
            n_layers=FLOW_LAYERS,
            speaker_channels=config.speaker_channels,
        )
        self.post = nn.Conv1d(config.hidden_channels, half, 1)
        # the flow begins as the identity
        for parameter in self.post.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        kept, moved = x.chunk(2, dim=1)
        return torch.cat([kept, self._shift(kept, mask, g) + moved * mask], dim=1)

    def inverse(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """Undo `forward`."""
        kept, moved = x.chunk(2, dim=1)
        return torch.cat([kept, (moved - self._shift(kept, mask, g)) * mask], dim=1)

    def _shift(self, kept: Tensor, mask: Tensor, g: Tensor | None) -> Tensor:
        hidden = mix_channels(kept, self.pre.weight, self.pre.bias) * mask
        hidden = self.enc(hidden, mask, g)
        return mix_channels(hidden, self.post.weight, self.post.bias).float() * mask


class CouplingFlow(nn.Module):
    """Four couplings, each followed by a flip."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(FLOW_COUNT):
            layers += [ResidualCoupling(config), Flip()]
        self.flows = nn.ModuleList(layers)

    def forward(self, z: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """Latents (B, inter, T) to z_p in the prior's space; mask (B, 1, T), g (B, G, 1)."""
        for flow in self.flows:
            z = flow(z, mask, g)
        return z

    def inverse(self, z_p: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """Undo `forward`: the prior's space to latents for the decoder."""
        for flow in reversed(self.flows):
            z_p = cast("ResidualCoupling | Flip", flow).inverse(z_p, mask, g)
        return z_p


class TextEncoder(nn.Module):
    """Phonemes to hidden states and the prior (section 2.5.1 of the paper)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels = config.hidden_channels
        self.scale = math.sqrt(channels)
        self.emb = nn.Embedding(config.num_symbols, channels)
        self.encoder = AttentionEncoder(
            channels,
            config.filter_channels,
            n_heads=config.n_heads,
            n_layers=config.n_layers,
            kernel_size=config.kernel_size,
            p_dropout=config.p_dropout,
        )
        self.proj = nn.Conv1d(channels, 2 * config.inter_channels, 1)
        nn.init.normal_(self.emb.weight, 0.0, channels**-0.5)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Ids (B, P), mask (B, 1, P) to states (B, hidden, P) and float32 m, logs (B, inter, P)."""
        x = (self.emb(ids) * self.scale).transpose(1, 2)
        x = self.encoder(x, mask)
        m, logs = (mix_channels(x, self.proj.weight, self.proj.bias).float() * mask).chunk(2, dim=1)
        return x, m, logs


class PosteriorEncoder(nn.Module):
    """Linear spectrogram to the posterior of the latents (section 2.5.1 of the paper)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.pre = nn.Conv1d(config.spec_channels, config.hidden_channels, 1)
        self.enc = WaveNet(
            config.hidden_channels,
            kernel_size=POSTERIOR_KERNEL_SIZE,
            n_layers=POSTERIOR_LAYERS,
            speaker_channels=config.speaker_channels,
        )
        self.proj = nn.Conv1d(config.hidden_channels, 2 * config.inter_channels, 1)

    def forward(
        self, spectrogram: Tensor, mask: Tensor, g: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Magnitudes (B, F, T), mask (B, 1, T), g (B, G, 1) to m, logs (B, inter, T), float32."""
        x = self.pre(spectrogram) * mask
        x = self.enc(x, mask, g)
        m, logs = (mix_channels(x, self.proj.weight, self.proj.bias).float() * mask).chunk(2, dim=1)
        return m, logs
