"""Where a figure stands on the axis of the log."""

from __future__ import annotations

from lightning.pytorch import Trainer


def logged_step(trainer: Trainer) -> int:
    """Return the step that Lightning writes beside a scalar at this moment.

    Its count of batches is the one that every logger gets, and it has no public name. It differs
    from `global_step // 2`, the updates that checkpoints and messages count: it lags by one at a
    validation, and goes on over updates that were skipped. What is drawn or heard beside scalars
    has to stand where they do, also after resuming from a checkpoint of another trainer.
    """
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def count_updates(trainer: Trainer) -> int:
    """Return the updates of the weights so far: two optimizers step in each."""
    return trainer.global_step // 2
