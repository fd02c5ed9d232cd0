"""What it takes to go on with a training: the command for it, and the run of a checkpoint.

Rewrites arguments and the YAML that `--config` and `--model` name before a parser sees them; what
is not an old name stays as it is.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from piper.errors import ConfigError, DatasetError, describe_briefly
from piper.system import WINDOWS
from piper.train import storage
from piper.train.storage import is_remote, join_address

MODEL_ALIASES = {
    "preset": "quality",
    "warmstart_ckpt": "warmstart",
    "vocoder_warmstart_ckpt": "vocoder_warmstart",
}
"""Old to new name of `--model.…`."""

SCORE = "mos_metric"
"""Piper's `--model.…` for the speech quality score at validations: a name, or null for none."""

OUR_SCORE = "validation_quality"
_CONFIG_FLAGS = ("--config", "-c")
_SUBCOMMANDS = ("fit", "validate")

MOVED = {
    ("model", "grad_clip"): ("trainer", "gradient_clip_val"),
    ("model", "batch_size"): ("data", "batch_size"),
}
"""Flags of Piper's trainer that belong to another part here; null means that they are not given."""

_ANY = object()
ABSENT: dict[tuple[str, str], tuple[object, str]] = {
    ("model", "n_layers_q"): (_ANY, ""),  # no network of Piper's has read it
    ("model", "use_spectral_norm"): (
        False,
        "the discriminators are weight-normalised, as those of all published checkpoints",
    ),
    ("model", "init_lr_ratio"): (1, "--model.warmup_updates=N lets the rates grow from 0"),
    ("model", "warmup_epochs"): (0, "--model.warmup_updates=N counts updates, not epochs"),
    ("model", "dataset"): (None, "--data.dataset_dir or --data.csv_path names the dataset"),
    ("data", "alignments_dir"): (None, "the alignment is learnt with the voice"),
    ("data", "vowel_clusters"): (
        None,
        'the dataset\'s config.json lists them, as in "vowel_clusters": ["aɪ", "eɪ"]',
    ),
    # Checkpoints are always read so that nothing in them can run.
    ("", "weights_only"): (_ANY, ""),
    ("", "optimizer"): (
        None,
        "it is AdamW for both networks; --model.learning_rate, learning_rate_d, betas, betas_d and "
        "eps set it",
    ),
    ("", "lr_scheduler"): (
        None,
        "both rates decay by the epoch; --model.lr_decay and --model.lr_decay_d say how fast",
    ),
}
"""Flags of Piper's trainer, by part and name, that are not here: the value that asks for what is
done anyway, and what to do instead of any other."""


def translate_arguments(arguments: Sequence[str]) -> list[str]:
    """Return a command line of the trainer, without the program, with the names of today."""
    result: list[str] = []
    if len(arguments) > 1 and "-" not in (arguments[0][:1], arguments[1][:1]):
        # The other subcommands take the folder so: `fit DIR`.
        arguments = [arguments[0], f"--data.dataset_dir={arguments[1]}", *arguments[2:]]
    pending = iter(arguments)
    for argument in pending:
        flag, has_value, value = argument.partition("=")
        group, _, key = flag.removeprefix("--").rpartition(".")
        if flag in (*_CONFIG_FLAGS, "--model"):
            if has_value:
                result.append(f"{flag}={_translate_source(flag, value)}")
            else:
                result += [flag, *(_translate_source(flag, value) for value in islice(pending, 1))]
        elif flag == "--debug":
            pass  # the command has looked for it
        elif flag.startswith("--") and (own := _find_absent(group, key)):
            _check_absent(own, value if has_value else next(pending, ""), flag)
        elif flag == f"--model.{SCORE}":
            value = value if has_value else next(pending, "")
            result.append(f"--{OUR_SCORE}={translate_score(value)}")
        elif flag.startswith("--") and (group, key) in MOVED:
            value = value if has_value else next(pending, "")
            if _parse_value(value) is not None:
                result.append(f"--{'.'.join(MOVED[group, key])}={value}")
        else:
            if group == "model" and key in MODEL_ALIASES and flag.startswith("--"):
                argument = argument.replace(key, MODEL_ALIASES[key], 1)
            result.append(argument)
    return result


def _find_absent(group: str, key: str) -> tuple[str, str] | None:
    """Return the entry that a flag belongs to; `--optimizer.lr` is the optimizer's."""
    place = (group, key) if (group, key) in ABSENT else ("", group.partition(".")[0])
    return place if place in ABSENT else None


