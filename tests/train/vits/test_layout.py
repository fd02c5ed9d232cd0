from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from piper.train.vits.layers import (
    channels_last,
    convolve,
    convolve_groups,
    convolve_rows,
    convolve_transposed,
    mix_channels,
)


def draw(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def assert_same(result: Tensor, wanted: Tensor, inputs: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(result, wanted)
    direction = torch.randn(wanted.shape, dtype=wanted.dtype)
    torch.testing.assert_close(
        torch.autograd.grad(result, inputs, direction),
        torch.autograd.grad(wanted, inputs, direction),
    )


@pytest.mark.parametrize("is_channels_last", [True, False])
@pytest.mark.parametrize(
    ("size", "stride", "dilation", "groups"),
    [(3, 1, 1, 1), (3, 1, 2, 1), (7, 1, 12, 1), (3, 1, 9, 6), (3, 1, 3, 6), (5, 4, 1, 3)],
)
def test_convolve_is_torchs(
    is_channels_last: bool, size: int, stride: int, dilation: int, groups: int
) -> None:
    x, weight, bias = draw(2, 6, 31), draw(12, 6 // groups, size), draw(12)
    padding = dilation * (size // 2)
    result = convolve(
        channels_last(x) if is_channels_last else x,
        weight,
        bias,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    wanted = F.conv1d(x, weight, bias, stride, padding, dilation, groups)
    assert_same(result, wanted, (x, weight, bias))
    if is_channels_last:
        assert result.stride(1) == 1


@pytest.mark.parametrize("is_channels_last", [True, False])
@pytest.mark.parametrize(("size", "stride", "length"), [(41, 4, 100), (41, 4, 83), (4, 3, 31)])
def test_groups_are_convolved_as_torch_does(
    is_channels_last: bool, size: int, stride: int, length: int
) -> None:
    x, weight, bias = draw(2, 8, length), draw(24, 2, size), draw(24)
    settings = {"stride": stride, "padding": size // 2, "groups": 4}
    result = convolve_groups(channels_last(x) if is_channels_last else x, weight, bias, **settings)
    assert_same(result, F.conv1d(x, weight, bias, **settings), (x, weight, bias))
    assert result.stride(1) == 1


def test_groups_stay_in_half_precision() -> None:
    x, weight, bias = (tensor.float() for tensor in (draw(2, 8, 100), draw(24, 2, 41), draw(24)))
    settings = {"stride": 4, "padding": 20, "groups": 4}
    with torch.autocast("cpu", torch.bfloat16):
        result = convolve_groups(x.bfloat16(), weight, bias, **settings)
    assert result.dtype == torch.bfloat16
    wanted = F.conv1d(x, weight, bias, **settings)
    assert (result - wanted).norm() < 0.01 * wanted.norm()


def test_transposed_and_pointwise_convolutions_are_torchs() -> None:
    x, weight, bias = draw(2, 6, 9), draw(6, 4, 8), draw(4)
    result = convolve_transposed(channels_last(x), weight, bias, stride=4, padding=2)
    wanted = F.conv_transpose1d(x, weight, bias, stride=4, padding=2)
    assert_same(result, wanted, (x, weight, bias))
    assert result.stride(1) == 1
    weight = draw(4, 6, 1)
    result = mix_channels(channels_last(x), weight, bias)
    assert_same(result, F.conv1d(x, weight, bias), (x, weight, bias))
    assert result.stride(1) == 1


@pytest.mark.parametrize("rows", [1, 4, 10, 11, 12])
@pytest.mark.parametrize(("size", "stride"), [(5, 3), (3, 1), (5, 1), (5, 2)])
def test_rows_are_convolved_as_torch_does(rows: int, size: int, stride: int) -> None:
    x, weight, bias = draw(2, rows, 6), draw(4, 6, size), draw(4)
    result = convolve_rows(x, weight, bias, stride)
    wanted = F.conv1d(x.mT, weight, bias, stride, size // 2).mT
    assert_same(result, wanted, (x, weight, bias))
