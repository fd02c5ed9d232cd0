"""What tests ask of a cache. Prepares nothing."""

from __future__ import annotations

from pathlib import Path

from piper.train.data.cache import (
    CachedUtterance,
    PackEntry,
    PreparedUtterance,
    UtteranceCache,
    load_entries,
)


def load(utterance: PreparedUtterance) -> CachedUtterance:
    """What the cache holds of an utterance."""
    return UtteranceCache(utterance.entry.pack.parent).load(utterance.key, utterance.entry)


def stamps(cache_dir: Path) -> dict[str, int]:
    """When each entry of a cache was made."""
    return {key: entry.stamp for key, entry in load_entries(cache_dir).items()}


def flip_byte(entry: PackEntry, offset: int = 0) -> None:
    """Damage an entry as a failing disk would."""
    with entry.pack.open("r+b") as file:
        file.seek(entry.offset + offset)
        [byte] = file.read(1)
        file.seek(entry.offset + offset)
        file.write(bytes([byte ^ 0xFF]))
