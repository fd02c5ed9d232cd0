"""How many frames each phoneme lasts: two predictors, and the flows and splines of one of them.

Flows take and give (B, 2, P): a duration (or noise) and its companion. Each returns the log of
the absolute determinant too, one number an utterance (B,). Kim et al. 2021, appendix A.1.

Both predictors run in float32 also under autocast: they are small, and full of logarithms. Both see
the text encoder's states detached, so that their loss does not move it (Kim et al. 2021, section
2.2.2). `w` are durations in frames, `logw` their natural logarithms, `g` is the speaker embedding.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from piper.train.vits.config import NetworkConfig
from piper.train.vits.layers import (
    ChannelNorm,
    Dropout,
    channels_last,
    convolve,
    draw_normal,
    full_precision,
    mix_channels,
)

MIN_BIN_SIZE = 1e-3
MIN_SLOPE = 1e-3
DDS_LAYERS = 3
DDS_KERNEL_SIZE = 3
SPLINE_BINS = 10
SPLINE_BOUND = 5.0
FLOW_COUNT = 4
DROPOUT = 0.5
PLAIN_CHANNELS = 256
PLAIN_KERNEL_SIZE = 3
_LOG_FLOOR = 1e-5
_LOG_TWO_PI = math.log(2.0 * math.pi)


def transform_by_spline(
    x: Tensor,
    widths: Tensor,
    heights: Tensor,
    slopes: Tensor,
    *,
    bound: float,
    is_inverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Map numbers through rational-quadratic splines (Durkan et al. 2019, "Neural spline flows").

    Linear tails have slope 1 outside the box, as in section 3.1 of the paper. Everything is
    computed for all points and then chosen: selecting points by a mask would copy counts to the
    host.

    Args:
        x: (...), float32.
        widths: (..., K) unnormalised widths of the bins.
        heights: (..., K) unnormalised heights.
        slopes: (..., K - 1) unnormalised slopes at the knots between the bins.
        bound: The spline maps [-bound, bound] to itself; outside it is the identity.
        is_inverse: Whether to apply the inverse map.

    Returns:
        The mapped numbers (...) and the log of the map's absolute slope (...).
    """
    knots_x, knots_y = _place_knots(widths, bound), _place_knots(heights, bound)
    slope = F.pad(MIN_SLOPE + F.softplus(slopes), (1, 1), value=1.0)
    is_inside = (x >= -bound) & (x <= bound)
    inner = x.clamp(-bound, bound)
    knots = knots_y if is_inverse else knots_x
    bin_index = (inner.unsqueeze(-1) >= knots[..., 1:-1]).sum(-1)
    rows = torch.stack(
        [
            knots_x[..., :-1],
            knots_x.diff(),
            knots_y[..., :-1],
            knots_y.diff(),
            slope[..., :-1],
            slope[..., 1:],
        ],
        dim=-2,
    )
    index = bin_index[..., None, None].expand(*x.shape, rows.shape[-2], 1)
    parameters = rows.gather(-1, index).squeeze(-1).unbind(-1)
    mapped, log_slope = (_invert if is_inverse else _evaluate)(inner, *parameters)
    return torch.where(is_inside, mapped, x), torch.where(is_inside, log_slope, 0.0)


def _place_knots(sizes: Tensor, bound: float) -> Tensor:
    """Unnormalised sizes (..., K) to knots (..., K + 1) from -bound to bound exactly."""
    shares = MIN_BIN_SIZE + (1.0 - MIN_BIN_SIZE * sizes.shape[-1]) * torch.softmax(sizes, dim=-1)
    inner = 2.0 * bound * shares.cumsum(-1)[..., :-1] - bound
    return F.pad(F.pad(inner, (1, 0), value=-bound), (0, 1), value=bound)


def _evaluate(
    x: Tensor, left: Tensor, width: Tensor, bottom: Tensor, height: Tensor, d0: Tensor, d1: Tensor
) -> tuple[Tensor, Tensor]:
    """Equations 4 and 5 of the paper; `d0` and `d1` are the slopes at the bin's ends."""
    steepness = height / width
    theta = (x - left) / width
    y = bottom + height * _rational(theta, steepness, d0, d1)
    return y, _log_slope(theta, steepness, d0, d1)


def _invert(
    y: Tensor, left: Tensor, width: Tensor, bottom: Tensor, height: Tensor, d0: Tensor, d1: Tensor
) -> tuple[Tensor, Tensor]:
    """Equations 6 to 8 of the paper: the root of a quadratic within the bin."""
    steepness = height / width
    rise = y - bottom
    bend = rise * (d0 + d1 - 2.0 * steepness)
    a = height * (steepness - d0) + bend
    b = height * d0 - bend
    c = -steepness * rise
    # rounding can push a discriminant of zero below it
    root = (b.square() - 4.0 * a * c).clamp(min=0.0).sqrt()
    theta = 2.0 * c / (-b - root)
    return left + theta * width, -_log_slope(theta, steepness, d0, d1)


