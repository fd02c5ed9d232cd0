"""One update of both networks from their gradients, or of neither. Knows no losses and no data.

Nothing is copied to the host: whether an update is skipped is decided on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm

from piper.errors import TrainingError
from piper.train.parallel.distributed import sum_gradients

MOST_SKIPPED_IN_A_ROW = 50
"""Skipped updates after which training is not going to recover: 16-mixed begins with a factor of
65,536 and halves it at each skipped update, so 16 in a row are ordinary."""


@dataclass
class UpdateSettings:
    """How gradients become an update.

    Attributes:
        clip_value: Largest norm (or value) of a network's gradients; None or 0 for any.
        clip_algorithm: `norm` or `value`.
        warmup_updates: Updates in which the learning rates grow from 0 to their full size.
    """

    clip_value: float | None = None
    clip_algorithm: str = "norm"
    warmup_updates: int = 0


class Updater:
    """Steps the optimizers of all networks together, or skips them all.

    An update is skipped where a gradient is not finite, on all processes alike: their gradients
    are summed first, and the sum of anything with a NaN or an infinity is not finite.
    """

    def __init__(self, settings: UpdateSettings) -> None:
        self.settings = settings
        self._skipped: Tensor | None = None
        self._skipped_in_a_row: Tensor | None = None

    @property
    def has_updated(self) -> bool:
        """Whether an update was made or skipped."""
        return self._skipped is not None

    def apply(
        self,
        optimizers: Sequence[LightningOptimizer],
        names: Sequence[str],
        update: int,
        scaler: torch.amp.GradScaler | None = None,
    ) -> dict[str, Tensor]:
        """Sum the gradients of all processes, clip them, and step.

        Args:
            optimizers: One for each network, fused, so that they can skip on the device.
            names: Of the networks, for the figures.
            update: How many updates were done before.
            scaler: What the gradients were scaled by, in 16-mixed.

        Returns:
            `gradient_norm_<name>` of each network before clipping, and `skipped_updates` so far.
        """
        figures: dict[str, Tensor] = {}
        for name, optimizer in zip(names, optimizers, strict=True):
            groups = [
                [p for p in group["params"] if p.requires_grad] for group in optimizer.param_groups
            ]
            sum_gradients([p for group in groups for p in group])
            if scaler is not None:
                scaler.unscale_(optimizer.optimizer)
            usual = [group.get("clip_norm") for group in optimizer.param_groups]
            norms = [self._clip(*pair) for pair in zip(groups, usual, strict=True)]
            whole = norms[0] if len(norms) == 1 else torch.stack(norms).norm()
            figures[f"gradient_norm_{name}"] = whole
        is_bad = (~torch.stack(list(figures.values())).isfinite().all()).float()
        for optimizer in optimizers:
            # Read by torch's fused AdamW, as a gradient scaler would have set it.
            optimizer.optimizer.found_inf = is_bad  # type: ignore[attr-defined]
            self._step(optimizer, update)
        if scaler is not None:
            scaler.update()
        figures["skipped_updates"] = self._count(is_bad)
        return figures

    def check(self) -> None:
        """Read the count of skipped updates from the device, now and then.

        Raises:
            TrainingError: Too many in a row were skipped for the training to recover.
        """
        if self._skipped_in_a_row is None:
            return
        in_a_row = int(self._skipped_in_a_row)
        if in_a_row >= MOST_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"The last {in_a_row} updates were skipped, because losses or gradients were not "
                "finite: go on from an earlier checkpoint (--ckpt_path=FILE) with a lower "
                "--model.learning_rate and --model.learning_rate_d, which hold from there on, with "
                "--trainer.gradient_clip_val=100, or with --trainer.precision=32."
            )

    def _clip(self, parameters: Sequence[nn.Parameter], usual: float | None) -> Tensor:
        """Clip gradients to what the settings say, or else the optimizer; return their norm."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:  # of a network that is not trained yet
            return torch.zeros((), device=parameters[0].device)
        norm = get_total_norm(gradients)
        clip = usual if self.settings.clip_value is None else self.settings.clip_value
        if clip and self.settings.clip_algorithm == "value":
            clip_grad_value_(parameters, clip)
        elif clip:
            clip_grads_with_norm_(parameters, clip, norm)
        return norm

    def _step(self, optimizer: LightningOptimizer, update: int) -> None:
        warmup = self.settings.warmup_updates
        rates = [group["lr"] for group in optimizer.param_groups]
        if update < warmup:
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * (update + 1) / warmup
        optimizer.step()
        # The schedule's own rate again: it decays from what it finds here.
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def _count(self, is_bad: Tensor) -> Tensor:
        if self._skipped is None or self._skipped_in_a_row is None:
            self._skipped = torch.zeros_like(is_bad)
            self._skipped_in_a_row = torch.zeros_like(is_bad)
        self._skipped = self._skipped + is_bad
        self._skipped_in_a_row = (self._skipped_in_a_row + is_bad) * is_bad
        return self._skipped
