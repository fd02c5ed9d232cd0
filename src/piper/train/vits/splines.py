"""Monotonic rational-quadratic splines (Durkan et al. 2019, Neural Spline Flows). Knows no layer.

Linear tails with slope 1 outside the box, as in section 3.1 of the paper. Everything is computed
for all points and then chosen: selecting points by a mask would copy counts to the host.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MIN_BIN_SIZE = 1e-3
MIN_SLOPE = 1e-3


def transform_by_spline(
    x: Tensor,
    widths: Tensor,
    heights: Tensor,
    slopes: Tensor,
    *,
    bound: float,
    is_inverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Map numbers through splines.

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
