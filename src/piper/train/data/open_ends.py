"""Utterances without their final stop, as variants: which, and their ids. Reads no files.

A voice that was trained on whole sentences has never seen ids that end with a sound: a stop has
always come before the end. A variant has the same recording behind ids without the stop. A question
or an exclamation without its mark would be another intonation, so these have none.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from piper.config import PhonemeType, VoiceConfig
from piper.text.ids import BOS, EOS, PAD
from piper.train.data.cache import PreparedUtterance
from piper.train.data.metadata import Row
from piper.train.data.split import rank_recording

_LOGGER = logging.getLogger(__name__)
STOPS = (".", "…")
_STOP_AT_END = re.compile(r"[^.…?!][.。।۔][\s\"'“”«»‘’)\]]*$")
"""espeak-ng hears an ellipsis at the end as no sign at all, so such ids have no stop already."""
_STOP_CHARACTERS_AT_END = re.compile(r"[^.…?!](\.+|…)$")
"""With phoneme_type=text the characters themselves are the ids."""


@dataclass(frozen=True)
class OpenEnded(PreparedUtterance):
    """An utterance that is trained on without the final stop of its ids."""


def create_open_ends(
    utterances: Sequence[PreparedUtterance],
    voice: VoiceConfig,
    share: float,
    seed: int,
    *,
    is_told: bool = True,
) -> list[OpenEnded]:
    """Return variants of a share of the utterances that end in a stop.

    They are chosen by file name, text and seed, as the split is: alike on every process, and after
    a training was resumed.

    Args:
        utterances: Those that are trained on.
        voice: What their ids were made with.
        share: 0 to 1.
        seed: Of the choice.
        is_told: Whether their number is logged.
    """
    if share == 0:
        return []
    ending = [u for u in utterances if has_final_stop(u.row, voice)]
    # A salt: the training's share of the split would otherwise be the lower end of this order.
    ranked = sorted(
        ending, key=lambda u: rank_recording(f"open {u.row.audio_path.name}", u.row.text, seed)
    )
    chosen = {u.row.line for u in ranked[: round(share * len(ending))]}
    if is_told:
        _LOGGER.info(
            "%d of the %d training utterances that end in a full stop are trained on a second time "
            "without it (--data.open_ends=%g).",
            len(chosen),
            len(ending),
            share,
        )
    return [_open_end(u) for u in ending if u.row.line in chosen]


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
    kept = list(ids)
    if kept[-len(end) :] != end:
        return kept
    kept = kept[: -len(end)]
    while stop := next((s for s in stops if kept[-len(s + pad) :] == s + pad), None):
        kept = kept[: -len(stop + pad)]
    is_empty = kept[-len(start) :] == start or kept[-len(start + pad) :] == start + pad
    return list(ids) if is_empty else [*kept, *end]


def _open_end(utterance: PreparedUtterance) -> OpenEnded:
    values = {field.name: getattr(utterance, field.name) for field in fields(PreparedUtterance)}
    return OpenEnded(**values)