def _rational(theta: Tensor, steepness: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
    product = theta * (1.0 - theta)
    numerator = steepness * theta.square() + d0 * product
    return numerator / (steepness + (d0 + d1 - 2.0 * steepness) * product)


def _log_slope(theta: Tensor, steepness: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
    product = theta * (1.0 - theta)
    numerator = steepness.square() * (
        d1 * theta.square() + 2.0 * steepness * product + d0 * (1.0 - theta).square()
    )
    denominator = steepness + (d0 + d1 - 2.0 * steepness) * product
    return numerator.log() - 2.0 * denominator.log()


class SeparableConvolutions(nn.Module):
    """Dilated and depth-separable convolutions with residual sums."""

    def __init__(self, channels: int, p_dropout: float = 0.0) -> None:
        super().__init__()
        self.drop = Dropout(p_dropout)
        dilations = [DDS_KERNEL_SIZE**layer for layer in range(DDS_LAYERS)]
        self.convs_sep = nn.ModuleList(
            nn.Conv1d(
                channels,
                channels,
                DDS_KERNEL_SIZE,
                groups=channels,
                dilation=dilation,
                padding=dilation * (DDS_KERNEL_SIZE // 2),
            )
            for dilation in dilations
        )
        self.convs_1x1 = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in dilations)
        self.norms_1 = nn.ModuleList(ChannelNorm(channels) for _ in dilations)
        self.norms_2 = nn.ModuleList(ChannelNorm(channels) for _ in dilations)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, C, P) and mask (B, 1, P) to (B, C, P), channels last."""
        x = channels_last(x)
        layers = zip(self.convs_sep, self.norms_1, self.convs_1x1, self.norms_2, strict=True)
        for layer, (depthwise, norm_1, pointwise, norm_2) in enumerate(layers):
            separate, mix = cast(nn.Conv1d, depthwise), cast(nn.Conv1d, pointwise)
            dilation = DDS_KERNEL_SIZE**layer
            y = convolve(
                x * mask,
                separate.weight,
                separate.bias,
                padding=dilation * (DDS_KERNEL_SIZE // 2),
                dilation=dilation,
                groups=separate.groups,
            )
            y = mix_channels(F.gelu(norm_1(y)), mix.weight, mix.bias)
            x = x + self.drop(F.gelu(norm_2(y)))
        return x * mask


class Affine(nn.Module):
    """Shift and scale each of the two channels by learned constants."""

    def __init__(self) -> None:
        super().__init__()
        self.m = nn.Parameter(torch.zeros(2, 1))
        self.logs = nn.Parameter(torch.zeros(2, 1))

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2, P) to (B, 2, P) and (B,)."""
        y = (self.m + torch.exp(self.logs) * x) * mask
        return y, (self.logs * mask).sum((1, 2))

    def inverse(self, x: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        """Undo `forward`, without the determinant."""
        return (x - self.m) * torch.exp(-self.logs) * mask


class DurationFlip(nn.Module):
    """Exchange the two channels."""

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2, P) to (B, 2, P) and zeros (B,)."""
        return torch.flip(x, [1]), x.new_zeros(x.shape[0])

    def inverse(self, x: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        """The same again, which undoes it."""
        return torch.flip(x, [1])


class SplineCoupling(nn.Module):
    """Map the second channel by splines that depend on the first channel and the condition."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = 1.0 / math.sqrt(channels)
        self.pre = nn.Conv1d(1, channels, 1)
        self.convs = SeparableConvolutions(channels)
        self.proj = nn.Conv1d(channels, 3 * SPLINE_BINS - 1, 1)
        # all bins alike at the start
        for parameter in self.proj.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2, P) and condition (B, C, P) to (B, 2, P) and (B,)."""
        y, log_slope = self._transform(x, mask, condition, is_inverse=False)
        return y, (log_slope * mask).sum((1, 2))

    def inverse(self, x: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        """Undo `forward`, without the determinant."""
        return self._transform(x, mask, condition, is_inverse=True)[0]

    def _transform(
        self, x: Tensor, mask: Tensor, condition: Tensor, *, is_inverse: bool
    ) -> tuple[Tensor, Tensor]:
        kept, moved = x.chunk(2, dim=1)
        hidden = mix_channels(kept, self.pre.weight, self.pre.bias) + condition
        hidden = self.convs(hidden, mask)
        parameters = mix_channels(hidden, self.proj.weight, self.proj.bias) * mask
        parameters = parameters.transpose(1, 2).unsqueeze(1)  # (B, 1, P, 29)
        widths, heights, slopes = parameters.split([SPLINE_BINS, SPLINE_BINS, SPLINE_BINS - 1], 3)
        moved, log_slope = transform_by_spline(
            moved,
            widths * self.scale,
            heights * self.scale,
            slopes,
            bound=SPLINE_BOUND,
            is_inverse=is_inverse,
        )
        return torch.cat([kept, moved], dim=1) * mask, log_slope


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
        """Upper bound of the durations' negative log-likelihood, (B,), summed over phonemes.

        Args:
            x: Text encoder's states (B, hidden, P).
            mask: (B, 1, P).
            w: Durations in whole frames (B, 1, P).
            g: (B, G, 1) or None.
            noise: Standard normal (B, 2, P), for the dequantisation.
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
