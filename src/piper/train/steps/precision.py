"""16-mixed for two networks that one pass makes the gradients of. Knows no network.

Lightning's plugin scales, unscales and adapts its factor an optimizer at a time: the second one's
gradients would be unscaled by a factor that the first one's step has just changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.plugins.precision.precision import Precision


class GanMixedPrecision(MixedPrecision):
    """Autocast to float16 with a gradient scaler whose use is left to the module.

    The scaler's state is in checkpoints, as with Lightning's own.
    """

    def __init__(self, device: str = "cuda") -> None:
        super().__init__("16-mixed", device, torch.amp.GradScaler(device))

    def pre_backward(self, tensor: Any, module: Any) -> Any:
        """Scale nothing."""
        return tensor

    def optimizer_step(  # type: ignore[override]
        self, optimizer: Any, model: Any, closure: Callable[[], Any], **kwargs: Any
    ) -> Any:
        """Step as without a scaler."""
        return Precision.optimizer_step(self, optimizer, model=model, closure=closure, **kwargs)


def create_precision(name: Any, accelerator: str) -> GanMixedPrecision | None:
    """Return the plugin for a `--trainer.precision`, or None where Lightning's serves.

    On a CPU 16-mixed is left to Lightning, which says that it takes bf16-mixed instead.
    """
    is_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return GanMixedPrecision() if str(name) in ("16", "16-mixed") and is_gpu else None
