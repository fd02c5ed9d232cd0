"""What flags, dataset and checkpoint say together about a training, before anything is built."""

from __future__ import annotations

import argparse
import logging
import traceback
from collections import ChainMap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException

from piper.errors import ConfigError, PiperError
from piper.files import load_json_object
from piper.train.checkpoints import (
    LATER_KEYS,
    check_to_resume,
    find_asked,
    find_differences,
    find_present_rates,
    load_checkpoint,
    network_config_from_checkpoint,
    raise_other_network,
    read_training_settings,
)
from piper.train.data.settings import AUTO_BATCH_SIZE, DataSettings, resolve_settings
from piper.train.presets import (
    DEFAULT_QUALITY,
    PRESET_SAMPLE_RATES,
    QUICK,
    NetworkShape,
    create_network_config,
    find_quality,
    network_keys,
    parse_quality,
    training_defaults,
)
from piper.train.resuming import DATASET_FLAGS, LAST, find_run
from piper.train.storage import is_remote, plain_address
from piper.train.vits.config import NetworkConfig

_LOGGER = logging.getLogger(__name__)


def count_devices(accelerator: str, devices: Any) -> int:
    """Return how many processes a `--trainer.devices` means on one machine."""
    if isinstance(devices, str) and devices.lstrip("-").isdigit():
        devices = int(devices)
    elif isinstance(devices, str) and devices != "auto":
        devices = [part for part in devices.split(",") if part]
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, int) and devices >= 0:
        return devices
    return torch.cuda.device_count() if has_gpu(accelerator) else 1


def has_gpu(accelerator: str) -> bool:
    """Return whether a `--trainer.accelerator` means a GPU that PyTorch sees."""
    return torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda")


PRECISIONS = ("32", "32-true", "16", "16-mixed", "bf16", "bf16-mixed")
"""Weights stay in float32; Lightning's others would turn lengths and ids into floats, too."""


def check_trainer(trainer: Any) -> None:
    """Refuse what Lightning takes and then stumbles over, and GPUs that are not there."""
    # 0 epochs between validations means by time.
    least = {"check_val_every_n_epoch": 0, "log_every_n_steps": 1, "accumulate_grad_batches": 1}
    for key, number in least.items():
        if trainer.get(key) is not None and trainer[key] < number:
            raise ConfigError(f"--trainer.{key}={trainer[key]}: a whole number from {number} on.")
    if trainer.gradient_clip_algorithm not in (None, "norm", "value"):
        raise ConfigError(
            f"--trainer.gradient_clip_algorithm={trainer.gradient_clip_algorithm} is neither norm "
            "nor value."
        )
    if trainer.precision is not None and str(trainer.precision) not in PRECISIONS:
        raise ConfigError(
            f"--trainer.precision={trainer.precision}: voices train in 32, 16-mixed or bf16-mixed."
        )
    if trainer.accelerator not in ("gpu", "cuda"):
        return
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if available == 0:
        raise ConfigError(
            "--trainer.accelerator=gpu, but PyTorch sees no GPU here: check the driver with "
            "nvidia-smi, or train with --trainer.accelerator=auto."
        )
    if count_devices(trainer.accelerator, trainer.devices) > available:
        raise ConfigError(
            f"--trainer.devices={trainer.devices}, but PyTorch sees {available} GPU here: "
            f"use --trainer.devices={available}."
        )


def describe_refusal(error: Exception) -> str | None:
    """Return a sentence where it is Lightning that refuses the flags, else None."""
    if not isinstance(error, ValueError | TypeError | ImportError | MisconfigurationException):
        return None
    frames = traceback.walk_tb(error.__traceback__)
    names = [str(frame.f_globals.get("__name__", "")) for frame, _ in frames]
    if not names or not names[-1].startswith("lightning."):
        return None
    reason = " ".join(str(error).split())
    return f"The --trainer.* flags cannot be used like this: {reason:.400}"


