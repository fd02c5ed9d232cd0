"""Full precision for the parts that mixed precision would spoil. Knows nothing of the network."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


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
