"""The text encoder's transformer with relative positions. Knows nothing of phonemes or speech."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from piper.train.vits.dropout import Dropout
from piper.train.vits.layer_norm import ChannelNorm
from piper.train.vits.layout import channels_last, convolve, mix_channels

WINDOW = 4  # positions on each side that have an embedding of their distance
_MASKED_SCORE = -1e4  # representable in float16


class RelativeAttention(nn.Module):
    """Self-attention with learned distances within a window (Shaw et al. 2018).

    Args:
        channels: C, to be divided among the heads.
        n_heads: H, heads; they share the embeddings of distances.
        p_dropout: Dropout of the attention's weights.
    """

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

    def forward(self, x: Tensor, penalty: Tensor) -> Tensor:
        """Attend.

        Args:
            x: (B, C, P).
            penalty: (B, 1, 1, P), added to scores: 0, or far below where no position may look.

        Returns:
            (B, C, P), channels last; what stands at padding means nothing.
        """
        query = self._split_heads(x, self.conv_q) * self.head_channels**-0.5
        key = self._split_heads(x, self.conv_k)
        value = self._split_heads(x, self.conv_v)
        # distance d of row i stands in column i + d - WINDOW, if there is one
        size = x.shape[2]
        columns = torch.arange(size, device=x.device).unsqueeze(1) - WINDOW
        columns = columns + torch.arange(2 * WINDOW + 1, device=x.device)
        has_column = (columns >= 0) & (columns < size)
        columns = columns.clamp(0, size - 1).expand(x.shape[0], self.n_heads, -1, -1)

        near = torch.matmul(query, self.emb_rel_k.transpose(1, 2))  # (B, H, P, distances)
        scores = torch.matmul(query, key.transpose(2, 3))
        scores = scores.scatter_add_(3, columns, (near * has_column).to(scores.dtype))
        weights = self.drop(torch.softmax(scores + penalty, dim=3))

        near_weights = weights.gather(3, columns) * has_column
        output = torch.matmul(weights, value) + torch.matmul(near_weights, self.emb_rel_v)
        output = output.transpose(1, 2).flatten(2)  # (B, P, C)
        return mix_channels(output.transpose(1, 2), self.conv_o.weight, self.conv_o.bias)

    def _split_heads(self, x: Tensor, conv: nn.Conv1d) -> Tensor:
        """(B, C, P) to (B, H, P, C / H)."""
        x = mix_channels(x, conv.weight, conv.bias).transpose(1, 2)
        return x.unflatten(2, (self.n_heads, self.head_channels)).transpose(1, 2)


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
        """(B, C, P) and mask (B, 1, P) to (B, C, P)."""
        x = self.drop(torch.relu(_convolve_same(x * mask, self.conv_1)))
        return _convolve_same(x * mask, self.conv_2) * mask


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
        layers = zip(
            self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2, strict=True
        )
        for attention, norm_1, feed_forward, norm_2 in layers:
            x = norm_1(x + self.drop(attention(x, penalty)))
            x = norm_2(x + self.drop(feed_forward(x, mask)))
        return x * mask


def _convolve_same(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """(B, C, P) to (B, C', P); an even kernel looks one further to the right."""
    size = conv.weight.shape[2]
    if size % 2 == 0:
        x = F.pad(x, (0, 1))
    return convolve(x, conv.weight, conv.bias, padding=(size - 1) // 2)
