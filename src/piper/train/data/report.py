"""What a training set costs, said once before training: hours, batches, padding, outliers.

Knows lengths and names; decides nothing.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np

from piper.progress import count_things
from piper.train.data.batches import part_bounds
from piper.train.data.cache import PreparedUtterance
from piper.train.data.sampler import LengthBatchSampler
from piper.train.data.settings import DataSettings

_LOGGER = logging.getLogger(__name__)
NAMED_AT_MOST = 5
OUTLIER_TIMES = 4.0
"""A recording this much longer than the median is named: all others of its batch are padded to
it, and it alone decides how large a batch may be."""


def padding_share(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """Return the share of the frames of these batches that is padding, 0 to 1."""
    frames = np.asarray(lengths)
    used = sum(float(frames[list(batch)].sum()) for batch in batches)
    computed = sum(float(frames[list(batch)].max()) * len(batch) for batch in batches)
    return 1 - used / computed


def micro_batches(lengths: Sequence[int], sampler: LengthBatchSampler) -> list[list[int]]:
    """Return the micro-batches of the sampler's present epoch, as `Batch.chunk` cuts them."""
    parts: list[list[int]] = []
    for batch in sampler:
        batch.sort(key=lambda index: -lengths[index])
        bounds = part_bounds(len(batch), sampler.bounds.accumulate)
        parts += [batch[start:end] for start, end in bounds]
    return parts


def log_training_set(lengths: Sequence[int], sampler: LengthBatchSampler, hours: float) -> None:
    """Log one line: utterances, hours, batches, and padding with and without order by length."""
    parts = micro_batches(lengths, sampler)
    order = np.random.default_rng(0).permutation([index for part in parts for index in part])
    ends = np.cumsum([len(part) for part in parts])[:-1]
    random = [[int(index) for index in part] for part in np.split(order, ends)]
    bounds = sampler.bounds
    accumulated = f" in {bounds.accumulate} parts" if bounds.accumulate > 1 else ""
    shared = f" on each of {bounds.world_size} processes" if bounds.world_size > 1 else ""
    _LOGGER.info(
        "Training on %s (%.2f hours) in %s an epoch%s%s; padding is %.0f %% of "
        "the frames (%.0f %% in random batches).",
        count_things(len(lengths), "utterance"),
        hours,
        count_things(len(sampler), "batch"),
        shared,
        accumulated,
        100 * padding_share(lengths, parts),
        100 * padding_share(lengths, random),
    )


def warn_of_long_recordings(
    utterances: Sequence[PreparedUtterance], settings: DataSettings
) -> None:
    """Name recordings that alone are above the budget of frames, or far above the median."""
    seconds = [u.num_samples / settings.sample_rate for u in utterances]
    limit = OUTLIER_TIMES * float(np.median(seconds))
    reason = f"more than {OUTLIER_TIMES:.0f} times the median of {limit / OUTLIER_TIMES:.1f} s"
    budget = settings.max_batch_frames
    if budget is not None and budget * settings.hop_length / settings.sample_rate < limit:
        limit = budget * settings.hop_length / settings.sample_rate
        reason = f"longer than --data.max_batch_frames={budget} allows ({limit:.1f} s), and are "
        reason += "batches of their own"
    long = [u for u, length in zip(utterances, seconds, strict=True) if length > limit]
    if long:
        _LOGGER.warning(
            "%d of %d recordings are %s: %s. They decide how much memory training takes; cut "
            "them, or leave them out with --data.max_seconds=%.1f.",
            len(long),
            len(utterances),
            reason,
            name_recordings(long, settings),
            math.floor(10 * limit) / 10,
        )


def name_recordings(utterances: Sequence[PreparedUtterance], settings: DataSettings) -> str:
    """Return the first few names and seconds, the longest first."""
    ranked = sorted(utterances, key=lambda u: -u.num_samples)
    named = ", ".join(
        f"{u.row.audio_path.name} ({u.num_samples / settings.sample_rate:.1f} s)"
        for u in ranked[:NAMED_AT_MOST]
    )
    rest = len(ranked) - NAMED_AT_MOST
    return f"{named} and {rest} more" if rest > 0 else named
