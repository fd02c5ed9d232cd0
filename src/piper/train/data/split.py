"""Which utterances are trained on and which are held out; without torch, for the check."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from piper.errors import DatasetError
from piper.progress import count_things
from piper.train.data.cache import PreparedUtterance
from piper.train.data.settings import DataSettings

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """A dataset in two parts.

    Attributes:
        training: What is trained on, in the order of the CSV.
        validation: What is validated on; the first few are listened to. Never empty.
    """

    training: list[PreparedUtterance]
    validation: list[PreparedUtterance]


def leave_out_long(
    utterances: Sequence[PreparedUtterance], settings: DataSettings, *, is_told: bool = True
) -> list[PreparedUtterance]:
    """Return the utterances that are not longer than `max_seconds`, and name the others."""
    if settings.max_seconds is None:
        return list(utterances)
    limit = settings.max_seconds * settings.sample_rate
    long = [utterance for utterance in utterances if utterance.num_samples > limit]
    if len(long) == len(utterances):
        raise DatasetError(
            f"All {len(long)} recordings are longer than --data.max_seconds="
            f"{settings.max_seconds:g}; raise it."
        )
    if long and is_told:
        _LOGGER.warning(
            "%d of %d recordings (%.2f hours) are longer than --data.max_seconds=%g and left out: "
            "%s.",
            len(long),
            len(utterances),
            sum(u.num_samples for u in long) / settings.sample_rate / 3600,
            settings.max_seconds,
            name_recordings(long, settings),
        )
    return [utterance for utterance in utterances if utterance.num_samples <= limit]


def split_dataset(
    utterances: Sequence[PreparedUtterance], validation_split: float, num_examples: int, seed: int
) -> Split:
    """Hold out a share of the utterances, at least one, chosen by file name, text and seed.

    So the choice is the same on every process and machine, and adding rows to the CSV leaves most
    of it as it was. Where nothing can be held out (a single utterance, or a share of 0), the first
    few of the training set are validated on, and that is said.
    """
    names = [(utterance.row.audio_path.name, utterance.row.text) for utterance in utterances]
    ranked = rank_recordings(names, seed)
    count = count_held_out(len(utterances), validation_split)
    if count == 0:
        _LOGGER.warning(
            "Nothing is held out for validation (%s, --data.validation_split=%g): "
            "val_loss is that of recordings which are trained on.",
            count_things(len(utterances), "utterance"),
            validation_split,
        )
        examples = ranked[: max(1, num_examples)]
        return Split(list(utterances), [utterances[place] for place in examples])
    held_out = set(ranked[:count])
    training = [utterance for place, utterance in enumerate(utterances) if place not in held_out]
    return Split(training, [utterances[place] for place in ranked[:count]])


def count_held_out(total: int, validation_split: float) -> int:
    """Return how many of so many utterances are held out; 0 where nothing can be."""
    if total < 2 or validation_split == 0:
        return 0
    return min(total - 1, max(1, round(total * validation_split)))


def rank_recordings(names: Sequence[tuple[str, str]], seed: int) -> list[int]:
    """Return the places of recordings, those first that are held out first.

    Args:
        names: Name of the file and text of each.
        seed: Of the split.
    """
    return sorted(range(len(names)), key=lambda place: rank_recording(*names[place], seed))


def rank_recording(name: str, text: str, seed: int) -> bytes:
    """Return what recordings are sorted by, to choose some of them."""
    key = f"{seed}|{name}|{text}"
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


NAMED_AT_MOST = 5
OUTLIER_TIMES = 4.0
"""A recording this much longer than the median is named: all others of its batch are padded to
it, and it alone decides how large a batch may be."""


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