def check_limits(trainer: Any, checkpoint: Mapping[str, Any], path: str) -> None:
    """Refuse to go on to an end that lies behind the checkpoint."""
    # Both optimizers step once an update.
    updates = (checkpoint.get("global_step") or 0) // 2
    for key, reached in (("max_epochs", checkpoint.get("epoch")), ("max_steps", updates)):
        limit = trainer.get(key)
        if isinstance(reached, int) and limit is not None and 0 <= limit < reached:
            raise ConfigError(
                f"--trainer.{key}={limit} is over: {path} has {reached:,} of them behind it. Give "
                "more than that, or leave the flag out, and training ends by itself."
            )


def adopt_dataset(config: Any) -> None:
    """Go on with the dataset of the run that a checkpoint belongs to, where no flag names one."""
    if any(config.data.get(key) for key in DATASET_FLAGS):
        return
    run = find_run(config.ckpt_path)
    for key, value in run.data.items():
        if key in config.data:  # another trainer has others
            config.data[key] = value
    _LOGGER.info("Going on with the dataset of %s: %s", run.address, run.dataset)


_FAMILY_FLAGS = (
    *("model.quality", "ckpt_path", "trainer.default_root_dir", "trainer.accelerator"),
    *("data.dataset_dir", "data.csv_path", "data.config_path"),
    *("data.cache_dir", "data.shards"),
)
_SOURCES = ("config", "model", "data", "trainer")
"""Flags whose value is YAML, or names a file of it."""


class Family(NamedTuple):
    """What is known of a command line before it is parsed.

    Attributes:
        quality: `quick`, which has flags of its own, where it is what will be trained.
        accelerator: `--trainer.accelerator`.
        asked: The `--ckpt_path` that was looked for; empty where none had to be.
        root: The folder that `last` was looked for in.
        path: The checkpoint that was found.
        checkpoint: What it holds.
    """

    quality: str | None = None
    accelerator: str = "auto"
    asked: str = ""
    root: str = ""
    path: str | None = None
    checkpoint: dict[str, Any] | None = None

    def finds(self, asked: str, root: str | None) -> bool:
        """Return whether a checkpoint was looked for already, by this name and in this folder."""
        return asked == self.asked and (asked != LAST or (root or ".") == self.root)


