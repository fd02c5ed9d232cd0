"""The text encoder's transformer with relative positions. Knows nothing of phonemes or speech."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from piper.train.vits.layer_norm import ChannelNorm

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
        self.drop = nn.Dropout(p_dropout)
        for conv in (self.conv_q, self.conv_k, self.conv_v):
            nn.init.xavier_uniform_(conv.weight)

    def forward(self, x: Tensor, pair_mask: Tensor) -> Tensor:
        """Attend.

        Args:
            x: (B, C, P).
            pair_mask: (B, 1, P, P), 1 where the row may look at the column.

        Returns:
            (B, C, P).
        """
        size = x.shape[2]
        query = self._split_heads(self.conv_q(x)) * self.head_channels**-0.5
        key = self._split_heads(self.conv_k(x))
        value = self._split_heads(self.conv_v(x))
        # distance d of row i stands in column i + d of rows that are padded by the window
        columns = torch.arange(size, device=x.device).unsqueeze(1)
        columns = columns + torch.arange(2 * WINDOW + 1, device=x.device)
        columns = columns.expand(x.shape[0], self.n_heads, -1, -1)

        near = torch.matmul(query, self.emb_rel_k.transpose(1, 2))  # (B, H, P, distances)
        padded = near.new_zeros((*near.shape[:3], size + 2 * WINDOW)).scatter(3, columns, near)
        scores = torch.matmul(query, key.transpose(2, 3)) + padded[..., WINDOW : WINDOW + size]
        scores = scores.masked_fill(pair_mask == 0, _MASKED_SCORE)
        weights = self.drop(torch.softmax(scores, dim=3))

        near_weights = F.pad(weights, (WINDOW, WINDOW)).gather(3, columns)
        output = torch.matmul(weights, value) + torch.matmul(near_weights, self.emb_rel_v)
        return self.conv_o(output.transpose(2, 3).reshape(x.shape))

    def _split_heads(self, x: Tensor) -> Tensor:
        """(B, C, P) to (B, H, P, C / H)."""
        return x.view(x.shape[0], self.n_heads, self.head_channels, -1).transpose(2, 3)


class FeedForward(nn.Module):
    """Two convolutions with a rectifier between them."""

    def __init__(
        self, channels: int, filter_channels: int, kernel_size: int, p_dropout: float
    ) -> None:
        super().__init__()
        self.conv_1 = nn.Conv1d(channels, filter_channels, kernel_size)
        self.conv_2 = nn.Conv1d(filter_channels, channels, kernel_size)
        self.drop = nn.Dropout(p_dropout)
        self.padding = ((kernel_size - 1) // 2, kernel_size // 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, C, P) and mask (B, 1, P) to (B, C, P)."""
        x = self.drop(torch.relu(self.conv_1(F.pad(x * mask, self.padding))))
        return self.conv_2(F.pad(x * mask, self.padding)) * mask


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
        self.drop = nn.Dropout(p_dropout)
        self.attn_layers = nn.ModuleList(
            RelativeAttention(channels, n_heads, p_dropout) for _ in layers
        )
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(channels) for _ in layers)
        self.ffn_layers = nn.ModuleList(
            FeedForward(channels, filter_channels, kernel_size, p_dropout) for _ in layers
        )
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(channels) for _ in layers)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, C, P) and mask (B, 1, P) to (B, C, P)."""
        pair_mask = mask.unsqueeze(2) * mask.unsqueeze(3)
        x = x * mask
        layers = zip(
            self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2, strict=True
        )
        for attention, norm_1, feed_forward, norm_2 in layers:
            x = norm_1(x + self.drop(attention(x, pair_mask)))
            x = norm_2(x + self.drop(feed_forward(x, mask)))
        return x * mask
