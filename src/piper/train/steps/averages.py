"""The moving average of a network's weights, which speaks better than the last weights do.

Knows a network as parameters, but neither training nor files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverages:
    """Exponential moving average of the weights (Polyak and Juditsky 1992), beside the network.

    The decay grows to its full value with the first updates, min(decay, (1 + n) / (10 + n)), so
    that a short training's average is not that of its random start.

    Args:
        network: Whose weights are averaged; the average begins with them.
        decay: Share of the average that stays at each update, from 0 to below 1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = network
        self.decay = decay
        self.updates = 0
        self._names = [name for name, _ in network.named_parameters()]
        self._averages = [p.detach().clone() for p in network.parameters()]

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights in."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        present = [p.detach() for p in self.network.parameters()]
        torch._foreach_lerp_(self._averages, present, 1.0 - decay)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the network have the averages for weights in this block; nothing is copied."""
        parameters = list(self.network.parameters())
        trained = [p.data for p in parameters]
        for parameter, average in zip(parameters, self._averages, strict=True):
            parameter.data = average
        try:
            yield
        finally:
            for parameter, weight in zip(parameters, trained, strict=True):
                parameter.data = weight

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: decay, updates, and the averages by their names."""
        weights = dict(zip(self._names, self._averages, strict=True))
        return {"decay": self.decay, "updates": self.updates, "weights": weights}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the averages of a checkpoint; those that do not fit begin with the weights."""
        weights: Mapping[str, Tensor] = state["weights"]
        for name, average in zip(self._names, self._averages, strict=True):
            saved = weights.get(name)
            if saved is not None and saved.shape == average.shape:
                average.copy_(saved)
        self.updates = int(state["updates"])
