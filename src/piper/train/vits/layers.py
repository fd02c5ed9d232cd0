"""What the layers of VITS share: weight norm, layer norm, dropout, masks, noise, memory layout."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 1 << 16
HALVES = (torch.bfloat16, torch.float16)


class ChannelNorm(nn.Module):
    """Normalise each position over its channels (Ba et al. 2016), as `gamma` and `beta`."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        y = F.layer_norm(x.transpose(1, 2), self.gamma.shape, self.gamma, self.beta, self.eps)
        return y.transpose(1, 2)


class Dropout(nn.Dropout):
    """`nn.Dropout` in half of its time on a CPU, where random numbers are drawn one by one.

    The probability is rounded to 1/65536, and the scale of what is kept follows it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        if not self.training or self.p == 0.0 or x.device.type != "cpu":
            return F.dropout(x, self.p, self.training)
        dropped = min(round(self.p * _LEVELS), _LEVELS - 1)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
        levels = draws.view(torch.int16)[: x.numel()].view(x.shape)
        kept = (levels >= dropped - _LEVELS // 2).to(x.dtype)
        return x * kept.mul_(_LEVELS / (_LEVELS - dropped))


def full_precision(tensor: Tensor) -> AbstractContextManager[Any]:
    """A context without autocast on the tensor's kind of device.

    Spectrograms, splines, alignment and durations take logarithms, square roots and long sums,
    which the 8 bits of bfloat16's mantissa and the range of float16 do not carry. Inputs that are
    already in half precision still have to be cast with `.float()`.
    """
    device_type = tensor.device.type
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type=device_type, enabled=False)
    return nullcontext()  # meta tensors, for one


def go_back(
    roots: Sequence[Tensor], gradients: Sequence[Tensor | None] | None = None, **options: Any
) -> None:
    """Take gradients outside of autocast: in the precision of what they are gradients of.

    Under it, products on the way back would be rounded to half precision, also where the way there
    was kept in float32, and each would need copies of what it multiplies.
    """
    with full_precision(roots[0]):
        torch.autograd.backward(roots, gradients, **options)


def take_gradients(root: Tensor, inputs: Sequence[Tensor], **options: Any) -> list[Tensor]:
    """Return the gradients as `go_back` takes them; threads may share the inputs."""
    with full_precision(root):
        return list(torch.autograd.grad(root, inputs, **options))


def lengths_to_mask(lengths: Tensor, size: int) -> Tensor:
    """Mask (B, 1, size) in float32 that is 1 before each of the lengths (B,)."""
    positions = torch.arange(size, device=lengths.device)
    return (positions < lengths.unsqueeze(1)).unsqueeze(1).float()


def cut_segments(x: Tensor, starts: Tensor, length: int) -> Tensor:
    """Cut a piece (C, length) out of each row of (B, C, T), from its start (B,) on.

    What lies beyond the batch's end is zero.
    """
    batch, channels, size = x.shape
    index = starts.unsqueeze(1) + torch.arange(length, device=x.device)
    is_outside = (index >= size).unsqueeze(1)
    index = index.clamp(max=size - 1).unsqueeze(1).expand(batch, channels, length)
    return x.gather(2, index).masked_fill(is_outside, 0.0)


def place_segments(frame_lengths: Tensor, segment_frames: int, uniform: Tensor) -> Tensor:
    """Starts (B,) in frames, uniform over every place where a segment fits.

    Utterances no longer than a segment start at 0; the rest of their segment is padding.

    Args:
        frame_lengths: (B,).
        uniform: (B,) numbers from 0 up to 1.
    """
    choices = (frame_lengths - segment_frames + 1).clamp(min=1)
    # float32 rounding can lift uniform * choices to choices itself
    return torch.minimum((uniform * choices).long(), choices - 1)


def draw_normal(
    shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Standard normal float32 numbers on the device of `like`.

    They are drawn on the generator's own device, so that a CPU generator gives the same numbers
    whatever the network runs on.
    """
    device = like.device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=device).to(like.device)


