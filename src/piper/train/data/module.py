"""The --data.* flags as Lightning's data module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningDataModule
from torch import Tensor

from piper.config import VoiceConfig
from piper.train.data.batches import Batch, BatchBounds, LengthBatchSampler, log_training_set
from piper.train.data.cache import PreparedDataset, PreparedUtterance
from piper.train.data.dataset_config import complete_dataset_config
from piper.train.data.loader import (
    ResumableLoader,
    UtteranceDataset,
    create_loader,
    default_num_workers,
)
from piper.train.data.prepare import load_prepared_dataset, prepare_dataset
from piper.train.data.settings import AUTO_BATCH_SIZE, DataSettings, resolve_settings
from piper.train.data.shards import load_sharded_dataset
from piper.train.data.split import (
    Split,
    create_unstopped,
    leave_out_long,
    split_dataset,
    warn_of_long_recordings,
)

DEFAULT_BATCH_SIZE = 32


@dataclass(frozen=True)
class ListeningExample:
    """A held-out utterance that is spoken at every validation.

    Attributes:
        text: What is said.
        ids: (P,) int64 phoneme ids.
        audio: (S,) float32, the recording as it is trained on.
        spectrogram: (F, T) float32, linear magnitudes.
        speaker_id: None where there is one speaker.
        name: Of the recording's file, without its ending.
    """

    text: str
    ids: Tensor
    audio: Tensor
    spectrogram: Tensor
    speaker_id: int | None
    name: str = ""


class VitsDataModule(LightningDataModule):
    """Recordings and texts as batches for training.

    The Trainer needs `use_distributed_sampler=False`: the batches are shared out here.

    Args:
        flags: Fields of `DatasetFlags`.

    Raises:
        ConfigError: Flags and config.json disagree, or a value cannot be used.
        DatasetError: There is no dataset.
    """

    def __init__(self, **flags: Any) -> None:
        super().__init__()
        self.settings: DataSettings = resolve_settings(**flags)
        self._split: Split | None = None
        self._voice: VoiceConfig | None = None
        self.found_batch_size: int | None = None
        """What batch_size=auto came to; a checkpoint keeps it for the runs that resume."""
        self._loaders: list[ResumableLoader] = []
        self.on_wait: Callable[[], bool] = lambda: False
        """Called each second that a batch is waited for; whether to end instead."""
        self.accumulate_grad_batches = 1
        """Micro-batches of `batch_size` utterances in one batch, which makes one update."""

    def prepare_data(self) -> None:
        """Fill the cache and complete config.json; only one process a machine does this."""
        self._prepare()

    def _prepare(self) -> PreparedDataset:
        return self._load(prepare_dataset)

    def _load(self, load: Callable[[DataSettings], PreparedDataset]) -> PreparedDataset:
        """Return the dataset of shards, which are brought here, or what `load` makes of one."""
        settings = self.settings
        if settings.shards is None:
            return load(settings)
        places = (settings.audio_dir, settings.config_path)
        return load_sharded_dataset(settings.shards, *places, settings.quality)

    def setup(self, stage: str | None = None) -> None:
        """Read rows and indexes; needs nothing that `prepare_data` kept in memory."""
        if self._split is not None:
            return
        settings = self.settings
        prepared = self._load(load_prepared_dataset)
        self._voice = prepared.voice
        is_told = self._rank == 0
        split = split_dataset(
            self._select(leave_out_long(prepared.utterances, settings, is_told=is_told)),
            settings.validation_split,
            settings.num_test_examples,
            settings.seed,
        )
        variants = create_unstopped(split.training, prepared.voice, settings, is_told=is_told)
        self._split = Split([*split.training, *variants], split.validation)

    def _select(self, utterances: Sequence[PreparedUtterance]) -> Sequence[PreparedUtterance]:
        """Return the utterances that the family can be trained on."""
        return utterances

    @property
    def split(self) -> Split:
        """Training and validation utterances."""
        self.setup()
        assert self._split is not None
        return self._split

    @property
    def seconds(self) -> float:
        """How long the training utterances are in all."""
        return sum(u.num_samples for u in self.split.training) / self.settings.sample_rate

    @property
    def train_lengths(self) -> list[int]:
        """Frames of each training utterance."""
        return self._lengths(self.split.training)

    def voice_config(self) -> VoiceConfig:
        """Return what export writes beside the ONNX."""
        self.setup()
        assert self._voice is not None
        return self._voice

    def adopt_speakers(self, speakers: Mapping[str, int], *, keeps_rows: bool) -> list[str]:
        """Give the voice a file's speakers of whom the dataset has nothing, where ids are free.

        They are written into config.json as well, so that all later runs know them.

        Args:
            speakers: The file's: name to id.
            keeps_rows: Their ids are to be the file's, as where its training goes on.

        Returns:
            The speakers of the voice without any recording, however they came to it.
        """
        voice = self.voice_config()
        own, before = voice.speaker_id_map, len(voice.speaker_id_map)
        if voice.num_speakers > 1:
            for name, number in speakers.items():
                free = set(range(voice.num_speakers)) - set(own.values())
                if name not in own and free and (number in free or not keeps_rows):
                    own[name] = number if number in free else min(free)
        if len(own) > before and self._rank == 0 and self.settings.shards is None:
            with suppress(OSError):
                complete_dataset_config(self.settings, voice)
        spoken = self.trained_speakers()
        return [name for name, number in own.items() if number not in spoken]

    def trained_speakers(self) -> set[int]:
        """Ids of the speakers that there are recordings of."""
        return {utterance.speaker_id for utterance in self.split.training}

    def listening_examples(self) -> list[ListeningExample]:
        """Return the held-out utterances that are spoken at every validation."""
        utterances = self.split.validation[: self.settings.num_test_examples]
        dataset = self._dataset(utterances)
        has_speakers = self.settings.num_speakers > 1
        examples = []
        for index, utterance in enumerate(utterances):
            item = dataset[index]
            examples.append(
                ListeningExample(
                    utterance.row.text,
                    item.ids,
                    item.audio,
                    item.spectrogram,
                    item.speaker_id if has_speakers else None,
                    utterance.row.audio_path.stem,
                )
            )
        return examples

    @property
    def batch_size(self) -> int:
        """Most utterances of one process's micro-batch."""
        if isinstance(self.settings.batch_size, int):
            return self.settings.batch_size
        return self.found_batch_size or DEFAULT_BATCH_SIZE

    @property
    def has_open_batch_size(self) -> bool:
        """Whether the batch size is still to be found."""
        return self.settings.batch_size == AUTO_BATCH_SIZE and self.found_batch_size is None

    def state_dict(self) -> dict[str, Any]:
        """Return what batch_size=auto came to, so that a resumed training has the same batches."""
        return {"batch_size": self.found_batch_size} if self.found_batch_size else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the batch size that was found when this training began."""
        if self.settings.batch_size == AUTO_BATCH_SIZE:
            found = state_dict.get("batch_size")
            self.found_batch_size = found if type(found) is int and found > 0 else None

    def train_dataloader(self) -> ResumableLoader:
        """Return the batches of this process, shuffled anew each epoch."""
        utterances = self.split.training
        sampler = self._sampler(utterances, self.accumulate_grad_batches, shuffle=True)
        if self._rank == 0:
            log_training_set(self._lengths(utterances), sampler, self.seconds / 3600)
            warn_of_long_recordings(utterances, self.settings)
        return self._loader(utterances, sampler)

    def val_dataloader(self) -> ResumableLoader:
        """Return the validation batches of this process, always the same."""
        utterances = self.split.validation
        return self._loader(utterances, self._sampler(utterances, 1, shuffle=False))

    def teardown(self, stage: str | None = None) -> None:
        """End the processes that load, those that hang as well."""
        while self._loaders:
            self._loaders.pop().end_processes()

    def on_exception(self, exception: BaseException) -> None:
        """End them at once where something went wrong, too."""
        self.teardown()

    def load_batch(self, indices: Sequence[int]) -> Batch:
        """Return a batch of these training utterances, by their numbers in `split.training`."""
        return self._dataset(self.split.training).load_batch(indices)

    def _lengths(self, utterances: Sequence[PreparedUtterance]) -> list[int]:
        return [u.num_samples // self.settings.hop_length for u in utterances]

    def _dataset(self, utterances: Sequence[PreparedUtterance]) -> UtteranceDataset:
        return UtteranceDataset(utterances, self.settings, self.voice_config())

    def _sampler(
        self, utterances: Sequence[PreparedUtterance], accumulate: int, *, shuffle: bool
    ) -> LengthBatchSampler:
        world_size = self.trainer.world_size if self.trainer else 1
        frames = self.settings.max_batch_frames
        return LengthBatchSampler(
            self._lengths(utterances),
            BatchBounds(self.batch_size, frames, accumulate, world_size),
            seed=self.settings.seed,
            rank=self._rank,
            shuffle=shuffle,
            goes_on=shuffle,
        )

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    def _loader(
        self, utterances: Sequence[PreparedUtterance], sampler: LengthBatchSampler
    ) -> ResumableLoader:
        workers = self.settings.num_workers
        if workers is None:
            workers = default_num_workers(self.trainer.num_devices if self.trainer else 1)
        dataset = self._dataset(utterances)
        loader = create_loader(dataset, sampler, workers, lambda: self.on_wait())
        self._loaders.append(loader)
        loader.siblings = self._loaders
        return loader
