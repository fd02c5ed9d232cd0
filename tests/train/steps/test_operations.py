"""How many operations an update is: on a GPU to launch each takes longer than most of them do."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from piper.train.presets import create_network_config
from piper.train.vits.layers import Dropout, lengths_to_mask
from piper.train.vits.network import VitsSynthesizer

NOT_LAUNCHED = {"detach", "empty", "empty_like", "empty_strided", "new_empty", "_unsafe_view"}
"""Beside views: what asks for memory, and what only names it anew."""
SIZES = {"hidden_channels": 16, "inter_channels": 16, "filter_channels": 32}
"""Medium's layers, and narrow: their number is what counts."""


class OperationCount(TorchDispatchMode):
    """Counts what would each be a kernel, or some, backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if not func.is_view and name not in NOT_LAUNCHED:
            self.names[name] += 1
        return func(*args, **(kwargs or {}))


def count_part(generator: VitsSynthesizer, part: str) -> int:
    phonemes, frames, channels = 20, 40, SIZES["hidden_channels"]
    id_mask = lengths_to_mask(torch.tensor([phonemes, 15]), phonemes)
    frame_mask = lengths_to_mask(torch.tensor([frames, 30]), frames)
    latents = torch.randn(2, channels, frames, requires_grad=True)
    durations = torch.ones(2, 1, phonemes)
    works: dict[str, Any] = {
        "text encoder": lambda: generator.enc_p(torch.ones(2, phonemes).long(), id_mask)[1:],
        "posterior encoder": lambda: generator.enc_q(torch.rand(2, 513, frames), frame_mask),
        "flow": lambda: [generator.flow(latents, frame_mask)],
        "durations": lambda: [
            generator.dp(latents[..., :20], id_mask, durations, None, torch.randn(2, 2, 20))
        ],
    }
    with OperationCount() as count:
        found: list[Tensor] = [*works[part]()]
        torch.autograd.backward(found, [torch.ones_like(x) for x in found])
    return count.names.total()


@pytest.mark.parametrize(
    ("part", "most"),
    [("text encoder", 555), ("posterior encoder", 355), ("flow", 470), ("durations", 1490)],
)
def test_parts_whose_length_differs_are_few_operations(
    part: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No graph holds them, so each is launched; they were 680, 490, 550 and 2,590."""
    # A GPU draws dropout as torch does.
    monkeypatch.setattr(Dropout, "forward", nn.Dropout.forward)
    torch.manual_seed(0)
    generator = VitsSynthesizer(create_network_config("medium", **SIZES)).train()
    assert count_part(generator, part) <= most, part
