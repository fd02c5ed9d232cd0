"""Convolutions on signals whose channels lie next to each other in memory. Knows no layer.

A signal keeps its shape (B, C, T); only its strides are those of (B, T, C). Convolutions are then
plain matrix products, normalisation over channels and gates read memory in order, and tensor cores
need no transposed copies. Convolutions and pointwise functions keep the layout they are given.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from piper.train.vits import winograd

WIDE_DILATION = 9  # with rows narrower than that, the dilated kernel is as fast or faster
HALVES = (torch.bfloat16, torch.float16)


def channels_last(x: Tensor) -> Tensor:
    """The signal (B, C, T), copied where its channels were not next to each other."""
    return x.mT.contiguous().mT


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """`F.conv1d` in the layout of `x`; torch's own would lay the result out in rows of time.

    Where there is a faster way the result is channels last in any case.
    """
    is_plain = stride == dilation == groups == 1 and padding == weight.shape[2] // 2
    if is_plain and winograd.is_faster(x, weight):
        return winograd.convolve_rows(x.mT, weight, bias).mT
    if 1 < groups < x.shape[1] and dilation == 1 and x.is_cuda and x.dtype in HALVES:
        return convolve_groups(x, weight, bias, stride=stride, padding=padding, groups=groups)
    is_wide = dilation >= WIDE_DILATION or (dilation > 1 and groups > 1)
    # The compiler does not get through the folding of a length that varies (torch 2.13).
    is_plain_cpu = x.device.type == "cpu" and not torch.compiler.is_compiling()
    if is_plain_cpu and is_wide and stride == 1 and padding % dilation == 0:
        return _convolve_folded(x, weight, bias, padding, dilation, groups)
    y = F.conv2d(
        x.unsqueeze(2),
        weight.unsqueeze(2),
        bias,
        stride=(1, stride),
        padding=(0, padding),
        dilation=(1, dilation),
        groups=groups,
    )
    return y.squeeze(2)


def convolve_groups(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int, padding: int, groups: int
) -> Tensor:
    """Convolve groups of channels in one batched matrix product, a matrix for each group.

    In half precision cuDNN takes one group after the other, forward and back. On an H200 the 340
    groups of one judge's four layers were most of the 17,000 kernels of an update.

    Returns:
        (B, C', T'), channels last.
    """
    count, size = len(x), weight.shape[2]
    odd = size % 2  # tensor cores want rows in eights, and groups have four channels
    windows = F.pad(x, (padding, padding + odd)).unfold(2, size + odd, stride)
    columns = windows.unflatten(1, (groups, -1)).permute(1, 0, 3, 2, 4).flatten(3).flatten(1, 2)
    kernels = F.pad(weight, (0, odd)).unflatten(0, (groups, -1)).flatten(2).mT
    if bias is None:
        y = torch.bmm(columns, kernels)
    else:
        y = torch.baddbmm(bias.unflatten(0, (groups, 1, -1)), columns, kernels)
    # (G, B, T', C' / G), and the groups beside each other again
    return y.unflatten(1, (count, -1)).permute(1, 2, 0, 3).flatten(2).mT


def _convolve_folded(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, dilation: int, groups: int
) -> Tensor:
    """Convolve with a kernel that is dilated no more, down the columns of rows of one dilation.

    On a CPU torch's widely dilated convolutions take 1.7 times as long, depthwise ones 4 times.
    """
    size, reach = x.shape[2], dilation * (weight.shape[2] - 1)
    outputs = size + 2 * padding - reach
    # padded and cut as (B, T, C), since gradients come in the layout of what is cut
    rows = F.pad(x.mT, (0, 0, 0, -size % dilation)) if size % dilation else x.mT
    y = F.conv2d(
        rows.mT.unflatten(2, (-1, dilation)),
        weight.unsqueeze(3),
        bias,
        padding=(padding // dilation, 0),
        groups=groups,
    )
    return y.flatten(2).mT[:, :outputs].mT


def convolve_transposed(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, padding: int = 0
) -> Tensor:
    """`F.conv_transpose1d` in the layout of `x`."""
    y = F.conv_transpose2d(
        x.unsqueeze(2), weight.unsqueeze(2), bias, stride=(1, stride), padding=(0, padding)
    )
    return y.squeeze(2)


def mix_channels(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve (B, C, T) with a kernel of 1, weight (C', C, 1), as a matrix product."""
    return F.linear(x.mT, weight.squeeze(2), bias).mT


def convolve_rows(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Convolve along the rows of (B, T, C) with (C', C, K), padded by K // 2, as matrix products.

    Returns:
        (B, T', C') with T' = ceil(T / stride).
    """
    if stride == 1 and winograd.is_faster(x, weight):
        return winograd.convolve_rows(x, weight, bias)
    size = weight.shape[2]
    outputs = (x.shape[1] - 1) // stride + 1
    # what the kernel sees at output t are blocks t, t + 1, ... of `stride` rows each
    starts = range(0, size, stride)
    room = (outputs + len(starts) - 1) * stride
    x = F.pad(x, (0, 0, size // 2, room - x.shape[1] - size // 2))
    blocks = x.unflatten(1, (-1, stride))
    seen = [
        blocks[:, index : index + outputs, : size - start] for index, start in enumerate(starts)
    ]
    columns = torch.cat(seen, dim=2).flatten(2)
    return F.linear(columns, weight.transpose(1, 2).flatten(1), bias)
