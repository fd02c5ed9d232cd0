"""Prepared utterances as a torch dataset: cache entry to tensors. Knows nothing of batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from piper.config import VoiceConfig
from piper.errors import DatasetError
from piper.train.data.batches import UtteranceItem
from piper.train.data.cache import CachedUtterance, PreparedUtterance, UtteranceCache
from piper.train.data.open_ends import OpenEnded, remove_final_stop
from piper.train.data.packs import EntryDamagedError
from piper.train.data.settings import DataSettings
from piper.train.data.shards import replace_shard
from piper.train.data.utterance import make_utterance
from piper.train.vits.mel import spectrogram


class UtteranceDataset(Dataset[UtteranceItem]):
    """Utterances by number; an entry that was damaged or removed meanwhile is made anew.

    Args:
        utterances: As prepared.
        settings: Of the dataset.
        voice: What its ids were made with.
    """

    def __init__(
        self,
        utterances: Sequence[PreparedUtterance],
        settings: DataSettings,
        voice: VoiceConfig,
    ) -> None:
        self._utterances = utterances
        self._entries = [utterance.entry for utterance in utterances]
        self._cache = UtteranceCache(settings.cache_dir)
        self._settings = settings
        self._voice = voice

    def __len__(self) -> int:
        return len(self._utterances)

    def __getitem__(self, index: int) -> UtteranceItem:
        utterance, cached = self._utterances[index], self._load(index)
        settings = self._settings
        samples = torch.from_numpy(cached.samples)
        frames = len(samples) // settings.hop_length
        linear = self._measure_spectrogram(samples)
        ids = torch.from_numpy(cached.ids)
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self._voice.num_symbols:
            raise DatasetError(
                f"{utterance.row.audio_path.name} was prepared with phoneme ids that the voice has "
                f"not ({self._voice.num_symbols} are its symbols); prepare the dataset again."
            )
        if isinstance(utterance, OpenEnded):
            ids = torch.tensor(remove_final_stop(ids.tolist(), self._voice))
        return UtteranceItem(
            ids,
            linear,
            samples[: frames * settings.hop_length],
            utterance.speaker_id,
            utterance.row.audio_path.name,
        )

    def _measure_spectrogram(self, samples: Tensor) -> Tensor:
        """Return linear magnitudes (F, T) of samples (S,)."""
        settings = self._settings
        return spectrogram(
            samples.unsqueeze(0), settings.filter_length, settings.hop_length, settings.win_length
        )[0, :, : len(samples) // settings.hop_length]

    def _load(self, index: int) -> CachedUtterance:
        key = self._utterances[index].key
        try:
            return self._cache.load(key, self._entries[index])
        except EntryDamagedError:
            # Compacting moves entries, and another process may have made this one anew.
            found = self._cache.find({utterance.key for utterance in self._utterances})
            pairs = zip(self._utterances, self._entries, strict=True)
            self._entries = [found.get(utterance.key, entry) for utterance, entry in pairs]
        try:
            return self._cache.load(key, self._entries[index])
        except EntryDamagedError as error:
            self._mend(index, error)
        try:
            return self._cache.load(key, self._entries[index])
        except EntryDamagedError as error:
            raise DatasetError(
                f"An utterance is damaged wherever it comes from ({error}); prepare it again."
            ) from None

    def _mend(self, index: int, error: EntryDamagedError) -> None:
        settings, utterance = self._settings, self._utterances[index]
        if settings.shards is None:
            made = make_utterance(utterance.row, settings, self._voice)
            self._entries[index] = self._cache.store(utterance.key, made)
            return
        replace_shard(settings.shards, utterance.entry.pack, str(error))
        self._cache = UtteranceCache(settings.cache_dir)
