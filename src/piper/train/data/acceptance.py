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


def refuse_errors(settings: DataSettings, errors: Sequence[str], num_rows: int) -> None:
    """Name the first few lines that cannot be used, of so many that the CSV has.

    Raises:
        DatasetError: There are such lines.
    """
    if len(errors) == 1:
        raise DatasetError(f"{settings.csv_path} {errors[0]}")
    if errors:
        more = f" … and {len(errors) - NAMED_AT_MOST} more." if len(errors) > NAMED_AT_MOST else ""
        raise DatasetError(
            f"{settings.csv_path}: {len(errors)} of {num_rows} lines cannot be used; mend or "
            f"remove them: {' '.join(errors[:NAMED_AT_MOST])}{more}"
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
