"""Where the parts of a dataset lie, by its flags. Reads no recordings and no texts."""

from __future__ import annotations

from pathlib import Path

from piper.errors import ConfigError, DatasetError
from piper.train.data.names import find_audio_folder
from piper.train.data.remote_dataset import AUDIO_FOLDER, CONFIG_NAME, CSV_NAME, open_dataset
from piper.train.data.shards import HEADER_NAME, load_header, open_shards


def resolve_paths(
    dataset_dir: str | Path | None,
    csv_path: str | Path | None,
    audio_dir: str | Path | None,
    cache_dir: str | Path | None,
    config_path: str | Path | None,
) -> tuple[Path, Path, Path, Path]:
    """Return CSV, folder of the recordings, cache and config.json.

    Raises:
        DatasetError: There is no dataset.
    """
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
    if audio_dir is not None:
        audio = Path(audio_dir)
    if not audio.is_dir():
        raise DatasetError(
            f"The folder of the recordings {audio} does not exist; pass it with --data.audio_dir."
        )
    return (
        Path(csv_path) if csv_path is not None else folder / "metadata.csv",
        audio,
        Path(cache_dir) if cache_dir is not None else folder / ".cache",
        Path(config_path) if config_path is not None else folder / "config.json",
    )


def resolve_remote_paths(
    address: str, cache_dir: str | Path | None, named: tuple[str | Path | None, ...]
) -> tuple[Path, Path, Path, Path]:
    """Return the same for a dataset in a storage: of copies, but for the recordings.

    Args:
        address: Of the dataset's folder.
        cache_dir: Where the copies go; None means .cache in the working folder.
        named: Paths of its parts that were given beside it.

    Raises:
        ConfigError: There are such paths, or a package is not installed.
        DatasetError: There is no dataset.
    """
    if any(path is not None for path in named):
        raise ConfigError(
            f"{address} is a whole dataset, with {CSV_NAME} and {AUDIO_FOLDER}/ in it; leave out "
            "--data.csv_path, --data.audio_dir and --data.config_path."
        )
    cache = Path(cache_dir) if cache_dir is not None else Path(".cache")
    folder = open_dataset(address, cache)
    return folder / CSV_NAME, folder, cache, folder / CONFIG_NAME


def resolve_shard_paths(
    shards: str, cache_dir: str | Path | None, named: tuple[str | Path | None, ...]
) -> tuple[Path, Path, Path, Path]:
    """Return the same for shards, brought to this machine where they lie elsewhere.

    Args:
        shards: Their address.
        cache_dir: Where what is brought goes; None means .cache in the working folder.
        named: Paths that were given beside it.

    Raises:
        ConfigError: There are such paths, or a package is not installed.
        DatasetError: There are no shards.
    """
    if any(path is not None for path in named):
        raise ConfigError(
            "--data.shards names a dataset that is prepared; leave out --data.dataset_dir, "
            "--data.csv_path, --data.audio_dir, --data.config_path and --data.phonemes_path."
        )
    cache = Path(cache_dir) if cache_dir is not None else Path(".cache")
    folder = open_shards(shards, cache)
    return folder / HEADER_NAME, folder, cache, folder / load_header(folder).voice.name
