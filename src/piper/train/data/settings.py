"""What the --data.* flags and a dataset's config.json say together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from piper.config import PhonemeType
from piper.errors import ConfigError, DatasetError
from piper.files import load_json_object
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.text.chinese import PINYIN_PHONEME_ID_MAP
from piper.text.frontend import VOICE_KEY, Stress, TextOptions
from piper.train.data.audio import TrimSettings
from piper.train.data.metadata import DATASET_TYPES, find_audio_folder
from piper.train.data.remote_dataset import AUDIO_FOLDER, CONFIG_NAME, CSV_NAME, open_dataset
from piper.train.data.shards import HEADER_NAME, load_header, open_shards
from piper.train.storage import is_remote, plain_address

T = TypeVar("T")
DEFAULT_SAMPLE_RATE = 22050
DEFAULT_NUM_SYMBOLS = 256
MIN_SAMPLE_RATE = 8000
# The phoneme types that are trained here, and the language that voices of a type have.
_LANGUAGES = {"espeak": "", "text": "", "pinyin": "zh", "japanese": "ja"}
AUTO_BATCH_SIZE = "auto"
"""A batch size that is found when training starts: the largest that fits."""
DEFAULT_TEXT_OPTIONS = TextOptions().fill(None)
"""Numbers are left as they are, stress signs are honoured."""


@dataclass(frozen=True, kw_only=True)
class DatasetFlags:
    """The `--data.*` flags as they are given; None where config.json may say, or where it follows.

    Attributes:
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
    """

    dataset_dir: str | Path | None = None
    shards: str | None = None
    csv_path: str | Path | None = None
    audio_dir: str | Path | None = None
    cache_dir: str | Path | None = None
    config_path: str | Path | None = None
    voice_name: str | None = None
    espeak_voice: str | None = None
    batch_size: int | Literal["auto"] = 32
    max_batch_frames: int | None = None
    max_seconds: float | None = None
    num_workers: int | None = None
    validation_split: float = 0.1
    num_test_examples: int = 5
    open_ends: float = 0.0
    trim_silence: bool = True
    keep_seconds_before_silence: float = 0.25
    keep_seconds_after_silence: float = 0.25
    loudness: float | None = None
    phoneme_type: str | None = None
    dataset_type: str = "text"
    phonemes_path: str | Path | None = None
    write_numbers: bool | None = None
    stress: str | None = None
    abbreviations: bool | None = None
    num_symbols: int | None = None
    num_speakers: int | None = None
    sample_rate: int | None = None
    filter_length: int = 1024
    hop_length: int = 256
    win_length: int = 1024
    segment_size: int = 8192
    quality: str | None = None
    seed: int = 1234


@dataclass(frozen=True, kw_only=True)
class DataSettings(DatasetFlags):
    """Everything that preparing and batching a dataset depends on: flags with nothing left open.

    Paths are those of this machine: of shards the folder that they were brought to, of a dataset in
    a storage copies without recordings. config.json need not exist before preparation.

    Attributes:
        phoneme_id_map: Phoneme to ids; None means that it is made from the texts.
        speaker_id_map: Ids of speakers that config.json names.
        text_options: What is done to the texts before they become phonemes.
        address: Where the dataset lies in a storage, else None.
        found: What config.json held.
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
    num_symbols: int = DEFAULT_NUM_SYMBOLS
    num_speakers: int = 1
    phoneme_id_map: dict[str, list[int]] | None = None
    speaker_id_map: dict[str, int] | None = None
    text_options: TextOptions = DEFAULT_TEXT_OPTIONS
    address: str | None = None
    found: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

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


@dataclass(frozen=True)
class _FoundConfig:
    """Look-ups in what config.json holds, which may be nothing yet."""

    path: Path
    data: dict[str, Any]

    def find(self, dotted: str, kind: type[T]) -> T | None:
        """Return what a dotted key holds; None where it is not there."""
        value: Any = self.data
        for part in dotted.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            return None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigError(
                f'{self.path}: the key "{dotted}" holds {value!r:.60}, '
                f"but {kind.__name__} is wanted; correct or remove it."
            )
        return value

    def agree(self, flag: str, dotted: str, given: T | None, default: T, group: str = "data") -> T:
        """Return the flag's or the file's value; they must not contradict each other."""
        found = self.find(dotted, type(default))
        if given is None:
            return default if found is None else found
        if found is not None and found != "" and given != "" and found != given:
            raise ConfigError(
                f'{self.path} says "{dotted}": {found!r}, but --{group}.{flag} is {given!r}; '
                "leave out the flag, or change the file."
            )
        return given


