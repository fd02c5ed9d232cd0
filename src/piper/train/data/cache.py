"""Prepared utterances on disk: key, entry and how it is found. Knows nothing of how they are made.

An entry holds an utterance's phoneme ids and its trimmed, resampled samples as 16-bit numbers,
whose rounding lies 98 dB below full scale and so below the noise of any recording. The
spectrogram is computed when a batch is made: with it and audio as float32, an utterance of 8.6 s
would take 2.3 MB instead of 0.35 MB, and computing it costs 8.5 ms on one core (festvox-ru,
22,050 Hz). So nothing that is stored depends on the spectrogram's settings, and the key need not
hold them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from piper.config import VoiceConfig
from piper.errors import DatasetError
from piper.text.options import VOICE_KEY
from piper.train import storage
from piper.train.data.audio import FloatArray
from piper.train.data.metadata import Row
from piper.train.data.packs import (
    PackEntry,
    PackReader,
    PackWriter,
    load_entries,
)
from piper.train.data.settings import DataSettings

FORMAT_VERSION = 2
"""Raised whenever decoding, trimming or phonemising changes what is stored."""
INT16_SCALE = 32767.0
_ID_BYTES = 4


@dataclass(frozen=True)
class CachedUtterance:
    """What an entry holds.

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
    """A row of the dataset and its entry in the cache.

    Attributes:
        row: Its line of the CSV.
        speaker_id: 0 where there is one speaker.
        key: Its name in the cache.
        entry: Where it lies.
    """

    row: Row
    speaker_id: int
    key: str
    entry: PackEntry = field(compare=False)

    @property
    def num_ids(self) -> int:
        """Phoneme ids, padding included."""
        return int(self.entry.description[0])

    @property
    def num_samples(self) -> int:
        """Samples after trimming, at the training's rate."""
        return int(self.entry.description[1])

    @property
    def source_rate(self) -> int:
        """Hertz of the recording."""
        return int(self.entry.description[2])

    @property
    def missing(self) -> str:
        """Phonemes that the id map lacks."""
        return str(self.entry.description[3])


class UtteranceCache:
    """The prepared utterances in a folder; can be sent to other processes.

    Args:
        folder: Where the packs lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reader = PackReader()
        self._writer = PackWriter(folder)

    def create(self) -> None:
        """Make the folder, where it is missing.

        Raises:
            DatasetError: It cannot be made.
        """
        with self._writing():
            self._folder.mkdir(parents=True, exist_ok=True)

    def find(self, keys: Container[str]) -> dict[str, PackEntry]:
        """Return the entries of those keys that are there; their bytes are not looked at."""
        return load_entries(self._folder, keys)

    def load(self, key: str, entry: PackEntry) -> CachedUtterance:
        """Read an entry; its digest is verified.

        Raises:
            EntryDamagedError: It is missing, cut off or altered.
        """
        return decode_utterance(self._reader.read(key, entry), entry.description)

    def store(self, key: str, utterance: CachedUtterance) -> PackEntry:
        """Store an utterance under a key; an older entry of the key counts no more.

        Raises:
            DatasetError: The folder cannot be written.
        """
        return self.store_encoded(key, *encode_utterance(utterance))

    def store_encoded(self, key: str, description: list[Any], data: bytes) -> PackEntry:
        """Store what `encode_utterance` returned."""
        with self._writing():
            return self._writer.append(key, description, data)

    def close(self) -> None:
        """Let others fill up the pack that was written to."""
        self._writer.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DatasetError(
                f"The cache folder {self._folder} cannot be written ({error.strerror}); make room "
                "there or pass another with --data.cache_dir: what was prepared is kept."
            ) from None

    def __getstate__(self) -> Path:
        return self._folder

    def __setstate__(self, folder: Path) -> None:
        UtteranceCache.__init__(self, folder)


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
            *([voice.vowel_clusters] if voice.vowel_clusters else []),
            *([] if settings.loudness is None else [settings.loudness]),
        ]
    )


def create_cache_key(row: Row, context: str) -> str:
    """Return an utterance's name in the cache: a digest of all that its entry depends on.

    The recording counts by path, size and time of change: reading 24 hours of audio for a digest
    at each start would take a minute. One in a storage counts by address, size and ETag.
    """
    if row.version:
        address = storage.plain_address(row.audio_path)
        return _digest([context, address, row.version, row.text, row.ids])
    stat = row.audio_path.stat()
    path = str(row.audio_path.absolute())
    return _digest([context, path, stat.st_size, stat.st_mtime_ns, row.text, row.ids])


def encode_utterance(utterance: CachedUtterance) -> tuple[list[Any], bytes]:
    """Return an entry's description (counts, rate, missing phonemes) and its bytes."""
    samples = np.clip(np.rint(utterance.samples * INT16_SCALE), -32767, 32767).astype("<i2")
    ids = utterance.ids.astype("<i4")
    description = [len(ids), len(samples), utterance.source_rate, utterance.missing]
    return description, ids.tobytes() + samples.tobytes()


def decode_utterance(data: npt.NDArray[np.uint8], description: list[Any]) -> CachedUtterance:
    """Return the utterance of an entry's bytes and description."""
    num_ids, _, source_rate, missing = description
    ids = data[: num_ids * _ID_BYTES].view("<i4").astype(np.int64)
    samples = data[num_ids * _ID_BYTES :].view("<i2").astype(np.float32)
    samples /= np.float32(INT16_SCALE)
    return CachedUtterance(ids, samples, source_rate, missing)


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
