"""A quick voice's data module: utterances with the frames of their phonemes, and their pitch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from piper.config import VoiceConfig
from piper.errors import DatasetError
from piper.train.data.batches import Batch, UtteranceItem
from piper.train.data.cache import EntryDamagedError, PreparedUtterance
from piper.train.data.loader import UtteranceDataset
from piper.train.data.module import VitsDataModule
from piper.train.data.settings import DataSettings
from piper.train.quick.features import FeatureCache, FeatureEntry, Features, prepare_features

FEWEST_HELD_OUT = 5
"""Utterances of validation from which on they serve for calibration."""


def find_kept_path(audio_path: Path) -> Path:
    """Return where z of a recording lies that a VITS voice spoke which keeps its text side."""
    return audio_path.with_suffix(".latents.npy")


class QuickDataset(UtteranceDataset):
    """Utterances that have features, without the silence at their ends."""

    def __init__(
        self,
        utterances: Sequence[PreparedUtterance],
        settings: DataSettings,
        voice: VoiceConfig,
        features: Mapping[str, FeatureEntry],
    ) -> None:
        super().__init__(utterances, settings, voice)
        self._features = [features[utterance.key] for utterance in utterances]
        self._feature_cache = FeatureCache(settings.cache_dir)

    def __getitem__(self, index: int) -> UtteranceItem:
        item = super().__getitem__(index)
        known = self._load_features(index, item.name)
        hop = self._settings.hop_length
        durations = torch.from_numpy(known.durations)
        if removed := len(durations) - len(item.ids):
            # A final stop was left out: its frames are those of the end.
            durations = torch.cat(
                [durations[: -1 - removed], durations[-1 - removed :].sum()[None]]
            )
        frames = len(known.f0)
        first = known.start_frame * hop
        return replace(
            item,
            spectrogram=self._load_kept(index, frames),
            audio=item.audio[first : first + frames * hop],
            durations=durations,
            f0=torch.from_numpy(known.f0),
        )

    def _load_kept(self, index: int, frames: int) -> torch.Tensor:
        """Return z (Z, T) of a voice that keeps its own text side; else Z is 0."""
        path = find_kept_path(self._utterances[index].row.audio_path)
        if not path.is_file():
            return torch.zeros(0, frames)
        anew = f"remove {path.parent.parent} and copy again, so that the voice says it anew"
        try:
            kept = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DatasetError(f"{path} cannot be read ({error}); {anew}.") from None
        if kept.ndim != 2 or kept.shape[1] != frames or kept.dtype.kind != "f":
            raise DatasetError(f"{path} has not the latents of {frames} frames; {anew}.")
        return torch.from_numpy(kept.astype(np.float32))

    def _load_features(self, index: int, name: str) -> Features:
        with suppress(EntryDamagedError):
            return self._feature_cache.load(self._features[index])
        # Compacting moves entries.
        found = self._feature_cache.find()
        self._features = [found.get(place.key, place) for place in self._features]
        try:
            return self._feature_cache.load(self._features[index])
        except EntryDamagedError as error:
            raise DatasetError(
                f"What is known of {name} is damaged ({error}); make it anew with "
                "`python -m piper.train prepare DIR --quality quick --verify`."
            ) from None

    def _measure_spectrogram(self, samples: torch.Tensor) -> torch.Tensor:
        return torch.zeros(0, len(samples) // self._settings.hop_length)


class QuickDataModule(VitsDataModule):
    """The `--data.*` flags, for a quick voice."""

    _features: dict[str, FeatureEntry] | None = None

    def prepare_data(self) -> None:
        """Fill the cache, align the recordings and find their pitch."""
        prepared = self._prepare()
        prepare_features(self.settings, prepared.voice, prepared.utterances)

    def _select(self, utterances: Sequence[PreparedUtterance]) -> Sequence[PreparedUtterance]:
        """Leave out what could not be aligned."""
        assert self._voice is not None
        self._features = prepare_features(self.settings, self._voice, utterances)
        return [utterance for utterance in utterances if utterance.key in self._features]

    def _dataset(self, utterances: Sequence[PreparedUtterance]) -> UtteranceDataset:
        voice = self.voice_config()  # sets up
        assert self._features is not None
        return QuickDataset(utterances, self.settings, voice, self._features)

    def some_batches(self, count: int, *, is_learnt: bool = False) -> list[Batch]:
        """Return at most so many utterances, spread evenly over their set, a batch each.

        Of the training set, or of those held out for validation, on which a network errs as on any
        text, where there are enough of them.
        """
        utterances = self.split.training
        if not is_learnt and len(self.split.validation) >= FEWEST_HELD_OUT:
            utterances = self.split.validation
        places = np.linspace(0, len(utterances) - 1, min(count, len(utterances)))
        dataset = self._dataset(utterances)
        return [dataset.load_batch([place]) for place in places.round().astype(int).tolist()]
