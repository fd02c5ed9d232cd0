"""Prepared utterances as a torch dataset: cache file to tensors. Knows nothing of batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from piper.config import VoiceConfig
from piper.train.data.batches import UtteranceItem
from piper.train.data.cache import CacheDamagedError, PreparedUtterance, load_utterance
from piper.train.data.open_ends import OpenEnded, remove_final_stop
from piper.train.data.prepare import PrepareJob, prepare_utterance
from piper.train.data.settings import DataSettings
from piper.train.vits.mel import spectrogram


class UtteranceDataset(Dataset[UtteranceItem]):
    """Utterances by number; a cache file that was damaged meanwhile is made anew.

    Args:
        utterances: From the manifest.
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
        self._settings = settings
        self._voice = voice

    def __len__(self) -> int:
        return len(self._utterances)

    def __getitem__(self, index: int) -> UtteranceItem:
        utterance = self._utterances[index]
        try:
            cached = load_utterance(utterance.cache_path)
        except CacheDamagedError:
            job = PrepareJob(utterance.row, utterance.cache_path, utterance.speaker_id)
            prepare_utterance(job, self._settings, self._voice)
            cached = load_utterance(utterance.cache_path)
        settings = self._settings
        samples = torch.from_numpy(cached.samples)
        frames = len(samples) // settings.hop_length
        linear = spectrogram(
            samples.unsqueeze(0),
            settings.filter_length,
            settings.hop_length,
            settings.win_length,
        )[0, :, :frames]
        ids = torch.from_numpy(cached.ids)
        if isinstance(utterance, OpenEnded):
            ids = torch.tensor(remove_final_stop(ids.tolist(), self._voice))
        return UtteranceItem(
            ids,
            linear,
            samples[: frames * settings.hop_length],
            utterance.speaker_id,
            utterance.row.audio_path.name,
        )
