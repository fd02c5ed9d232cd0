"""Flags of all commands that read a dataset."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from piper.errors import ConfigError
from piper.train.data.settings import DataSettings, resolve_settings


def add_dataset_flags(parser: argparse.ArgumentParser) -> None:
    """Add the dataset's folder and what config.json may leave open."""
    add = parser.add_argument
    add("dataset", type=Path, metavar="DIR", help="folder with metadata.csv and wavs/, or s3://…")
    add_espeak_voice_flag(add)
    add(
        "--sample-rate",
        "--model.sample_rate",
        type=int,
        metavar="HERTZ",
        help="default: what config.json says",
    )
    add_num_speakers_flag(add)
    add(
        "--cache-dir",
        "--data.cache_dir",
        type=Path,
        metavar="DIR",
        help="default: .cache in the dataset's folder; of a dataset at s3://…, in this one",
    )


def add_espeak_voice_flag(add: Callable[..., Any]) -> None:
    """Add espeak-ng's voice, by a parser's or a group's `add_argument`."""
    add(
        "--espeak-voice",
        "--data.espeak_voice",
        metavar="VOICE",
        help="espeak-ng's voice, such as ru; default: what config.json says",
    )


def add_num_speakers_flag(add: Callable[..., Any]) -> None:
    """Add the number of speakers, likewise."""
    add(
        "--num-speakers",
        "--model.num_speakers",
        type=int,
        metavar="N",
        help="default: what config.json says",
    )


def find_settings(arguments: argparse.Namespace, **others: Any) -> DataSettings:
    """Return the settings that the flags and config.json say together.

    Args:
        arguments: With the flags of `add_dataset_flags`.
        others: Fields of `DataSettings` for which a command has flags of its own.
    """
    return resolve_settings(
        dataset_dir=arguments.dataset,
        espeak_voice=arguments.espeak_voice,
        sample_rate=arguments.sample_rate,
        num_speakers=arguments.num_speakers,
        cache_dir=arguments.cache_dir,
        **others,
    )


def refuse_storage(settings: DataSettings, done: str) -> None:
    """Refuse a dataset in a storage to a command that reads recordings on this disk.

    Args:
        settings: Of the dataset.
        done: What the command would have done with it, such as `checked`.
    """
    if settings.address is not None:
        raise ConfigError(
            f"{settings.address} cannot be {done} where it lies; copy it to a folder first."
        )
