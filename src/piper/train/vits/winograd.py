"""Convolutions with kernels of 3 and 5 by fewer multiplications. Knows no layer.

Minimal filtering (Winograd 1980; for networks, Lavin and Gray 2016, "Fast algorithms for
convolutional neural networks"): a window of 8 rows and a kernel are both evaluated as polynomials
at 8 points, multiplied there, and the products are interpolated. A window gives 6 outputs of a
kernel of 3, or 4 of a kernel of 5: 8 products in place of 18 and 20. Rounding grows from 2.5e-7 of
the result to some 1.2e-6, which float32 has room for and half precision has not.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

WINDOW = 8
KERNEL_SIZES = (3, 5)
MIN_CHANNELS = 96  # below it the transforms cost what the products save
# small, and in pairs of opposite signs, for the least rounding; infinity is the eighth
_POINTS = tuple(Fraction(point) for point in ("0", "1", "-1", "1/2", "-1/2", "2", "-2"))
_ALL_ONES = 1  # the point whose powers are all 1


def is_faster(x: Tensor, weight: Tensor) -> bool:
    """Whether `convolve_rows` beats torch's convolution for (B, C, T) and (C', C, K).

    It does in float32 on a CPU, where multiplications are the limit, and with many channels.
    """
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and weight.shape[2] in KERNEL_SIZES
        and min(weight.shape[:2]) >= MIN_CHANNELS
    )


def convolve_rows(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve along the rows of (B, T, C), which are padded to keep their number.

    Args:
        x: (B, T, C).
        weight: (C', C, K) with K of `KERNEL_SIZES`.
        bias: (C') or None.

    Returns:
        (B, T, C').
    """
    return _ConvolveRows.apply(x, weight, bias)[:, : x.shape[1]]