def find_family(arguments: Sequence[str]) -> Family:
    """Return which flags the trainer has: those of quick voices, or those of VITS.

    The parser's flags depend on it, so it is looked for before anything is parsed: in the flags
    and YAML files, else in the checkpoint to go on from, else in the dataset's config.json. What
    cannot be read is left for the parser to say.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in (*_FAMILY_FLAGS, *_SOURCES):
        names = [f"--{flag}", "-c"] if flag == "config" else [f"--{flag}"]
        own = partial(_read_flag, flag)
        parser.add_argument(*names, dest="given", action="append", type=own, default=[])
    try:
        found, _ = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError:
        return Family()
    given = dict(ChainMap(*reversed(found.given)))  # the later ones count
    quality = given.get("model.quality")
    family = Family(accelerator=given.get("trainer.accelerator", "auto"))
    with suppress(PiperError, OSError):
        if quality is None and (asked := given.get("ckpt_path")):
            root = plain_address(given.get("trainer.default_root_dir") or ".")
            path = find_asked(asked, root)
            family = family._replace(asked=asked, root=root, path=path)
            if path is not None:
                checkpoint = load_checkpoint(path)
                family = family._replace(checkpoint=checkpoint)
                quality = find_quality(network_config_from_checkpoint(checkpoint, path)) or ""
        dataset = given.get("data.shards") or given.get("data.dataset_dir") or ""
        if quality is None and ("data.shards" in given or is_remote(dataset)):
            places = {flag[5:]: value for flag, value in given.items() if flag.startswith("data.")}
            quality = resolve_settings(**places).quality
        elif quality is None:
            folder = given.get("data.dataset_dir") or Path(given.get("data.csv_path", "")).parent
            config = given.get("data.config_path") or Path(folder) / "config.json"
            audio = load_json_object(Path(config)).get("audio")
            quality = audio.get("quality") if isinstance(audio, dict) else None
    return family._replace(quality=QUICK if quality == QUICK else None)


def _read_flag(flag: str, value: str) -> dict[str, str]:
    """Return the flags that `find_family` reads, as one flag of the command line gives them."""
    if flag not in _SOURCES:
        return {flag: value}
    data = _read_source(value)
    return _find_flags(data if flag == "config" else {flag: data})


def _read_source(source: Any) -> Any:
    """Return what a YAML file says, or a text where it is the YAML itself."""
    if not isinstance(source, str):
        return source
    try:
        with suppress(OSError, ValueError):  # no name of a file that there is
            source = Path(source).read_text(encoding="utf-8")
        return yaml.safe_load(source)
    except yaml.YAMLError:
        return None


def _find_flags(data: Any) -> dict[str, str]:
    """Return what YAML says of the flags that `find_family` reads."""
    data = data.get("fit", data) if isinstance(data, dict) else {}
    found = {}
    for flag in _FAMILY_FLAGS:
        group, _, name = flag.rpartition(".")
        part = _read_source(data.get(group)) if group else data
        value = part.get(name) if isinstance(part, dict) else None
        if isinstance(value, str):
            found[flag] = value
    return found


def resolve_network(config: Any, found: Family) -> None:
    """Let dataset and checkpoint say what the flags leave open, and refuse contradictions."""
    family = found.quality
    data = config.data.as_dict()
    asked_quality = config.model.quality or family or data["quality"]
    keys = network_keys(family)
    given = {key: config.model[key] for key in keys if config.model.get(key) is not None}
    for key in ("sample_rate", "num_speakers", "num_symbols", "hop_length"):
        data[key] = given.get(key, data[key])
    data["quality"] = parse_quality(asked_quality) if asked_quality else None
    settings = _resolve_settings(data)
    for key in ("sample_rate", "num_speakers", "num_symbols"):
        given[key] = getattr(settings, key)
    quality = parse_quality(settings.quality) if settings.quality else None
    saved: dict[str, Any] = {}
    if config.get("ckpt_path"):
        checkpoint = found.checkpoint if config.ckpt_path == found.path else None
        if checkpoint is None:
            checkpoint = load_checkpoint(config.ckpt_path)
        check_to_resume(checkpoint, config.ckpt_path)
        check_limits(config.trainer, checkpoint, config.ckpt_path)
        network = _network_of_checkpoint(checkpoint, config.ckpt_path, quality, given)
        quality = quality or find_quality(network)
        _check_family(quality, family)
        saved = read_training_settings(checkpoint)
        _leave_out_warm_start(config)
        _tell_decayed_rates(config.model, saved, find_present_rates(checkpoint))
    else:
        quality = quality or DEFAULT_QUALITY
        _check_family(quality, family)
        network = create_network_config(quality, **given)
        _check_hold(config.model)
    if config.model.get("compile") == "graphs" and config.data.batch_size == AUTO_BATCH_SIZE:
        raise ConfigError(
            "--model.compile=graphs: a graph has memory of its own, which --data.batch_size=auto "
            "does not count; give the size as a number."
        )
    _fill_settings(config, training_defaults(family), saved)
    _warn_about_quality(settings, quality, network)
    config.model.quality = quality
    config.data.quality = quality
    for key in keys:
        config.model[key] = getattr(network, key)
    for key in data:
        if hasattr(network, key):
            config.data[key] = getattr(network, key)


def _check_family(quality: str | None, family: str | None) -> None:
    """Refuse a quality of another family than the one whose flags the parser has."""
    if (quality == QUICK) != (family == QUICK):
        raise ConfigError(
            f"The quality {quality} was found too late to read the flags by it; give "
            f"--model.quality={quality} as the last flag."
        )


def _fill_settings(config: Any, defaults: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Let the checkpoint, or else the defaults, say how to train where no flag does."""
    for key, default in defaults.items():
        if config.model.get(key) is None:
            config.model[key] = saved.get(key, default)
    for key in ("gradient_clip_val", "gradient_clip_algorithm"):
        if config.trainer.get(key) is None:
            config.trainer[key] = saved.get(key)


