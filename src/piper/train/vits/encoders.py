"""Text to the latents' prior, spectrograms to their posterior. Knows nothing of the decoder.

Symbols of the paper (Kim et al. 2021, "Conditional variational autoencoder with adversarial
learning for end-to-end text-to-speech"): `m` and `logs` are a normal distribution's mean and log
deviation, `g` is the speaker embedding.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from piper.train.vits.attention import AttentionEncoder
from piper.train.vits.config import NetworkConfig
from piper.train.vits.layout import mix_channels
from piper.train.vits.wavenet import WaveNet

POSTERIOR_LAYERS = 16
POSTERIOR_KERNEL_SIZE = 5


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
        """Encode phonemes.

        Args:
            ids: (B, P) int64.
            mask: (B, 1, P).

        Returns:
            Hidden states (B, hidden, P), m and logs (B, inter, P), the latter two in float32.
        """
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
        """Encode frames.

        Args:
            spectrogram: (B, F, T), linear magnitudes.
            mask: (B, 1, T).
            g: (B, G, 1) or None.

        Returns:
            m and logs (B, inter, T), float32.
        """
        x = self.pre(spectrogram) * mask
        x = self.enc(x, mask, g)
        m, logs = (mix_channels(x, self.proj.weight, self.proj.bias).float() * mask).chunk(2, dim=1)
        return m, logs
