"""Prepared utterances on disk: key, file and manifest. Knows nothing of how they are made.

A file holds an utterance's phoneme ids and its trimmed, resampled samples as 16-bit numbers. The
spectrogram is computed when a batch is made: with it and audio as float32, an utterance of 8.6 s
would take 2.3 MB instead of 0.35 MB, and computing it costs 8.5 ms on one core (festvox-ru,
22,050 Hz). So nothing that is stored depends on the spectrogram's settings, and the key need not
hold them.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from piper.atomic import replace_on_success
from piper.config import VoiceConfig
from piper.text.options import VOICE_KEY
from piper.train.data.audio import FloatArray
from piper.train.data.metadata import Row
from piper.train.data.settings import DataSettings

FORMAT_VERSION = 2
"""Raised whenever decoding, trimming or phonemising changes what is stored."""
INT16_SCALE = 32767.0


class CacheDamagedError(Exception):
    """A cache file that is missing or cannot be read; it is made anew, no user has to act."""


@dataclass(frozen=True)
class CachedUtterance:
    """What a cache file holds.

    Attributes:
        ids: (P,) int64 phoneme ids, each sentence from BOS to EOS.
        samples: (S,) float32, -1 to 1.
        source_rate: Hertz of the recording.
        missing: Phonemes that the id map lacks, once for each time they occur.
    """

    ids: npt.NDArray[np.int64]
    samples: FloatArray
    source_rate: int
    missing: str


@dataclass(frozen=True)
class PreparedUtterance:
    """One line of the manifest.

    Attributes:
        row: Its line of the CSV.
        cache_path: Its file in the cache.
        speaker_id: 0 where there is one speaker.
        cache_bytes: That file's size.
        num_ids: Phoneme ids, padding included.
        num_samples: Samples after trimming, at the training's rate.
        source_rate: Hertz of the recording.
        missing: Phonemes that the id map lacks.
    """

    row: Row
    cache_path: Path
    speaker_id: int
    cache_bytes: int
    num_ids: int
    num_samples: int
    source_rate: int
    missing: str


def create_cache_context(settings: DataSettings, voice: VoiceConfig) -> str:
    """Return a digest of what all utterances' keys share: settings, phonemizer, id map."""
    return _digest(
        [
            FORMAT_VERSION,
            settings.sample_rate,
            asdict(settings.trim),
            voice.espeak_voice,
            voice.phoneme_type.value,
            voice.phoneme_id_map,
            voice.phoneme_map,
            voice.extra.get(VOICE_KEY),
            asdict(voice.phonemizer) if voice.phonemizer else None,
        ]
    )


def create_cache_key(row: Row, context: str) -> str:
    """Return the name of an utterance's cache file: all that its content depends on.

    The recording counts by path, size and time of change: reading 24 hours of audio for a digest
    at each start would take a minute.
    """
    stat = row.audio_path.stat()
    path = str(row.audio_path.absolute())
    return _digest([context, path, stat.st_size, stat.st_mtime_ns, row.text, row.ids])


def write_utterance(path: Path, utterance: CachedUtterance) -> None:
    """Write a cache file, whole or not at all."""
    samples = np.clip(np.rint(utterance.samples * INT16_SCALE), -32767, 32767).astype(np.int16)
    with replace_on_success(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            ids=utterance.ids.astype(np.int32),
            samples=samples,
            source_rate=np.int32(utterance.source_rate),
            missing=np.frombuffer(utterance.missing.encode(), dtype=np.uint8),
        )


def load_utterance(path: Path) -> CachedUtterance:
    """Read a cache file; its checksums are verified.

    Raises:
        CacheDamagedError: The file is missing, cut off or altered.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            return CachedUtterance(
                data["ids"].astype(np.int64),
                data["samples"].astype(np.float32) / np.float32(INT16_SCALE),
                int(data["source_rate"]),
                data["missing"].tobytes().decode(),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CacheDamagedError(f"{path}: {error}") from None


def find_manifest_path(cache_dir: Path, keys: Sequence[str]) -> Path:
    """Return where the manifest of these utterances, in this order, lies."""
    return cache_dir / f"manifest-{_digest(list(keys))}.json"


def write_manifest(path: Path, utterances: Sequence[PreparedUtterance]) -> None:
    """Write the manifest; rows' texts and paths are not repeated in it."""
    entries = [
        [u.cache_bytes, u.num_ids, u.num_samples, u.source_rate, u.missing] for u in utterances
    ]
    with replace_on_success(path) as temporary:
        temporary.write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")


def load_manifest(
    path: Path, rows: Sequence[Row], cache_paths: Sequence[Path], speaker_ids: Sequence[int]
) -> list[PreparedUtterance] | None:
    """Return the prepared utterances, or None where one is missing or of another size."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        result = [
            PreparedUtterance(
                row=row,
                cache_path=cache_path,
                speaker_id=speaker_id,
                cache_bytes=entry[0],
                num_ids=entry[1],
                num_samples=entry[2],
                source_rate=entry[3],
                missing=entry[4],
            )
            for row, cache_path, entry, speaker_id in zip(
                rows, cache_paths, entries, speaker_ids, strict=True
            )
        ]
        if all(u.cache_path.stat().st_size == u.cache_bytes for u in result):
            return result
    except (OSError, ValueError, TypeError, IndexError, KeyError):
        pass
    return None


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
