"""A loader that an interrupted epoch goes on in. Knows nothing of what the batches hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from piper.train.data.batches import Batch, LengthBatchSampler


class ResumableLoader(DataLoader[Any]):
    """Counts the batches it has given, so that a checkpoint can tell where an epoch stopped.

    Lightning stores `state_dict` in checkpoints and gives it back before the first batch. The
    order of an epoch follows from its number alone, so number and count are all there is to keep.
    """

    batch_sampler: LengthBatchSampler
    _epoch = 0
    _given = 0
    _is_restored = False

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Give the rest of a restored epoch, or else all of the next one."""
        if self._given and not self._is_restored:
            self._epoch, self._given = self._epoch + 1, 0
        self._is_restored = False
        self.batch_sampler.set_epoch(self._epoch)
        self.batch_sampler.skip(self._given)
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the epoch's number and how many of its batches were given."""
        return {"epoch": self._epoch, "given": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches that a checkpoint says were given."""
        self._epoch, self._given = state["epoch"], state["given"]
        if self._given >= len(self):
            self._epoch, self._given = self._epoch + 1, 0
        self._is_restored = True
