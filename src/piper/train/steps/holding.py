"""A part of the network that stays as it is while others catch up. Knows neither losses nor files.

A voice brings a decoder that speaks, but neither the encoder of recordings nor discriminators.
Until those have learnt something, their gradients are of no use to it; held, it shows the new
encoder which latents it can speak.
"""

from __future__ import annotations

from torch import nn


class Hold:
    """Keeps a part's weights for the first updates of a training.

    Gradients go through it to what came before, and none are computed of its weights.

    Args:
        part: What is held.
        name: Of it, for what is said.
        updates: How many updates it is held for; 0 for none.
    """

    def __init__(self, part: nn.Module, name: str, updates: int) -> None:
        self.part = part
        self.name = name
        self.updates = updates
        self._learns = True

    def apply(self, update: int) -> str | None:
        """Let the part learn in this update, or not; return a sentence where that changes.

        Args:
            update: How many updates were done before.
        """
        learns = update >= self.updates
        if learns == self._learns:
            return None
        self._learns = learns
        for parameter in self.part.parameters():
            parameter.requires_grad_(learns)
            parameter.grad = None
        done = "learns from now on" if learns else f"is held until update {self.updates}"
        return f"The {self.name} {done}."
