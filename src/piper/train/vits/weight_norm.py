"""Weight-normalised convolutions with the parameter names of Piper's checkpoints.

Knows nothing of the network. Each weight is `weight_g * weight_v / |weight_v|` (Salimans and
Kingma 2016), the norm taken over all axes but the first. torch's own parametrisation stores the
two under other names, and the older one that had these names is deprecated.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from piper.train.vits.layout import convolve, convolve_transposed


class WeightNormed(nn.Module):
    """The two halves of a convolution's weight; takes them over from a plain layer."""

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


def folded_state_dict(network: nn.Module) -> dict[str, Tensor]:
    """The state dict with each `weight_g` and `weight_v` folded into one `weight`, for inference.

    The tensors are detached; those that are not weight-normalised are shared with the network.
    """
    state = dict(network.state_dict())
    for name, module in network.named_modules():
        if isinstance(module, WeightNormed):
            prefix = f"{name}." if name else ""
            del state[f"{prefix}weight_g"], state[f"{prefix}weight_v"]
            state[f"{prefix}weight"] = module.folded_weight().detach()
    return state