def _tell_decayed_rates(model: Any, saved: Mapping[str, Any], present: Mapping[str, float]) -> None:
    """Say that a rate which was given again does not begin again."""
    for key, rate in present.items():
        if model.get(key) is not None and model[key] == saved.get(key) != rate:
            _LOGGER.info(
                "--model.%s=%g goes on at %.4g, where its decay has brought it.",
                key,
                model[key],
                rate,
            )


def _resolve_settings(data: dict[str, Any]) -> DataSettings:
    """Return the dataset's settings, with the sample rate of the qualities that imply one."""
    settings = resolve_settings(**data)
    implied = PRESET_SAMPLE_RATES.get(settings.quality.replace("-", "_"))
    if implied is None or settings.sample_rate == implied:
        return settings
    if data["sample_rate"] or _audio_of_config(settings).get("sample_rate"):
        raise ConfigError(
            f'The quality "{settings.quality}" means {implied} Hz, but the sample rate is '
            f"{settings.sample_rate} (--model.sample_rate, or audio.sample_rate in "
            f"{settings.config_path}): change one of them."
        )
    return replace(settings, sample_rate=implied)


def _audio_of_config(settings: DataSettings) -> dict[str, Any]:
    """Return what the dataset's config.json says of its audio."""
    audio = settings.found.get("audio")
    return audio if isinstance(audio, dict) else {}


def _warn_about_quality(settings: DataSettings, quality: str | None, network: NetworkShape) -> None:
    """Say where the quality that is trained is not the one that the data speak of."""
    said = str(_audio_of_config(settings).get("quality") or "").replace("-", "_")
    if quality and said and said != quality:
        _LOGGER.warning(
            '%s says "quality": "%s", but --model.quality=%s was given: %s is trained.',
            settings.config_path,
            said,
            quality,
            quality,
        )
    if quality in ("medium", "high") and network.sample_rate != NetworkConfig.sample_rate:
        is_low = quality == "medium" and network.sample_rate == PRESET_SAMPLE_RATES["low"]
        _LOGGER.warning(
            "The sample rate is %d Hz, but voices of quality %s have %d Hz%s.",
            network.sample_rate,
            quality,
            NetworkConfig.sample_rate,
            "; --model.quality=low is this network's name" if is_low else "",
        )


def _leave_out_warm_start(config: Any) -> None:
    """A training that goes on has weights; so one command begins it and goes on with it."""
    for key in ("warmstart", "vocoder_warmstart"):
        if config.model.get(key):
            _LOGGER.info("--model.%s is left out: training goes on from the checkpoint.", key)
            config.model[key] = None


def _check_hold(model: Any) -> None:
    """Refuse to hold what has learnt nothing."""
    for key, starts in (
        ("hold_decoder", ("warmstart", "vocoder_warmstart")),
        ("hold_voice", ("warmstart",)),
    ):
        if model.get(key) and not any(map(model.get, starts)):
            raise ConfigError(
                f"--model.{key}={model[key]} is for what speaks already: give the voice to start "
                "from with --model.warmstart, or leave it out."
            )


def _network_of_checkpoint(
    checkpoint: Mapping[str, Any], path: str, quality: str | None, given: dict[str, Any]
) -> NetworkShape:
    """Return the network of a checkpoint to resume, where nothing that was given contradicts it."""
    saved = network_config_from_checkpoint(checkpoint, path)
    values = {key: getattr(saved, key) for key in network_keys(find_quality(saved))}
    is_same_family = (quality == QUICK) == (find_quality(saved) == QUICK)
    # All quick networks are of one quality, whose defaults were others in earlier versions.
    if quality is None or (quality == QUICK and is_same_family):
        asked = create_network_config(find_quality(saved), **{**values, **given})
    elif is_same_family:
        later = {key: values[key] for key in LATER_KEYS if key in values}
        asked = create_network_config(quality, **{**later, **given})
    else:
        keys = network_keys(quality)
        asked = create_network_config(quality, **{k: given[k] for k in given if k in keys})
    if differences := find_differences(saved, asked):
        raise_other_network(path, differences)
    return asked