class _ConvolveRows(torch.autograd.Function):
    """Windows are transformed again in the backward pass: twice the signal, in 5 % of its time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, T, C), (C', C, K) and (C') to (B, L, C'), of which the first T rows are meant."""
        kernel = weight.shape[2]
        _, to_outputs, _ = _matrices(kernel, x.dtype)
        windows = _transform_windows(x, kernel).transpose(0, 1)
        kernels = _transform_kernels(weight)
        # kernels that are larger than the signal take longer to transform than to keep
        ctx.save_for_backward(x, weight, kernels if kernels.numel() > windows.numel() else None)
        products = torch.bmm(windows, kernels.transpose(1, 2))
        if bias is not None:
            products[_ALL_ONES] += bias  # a constant is its own value at one point
        count = windows.shape[1]
        y = x.new_empty((x.shape[0], _pad_length(x, kernel), weight.shape[0]))
        blocks = y.view(count, -1, weight.shape[0])
        torch.bmm(to_outputs.expand(count, -1, -1), products.transpose(0, 1), out=blocks)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the signal, the weight and the bias."""
        x, weight, kernels = ctx.saved_tensors
        kernel = weight.shape[2]
        _, to_outputs, to_kernel = _matrices(kernel, x.dtype)
        blocks = gradients[0].contiguous().view(-1, WINDOW + 1 - kernel, weight.shape[0])
        of_products = torch.bmm(to_outputs.t().expand(blocks.shape[0], -1, -1), blocks)
        of_products = of_products.transpose(0, 1)
        of_x = of_weight = of_bias = None
        if _is_asked_for(ctx, 0):
            kernels = _transform_kernels(weight) if kernels is None else kernels
            of_windows = torch.bmm(of_products, kernels).transpose(0, 1)
            of_x = _sum_windows(of_windows, x, kernel)
        if _is_asked_for(ctx, 1):
            windows = _transform_windows(x, kernel).transpose(0, 1)
            of_kernels = torch.bmm(of_products.transpose(1, 2), windows)
            of_weight = (of_kernels.flatten(1).t() @ to_kernel).view_as(weight)
        if ctx.needs_input_grad[2]:
            of_bias = of_products[_ALL_ONES].sum(0)
        return of_x, of_weight, of_bias


def _is_asked_for(ctx: Any, index: int) -> bool:
    """Whether this backward pass leads to an input.

    `needs_input_grad` says whether any pass could; a pass for the gradients of some inputs alone
    (`backward(inputs=...)`) would compute twice what it needs.
    """
    node = ctx.next_functions[index][0]
    if node is None or node.name().endswith("AccumulateGrad"):
        return ctx.needs_input_grad[index]
    return torch._C._will_engine_execute_node(node)  # as torch.utils.checkpoint asks


def _pad_length(x: Tensor, kernel: int) -> int:
    """L: rows of (B, T, C) and K - 1 zeros, and more until the batch's are whole windows."""
    step = WINDOW + 1 - kernel
    step //= math.gcd(step, x.shape[0])
    return -(-(x.shape[1] + kernel - 1) // step) * step


def _transform_windows(x: Tensor, kernel: int) -> Tensor:
    """(B, T, C) to the windows' values at the points (N, 8, C).

    The batch becomes one stream of B L rows, each utterance between zeros, of which N windows are
    cut that overlap by K - 1 rows.
    """
    batch, rows, channels = x.shape
    length, before = _pad_length(x, kernel), kernel // 2
    stream = x.new_empty((batch * length + kernel - 1, channels))
    stream[batch * length :] = 0.0
    utterances = stream[: batch * length].view(batch, length, channels)
    utterances[:, :before] = 0.0
    utterances[:, before : before + rows] = x
    utterances[:, before + rows :] = 0.0
    windows = stream.unfold(0, WINDOW, WINDOW + 1 - kernel).transpose(1, 2)
    to_spectrum, _, _ = _matrices(kernel, x.dtype)
    return torch.bmm(to_spectrum.expand(windows.shape[0], -1, -1), windows)


def _sum_windows(of_windows: Tensor, x: Tensor, kernel: int) -> Tensor:
    """The transpose of `_transform_windows`: (N, 8, C) to (B, T, C) as `x` has it."""
    count, _, channels = of_windows.shape
    outputs, before = WINDOW + 1 - kernel, kernel // 2
    to_window = _matrices(kernel, x.dtype)[0].t().expand(count, -1, -1)
    blocks = x.new_empty((count + 1, outputs, channels))
    blocks[-1] = 0.0
    torch.bmm(to_window[:, :outputs], of_windows, out=blocks[:-1])
    # a window's last rows are the next one's first
    blocks[1:, : kernel - 1].baddbmm_(to_window[:, outputs:], of_windows)
    utterances = blocks[:-1].view(x.shape[0], -1, channels)
    return utterances[:, before : before + x.shape[1]]


def _transform_kernels(weight: Tensor) -> Tensor:
    """(C', C, K) to the kernels' values at the points (8, C', C)."""
    to_kernel = _matrices(weight.shape[2], weight.dtype)[2]
    return (to_kernel @ weight.flatten(0, 1).t()).view(WINDOW, *weight.shape[:2])


@lru_cache(maxsize=8)
def _matrices(kernel: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Window to spectrum (8, 8), products to outputs (9 - K, 8), kernel to spectrum (8, K).

    The transposed form of Toom and Cook's multiplication of polynomials, in exact fractions.
    """
    outputs = WINDOW + 1 - kernel
    to_spectrum, to_kernel = [], []
    for point in _POINTS:
        others = [other for other in _POINTS if other != point]
        scale = Fraction(1)
        for other in others:
            scale *= point - other
        to_spectrum.append([*_expand_roots(others), Fraction(0)])
        to_kernel.append([point**power / scale for power in range(kernel)])
    to_spectrum.append(_expand_roots(_POINTS))
    to_kernel.append([Fraction(power == kernel - 1) for power in range(kernel)])
    to_outputs = [
        [*(point**power for point in _POINTS), Fraction(power == outputs - 1)]
        for power in range(outputs)
    ]
    # made outside inference mode, or training could not use what validation made
    with torch.inference_mode(False):
        window, output, taps = (
            torch.tensor([[float(entry) for entry in row] for row in matrix], dtype=dtype)
            for matrix in (to_spectrum, to_outputs, to_kernel)
        )
        # powers of two, so exact, that make the two inputs' rows alike in size
        balance = (window.abs().sum(1) / taps.abs().sum(1)).sqrt().log2().round().exp2()
        return window / balance.unsqueeze(1), output, taps * balance.unsqueeze(1)


def _expand_roots(roots: list[Fraction] | tuple[Fraction, ...]) -> list[Fraction]:
    """Coefficients of the polynomial with these roots, the constant first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        coefficients = [
            high - root * low
            for high, low in zip(shifted, [*coefficients, Fraction(0)], strict=True)
        ]
    return coefficients
