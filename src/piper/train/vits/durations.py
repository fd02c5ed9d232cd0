"""How many frames each phoneme lasts: two predictors, and the flows and splines of one of them.

Flows take and give two channels, each (B, 1, P): a duration (or noise) and its companion. Each
returns the logarithm of its slope too, (B, 1, P), one number for all, or None where it is 0: they
add up to the log-determinant. What stands at padding means nothing. Kim et al. 2021, appendix A.1.

Both predictors run in float32 also under autocast: they are small, and full of logarithms. Both see
the text encoder's states detached, so that their loss does not move it (Kim et al. 2021, section
2.2.2). `w` are durations in frames, `logw` their natural logarithms, `g` is the speaker embedding.
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
    channels_last,
    convolve,
    draw_normal,
    full_precision,
    mix_channels,
)

FlowOutput = tuple[Tensor, Tensor, Tensor | None]
"""Both channels, and the logarithm of the slope."""

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
_UNNORMALISED_ONE = math.log(math.expm1(1.0 - MIN_SLOPE))
"""Becomes a slope of 1."""


def transform_by_spline(
    x: Tensor, sizes: Tensor, slopes: Tensor, *, bound: float, is_inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Map numbers through rational-quadratic splines (Durkan et al. 2019, "Neural spline flows").

    Linear tails have slope 1 outside the box, as in section 3.1 of the paper. Everything is
    computed for all points and then chosen: selecting points by a mask would copy counts to the
    host.

    Args:
        x: (...), float32.
        sizes: (..., 2, K) unnormalised widths and heights of the bins.
        slopes: (..., K - 1) unnormalised slopes at the knots between the bins.
        bound: The spline maps [-bound, bound] to itself; outside it is the identity.
        is_inverse: Whether to apply the inverse map.

    Returns:
        The mapped numbers (...) and the log of the map's absolute slope (...).
    """
    if not is_inverse:
        return _Spline.apply(x, sizes, slopes, bound)
    inner = x.clamp(-bound, bound)
    found, _ = _find_bins(inner, torch.softmax(sizes, -1), slopes, bound, axis=1)
    (left, right), (bottom, top) = (pair.unbind(-1) for pair in found[..., :2, :].unbind(-2))
    d0, d1 = _bend(found[..., 2, :]).unbind(-1)
    mapped, log_slope = _invert(inner, left, right - left, bottom, top - bottom, d0, d1)
    is_inside = inner == x
    return torch.where(is_inside, mapped, x), torch.where(is_inside, log_slope, 0.0)


def _find_bins(
    inner: Tensor, shares: Tensor, slopes: Tensor, bound: float, axis: int
) -> tuple[Tensor, Tensor]:
    """Find the bins in which numbers lie.

    Args:
        inner: (...) numbers from -bound to bound.
        shares: (..., 2, K) of the bins' widths and heights, each of the rest above the least.
        slopes: (..., K - 1) unnormalised.
        bound: As for `transform_by_spline`.
        axis: 0 for numbers to be mapped, 1 for mapped ones.

    Returns:
        (..., 3, 2): abscissas, ordinates and unnormalised slopes of the knots on both sides; and
        their places (..., 3, 2) among the K + 1 knots.
    """
    count = shares.shape[-1]
    # What the least sizes alone would give; knots 0 and K are -bound and bound, to rounding.
    least = torch.linspace(
        -bound, (2.0 * MIN_BIN_SIZE * count - 1.0) * bound, count + 1, device=inner.device
    ).to(shares.dtype)
    rest = 2.0 * bound * (1.0 - MIN_BIN_SIZE * count)
    knots = torch.add(least, F.pad(shares.cumsum(-1), (1, 0)), alpha=rest)
    ends = F.pad(slopes, (1, 1), value=_UNNORMALISED_ONE).unsqueeze(-2)
    below = (inner.unsqueeze(-1) >= knots[..., axis, 1:-1]).sum(-1, keepdim=True)
    places = (below + torch.arange(2, device=inner.device)).unsqueeze(-2)
    places = places.expand(*inner.shape, 3, 2)
    return torch.cat([knots, ends], dim=-2).gather(-1, places), places


def _bend(slopes: Tensor) -> Tensor:
    """Unnormalised slopes to slopes."""
    return MIN_SLOPE + F.softplus(slopes)


