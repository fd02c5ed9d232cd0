"""Which utterances are trained on, which are held out, and variants of them without a final stop.

Without torch, for the check.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from piper.config import PhonemeType, VoiceConfig
from piper.errors import DatasetError, name_some
from piper.phoneme_ids import BOS, EOS, PAD
from piper.progress import count_things
from piper.train.data.cache import PreparedUtterance
from piper.train.data.metadata import Row
from piper.train.data.settings import DataSettings

_LOGGER = logging.getLogger(__name__)
OUTLIER_TIMES = 4.0
"""A recording this much longer than the median is named: all others of its batch are padded to
it, and it alone decides how large a batch may be."""
STOPS = (".", "…")
_STOP_AT_END = re.compile(r"[^.…?!][.。।۔][\s\"'“”«»‘’)\]]*$")
"""espeak-ng makes nothing of an ellipsis at the end, so such ids have no stop already."""
_STOP_CHARACTERS_AT_END = re.compile(r"[^.…?!](\.+|…)$")
"""With phoneme_type=text the characters themselves are the ids."""


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
            _name_recordings(long, settings),
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
    return sorted(range(len(names)), key=lambda place: _rank(*names[place], seed))


def _rank(name: str, text: str, seed: int) -> bytes:
    key = f"{seed}|{name}|{text}"
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


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
            _name_recordings(long, settings),
            math.floor(10 * limit) / 10,
        )


def _name_recordings(utterances: Sequence[PreparedUtterance], settings: DataSettings) -> str:
    """Return the first few names and seconds, the longest first."""
    ranked = sorted(utterances, key=lambda u: -u.num_samples)
    return name_some(
        f"{u.row.audio_path.name} ({u.num_samples / settings.sample_rate:.1f} s)" for u in ranked
    )


def create_unstopped(
    utterances: Sequence[PreparedUtterance],
    voice: VoiceConfig,
    settings: DataSettings,
    *,
    is_told: bool = True,
) -> list[PreparedUtterance]:
    """Return variants without it of a share of the utterances that end in a stop.

    A voice that was trained on whole sentences has never seen ids that end with a sound. A variant
    has the same recording behind ids without the stop. A question or an exclamation without its
    mark would be another intonation, so these have none. They are chosen by file name, text and
    seed, as the split is: alike on every process, and after a training was resumed.

    Args:
        utterances: Those that are trained on.
        voice: What their ids were made with.
        settings: `open_ends` is the share.
        is_told: Whether their number is logged.
    """
    share = settings.open_ends
    if share == 0:
        return []
    ending = [u for u in utterances if has_final_stop(u.row, voice)]
    # A salt: the training's share of the split would otherwise be the lower end of this order.
    names = [(f"open {u.row.audio_path.name}", u.row.text) for u in ending]
    chosen = sorted(rank_recordings(names, settings.seed)[: round(share * len(ending))])
    if is_told:
        _LOGGER.info(
            "%d of the %d training utterances that end in a full stop are trained on a second time "
            "without it (--data.open_ends=%g).",
            len(chosen),
            len(ending),
            share,
        )
    return [replace(ending[place], drops_final_stop=True) for place in chosen]


def has_final_stop(row: Row, voice: VoiceConfig) -> bool:
    """Return whether the ids of a row end in a full stop, as far as its text tells."""
    if row.ids is not None:
        return len(remove_final_stop(row.ids, voice)) < len(row.ids)
    is_text = voice.phoneme_type is PhonemeType.TEXT
    pattern = _STOP_CHARACTERS_AT_END if is_text else _STOP_AT_END
    return pattern.search(row.text) is not None


def remove_final_stop(ids: Sequence[int], voice: VoiceConfig) -> list[int]:
    """Return an utterance's ids without the stop (and its padding) of the last sentence.

    Ids that do not end in a stop are returned as they are; so are those of a stop alone.

    Args:
        ids: Each sentence from BOS to EOS.
        voice: What they were made with.
    """
    id_map = voice.phoneme_id_map
    start, end, pad = (list(id_map[symbol]) for symbol in (BOS, EOS, PAD))
    stops = [list(id_map[stop]) for stop in STOPS if stop in id_map]
    left = list(ids)
    if left[-len(end) :] != end:
        return left
    left = left[: -len(end)]
    while stop := next((s for s in stops if left[-len(s + pad) :] == s + pad), None):
        left = left[: -len(stop + pad)]
    is_empty = left[-len(start) :] == start or left[-len(start + pad) :] == start + pad
    return list(ids) if is_empty else [*left, *end]
