"""What of a prepared dataset is refused, and what is warned about. Prepares nothing itself."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from piper.errors import DatasetError
from piper.train.data.cache import PreparedUtterance
from piper.train.data.settings import DataSettings

_LOGGER = logging.getLogger(__name__)
NAMED_AT_MOST = 5
LEFT_OUT_SHARE = 0.1
"""Of the lines. Where more cannot be used, something is wrong with the set, not with a file."""


def may_be_left_out(count: int, num_rows: int) -> bool:
    """Return whether so many lines that cannot be used are few enough to train without them."""
    return count <= LEFT_OUT_SHARE * num_rows


def leave_out_errors(settings: DataSettings, errors: Sequence[str], num_rows: int) -> None:
    """Name the first few lines that cannot be used, of so many that the CSV has.

    One bad file among thousands does not end the work of hours: it is left out with a warning.

    Raises:
        DatasetError: There are too many of them for that.
    """
    if not errors:
        return
    more = f" … and {len(errors) - NAMED_AT_MOST} more." if len(errors) > NAMED_AT_MOST else ""
    named = f"{' '.join(errors[:NAMED_AT_MOST])}{more}"
    if may_be_left_out(len(errors), num_rows):
        _LOGGER.warning(
            "%s: of %d lines %d cannot be used and %s left out: %s",
            settings.csv_path,
            num_rows,
            len(errors),
            "is" if len(errors) == 1 else "are",
            named,
        )
        return
    if len(errors) == 1:
        raise DatasetError(f"{settings.csv_path} {errors[0]}")
    raise DatasetError(
        f"{settings.csv_path}: {len(errors)} of {num_rows} lines cannot be used; mend or "
        f"remove them: {named}"
    )


def refuse_short(settings: DataSettings, utterances: Sequence[PreparedUtterance]) -> None:
    """Refuse texts that cannot be aligned: each id needs a frame of its own.

    Raises:
        DatasetError: There are such utterances.
    """
    bad = [u for u in utterances if u.num_ids > u.num_samples // settings.hop_length]
    if bad:
        named = "; ".join(
            f"line {u.row.line}: {u.num_samples / settings.sample_rate:.2f} s for "
            f"{u.num_ids} phoneme ids ({u.row.audio_path.name})"
            for u in bad[:NAMED_AT_MOST]
        )
        more = f"; and {len(bad) - NAMED_AT_MOST} more" if len(bad) > NAMED_AT_MOST else ""
        raise DatasetError(
            f"{settings.csv_path}: {len(bad)} recordings are too short for their texts, so text "
            f"and recording do not belong together ({named}{more}); mend or remove these lines."
        )


def warn_of_losses(settings: DataSettings, utterances: Sequence[PreparedUtterance]) -> None:
    """Warn of recordings of a lower rate, and of phonemes that the id map lacks."""
    lower = Counter(u.source_rate for u in utterances if u.source_rate < settings.sample_rate)
    if lower:
        rates = ", ".join(f"{count} of {rate} Hz" for rate, count in lower.most_common())
        _LOGGER.warning(
            "%d of %d recordings (%s) are resampled up to %d Hz, which adds no brightness; "
            "--model.sample_rate=%d (and the key in %s) would train on them as they are.",
            lower.total(),
            len(utterances),
            rates,
            settings.sample_rate,
            max(lower),
            settings.config_path.name,
        )
    missing = Counter("".join(u.missing for u in utterances))
    if missing:
        named = ", ".join(
            f"{phoneme!r} (U+{ord(phoneme):04X}) {count} times"
            for phoneme, count in missing.most_common()
        )
        _LOGGER.warning(
            "The phoneme_id_map lacks phonemes of these texts, and they are dropped: %s.", named
        )
