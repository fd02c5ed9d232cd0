"""What it takes to go on with a training: the command for it, and the run of a checkpoint.

Knows words of a command line and config.yaml; neither torch nor what is trained.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piper.errors import ConfigError, DatasetError
from piper.train import storage
from piper.train.storage import is_remote, join_address

COMMAND_VARIABLE = "PIPER_RESUME_COMMAND"
"""What a program that starts trainings sets, so that they name its command and not their own: the
words, a line each. One with {checkpoint} is left out where there is none; the word {flags} is
where further flags of `python -m piper.train fit` go."""

CHECKPOINT, FLAGS = "{checkpoint}", "{flags}"
_CHECKPOINT_FLAGS = ("--ckpt_path", "--checkpoint", "CHECKPOINT")
_SETTING = re.compile(r"(-{0,2}[A-Za-z_][\w.-]*=)(.*)", re.DOTALL)

LAST = "last"
"""What stands for the newest checkpoint of a folder; the same command begins and goes on."""

CONFIG_NAME = "config.yaml"
DATASET_FLAGS = ("dataset_dir", "shards", "csv_path")
"""The `--data.*` flags of which one names a dataset."""

_PLACES = (*DATASET_FLAGS, "audio_dir", "cache_dir", "config_path", "phonemes_path")
_NOT_OF_DATASETS = {
    *("batch_size", "max_batch_frames", "num_workers", "num_test_examples"),
    *("num_symbols", "num_speakers", "sample_rate", "quality"),
    *("filter_length", "hop_length", "win_length", "segment_size"),
}
"""The `--data.*` flags that say neither what is trained on nor what is held out."""

_typed: list[str] = ["python", "-m", "piper.train", "fit"]


def remember_command(arguments: Sequence[str] | None) -> None:
    """Keep the words that a training was started with.

    Args:
        arguments: Those of the trainer, from a program; None means those of the process.
    """
    if arguments is None:
        _typed[:] = sys.orig_argv
    else:
        _typed[:] = ["python", "-m", "piper.train", *arguments]


def resume_command(checkpoint: str | None, *flags: str) -> str:
    """Return the command that goes on with this training, in the words that it was started with.

    Args:
        checkpoint: Its file; None where there is none yet. A training that was started with
            `last` is gone on with so.
        flags: Of the trainer, to be given beside.
    """
    words = os.environ.get(COMMAND_VARIABLE, "").splitlines()
    if not words:
        words = [*_typed, FLAGS, f"{_CHECKPOINT_FLAGS[0]}={CHECKPOINT}"]
    return fill_command(words, checkpoint, *flags)


def fill_command(words: Sequence[str], checkpoint: str | None, *flags: str) -> str:
    """Return a command line of words as `COMMAND_VARIABLE` has them."""
    before, named = _take_checkpoint(words)
    going_on = named if named == LAST or checkpoint is None else checkpoint
    filled: list[str] = []
    for word in before:
        if word == FLAGS:
            filled += flags
        elif CHECKPOINT not in word:
            filled.append(word)
        elif going_on is not None:
            filled.append(word.replace(CHECKPOINT, going_on))
    return quote_command(filled[:-1] if filled[-1] == "--" else filled)


def _take_checkpoint(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the words without those that name a checkpoint, and the last name."""
    others: list[str] = []
    named = None
    pending = iter(words)
    for word in pending:
        flag, has_value, value = word.partition("=")
        if flag not in _CHECKPOINT_FLAGS or value == CHECKPOINT:
            others.append(word)
        else:
            named = value if has_value else next(pending, None)
    return others, named


def quote_command(words: Sequence[str]) -> str:
    """Return a command line as a person types it, quoted for this system's shell."""
    if os.name == "nt":
        return subprocess.list2cmdline(words)
    return " ".join(map(_quote, words))


def _quote(word: str) -> str:
    # NAME=value is a setting of the environment only where the name stays outside of the quotes.
    found = _SETTING.fullmatch(word)
    return found[1] + (shlex.quote(found[2]) if found[2] else "") if found else shlex.quote(word)


@dataclass(frozen=True)
class Run:
    """What a run's config.yaml says.

    Attributes:
        address: Of the config.yaml.
        data: Its `--data.*` flags of the dataset, with paths that are there.
        quality: Of the network; empty where it is not said.
    """

    address: str
    data: dict[str, Any]
    quality: str

    @property
    def dataset(self) -> str:
        """The folder or file that names the dataset."""
        return next(str(self.data[key]) for key in DATASET_FLAGS if key in self.data)


def find_run(checkpoint: str, made: Path | None = None) -> Run:
    """Return the run that wrote a checkpoint, by the config.yaml beside it or above its folder.

    Args:
        checkpoint: Its path or address.
        made: A folder whose datasets need not be there: they can be made again.

    Raises:
        ConfigError: The file cannot be read, or holds something else.
        DatasetError: There is no such file, it names no dataset, or what is no longer there.
    """
    name = storage.plain_address(checkpoint)
    folder = name.rpartition("/")[0] if is_remote(name) else str(Path(name).absolute().parent)
    above = folder.rpartition("/")[0] if is_remote(name) else str(Path(folder).parent)
    for place in (folder, above):
        address = join_address(place, CONFIG_NAME)
        if storage.is_file(address):
            return _read_run(address, made)
    raise DatasetError(
        f"{checkpoint} does not say which recordings it was trained on, for no {CONFIG_NAME} of "
        "its run lies beside it; name them with --data.dataset_dir (--dataset of the launcher)."
    )


def _read_run(address: str, made: Path | None) -> Run:
    # Here: the launcher says in a sentence what is not installed.
    import yaml

    from piper.train.aliases import translate_config

    try:
        content = yaml.safe_load(storage.read_file(address))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"{address} cannot be read ({reason:.160}); name the recordings with "
            "--data.dataset_dir (--dataset of the launcher)."
        ) from None
    config = translate_config(content) if isinstance(content, dict) else {}
    data, model = config.get("data"), config.get("model")
    data = data if isinstance(data, dict) else {}
    found = {
        key: value
        for key, value in data.items()
        if value is not None and key not in _NOT_OF_DATASETS
    }
    if not any(isinstance(found.get(key), str) for key in DATASET_FLAGS):
        raise DatasetError(
            f"{address} names no dataset (data.dataset_dir); name one with --data.dataset_dir "
            "(--dataset of the launcher)."
        )
    for key in _PLACES:
        if key in found and key != "cache_dir":
            found[key] = _find_place(address, key, str(found[key]), made)
    quality = model.get("quality") if isinstance(model, dict) else None
    return Run(address, found, quality if isinstance(quality, str) else "")


def _find_place(address: str, key: str, name: str, made: Path | None) -> str:
    """Return a path of a config.yaml, which is relative to the folder that the run began in."""
    path = Path(name)
    if is_remote(name) or path.exists() or (made is not None and made in path.parents):
        return name
    if not is_remote(address):
        for folder in Path(address).parents:
            if (folder / path).exists():
                return str(folder / path)
    raise DatasetError(
        f"{name}, which {address} names as data.{key}, is not there; name the recordings with "
        "--data.dataset_dir (--dataset of the launcher)."
    )