class _Spline(torch.autograd.Function):
    """The map with its gradients written out: half of the operations of torch's own.

    On a GPU each is a kernel of so few numbers that launching it is what takes time. `t` is where a
    number lies in its bin, from 0 to 1, and `v` are t and 1 - t; s is height by width. Equations 4
    and 5 of the paper are y = bottom + height N / (N + N') and s^2 M / (N + N')^2, with
    (N, N') = s v^2 + t (1 - t) d and M = d_1 t^2 + 2 s t (1 - t) + d_0 (1 - t)^2.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, sizes: Tensor, slopes: Tensor, bound: float
    ) -> tuple[Tensor, Tensor]:
        """As `transform_by_spline`."""
        shares = torch.softmax(sizes, -1)
        inner = x.clamp(-bound, bound)
        found, places = _find_bins(inner, shares, slopes, bound, axis=0)
        unnormalised = found[..., 2, :]
        d = _bend(unnormalised)
        width, height = (found[..., :2, 1] - found[..., :2, 0]).unbind(-1)
        s = height / width
        v = (inner.unsqueeze(-1) - found[..., 0, :]).abs_().div_(width.unsqueeze(-1))
        squares, product = v.square(), v.prod(-1)
        parts = (s.unsqueeze(-1) * squares).addcmul_(product.unsqueeze(-1), d)
        whole = parts.sum(-1)
        d_back = d.flip(-1)
        m = (d_back * squares).sum(-1).addcmul_(s, product, value=2.0)
        share, ratio = parts[..., 0] / whole, s / whole
        y = torch.addcmul(found[..., 1, 0], height, share)
        is_inside = inner == x
        ctx.save_for_backward(
            *(is_inside, shares, places, unnormalised, d, d_back, width, height, s, v),
            *(squares, product, whole, m, share),
        )
        ctx.bound = bound
        return torch.where(is_inside, y, x), (m * ratio).mul_(ratio).log_().mul_(is_inside)

    @staticmethod
    def backward(ctx: Any, of_y: Tensor, of_log_slope: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, sizes and slopes."""
        is_inside, shares, places, unnormalised, d, d_back, width, height, s, v, *rest = (
            ctx.saved_tensors
        )
        squares, product, whole, m, share = rest
        inside = of_y * is_inside
        of_log = of_log_slope * is_inside
        outside = of_y - inside
        of_n = inside * height / whole
        of_rest = torch.addcmul(of_log / whole, of_n, share, value=0.5).mul_(-2.0)
        of_parts = torch.stack([of_n + of_rest, of_rest], -1)
        of_m = of_log / m
        of_s = (of_parts * squares).sum(-1).addcmul_(of_m, product, value=2.0)
        of_s.addcdiv_(of_log, s, value=2.0)
        of_squares = (of_parts * s.unsqueeze(-1)).addcmul_(of_m.unsqueeze(-1), d_back)
        of_product = (of_parts * d).sum(-1).addcmul_(of_m, s, value=2.0)
        of_d = (of_parts * product.unsqueeze(-1)).addcmul_(of_m.unsqueeze(-1), squares.flip(-1))
        of_v = (of_product.unsqueeze(-1) * v.flip(-1)).addcmul_(v, of_squares, value=2.0)
        by_width = of_v.div_(width.unsqueeze(-1))
        at_0, at_1 = by_width.unbind(-1)
        of_ratio = of_s / width
        less_width = torch.addcmul((by_width * v).sum(-1), of_ratio, s)
        of_height = torch.addcmul(of_ratio, inside, share)
        of_slopes = of_d.mul_(torch.sigmoid(unnormalised)).unbind(-1)
        of_found = torch.stack(
            [less_width - at_0, at_1 - less_width, inside - of_height, of_height, *of_slopes], -1
        ).unflatten(-1, (3, 2))
        count = shares.shape[-1]
        of_table = of_found.new_zeros((*places.shape[:-1], count + 1))
        of_table.scatter_(-1, places, of_found)
        of_knots = of_table[..., :2, 1:].flip(-1).cumsum(-1).flip(-1)
        of_knots *= 2.0 * ctx.bound * (1.0 - MIN_BIN_SIZE * count)
        of_sizes = torch._softmax_backward_data(of_knots, shares, -1, shares.dtype)
        return outside + at_0 - at_1, of_sizes, of_table[..., 2, 1:-1], None


def _invert(
    y: Tensor, left: Tensor, width: Tensor, bottom: Tensor, height: Tensor, d0: Tensor, d1: Tensor
) -> tuple[Tensor, Tensor]:
    """Equations 6 to 8 of the paper: the root of a quadratic within the bin, and the log slope."""
    steepness = height / width
    rise = y - bottom
    bend = rise * (d0 + d1 - 2.0 * steepness)
    a = height * (steepness - d0) + bend
    b = height * d0 - bend
    c = -steepness * rise
    # rounding can push a discriminant of zero below it
    root = (b.square() - 4.0 * a * c).clamp(min=0.0).sqrt()
    theta = 2.0 * c / (-b - root)
    product = theta * (1.0 - theta)
    numerator = steepness.square() * (
        d1 * theta.square() + 2.0 * steepness * product + d0 * (1.0 - theta).square()
    )
    denominator = steepness + (d0 + d1 - 2.0 * steepness) * product
    return left + theta * width, 2.0 * denominator.log() - numerator.log()


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
        """(B, C, P) and mask (B, 1, P) to (B, C, P), channels last; padding means nothing."""
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
        return x