def _check_absent(place: tuple[str, str], value: object, name: str) -> None:
    """Raise where a value asks for something that is not done here."""
    harmless, answer = ABSENT[place]
    value = _parse_value(value) if isinstance(value, str) else value
    if harmless is not _ANY and value is not None and value != harmless:
        raise ConfigError(f"{name} is not known here: {answer}. Leave {name} out.")


def _parse_value(text: str) -> object:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def translate_score(value: Any) -> str:
    """Return `auto` for the name of a speech quality score, `off` for none."""
    return "off" if str(value).lower() in ("", "none", "null", "false", "off") else "auto"


def translate_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a `config.yaml` with the names of today."""
    # Copies of what is changed: what was given stays as it is.
    result = {
        key: dict(value) if isinstance(value, dict) else value for key, value in config.items()
    }
    for subcommand in _SUBCOMMANDS:
        if isinstance(result.get(subcommand), dict):
            result[subcommand] = translate_config(result[subcommand])
    model = result.get("model")
    if isinstance(model, dict):
        if SCORE in model:
            result.setdefault(OUR_SCORE, translate_score(model[SCORE]))
        result["model"] = translate_model(model)
    for (part, name), (new_part, new_name) in MOVED.items():
        if isinstance(result.get(part), dict) and name in result[part]:
            value = result[part].pop(name)
            if value is not None:
                result[new_part] = {new_name: value, **(result.get(new_part) or {})}
    for part, name in ABSENT:
        place = result.get(part) if part else result
        if isinstance(place, dict) and name in place:
            _check_absent((part, name), place.pop(name), f"{part}.{name}".lstrip("."))
    return result


def translate_model(model: dict[str, Any]) -> dict[str, Any]:
    """Return the `model` part of a `config.yaml` with the names of today."""
    return {MODEL_ALIASES.get(key, key): value for key, value in model.items() if key != SCORE}


def _translate_source(flag: str, source: str) -> str:
    """Return a file's name as it is, or its content where that holds an old name."""
    import yaml
    from jsonargparse import get_loader

    try:
        is_file = Path(source).is_file()
        text = Path(source).read_text(encoding="utf-8") if is_file else source
        # the parser's own loader: plain YAML takes 1e-9 for a word
        content = get_loader("yaml")(text)
    except (OSError, ValueError, yaml.YAMLError):
        return source  # the parser says what is wrong with it
    if not isinstance(content, dict):
        return source
    translate = translate_model if flag == "--model" else translate_config
    translated = translate(content)
    return source if translated == content else yaml.safe_dump(translated, sort_keys=False)


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
    """Remember the words that a training was started with; None means those of the process."""
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
    if WINDOWS:
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
    """
    folder = storage.plain_address(checkpoint)
    folder = folder if is_remote(folder) else Path(folder).absolute().as_posix()
    for _ in range(2):
        folder = folder.rpartition("/")[0] or "/"
        address = join_address(folder, CONFIG_NAME)
        if storage.is_file(address):
            return _read_run(address, made)
    raise DatasetError(
        f"{checkpoint} does not say which recordings it was trained on, for no {CONFIG_NAME} of "
        "its run lies beside it; name them with --data.dataset_dir (--dataset of the launcher)."
    )


def _read_run(address: str, made: Path | None) -> Run:
    # Here: the launcher says in a sentence what is not installed.
    import yaml

    try:
        content = yaml.safe_load(storage.read_file(address))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{address} cannot be read ({describe_briefly(error, 160)}); name the recordings with "
            "--data.dataset_dir (--dataset of the launcher)."
        ) from None
    config = translate_config(content) if isinstance(content, dict) else {}
    data, model = (_as_dict(config.get(part)) for part in ("data", "model"))
    found = {k: v for k, v in data.items() if v not in (None, "") and k not in _NOT_OF_DATASETS}
    if not any(isinstance(found.get(key), str) for key in DATASET_FLAGS):
        raise DatasetError(
            f"{address} names no dataset (data.dataset_dir); name one with --data.dataset_dir "
            "(--dataset of the launcher)."
        )
    for key in _PLACES:
        if key in found and key != "cache_dir":
            found[key] = _find_place(address, key, str(found[key]), made)
    quality = model.get("quality")
    return Run(address, found, quality if isinstance(quality, str) else "")


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


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
