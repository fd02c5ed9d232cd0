"""A loader that an interrupted epoch goes on in. Knows nothing of how an epoch is ordered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from torch import cuda
from torch.utils.data import DataLoader

from piper.train.data.batches import Batch, UtteranceItem, collate
from piper.train.data.dataset import UtteranceDataset
from piper.train.data.sampler import LengthBatchSampler
from piper.train.data.settings import DataSettings
from piper.train.data.worker_signals import outlast_signals

_LOGGER = logging.getLogger(__name__)


class ResumableLoader(DataLoader[Any]):
    """Counts the batches it has given, so that a checkpoint can tell where an epoch stopped.

    Lightning stores `state_dict` in checkpoints and gives it back before the first batch. The
    order of an epoch follows from its number alone, so number and count are all there is to keep;
    the number of batches and ranks is kept to see whether they are the same when it goes on.

    Where its sampler goes on after an epoch, so do the processes that load ahead: a GPU takes the
    nine batches of an hour and a half in a second, and would wait for the first of them as long.
    """

    batch_sampler: LengthBatchSampler
    _stream: Iterator[Batch] | None = None
    _stream_place = (0, 0)
    _epoch = 0
    _given = 0
    _is_restored = False

    @property
    def is_restored(self) -> bool:
        """Whether it has a checkpoint's position, and has given nothing since."""
        return self._is_restored

    @property
    def epoch(self) -> int:
        """The epoch that it is in."""
        return self._epoch

    @property
    def given(self) -> int:
        """How many batches of the present epoch were given, those before a checkpoint included."""
        return self._given

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Give the rest of a restored epoch, or else all of the next one."""
        if self._given and not self._is_restored:
            self._epoch, self._given = self._epoch + 1, 0
        self._is_restored = False
        # Lightning does not hand back the state of a checkpoint that lies between two epochs, but
        # it does tell the sampler which epoch begins.
        if self.batch_sampler.epoch > self._epoch:
            self._epoch, self._given = self.batch_sampler.epoch, 0
        self.batch_sampler.set_epoch(self._epoch)
        for batch in islice(self._continue_stream(), len(self) - self._given):
            self._given += 1
            is_over = self._given == len(self)
            self._stream_place = (self._epoch + 1, 0) if is_over else (self._epoch, self._given)
            yield batch

    def _continue_stream(self) -> Iterator[Batch]:
        """Return what gives the batches from the present place on."""
        place = (self._epoch, self._given)
        if self._stream is None or not self.batch_sampler.goes_on or self._stream_place != place:
            self.batch_sampler.skip(self._given)
            self._stream, self._stream_place = super().__iter__(), place
        return self._stream

    def state_dict(self) -> dict[str, int]:
        """Return the epoch's number, how many of its batches were given, and how many it has."""
        return {
            "epoch": self._epoch,
            "given": self._given,
            "batches": len(self),
            "ranks": self.batch_sampler.bounds.world_size,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches that a checkpoint says were given.

        Where an epoch has another number of batches now (other ranks, batch size or dataset), it
        goes on after the same share of it.
        """
        if not _is_place(state):
            _LOGGER.warning("The checkpoint does not say where its epoch was: it begins anew.")
            return
        self._epoch, self._given = state["epoch"], state["given"]
        batches, ranks = state.get("batches", len(self)), state.get("ranks")
        if self._given >= batches:
            self._epoch, self._given = self._epoch + 1, 0
        self._is_restored = True
        here = self.batch_sampler.bounds.world_size
        is_other = batches != len(self)
        self._given = self._given * len(self) // batches
        if self.batch_sampler.rank or not self._given or (not is_other and ranks in (None, here)):
            return
        _LOGGER.warning(
            "The checkpoint's epoch had %d batches for %s processes, now it has %d for %d: it goes "
            "on after batch %d%s.",
            batches,
            ranks or "other",
            len(self),
            here,
            self._given,
            ", the same share, so that in this epoch some utterances come twice or not at all"
            if is_other
            else " with the same utterances",
        )


def _is_place(state: Any) -> bool:
    if not isinstance(state, dict):
        return False
    numbers = [state.get("epoch"), state.get("given"), state.get("batches", 1)]
    return all(type(n) is int and 0 <= n < 2**31 for n in numbers) and numbers[2] > 0


def create_collate(settings: DataSettings) -> Callable[[Sequence[UtteranceItem]], Batch]:
    """Return what makes a batch of utterances of this dataset."""
    return partial(
        collate,
        segment_frames=settings.segment_size // settings.hop_length,
        hop_length=settings.hop_length,
        has_speakers=settings.num_speakers > 1,
    )


def create_loader(
    dataset: UtteranceDataset,
    sampler: LengthBatchSampler,
    settings: DataSettings,
    num_workers: int,
) -> ResumableLoader:
    """Return the loader of a dataset's batches, with so many processes that fill them."""
    options: dict[str, Any] = {"persistent_workers": True} if num_workers else {}
    return ResumableLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=create_collate(settings),
        num_workers=num_workers,
        pin_memory=cuda.is_available(),
        worker_init_fn=outlast_signals,
        **options,
    )
