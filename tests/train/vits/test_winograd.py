from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from piper.train.vits.layers import convolve_rows_by_winograd, is_faster


def convolve_plainly(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv1d(x.mT, weight, bias, padding=weight.shape[2] // 2).mT


def make_problem(
    batch: int, rows: int, channels: int, outputs: int, kernel: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch + rows)
    shapes = ((batch, rows, channels), (outputs, channels, kernel), (outputs,))
    x, weight, bias = (torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("batch", [1, 3, 4])
@pytest.mark.parametrize("rows", [1, 2, 5, 10, 23])
def test_result_and_gradients_are_the_convolutions(kernel: int, batch: int, rows: int) -> None:
    inputs = make_problem(batch, rows, 6, 4, kernel, torch.float64)
    result, wanted = convolve_rows_by_winograd(*inputs), convolve_plainly(*inputs)
    torch.testing.assert_close(result, wanted)
    direction = torch.randn(wanted.shape, dtype=wanted.dtype)
    gradients = torch.autograd.grad(result, inputs, direction)
    torch.testing.assert_close(gradients, torch.autograd.grad(wanted, inputs, direction))


# the flow's and encoders' layers, and the judges', whose weight is larger than their signal
@pytest.mark.parametrize(
    "shape", [(2, 300, 192, 384, 5), (2, 200, 768, 192, 3), (8, 10, 512, 512, 5)]
)
def test_rounding_is_far_below_a_hundred_thousandth(shape: tuple[int, ...]) -> None:
    inputs = make_problem(*shape, dtype=torch.float32)
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    result, wanted = convolve_rows_by_winograd(*inputs), convolve_plainly(*exact)
    direction = torch.randn(wanted.shape)
    gradients = torch.autograd.grad(result, inputs, direction)
    wanted_gradients = torch.autograd.grad(wanted, exact, direction.double())
    for got, want in zip((result, *gradients), (wanted, *wanted_gradients), strict=True):
        assert (got - want).norm() / want.norm() < 5e-6


def test_without_bias() -> None:
    x, weight, _ = make_problem(2, 9, 6, 4, 5, torch.float64)
    result = convolve_rows_by_winograd(x, weight, None)
    torch.testing.assert_close(result, convolve_plainly(x, weight, None))
    result.sum().backward()
    assert x.grad is not None


class Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.counts[str(function)] += 1
        return function(*args, **(kwargs or {}))


def test_only_the_gradients_asked_for_are_computed() -> None:
    """The step asks for the audio's alone, and then for the weights' alone."""
    x, weight, bias = make_problem(2, 9, 6, 4, 5, torch.float64)
    result = convolve_rows_by_winograd(x * 2.0, weight * 2.0, bias).square().sum()
    products = []
    for inputs in ([x], [weight], [x, weight]):
        with Counting() as counting:
            result.backward(inputs=inputs, retain_graph=True)
        products.append(counting.counts["aten.bmm.default"])
    assert products[0] < products[2]
    assert products[1] < products[2]


def test_half_precision_and_few_channels_are_left_to_torch() -> None:
    x, weight = torch.zeros(1, 192, 8), torch.zeros(192, 192, 5)
    assert is_faster(x, weight)
    assert not is_faster(x.bfloat16(), weight)
    assert not is_faster(x, weight[:, :, :4])
    assert not is_faster(x[:, :32], weight[:, :32])
    assert not is_faster(x.to("meta"), weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_faster(x, weight)


def test_made_in_inference_mode_and_used_in_training() -> None:
    x, weight, bias = make_problem(1, 7, 4, 4, 3, torch.float16)
    with torch.inference_mode():
        convolve_rows_by_winograd(x.float(), weight.float(), bias.float())
    convolve_rows_by_winograd(x.float(), weight.float(), bias.float()).sum().backward()
    assert weight.grad is not None
