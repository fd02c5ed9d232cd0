"""Which utterances are trained on and which are held out. Knows nothing of their contents."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from piper.errors import DatasetError
from piper.train.data.cache import PreparedUtterance
from piper.train.data.report import name_recordings
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
    """Return the utterances that are not longer than `max_seconds`, and name the others.

    Raises:
        DatasetError: None is left.
    """
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
    ranked = sorted(utterances, key=lambda utterance: _rank(utterance, seed))
    if len(utterances) < 2 or validation_split == 0:
        _LOGGER.warning(
            "Nothing is held out for validation (%d utterances, --data.validation_split=%g): "
            "val_loss is that of recordings which are trained on.",
            len(utterances),
            validation_split,
        )
        return Split(list(utterances), ranked[: max(1, num_examples)])
    count = min(len(utterances) - 1, max(1, round(len(utterances) * validation_split)))
    held_out = {utterance.row.line for utterance in ranked[:count]}
    training = [utterance for utterance in utterances if utterance.row.line not in held_out]
    return Split(training, ranked[:count])


def _rank(utterance: PreparedUtterance, seed: int) -> bytes:
    row = utterance.row
    text = f"{seed}|{row.audio_path.name}|{row.text}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