def draw_uniform(
    shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Float32 numbers from 0 up to 1 on the device of `like`; see `draw_normal`."""
    device = like.device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=device).to(like.device)


@dataclass(frozen=True)
class TrainingNoise:
    """All random numbers of a training pass but dropout's.

    Drawn for a whole batch at once, so that its parts see the numbers that the whole would see.

    Attributes:
        latents: Standard normal (B, inter, T), for the posterior's sample.
        durations: Standard normal (B, 2, P), for the durations' dequantisation.
        segments: Uniform in 0 to 1 (B,), where each utterance's segment begins.
    """

    latents: Tensor
    durations: Tensor
    segments: Tensor

    def rows(self, start: int, end: int, frames: int, phonemes: int) -> TrainingNoise:
        """Return the numbers of some utterances, cut to their own longest."""
        return TrainingNoise(
            self.latents[start:end, :, :frames],
            self.durations[start:end, :, :phonemes],
            self.segments[start:end],
        )


def channels_last(x: Tensor) -> Tensor:
    """The signal (B, C, T), copied where its channels were not next to each other.

    It keeps its shape; only its strides are those of (B, T, C). Convolutions are then plain matrix
    products, normalisation over channels and gates read memory in order, and tensor cores need no
    transposed copies. Convolutions and pointwise functions keep the layout they are given.
    """
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
    """`F.conv1d` in the layout of `x`; torch's own would lay the result out in rows of time."""
    if 1 < groups < x.shape[1] and dilation == 1 and x.is_cuda and x.dtype in HALVES:
        return convolve_groups(x, weight, bias, stride=stride, padding=padding, groups=groups)
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
    groups of one discriminator's four layers were most of the 17,000 kernels of an update.

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


class WeightNormed(nn.Module):
    """The two halves of a convolution's weight; takes them over from a plain layer.

    The weight is `weight_g * weight_v / |weight_v|` (Salimans and Kingma 2016), the norm taken over
    all axes but the first. torch's own parametrisation stores the two under other names, and the
    older one that had these names is deprecated.
    """

    def __init__(self, plain: nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d) -> None:
        super().__init__()
        self.bias = plain.bias  # first, as in checkpoints: optimizer states count parameters
        axes = tuple(range(1, plain.weight.dim()))
        norm = torch.linalg.vector_norm(plain.weight.detach(), dim=axes, keepdim=True)
        self.weight_g = nn.Parameter(norm)
        self.weight_v = plain.weight

    def folded_weight(self) -> Tensor:
        """The weight that the layer applies, in the shape of `weight_v`."""
        # the fused kernel that torch.nn.utils.parametrizations.weight_norm calls as well: one
        # launch instead of three, for some 130 layers and three passes a training step
        return torch._weight_norm(self.weight_v, self.weight_g, 0)

    @torch.no_grad()
    def init_normal(self, deviation: float) -> None:
        """Draw the weight from a normal distribution of mean 0."""
        self.weight_v.normal_(0.0, deviation)
        axes = tuple(range(1, self.weight_v.dim()))
        self.weight_g.copy_(torch.linalg.vector_norm(self.weight_v, dim=axes, keepdim=True))


def fold_together(layers: Sequence[WeightNormed]) -> list[tuple[Tensor, Tensor]]:
    """Return weight and bias of layers of one shape, as they are applied, by few operations.

    Under autocast they are in its precision: cast one by one, they would be most of a WaveNet's
    kernels.
    """
    weight = torch._weight_norm(
        torch.cat([layer.weight_v for layer in layers]),
        torch.cat([layer.weight_g for layer in layers]),
        0,
    )
    biases = [layer.bias for layer in layers if layer.bias is not None]
    kind = weight.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        weight, biases = weight.to(dtype), [*torch.stack(biases).to(dtype).unbind()]
    return list(zip(weight.chunk(len(layers)), biases, strict=True))


class WeightNormConv1d(WeightNormed):
    """Weight-normalised `nn.Conv1d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__(nn.Conv1d(in_channels, out_channels, kernel_size, groups=groups))
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, C', T'), in the same layout."""
        return convolve(
            x,
            self.folded_weight(),
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )


class WeightNormConv2d(WeightNormed):
    """Weight-normalised `nn.Conv2d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        *,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(nn.Conv2d(in_channels, out_channels, kernel_size))
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        return F.conv2d(
            x, self.folded_weight(), self.bias, stride=self.stride, padding=self.padding
        )


class WeightNormConvTranspose1d(WeightNormed):
    """Weight-normalised `nn.ConvTranspose1d`; `weight_g` has one entry per input channel."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
    ) -> None:
        super().__init__(nn.ConvTranspose1d(in_channels, out_channels, kernel_size))
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, C', T * stride) where kernel - stride = 2 * padding.

        The layout stays.
        """
        return convolve_transposed(
            x, self.folded_weight(), self.bias, stride=self.stride, padding=self.padding
        )
