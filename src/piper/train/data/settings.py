"""What the --data.* flags and a dataset's config.json say together. Reads no recordings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piper.config import PhonemeType
from piper.errors import ConfigError
from piper.json_reader import load_json_object
from piper.text.ids import DEFAULT_PHONEME_ID_MAP
from piper.text.options import Stress, TextOptions
from piper.text.pinyin_symbols import PINYIN_PHONEME_ID_MAP
from piper.train.data.audio import TrimSettings
from piper.train.data.found_config import FoundConfig
from piper.train.data.metadata import DATASET_TYPES
from piper.train.data.paths import resolve_paths, resolve_remote_paths, resolve_shard_paths
from piper.train.data.shards import agree_settings, load_header
from piper.train.data.text_settings import (
    DEFAULT_TEXT_OPTIONS,
    parse_id_map,
    resolve_text_options,
)
from piper.train.storage import is_remote, plain_address

DEFAULT_SAMPLE_RATE = 22050
DEFAULT_NUM_SYMBOLS = 256
MIN_SAMPLE_RATE = 8000
# The phoneme types that are trained here, and the language that voices of a type have.
_LANGUAGES = {"espeak": "", "text": "", "pinyin": "zh", "japanese": "ja"}
AUTO_BATCH_SIZE = "auto"
"""A batch size that is found when training starts: the largest that fits."""


@dataclass(frozen=True)
class DataSettings:
    """Everything that preparing and batching a dataset depends on.

    Attributes:
        csv_path: metadata.csv.
        audio_dir: Folder of the recordings.
        cache_dir: Where prepared utterances lie; may be deleted at any time.
        config_path: The dataset's config.json; need not exist before preparation.
        voice_name: Name of the voice (`dataset` of its JSON).
        espeak_voice: espeak-ng's voice, such as `ru`.
        sample_rate: Hertz of what is trained on.
        quality: Name of the preset, for the voice's JSON; may be empty.
        phoneme_type: How text becomes phonemes.
        phoneme_id_map: Phoneme to ids; None means that it is made from the texts.
        speaker_id_map: Ids of speakers that config.json names.
        dataset_type: `text` or `phoneme_ids`.
        text_options: What is done to the texts before they become phonemes.
        num_symbols: Rows of the phoneme embedding.
        num_speakers: The speaker column counts only where this is above 1.
        trim_silence, keep_seconds_before_silence, keep_seconds_after_silence: Trimming.
        loudness: LUFS that recordings are brought to; None leaves them as they are.
        filter_length, hop_length, win_length: The linear spectrogram, in samples.
        segment_size: Samples that the discriminators hear; shorter clips are padded to it.
        batch_size: Most utterances of one process's micro-batch, or "auto".
        max_batch_frames: Most padded frames of it; None: any number.
        max_seconds: Longer recordings are left out; None keeps all.
        num_workers: Loader processes; None follows cores and memory.
        validation_split: Share of the rows held out for validation.
        num_test_examples: Held-out rows that are listened to at every validation.
        open_ends: Share of the training utterances with a final stop that are trained on a second
            time, without it.
        seed: Of the split and the order of batches.
        shards: Where prepared shards lie; None where there are recordings. The paths above are
            then those of the shards' folder on this machine.
        address: Where the dataset lies in a storage, else None. The paths above are then those of
            copies, without recordings.
    """

    csv_path: Path
    audio_dir: Path
    cache_dir: Path
    config_path: Path
    voice_name: str
    espeak_voice: str
    sample_rate: int = DEFAULT_SAMPLE_RATE
    quality: str = ""
    phoneme_type: PhonemeType = PhonemeType.ESPEAK
    phoneme_id_map: dict[str, list[int]] | None = None
    speaker_id_map: dict[str, int] | None = None
    dataset_type: str = "text"
    text_options: TextOptions = DEFAULT_TEXT_OPTIONS
    num_symbols: int = DEFAULT_NUM_SYMBOLS
    num_speakers: int = 1
    trim_silence: bool = True
    keep_seconds_before_silence: float = 0.25
    keep_seconds_after_silence: float = 0.25
    loudness: float | None = None
    filter_length: int = 1024
    hop_length: int = 256
    win_length: int = 1024
    segment_size: int = 8192
    batch_size: int | str = 32
    max_batch_frames: int | None = None
    max_seconds: float | None = None
    num_workers: int | None = None
    validation_split: float = 0.1
    num_test_examples: int = 5
    open_ends: float = 0.0
    seed: int = 1234
    shards: str | None = None
    address: str | None = None

    @property
    def has_stress_marks(self) -> bool:
        """Whether a `+` before a vowel is honoured; elsewhere it is taken out of the texts."""
        is_russian = self.phoneme_type is PhonemeType.ESPEAK and self.espeak_voice == "ru"
        return is_russian and self.text_options.stress != Stress.OFF

    @property
    def trim(self) -> TrimSettings:
        """The three flags of trimming."""
        return TrimSettings(
            self.trim_silence, self.keep_seconds_before_silence, self.keep_seconds_after_silence
        )


def resolve_settings(
    *,
    dataset_dir: str | Path | None = None,
    csv_path: str | Path | None = None,
    audio_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
    config_path: str | Path | None = None,
    voice_name: str | None = None,
    espeak_voice: str | None = None,
    sample_rate: int | None = None,
    quality: str | None = None,
    phoneme_type: str | None = None,
    phonemes_path: str | Path | None = None,
    write_numbers: bool | None = None,
    stress: str | None = None,
    abbreviations: bool | None = None,
    num_symbols: int | None = None,
    num_speakers: int | None = None,
    hop_length: int = 256,
    shards: str | None = None,
    **others: Any,
) -> DataSettings:
    """Put flags and config.json together; None means that a flag was not given.

    Args:
        dataset_dir: Folder with metadata.csv, wavs/, config.json; the other paths follow from it.
        shards: Address of prepared shards, instead of all of these.
        others: Fields of `DataSettings` that have no second source.

    Raises:
        ConfigError: Flag and config.json disagree, or a value cannot be used.
        DatasetError: There is no dataset.
    """
    address = None
    if shards is not None:
        csv, audio, cache, config = resolve_shard_paths(
            shards, cache_dir, (dataset_dir, csv_path, audio_dir, config_path, phonemes_path)
        )
        others |= agree_settings(load_header(audio), others, DataSettings)
    elif dataset_dir is not None and is_remote(dataset_dir):
        address = plain_address(dataset_dir).rstrip("/")
        csv, audio, cache, config = resolve_remote_paths(
            address, cache_dir, (csv_path, audio_dir, config_path)
        )
    else:
        csv, audio, cache, config = resolve_paths(
            dataset_dir, csv_path, audio_dir, cache_dir, config_path
        )
    found = FoundConfig(config, load_json_object(config) if config.is_file() else {})
    csv_folder = csv.absolute().parent
    # A folder of clips alone has no voice: asked for here, before hours of work.
    voice = found.agree("espeak_voice", "espeak.voice", espeak_voice, "")
    kind = _parse_phoneme_type(found.agree("phoneme_type", "phoneme_type", phoneme_type, "espeak"))
    if not voice and kind is PhonemeType.ESPEAK:
        raise ConfigError(
            f"{config} names no espeak voice; pass --data.espeak_voice (such as ru or en-us)."
        )
    voice = voice or _LANGUAGES[kind]
    settings = DataSettings(
        csv_path=csv,
        audio_dir=audio,
        cache_dir=cache,
        config_path=config,
        voice_name=voice_name or found.find("dataset", str) or Path(address or csv_folder).name,
        espeak_voice=voice,
        sample_rate=found.agree(
            "sample_rate", "audio.sample_rate", sample_rate, DEFAULT_SAMPLE_RATE, "model"
        ),
        # A flag may say otherwise than the file: the recordings are the same in each quality.
        quality=quality or found.find("audio.quality", str) or "",
        phoneme_type=kind,
        phoneme_id_map=_resolve_id_map(found, phonemes_path, kind),
        speaker_id_map=found.find("speaker_id_map", dict),
        text_options=resolve_text_options(
            found.data,
            config,
            TextOptions(write_numbers=write_numbers, stress=stress, abbreviations=abbreviations),
        ),
        num_symbols=found.agree("num_symbols", "num_symbols", num_symbols, DEFAULT_NUM_SYMBOLS),
        num_speakers=found.agree("num_speakers", "num_speakers", num_speakers, 1, "model"),
        hop_length=found.agree("hop_length", "hop_length", hop_length, hop_length, "model"),
        shards=shards,
        address=address,
        **others,
    )
    _check(settings)
    return settings


def _parse_phoneme_type(name: str) -> PhonemeType:
    if name not in _LANGUAGES:
        raise ConfigError(
            f'The phoneme type "{name}" cannot be trained here; choose one of '
            f"{', '.join(_LANGUAGES)} "
            "(--data.phoneme_type, or phoneme_type in the dataset's config.json)."
        )
    return PhonemeType(name)


def _resolve_id_map(
    found: FoundConfig, phonemes_path: str | Path | None, kind: PhonemeType
) -> dict[str, list[int]] | None:
    id_map = parse_id_map(found.find("phoneme_id_map", dict) or {}, found.path)
    if phonemes_path is not None:
        path = Path(phonemes_path)
        data = load_json_object(path)
        given = parse_id_map(data.get("phoneme_id_map", data), path)
        if id_map and id_map != given:
            raise ConfigError(
                f'{found.path} has a "phoneme_id_map" other than {path}; leave out '
                "--data.phonemes_path, or remove the key from the file."
            )
        id_map = given
    if id_map:
        return id_map
    if kind is PhonemeType.PINYIN:
        return dict(PINYIN_PHONEME_ID_MAP)
    # The default map has no Cyrillic letters: with phoneme_type=text the texts give the symbols.
    return dict(DEFAULT_PHONEME_ID_MAP) if kind is not PhonemeType.TEXT else None


def _check(settings: DataSettings) -> None:
    largest = max((i for ids in (settings.phoneme_id_map or {}).values() for i in ids), default=0)
    rules = (
        (settings.dataset_type in DATASET_TYPES, "dataset_type must be text or phoneme_ids"),
        (
            settings.batch_size == AUTO_BATCH_SIZE
            or (isinstance(settings.batch_size, int) and settings.batch_size >= 1),
            "batch_size must be 1 or more, or auto",
        ),
        (
            settings.max_batch_frames is None or settings.max_batch_frames >= 1,
            "max_batch_frames must be 1 or more",
        ),
        (
            settings.max_seconds is None or settings.max_seconds > 0,
            "max_seconds must be above 0",
        ),
        (settings.num_workers is None or settings.num_workers >= 0, "num_workers must not be < 0"),
        (0 <= settings.validation_split < 1, "validation_split must be from 0 to below 1"),
        (settings.num_test_examples >= 0, "num_test_examples must not be negative"),
        (0 <= settings.open_ends <= 1, "open_ends must be from 0 to 1"),
        (
            min(settings.keep_seconds_before_silence, settings.keep_seconds_after_silence) >= 0,
            "keep_seconds_before_silence and keep_seconds_after_silence must not be negative",
        ),
        (
            settings.loudness is None or -70 < settings.loudness < 0,
            "loudness must be between -70 and 0 LUFS, such as -23",
        ),
        (
            settings.num_symbols > largest,
            f"num_symbols must be above the largest phoneme id, {largest}",
        ),
    )
    for is_good, rule in rules:
        if not is_good:
            name = rule.split()[0]
            raise ConfigError(f"--data.{rule}; it is {getattr(settings, name)!r}.")
    if settings.num_speakers < 1:
        raise ConfigError(f"--model.num_speakers is {settings.num_speakers}; give 1 or more.")
    if settings.sample_rate < MIN_SAMPLE_RATE:
        raise ConfigError(
            f"The sample rate is {settings.sample_rate}; give {MIN_SAMPLE_RATE} Hz or more "
            "(--model.sample_rate)."
        )
    if settings.segment_size % settings.hop_length:
        raise ConfigError(
            f"--model.segment_size={settings.segment_size} is no multiple of "
            f"--model.hop_length={settings.hop_length}."
        )
