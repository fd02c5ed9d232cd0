"""One update of both networks from their gradients, or of neither.

Nothing is copied to the host: whether an update is skipped is decided on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.plugins.precision.precision import Precision
from torch import Tensor, nn
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm
from torch.optim import AdamW
from torch.optim.lr_scheduler import ExponentialLR

from piper.errors import TrainingError
from piper.train.distributed import sum_gradients

MAX_SKIPPED_IN_A_ROW = 50
"""Skipped updates after which training is not going to recover: 16-mixed begins with a factor of
65,536 and halves it at each skipped update, so 16 in a row are ordinary."""


class Updater:
    """Steps the optimizers of all networks together, or skips them all.

    An update is skipped where a gradient is not finite, on all processes alike: their gradients
    are summed first, and the sum of anything with a NaN or an infinity is not finite.

    Args:
        warmup_updates: Updates in which the learning rates grow from 0 to their full size.
    """

    def __init__(self, warmup_updates: int = 0) -> None:
        self.warmup_updates = warmup_updates
        self.clip_value: float | None = None
        """Largest norm or value of a network's gradients; 0: any, None: as its optimizer says."""
        self.clip_algorithm = "norm"
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

        Returns:
            `gradient_norm_<name>` of each network before clipping, and `skipped_updates` so far.
        """
        figures: dict[str, Tensor] = {}
        for name, optimizer in zip(names, optimizers, strict=True):
            groups = [
                [p for p in group["params"] if p.requires_grad] for group in optimizer.param_groups
            ]
            parameters = [p for group in groups for p in group]
            # All processes train the same networks. With gradients of zero, one that is not trained
            # yet would be stepped for: AdamW counts steps, and lets weights decay.
            if any(p.grad is not None for p in parameters):
                sum_gradients(parameters)
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
        """Read the count of skipped updates from the device, now and then."""
        if self._skipped_in_a_row is None:
            return
        in_a_row = int(self._skipped_in_a_row)
        if in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"The last {in_a_row} updates were skipped, because losses or gradients were not "
                "finite: go on from an earlier checkpoint (--ckpt_path=FILE) with a lower "
                "--model.learning_rate and --model.learning_rate_d, which hold from there on, with "
                "--trainer.gradient_clip_val=100, or with --trainer.precision=32."
            )

    def _clip(self, parameters: Sequence[nn.Parameter], usual: float | None) -> Tensor:
        """Clip gradients to what a flag says, or else the optimizer; return their norm."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:  # of a network that is not trained yet
            return torch.zeros((), device=parameters[0].device)
        norm = get_total_norm(gradients)
        clip = usual if self.clip_value is None else self.clip_value
        if clip and self.clip_algorithm == "value":
            clip_grad_value_(parameters, clip)
        elif clip:
            clip_grads_with_norm_(parameters, clip, norm)
        return norm

    def _step(self, optimizer: LightningOptimizer, update: int) -> None:
        rates = [group["lr"] for group in optimizer.param_groups]
        if update < self.warmup_updates:
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * (update + 1) / self.warmup_updates
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


def create_optimizer(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    betas: Sequence[float],
    eps: float,
    lr_decay: float,
) -> tuple[AdamW, ExponentialLR]:
    """Return AdamW (Loshchilov and Hutter 2019) of one network, and its rate's decay an epoch.

    Fused: one pass over memory instead of about ten, and a step can be skipped on the device.
    """
    first, second = betas
    trained = list(parameters)
    optimizer = AdamW(trained, lr=learning_rate, betas=(first, second), eps=eps, fused=True)
    return optimizer, ExponentialLR(optimizer, gamma=lr_decay)


class FrozenPart:
    """Keeps some weights for the first updates of a training, of those that are trained at all.

    A voice brings a decoder that speaks, but neither the encoder of recordings nor discriminators.
    Until those have learned something, their gradients are of no use to the decoder; frozen, it
    shows the new encoder which latents it can speak. Gradients go through it to what came before,
    and none are computed of its weights.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], name: str, updates: int) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.name = name
        self.updates = updates
        self._learns = True

    def apply(self, update: int) -> str | None:
        """Let the part learn in this update, or not; return a sentence where that changes."""
        learns = update >= self.updates
        if learns == self._learns:
            return None
        self._learns = learns
        for parameter in self.parameters:
            parameter.requires_grad_(learns)
            parameter.grad = None
        done = "learns from now on" if learns else f"is held until update {self.updates}"
        return f"The {self.name} {done}."


def seed_update(seed: int, rank: int, update: int) -> None:
    """Let torch's generators on all devices begin anew with what follows from these numbers.

    So a resumed training draws what the uninterrupted one would have drawn, without the
    generators' states in the checkpoint, and an update that ran out of memory can be repeated.
    """
    state = np.random.SeedSequence([seed, rank, update]).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0] >> np.uint64(1)))


class GanMixedPrecision(MixedPrecision):
    """Autocast to float16 with a gradient scaler whose use is left to the module.

    Lightning's plugin scales, unscales and adapts its factor an optimizer at a time: the second
    one's gradients would be unscaled by a factor that the first one's step has just changed. The
    scaler's state is in checkpoints, as with Lightning's own.
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