class Affine(nn.Module):
    """Shift and scale each of the two channels by learned constants."""

    def __init__(self) -> None:
        super().__init__()
        self.m = nn.Parameter(torch.zeros(2, 1))
        self.logs = nn.Parameter(torch.zeros(2, 1))

    def forward(self, x_0: Tensor, x_1: Tensor, mask: Tensor, condition: Tensor) -> FlowOutput:
        """As all flows."""
        (m_0, m_1), (scale_0, scale_1) = self.m.unbind(0), torch.exp(self.logs).unbind(0)
        y_0, y_1 = torch.addcmul(m_0, scale_0, x_0), torch.addcmul(m_1, scale_1, x_1)
        return y_0, y_1, self.logs.sum()

    def inverse(
        self, x_0: Tensor, x_1: Tensor, mask: Tensor, condition: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        scale_0, scale_1 = torch.exp(-self.logs).unbind(0)
        return (x_0 - self.m[0]) * scale_0, (x_1 - self.m[1]) * scale_1


class DurationFlip(nn.Module):
    """Exchange the two channels."""

    def forward(self, x_0: Tensor, x_1: Tensor, mask: Tensor, condition: Tensor) -> FlowOutput:
        """As all flows."""
        return x_1, x_0, None

    def inverse(
        self, x_0: Tensor, x_1: Tensor, mask: Tensor, condition: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same again, which undoes it."""
        return x_1, x_0


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

    def forward(self, x_0: Tensor, x_1: Tensor, mask: Tensor, condition: Tensor) -> FlowOutput:
        """As all flows."""
        return x_0, *self._transform(x_0, x_1, mask, condition, is_inverse=False)

    def inverse(
        self, x_0: Tensor, x_1: Tensor, mask: Tensor, condition: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        return x_0, self._transform(x_0, x_1, mask, condition, is_inverse=True)[0]

    def _transform(
        self, kept: Tensor, moved: Tensor, mask: Tensor, condition: Tensor, *, is_inverse: bool
    ) -> tuple[Tensor, Tensor]:
        hidden = mix_channels(kept, self.pre.weight, self.pre.bias) + condition
        hidden = self.convs(hidden, mask)
        parameters = mix_channels(hidden, self.proj.weight, self.proj.bias)
        parameters = parameters.transpose(1, 2).unsqueeze(1)  # (B, 1, P, 29)
        sizes, slopes = parameters.split([2 * SPLINE_BINS, SPLINE_BINS - 1], 3)
        return transform_by_spline(
            moved,
            (sizes * self.scale).unflatten(3, (2, SPLINE_BINS)),
            slopes,
            bound=SPLINE_BOUND,
            is_inverse=is_inverse,
        )


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
            z_0, z_1, log_slope = _run_flows(self.flows, logw, z_1, mask, x)
            log_p = log_slope - logw - 0.5 * (z_0.square() + z_1.square()) - _LOG_TWO_PI
            return ((log_q - log_p) * mask).sum((1, 2))

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
            z_0, z_1 = (z * mask).chunk(2, dim=1)
            # the first coupling is left out: it moves only the channel that is thrown away
            for module in (*reversed(self.flows[2:]), self.flows[0]):
                flow = cast("Affine | SplineCoupling | DurationFlip", module)
                z_0, z_1 = flow.inverse(z_0, z_1, mask, x)
            return z_0 * mask

    def _encode(self, x: Tensor, mask: Tensor, g: Tensor | None) -> Tensor:
        x = mix_channels(x.detach().float(), self.pre.weight, self.pre.bias)
        if self.cond is not None and g is not None:
            x = x + self.cond(g.detach().float())
        return mix_channels(self.convs(x, mask), self.proj.weight, self.proj.bias) * mask

    def _dequantise(
        self, x: Tensor, mask: Tensor, w: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Continuous durations, their companion and log q of both, all (B, 1, P)."""
        hidden = mix_channels(w, self.post_pre.weight, self.post_pre.bias)
        hidden = self.post_convs(hidden, mask)
        hidden = mix_channels(hidden, self.post_proj.weight, self.post_proj.bias) * mask
        e_0, e_1 = noise.chunk(2, dim=1)
        z_u, z_1, log_slope = _run_flows(self.post_flows, e_0, e_1, mask, x + hidden)
        log_slope = log_slope + F.logsigmoid(z_u) + F.logsigmoid(-z_u)
        log_q = -0.5 * noise.square().sum(1, keepdim=True) - _LOG_TWO_PI - log_slope
        return (w - torch.sigmoid(z_u)) * mask, z_1, log_q


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
    flows: nn.ModuleList, x_0: Tensor, x_1: Tensor, mask: Tensor, condition: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Through all flows: both channels, and the sum of their log slopes, each (B, 1, P)."""
    log_slope: Tensor | None = None
    for flow in flows:
        x_0, x_1, change = flow(x_0, x_1, mask, condition)
        if change is not None:
            log_slope = change if log_slope is None else log_slope + change
    assert log_slope is not None  # there are couplings
    return x_0, x_1, log_slope
