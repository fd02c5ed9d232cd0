"""A row to its phoneme ids and samples, as they go to the cache. Knows nothing of the cache."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from piper.config import VoiceConfig
from piper.errors import DatasetError
from piper.text.frontend import create_frontend
from piper.train.data.audio import load_recording
from piper.train.data.cache import CachedUtterance
from piper.train.data.loudness import normalise_loudness
from piper.train.data.metadata import Row
from piper.train.data.scripts import describe_named_letters, find_named_letters
from piper.train.data.settings import DataSettings


@dataclass(frozen=True)
class PrepareJob:
    """One utterance to prepare, in a form that other processes can be sent."""

    row: Row
    key: str
    speaker_id: int


def make_utterance(
    row: Row, settings: DataSettings, voice: VoiceConfig, content: bytes | None = None
) -> CachedUtterance:
    """Decode a row's recording once, and phonemise its text.

    Args:
        row: What to make.
        settings: Of the dataset.
        voice: Whose phonemes and ids.
        content: The recording's bytes, where they were read already.

    Raises:
        DatasetError: The recording or its text cannot be used.
        PhonemizeError: The text cannot be phonemised.
        ConfigError: A library that the settings need is not installed.
    """
    recording = load_recording(row.audio_path, settings.sample_rate, settings.trim, content)
    samples = recording.samples
    if settings.loudness is not None:
        samples = normalise_loudness(samples, settings.sample_rate, settings.loudness)
    ids, missing = find_ids(row, voice)
    return CachedUtterance(np.asarray(ids, dtype=np.int64), samples, recording.source_rate, missing)


def find_ids(row: Row, voice: VoiceConfig) -> tuple[list[int], str]:
    """Return a row's ids, and the phonemes that the id map lacks.

    Raises:
        DatasetError: Its text gives no phonemes or names of letters instead, or its ids are beyond
            the network's symbols.
        PhonemizeError: Its text cannot be phonemised.
    """
    if row.ids is not None:
        if max(row.ids) >= voice.num_symbols:
            raise DatasetError(
                f"the phoneme id {max(row.ids)} is beyond the network's {voice.num_symbols} "
                "symbols; mend it, or raise --data.num_symbols."
            )
        return row.ids, ""
    frontend = create_frontend(voice)
    if named := find_named_letters(row.text, voice):
        raise DatasetError(f"{describe_named_letters(named, voice.espeak_voice)}.")
    ids: list[int] = []
    missing: list[str] = []
    for phonemes in frontend.text_to_phonemes(row.text):
        # Sorted out here, so that each process does not warn of the same phoneme on its own.
        known = [phoneme for phoneme in phonemes if phoneme in voice.phoneme_id_map]
        missing.extend(phoneme for phoneme in phonemes if phoneme not in voice.phoneme_id_map)
        if known:
            ids.extend(frontend.phonemes_to_ids(known))
    if not ids:
        raise DatasetError(
            f"the text {row.text!r:.60} gives no phonemes; write what is said in words."
        )
    return ids, "".join(missing)
