"""How a small network is fitted to recordings: passes, learning rate, and a state to go on from.

What aligner and recogniser learn from a batch is theirs.
"""

from __future__ import annotations

import logging
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from piper.files import replace_on_success
from piper.progress import ProgressLine
from piper.train.aligner.features import FRAME_SECONDS, AcousticNetwork, NetworkOptions

_LOGGER = logging.getLogger(__name__)
SEED = 1234
SPREAD = 0.15
"""Of the mean length, by which lengths are shaken before they are sorted: each pass has batches of
its own."""
FIRST_RATE = 0.05
"""Share of the learning rate in the first batch."""


class Recorded(Protocol):
    """A recording in memory, with what is learnt from it."""

    @property
    def frames(self) -> int:
        """How many of 20 ms it has."""


Item = TypeVar("Item", bound=Recorded)


@dataclass(frozen=True)
class Schedule:
    """How a network is fitted.

    Attributes:
        min_passes: Through all recordings.
        min_batches: In all of them: a small set is gone through more often.
        learning_rate: The highest.
        warm_up_share: Of all batches, until it is there.
        last_share: Of the highest rate, what is left at the end.
        weight_decay: Of AdamW.
        max_gradient: The norm that larger gradients are cut to.
    """

    min_passes: int
    min_batches: int
    learning_rate: float
    warm_up_share: float
    last_share: float
    weight_decay: float
    max_gradient: float

    def compute_rate(self, done: float) -> float:
        """Return the learning rate at a share of all batches: up quickly, down as a cosine."""
        peak, warm_up = self.learning_rate, self.warm_up_share
        if done < warm_up:
            return peak * (FIRST_RATE + (1 - FIRST_RATE) * done / warm_up)
        rest = (done - warm_up) / (1 - warm_up)
        return peak * (self.last_share + (1 - self.last_share) * (1 + math.cos(math.pi * rest)) / 2)


class Trainer(ABC, Generic[Item]):
    """A network on its way, and what its next pass needs.

    Args:
        keys: Of the recordings; a state of others is not gone on from.
    """

    def __init__(
        self,
        options: NetworkOptions,
        num_units: int,
        items: Sequence[Item],
        batch_size: int,
        keys: Sequence[str],
        schedule: Schedule,
    ) -> None:
        torch.manual_seed(SEED)
        self.network = AcousticNetwork(options, num_units)
        self.keys = list(keys)
        self.passes_done = 0
        self._items, self._batch_size, self._schedule = items, batch_size, schedule
        self._batches_a_pass = -(-len(items) // batch_size)
        self.passes = max(schedule.min_passes, -(-schedule.min_batches // self._batches_a_pass))
        self.num_batches = self.passes * self._batches_a_pass
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=schedule.learning_rate,
            weight_decay=schedule.weight_decay,
        )

    @abstractmethod
    def compute_loss(self, batch: Sequence[Item], done: float) -> Tensor:
        """Return the loss of a batch when a share of all batches is done."""

    def begin_pass(self) -> None:
        """Get ready for a pass."""

    def finish_pass(self) -> None:
        """Take what a pass has shown into account."""

    def state(self) -> dict[str, Any]:
        """Return what a stopped fitting goes on from."""
        return {
            "keys": self.keys,
            "passes_done": self.passes_done,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.passes_done = state["passes_done"]

    @torch.enable_grad()  # whoever calls may have turned gradients off
    def run(self, label: str, state_path: Path | None) -> None:
        """Do the passes that are left; the state is written after each where there is a path."""
        done = self.passes_done * self._batches_a_pass
        progress = ProgressLine(label, self.num_batches, "batches", start=done)
        while self.passes_done < self.passes:
            for done in self._run_pass():
                progress.show(done)
            if state_path is not None:
                self.save_state(state_path)
        progress.finish(self.num_batches)

    def save_state(self, path: Path) -> None:
        """Write the state to a file, whole or not at all."""
        with replace_on_success(path) as temporary:
            torch.save(self.state(), temporary)

    @torch.enable_grad()
    def estimate(self) -> tuple[int, float, float]:
        """Return how many recordings there are, their minutes, and those that fitting will take.

        By a batch of middling length that is thrown away.
        """
        batches = sorted(self._create_batches(0), key=_count_padded)
        batch = batches[len(batches) // 2]
        seconds = 0.0
        for _ in range(2):  # the first time libraries are still being set up
            started = time.monotonic()
            self.compute_loss(batch, 0.5).backward()
            seconds = time.monotonic() - started
        self.network.zero_grad()
        share = sum(map(_count_padded, batches)) / _count_padded(batch)
        minutes = sum(item.frames for item in self._items) * FRAME_SECONDS / 60
        passes = self.passes - self.passes_done
        return len(self._items), minutes, seconds * share * passes / 60

    def _run_pass(self) -> Iterator[int]:
        """Go through the recordings once; give the number of batches done after each."""
        torch.manual_seed(SEED + self.passes_done)  # of a fitting that goes on, too
        done = self.passes_done * self._batches_a_pass
        self.network.train()
        self.begin_pass()
        for batch in self._create_batches(self.passes_done):
            for group in self._optimizer.param_groups:
                group["lr"] = self._schedule.compute_rate(done / self.num_batches)
            self._optimizer.zero_grad()
            self.compute_loss(batch, done / self.num_batches).backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._schedule.max_gradient)
            self._optimizer.step()
            done += 1
            yield done
        self.finish_pass()
        self.passes_done += 1

    def _create_batches(self, number: int) -> list[list[Item]]:
        """Return a pass's batches: of about equal lengths, in an order of the pass's own."""
        rng = np.random.default_rng([SEED, number])
        lengths = np.asarray([item.frames for item in self._items])
        order = np.argsort(lengths + rng.uniform(0, SPREAD * lengths.mean(), len(lengths)))
        starts = range(0, len(order), self._batch_size)
        batches = [order[start : start + self._batch_size] for start in starts]
        return [
            [self._items[item] for item in batches[index]]
            for index in rng.permutation(len(batches))
        ]


def load_state(path: Path | None, keys: Sequence[str]) -> dict[str, Any] | None:
    """Return what a fitting on the same recordings left when it was stopped, if it did."""
    if path is None or not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state if state["keys"] == list(keys) else None
    except Exception:  # what torch raises for a damaged file has no common class
        _LOGGER.warning("%s cannot be used; learning begins anew.", os.fspath(path))
        return None


def _count_padded(batch: Sequence[Recorded]) -> int:
    return len(batch) * max(item.frames for item in batch)