def resolve_settings(**given: Any) -> DataSettings:
    """Put flags and config.json together.

    Args:
        given: Fields of `DatasetFlags`.
    """
    flags, address = DatasetFlags(**given), None
    if flags.shards is not None:
        csv, audio, cache, config = _open_shards(flags)
        flags = replace(flags, **load_header(audio).agree(vars(flags), DatasetFlags))
    elif flags.dataset_dir is not None and is_remote(flags.dataset_dir):
        address = plain_address(flags.dataset_dir).rstrip("/")
        csv, audio, cache, config = _open_remote(address, flags)
    else:
        csv, audio, cache, config = _find_paths(flags)
    found = _FoundConfig(config, load_json_object(config) if config.is_file() else {})
    # A folder of clips alone has no voice: asked for here, before hours of work.
    voice = found.agree("espeak_voice", "espeak.voice", flags.espeak_voice, "")
    kind = found.agree("phoneme_type", "phoneme_type", flags.phoneme_type, "espeak")
    if kind not in _LANGUAGES:
        raise ConfigError(
            f'The phoneme type "{kind}" cannot be trained here; choose one of '
            f"{', '.join(_LANGUAGES)} "
            "(--data.phoneme_type, or phoneme_type in the dataset's config.json)."
        )
    if not voice and kind == PhonemeType.ESPEAK.value:
        raise ConfigError(
            f"{config} names no espeak voice; pass --data.espeak_voice (such as ru or en-us)."
        )
    name = flags.voice_name or found.find("dataset", str)
    resolved: dict[str, Any] = {
        "csv_path": csv,
        "audio_dir": audio,
        "cache_dir": cache,
        "config_path": config,
        "voice_name": name or Path(address or csv.absolute().parent).name,
        "espeak_voice": voice or _LANGUAGES[kind],
        # A flag may say otherwise than the file: the recordings are the same in each quality.
        "quality": flags.quality or found.find("audio.quality", str) or "",
        "phoneme_type": PhonemeType(kind),
        "phoneme_id_map": _resolve_id_map(found, flags.phonemes_path, PhonemeType(kind)),
        "speaker_id_map": found.find("speaker_id_map", dict),
        "text_options": _resolve_text_options(found, flags),
        "address": address,
        "found": found.data,
    }
    for group, key, dotted, default in (
        ("model", "sample_rate", "audio.sample_rate", DEFAULT_SAMPLE_RATE),
        ("model", "num_speakers", "num_speakers", 1),
        ("model", "hop_length", "hop_length", flags.hop_length),
        ("data", "num_symbols", "num_symbols", DEFAULT_NUM_SYMBOLS),
    ):
        resolved[key] = found.agree(key, dotted, getattr(flags, key), default, group)
    settings = DataSettings(**{**vars(flags), **resolved})
    _check(settings)
    return settings


def _find_paths(flags: DatasetFlags) -> tuple[Path, Path, Path, Path]:
    """Return CSV, folder of the recordings, cache and config.json."""
    dataset_dir, csv_path = flags.dataset_dir, flags.csv_path
    if dataset_dir is None and csv_path is None:
        raise DatasetError(
            "No dataset was named; pass --data.dataset_dir=DIR (with metadata.csv and wavs/ in it) "
            "or --data.csv_path and --data.audio_dir."
        )
    folder = Path(dataset_dir) if dataset_dir is not None else Path(str(csv_path)).parent
    if not folder.is_dir():
        raise DatasetError(
            f"The dataset's folder {folder} does not exist; check the path "
            "(--data.dataset_dir or --data.csv_path)."
        )
    # An explicit CSV elsewhere brings its own folder of recordings, as the existing trainer does.
    audio = Path(csv_path).parent if csv_path is not None else folder
    if dataset_dir is not None:
        audio = find_audio_folder(folder) or audio
    audio = Path(flags.audio_dir or audio)
    if not audio.is_dir():
        raise DatasetError(
            f"The folder of the recordings {audio} does not exist; pass it with --data.audio_dir."
        )
    return (
        Path(csv_path or folder / "metadata.csv"),
        audio,
        Path(flags.cache_dir or folder / ".cache"),
        Path(flags.config_path or folder / "config.json"),
    )


