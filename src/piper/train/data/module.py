"""The --data.* flags as Lightning's data module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from lightning.pytorch import LightningDataModule
from torch import Tensor

from piper.config import VoiceConfig
from piper.train.data.batches import Batch, BatchBounds, LengthBatchSampler, log_training_set
from piper.train.data.cache import PreparedUtterance
from piper.train.data.dataset_config import complete_dataset_config
from piper.train.data.loader import (
    ResumableLoader,
    UtteranceDataset,
    create_collate,
    create_loader,
    create_open_ends,
)
from piper.train.data.prepare import PreparedDataset, load_prepared_dataset, prepare_dataset
from piper.train.data.resources import default_num_workers
from piper.train.data.settings import AUTO_BATCH_SIZE, DataSettings, resolve_settings
from piper.train.data.sharding import load_sharded_dataset
from piper.train.data.split import (
    Split,
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
        dataset_dir: Folder with metadata.csv, wavs/ and config.json; the short way to name a
            dataset, from which the other paths follow.
        shards: Address of a dataset that `prepare --shards` has written, instead of its folder.
        csv_path: The file with lines `file.wav|Text.` (`file.wav|speaker|Text.` with several
            speakers).
        audio_dir: Folder of the recordings. Default: wavs/ in dataset_dir, else the CSV's folder.
        cache_dir: Where prepared recordings or fetched shards are kept. Default: .cache beside the
            CSV; for shards .cache in the working folder.
        config_path: The dataset's config.json; read if it exists, completed for the voice.
            Default: config.json beside the CSV.
        voice_name: Name of the voice. Default: the name of the dataset's folder.
        espeak_voice: espeak-ng's voice for the texts, such as ru or en-us. Default: what
            config.json says.
        batch_size: Utterances in the batch of one process, or auto: the largest that fits.
        max_batch_frames: Most frames of that batch, padding included: with longer utterances it
            holds fewer of them. Default: any number.
        max_seconds: Longer recordings are left out. Default: none are.
        num_workers: Processes that load batches. Default: from cores and memory.
        validation_split: Share of the utterances held out for validation.
        num_test_examples: Held-out utterances that are spoken at every validation.
        open_ends: Share (0 to 1) of the training utterances ending in a full stop that are trained
            on a second time without it, so that texts without one sound right later.
        trim_silence: Cut the silence before and after the speech.
        keep_seconds_before_silence: Seconds of silence that stay before the speech.
        keep_seconds_after_silence: Seconds of silence that stay after the speech.
        loudness: LUFS that each recording is brought to, such as -23. Default: as it is.
        phoneme_type: espeak, text (the text's own characters), pinyin or japanese. Default: what
            config.json says, else espeak.
        dataset_type: text, or phoneme_ids where the CSV's last column holds the ids.
        phonemes_path: JSON with a phoneme_id_map to use instead of the default one.
        write_numbers: Write out numbers, dates, money and abbreviations in Russian and English
            texts (extra numbers). Default: what config.json says, else no.
        stress: marks (in Russian texts `+` before the vowel), silero (extra ru) or off. Default:
            what config.json says, else marks.
        abbreviations: Let sentences go on after titles and short forms, as in `Dr. Smith`.
            Default: what config.json says, else yes; no where it was trained on without saying.
        num_symbols: Rows of the phoneme embedding. Default: what config.json says, else 256.
        num_speakers: Follows from the model's.
        sample_rate: Follows from the model's.
        filter_length: Follows from the model's.
        hop_length: Follows from the model's.
        win_length: Follows from the model's.
        segment_size: Follows from the model's.
        quality: Follows from the model's preset; written into config.json.
        seed: Of the validation split and the order of batches.

    Raises:
        ConfigError: Flags and config.json disagree, or a value cannot be used.
        DatasetError: There is no dataset.
    """

    def __init__(
        self,
        dataset_dir: str | None = None,
        shards: str | None = None,
        csv_path: str | None = None,
        audio_dir: str | None = None,
        cache_dir: str | None = None,
        config_path: str | None = None,
        voice_name: str | None = None,
        espeak_voice: str | None = None,
        batch_size: int | Literal["auto"] = DEFAULT_BATCH_SIZE,
        max_batch_frames: int | None = None,
        max_seconds: float | None = None,
        num_workers: int | None = None,
        validation_split: float = 0.1,
        num_test_examples: int = 5,
        open_ends: float = 0.0,
        trim_silence: bool = True,
        keep_seconds_before_silence: float = 0.25,
        keep_seconds_after_silence: float = 0.25,
        loudness: float | None = None,
        phoneme_type: str | None = None,
        dataset_type: str = "text",
        phonemes_path: str | None = None,
        write_numbers: bool | None = None,
        stress: str | None = None,
        abbreviations: bool | None = None,
        num_symbols: int | None = None,
        num_speakers: int | None = None,
        sample_rate: int | None = None,
        filter_length: int = 1024,
        hop_length: int = 256,
        win_length: int = 1024,
        segment_size: int = 8192,
        quality: str | None = None,
        seed: int = 1234,
    ) -> None:
        super().__init__()
        self.settings: DataSettings = resolve_settings(
            dataset_dir=dataset_dir,
            shards=shards,
            csv_path=csv_path,
            audio_dir=audio_dir,
            cache_dir=cache_dir,
            config_path=config_path,
            voice_name=voice_name,
            espeak_voice=espeak_voice,
            batch_size=batch_size,
            max_batch_frames=max_batch_frames,
            max_seconds=max_seconds,
            num_workers=num_workers,
            validation_split=validation_split,
            num_test_examples=num_test_examples,
            open_ends=open_ends,
            trim_silence=trim_silence,
            keep_seconds_before_silence=keep_seconds_before_silence,
            keep_seconds_after_silence=keep_seconds_after_silence,
            loudness=loudness,
            phoneme_type=phoneme_type,
            dataset_type=dataset_type,
            phonemes_path=phonemes_path,
            write_numbers=write_numbers,
            stress=stress,
            abbreviations=abbreviations,
            num_symbols=num_symbols,
            num_speakers=num_speakers,
            sample_rate=sample_rate,
            filter_length=filter_length,
            hop_length=hop_length,
            win_length=win_length,
            segment_size=segment_size,
            quality=quality,
            seed=seed,
        )
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
        prepare = prepare_dataset if self.settings.shards is None else load_sharded_dataset
        return prepare(self.settings)

    def setup(self, stage: str | None = None) -> None:
        """Read rows and indexes; needs nothing that `prepare_data` kept in memory."""
        if self._split is not None:
            return
        settings = self.settings
        load = load_prepared_dataset if settings.shards is None else load_sharded_dataset
        prepared = load(settings)
        self._voice = prepared.voice
        is_told = self._rank == 0
        split = split_dataset(
            self._select(leave_out_long(prepared.utterances, settings, is_told=is_told)),
            settings.validation_split,
            settings.num_test_examples,
            settings.seed,
        )
        variants = create_open_ends(
            split.training, prepared.voice, settings.open_ends, settings.seed, is_told=is_told
        )
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
            speaker_id = item.speaker_id if has_speakers else None
            examples.append(
                ListeningExample(
                    utterance.row.text,
                    item.ids,
                    item.audio,
                    item.spectrogram,
                    speaker_id,
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
        dataset = self._dataset(self.split.training)
        return create_collate(self.settings)([dataset[index] for index in indices])

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
        loader = create_loader(dataset, sampler, self.settings, workers, lambda: self.on_wait())
        self._loaders.append(loader)
        loader.siblings = self._loaders
        return loader
