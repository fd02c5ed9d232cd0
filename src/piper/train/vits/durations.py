"""How many frames each phoneme lasts: two predictors. Knows nothing of alignment or decoding.

Both run in float32 also under autocast: they are small, and full of logarithms. Both see the text
encoder's states detached, so that their loss does not move it (Kim et al. 2021, section 2.2.2).
`w` are durations in frames, `logw` their natural logarithms, `g` is the speaker embedding.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from piper.train.vits.config import NetworkConfig
from piper.train.vits.dropout import Dropout
from piper.train.vits.duration_flows import (
    Affine,
    DurationFlip,
    SeparableConvolutions,
    SplineCoupling,
)
from piper.train.vits.layer_norm import ChannelNorm
from piper.train.vits.layout import convolve, mix_channels
from piper.train.vits.noise import draw_normal
from piper.train.vits.precision import full_precision

FLOW_COUNT = 4
DROPOUT = 0.5
PLAIN_CHANNELS = 256
PLAIN_KERNEL_SIZE = 3
_LOG_FLOOR = 1e-5
_LOG_TWO_PI = math.log(2.0 * math.pi)


class StochasticDurationPredictor(nn.Module):
    """A flow from noise to log durations, given the text (appendix A.1 of the paper).

    In training, whole durations are made continuous by variational dequantisation, and widened to
    two channels by variational data augmentation.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels = config.hidden_channels
        self.flows = _stack_flows(channels)
        self.post_pre = nn.Conv1d(1, channels, 1)
        self.post_proj = nn.Conv1d(channels, channels, 1)
        self.post_convs = SeparableConvolutions(channels, DROPOUT)
        self.post_flows = _stack_flows(channels)
        self.pre = nn.Conv1d(channels, channels, 1)
        self.proj = nn.Conv1d(channels, channels, 1)
        self.convs = SeparableConvolutions(channels, DROPOUT)
        self.cond: nn.Conv1d | None = None
        if config.speaker_channels:
            self.cond = nn.Conv1d(config.speaker_channels, channels, 1)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        w: Tensor,
        g: Tensor | None,
        noise: Tensor,
    ) -> Tensor:
        """Upper bound of the durations' negative log-likelihood.

        Args:
            x: Text encoder's states (B, hidden, P).
            mask: (B, 1, P).
            w: Durations in whole frames (B, 1, P).
            g: (B, G, 1) or None.
            noise: Standard normal (B, 2, P), for the dequantisation.

        Returns:
            (B,), summed over an utterance's phonemes.
        """
        with full_precision(x):
            x = self._encode(x, mask, g)
            z_0, z_1, log_q = self._dequantise(x, mask, w, noise)
            logw = z_0.clamp(min=_LOG_FLOOR).log() * mask
            z, log_det = _run_flows(self.flows, torch.cat([logw, z_1], 1), mask, x)
            log_det = log_det - logw.sum((1, 2))
            log_p = (-0.5 * (_LOG_TWO_PI + z.square()) * mask).sum((1, 2)) + log_det
            return log_q - log_p

    def infer(
        self,
        x: Tensor,
        mask: Tensor,
        g: Tensor | None = None,
        *,
        noise_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Log durations (B, 1, P) drawn for the text; 0 noise gives the same ones each time."""
        with full_precision(x):
            x = self._encode(x, mask, g)
            z = draw_normal((x.shape[0], 2, x.shape[2]), x, generator) * noise_scale
            # the first coupling is left out: it moves only the channel that is thrown away
            for flow in (*reversed(self.flows[2:]), self.flows[0]):
                z = cast("Affine | SplineCoupling | DurationFlip", flow).inverse(z, mask, x)
            return z[:, :1]

    def _encode(self, x: Tensor, mask: Tensor, g: Tensor | None) -> Tensor:
        x = mix_channels(x.detach().float(), self.pre.weight, self.pre.bias)
        if self.cond is not None and g is not None:
            x = x + self.cond(g.detach().float())
        return mix_channels(self.convs(x, mask), self.proj.weight, self.proj.bias) * mask

    def _dequantise(
        self, x: Tensor, mask: Tensor, w: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Continuous durations, their companion (both (B, 1, P)) and log q of both (B,)."""
        hidden = mix_channels(w, self.post_pre.weight, self.post_pre.bias)
        hidden = self.post_convs(hidden, mask)
        hidden = mix_channels(hidden, self.post_proj.weight, self.post_proj.bias) * mask
        noise = noise * mask
        z_q, log_det = _run_flows(self.post_flows, noise, mask, x + hidden)
        z_u, z_1 = z_q.chunk(2, dim=1)
        u = torch.sigmoid(z_u) * mask
        log_det = log_det + ((F.logsigmoid(z_u) + F.logsigmoid(-z_u)) * mask).sum((1, 2))
        log_q = (-0.5 * (_LOG_TWO_PI + noise.square()) * mask).sum((1, 2)) - log_det
        return (w - u) * mask, z_1, log_q


class DurationPredictor(nn.Module):
    """Two convolutions that predict log durations (as in FastSpeech, Ren et al. 2019)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels, kernel_size = config.hidden_channels, PLAIN_KERNEL_SIZE
        self.drop = Dropout(DROPOUT)
        self.conv_1 = nn.Conv1d(channels, PLAIN_CHANNELS, kernel_size, padding=kernel_size // 2)
        self.norm_1 = ChannelNorm(PLAIN_CHANNELS)
        self.conv_2 = nn.Conv1d(
            PLAIN_CHANNELS, PLAIN_CHANNELS, kernel_size, padding=kernel_size // 2
        )
        self.norm_2 = ChannelNorm(PLAIN_CHANNELS)
        self.proj = nn.Conv1d(PLAIN_CHANNELS, 1, 1)
        self.cond: nn.Conv1d | None = None
        if config.speaker_channels:
            self.cond = nn.Conv1d(config.speaker_channels, channels, 1)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        w: Tensor,
        g: Tensor | None,
        noise: Tensor,
    ) -> Tensor:
        """Squared error of the log durations, summed over an utterance's phonemes.

        Args and shapes as for `StochasticDurationPredictor.forward`; the noise is not used.
        """
        with full_precision(x):
            target = torch.log(w + 1e-6) * mask
            return (self.infer(x, mask, g) - target).square().sum((1, 2))

    def infer(
        self,
        x: Tensor,
        mask: Tensor,
        g: Tensor | None = None,
        *,
        noise_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Log durations (B, 1, P); there is no noise to scale."""
        with full_precision(x):
            x = x.detach().float()
            if self.cond is not None and g is not None:
                x = x + self.cond(g.detach().float())
            for conv, norm in ((self.conv_1, self.norm_1), (self.conv_2, self.norm_2)):
                x = convolve(x * mask, conv.weight, conv.bias, padding=PLAIN_KERNEL_SIZE // 2)
                x = self.drop(norm(torch.relu(x)))
            return mix_channels(x * mask, self.proj.weight, self.proj.bias) * mask


def _stack_flows(channels: int) -> nn.ModuleList:
    flows: list[nn.Module] = [Affine()]
    for _ in range(FLOW_COUNT):
        flows += [SplineCoupling(channels), DurationFlip()]
    return nn.ModuleList(flows)


def _run_flows(
    flows: nn.ModuleList, z: Tensor, mask: Tensor, condition: Tensor
) -> tuple[Tensor, Tensor]:
    """Through all flows: (B, 2, P) and the sum of the log-determinants (B,)."""
    log_det = z.new_zeros(z.shape[0])
    for flow in flows:
        z, change = flow(z, mask, condition)
        log_det = log_det + change
    return z, log_det