def _open_remote(address: str, flags: DatasetFlags) -> tuple[Path, Path, Path, Path]:
    """Return the same for a dataset in a storage: of copies, but for the recordings."""
    if (flags.csv_path, flags.audio_dir, flags.config_path) != (None, None, None):
        raise ConfigError(
            f"{address} is a whole dataset, with {CSV_NAME} and {AUDIO_FOLDER}/ in it; leave out "
            "--data.csv_path, --data.audio_dir and --data.config_path."
        )
    cache = Path(flags.cache_dir or ".cache")
    folder = open_dataset(address, cache)
    return folder / CSV_NAME, folder, cache, folder / CONFIG_NAME


def _open_shards(flags: DatasetFlags) -> tuple[Path, Path, Path, Path]:
    """Return the same for shards, brought to this machine where they lie elsewhere."""
    named = (flags.dataset_dir, flags.csv_path, flags.audio_dir, flags.config_path)
    if any(path is not None for path in (*named, flags.phonemes_path)):
        raise ConfigError(
            "--data.shards names a dataset that is prepared; leave out --data.dataset_dir, "
            "--data.csv_path, --data.audio_dir, --data.config_path and --data.phonemes_path."
        )
    cache = Path(flags.cache_dir or ".cache")
    folder = open_shards(str(flags.shards), cache)
    return folder / HEADER_NAME, folder, cache, folder / load_header(folder).voice.name


def _resolve_text_options(found: _FoundConfig, flags: DatasetFlags) -> TextOptions:
    """Put flags and the config's `text_options` together, with nothing left open."""
    given = TextOptions(
        write_numbers=flags.write_numbers, stress=flags.stress, abbreviations=flags.abbreviations
    )
    # A config.json with an id map is one that a training has completed, here or elsewhere.
    known = found.data.get(VOICE_KEY, {} if "phoneme_id_map" in found.data else None)
    options = given.fill(known, str(found.path))
    for name in ("write_numbers", "stress", "abbreviations"):
        value, said = getattr(given, name), (known or {}).get(name)
        if value is not None and said is not None and said != value:
            raise ConfigError(
                f'{found.path} says "{VOICE_KEY}.{name}": {said!r}, but --data.{name} is '
                f"{value!r}; leave out the flag, or change the file."
            )
    return options


def _resolve_id_map(
    found: _FoundConfig, phonemes_path: str | Path | None, kind: PhonemeType
) -> dict[str, list[int]] | None:
    id_map = _parse_id_map(found.find("phoneme_id_map", dict) or {}, found.path)
    if phonemes_path is not None:
        path = Path(phonemes_path)
        data = load_json_object(path)
        given = _parse_id_map(data.get("phoneme_id_map", data), path)
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


def _parse_id_map(data: Any, path: Path) -> dict[str, list[int]]:
    result: dict[str, list[int]] = {}
    for symbol, ids in data.items() if isinstance(data, dict) else [("", data)]:
        id_list = [ids] if isinstance(ids, int) else ids
        if not isinstance(id_list, list) or not all(type(i) is int and i >= 0 for i in id_list):
            raise ConfigError(
                f"{path} gives {ids!r:.60} for the phoneme {symbol!r}, "
                "but a list of whole numbers is wanted."
            )
        result[symbol] = id_list
    return result


def _check(settings: DataSettings) -> None:
    at = settings
    largest = max((i for ids in (at.phoneme_id_map or {}).values() for i in ids), default=0)
    is_auto = at.batch_size == AUTO_BATCH_SIZE
    is_size = isinstance(at.batch_size, int) and at.batch_size >= 1
    silence = min(at.keep_seconds_before_silence, at.keep_seconds_after_silence)
    rules = (
        (at.dataset_type in DATASET_TYPES, "dataset_type must be text or phoneme_ids"),
        (is_auto or is_size, "batch_size must be 1 or more, or auto"),
        (
            at.max_batch_frames is None or at.max_batch_frames >= 1,
            "max_batch_frames must be 1 or more",
        ),
        (at.max_seconds is None or at.max_seconds > 0, "max_seconds must be above 0"),
        ((at.num_workers or 0) >= 0, "num_workers must not be < 0"),
        (0 <= at.validation_split < 1, "validation_split must be from 0 to below 1"),
        (at.num_test_examples >= 0, "num_test_examples must not be negative"),
        (0 <= at.open_ends <= 1, "open_ends must be from 0 to 1"),
        (
            silence >= 0,
            "keep_seconds_before_silence and keep_seconds_after_silence must not be negative",
        ),
        (
            at.loudness is None or -70 < at.loudness < 0,
            "loudness must be between -70 and 0 LUFS, such as -23",
        ),
        (at.num_symbols > largest, f"num_symbols must be above the largest phoneme id, {largest}"),
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
