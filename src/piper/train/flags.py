"""What flags, dataset and checkpoint say together about a training, before anything is built.

Knows the parsed command line as a namespace; builds neither networks nor loaders.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from piper.errors import CheckpointError, ConfigError
from piper.json_reader import load_json_object
from piper.train.checkpoints.checkpoint import (
    LATER_KEYS,
    difference_table,
    find_differences,
    find_present_rates,
    load_checkpoint_to_resume,
    network_config_from_checkpoint,
    read_training_settings,
)
from piper.train.data.settings import DataSettings, resolve_settings
from piper.train.presets import (
    DEFAULT_QUALITY,
    NETWORK_KEYS,
    PRESET_SAMPLE_RATES,
    TRAINING_DEFAULTS,
    create_network_config,
    find_quality,
    parse_quality,
)
from piper.train.resuming import DATASET_FLAGS, find_run
from piper.train.vits.config import NetworkConfig

_LOGGER = logging.getLogger(__name__)


def count_devices(accelerator: str, devices: Any) -> int:
    """Return how many processes a `--trainer.devices` means on one machine."""
    if isinstance(devices, str) and devices.lstrip("-").isdigit():
        devices = int(devices)
    if isinstance(devices, int) and devices >= 0:
        return devices
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, str) and devices != "auto":
        return len([part for part in devices.split(",") if part])
    has_gpu = torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda")
    return torch.cuda.device_count() if has_gpu else 1


PRECISIONS = ("32", "32-true", "16", "16-mixed", "bf16", "bf16-mixed")
"""Weights stay in float32; Lightning's others would turn lengths and ids into floats, too."""


def check_trainer(trainer: Any) -> None:
    """Refuse what Lightning takes and then stumbles over, and GPUs that are not there.

    Raises:
        ConfigError: Says which flag.
    """
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
    _check_gpus(trainer)


def describe_refusal(error: Exception) -> str | None:
    """Return a sentence where it is Lightning that refuses the flags, else None."""
    if not isinstance(error, ValueError | TypeError | ImportError | MisconfigurationException):
        return None
    innermost = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        innermost = frame.f_globals.get("__name__", "")
    if not str(innermost).startswith("lightning."):
        return None
    reason = " ".join(str(error).split())
    return f"The --trainer.* flags cannot be used like this: {reason:.400}"


def check_limits(trainer: Any, checkpoint: Mapping[str, Any], path: str) -> None:
    """Refuse to go on to an end that lies behind the checkpoint.

    Raises:
        ConfigError: Names the flag, and where the checkpoint stands.
    """
    stands = {
        "max_epochs": checkpoint.get("epoch"),
        # Both optimizers step once an update.
        "max_steps": (checkpoint.get("global_step") or 0) // 2,
    }
    for key, reached in stands.items():
        limit = trainer.get(key)
        if isinstance(reached, int) and limit is not None and 0 <= limit < reached:
            raise ConfigError(
                f"--trainer.{key}={limit} is over: {path} has {reached:,} of them behind it. Give "
                "more than that, or leave the flag out, and training ends by itself."
            )


def _check_gpus(trainer: Any) -> None:
    if trainer.accelerator not in ("gpu", "cuda"):
        return
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if available == 0:
        raise ConfigError(
            "--trainer.accelerator=gpu, but PyTorch sees no GPU here: check the driver with "
            "nvidia-smi, or train with --trainer.accelerator=auto."
        )
    wanted = count_devices(trainer.accelerator, trainer.devices)
    if wanted > available:
        raise ConfigError(
            f"--trainer.devices={trainer.devices}, but PyTorch sees {available} GPU here: "
            f"use --trainer.devices={available}."
        )


def adopt_dataset(config: Any) -> None:
    """Go on with the dataset of the run that a checkpoint belongs to, where no flag names one.

    Raises:
        ConfigError: The run's config.yaml cannot be read.
        DatasetError: There is none, or its dataset is gone.
    """
    if any(config.data.get(key) for key in DATASET_FLAGS):
        return
    run = find_run(config.ckpt_path)
    for key, value in run.data.items():
        if key in config.data:  # another trainer has others
            config.data[key] = value
    _LOGGER.info("Going on with the dataset of %s: %s", run.address, run.dataset)


def resolve_network(config: Any) -> None:
    """Let dataset and checkpoint say what the flags leave open, and refuse contradictions."""
    given = {key: config.model[key] for key in NETWORK_KEYS if config.model.get(key) is not None}
    data = config.data.as_dict()
    for key in ("sample_rate", "num_speakers", "num_symbols", "hop_length"):
        data[key] = given.get(key, data[key])
    asked_quality = config.model.quality or data["quality"]
    data["quality"] = parse_quality(asked_quality) if asked_quality else None
    settings = _resolve_settings(data)
    for key in ("sample_rate", "num_speakers", "num_symbols"):
        given[key] = getattr(settings, key)
    quality = parse_quality(settings.quality) if settings.quality else None
    saved: dict[str, Any] = {}
    if config.get("ckpt_path"):
        checkpoint = load_checkpoint_to_resume(config.ckpt_path)
        check_limits(config.trainer, checkpoint, config.ckpt_path)
        network = _network_of_checkpoint(checkpoint, config.ckpt_path, quality, given)
        quality = quality or find_quality(network)
        saved = read_training_settings(checkpoint)
        _leave_out_warm_start(config)
        _tell_decayed_rates(config.model, saved, find_present_rates(checkpoint))
    else:
        quality = quality or DEFAULT_QUALITY
        network = create_network_config(quality, **given)
        _check_hold(config.model)
    _fill_settings(config, saved)
    _warn_about_quality(settings, quality, network)
    config.model.quality = quality
    config.data.quality = quality
    for key in NETWORK_KEYS:
        config.model[key] = getattr(network, key)
        if key in data:
            config.data[key] = getattr(network, key)


def _fill_settings(config: Any, saved: Mapping[str, Any]) -> None:
    """Let the checkpoint, or else the defaults, say how to train where no flag does."""
    for key, default in TRAINING_DEFAULTS.items():
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
    return resolve_settings(**{**data, "sample_rate": implied})


def _audio_of_config(settings: DataSettings) -> dict[str, Any]:
    """Return what the dataset's config.json says of its audio."""
    path = settings.config_path
    audio = load_json_object(path).get("audio") if path.is_file() else None
    return audio if isinstance(audio, dict) else {}


def _warn_about_quality(
    settings: DataSettings, quality: str | None, network: NetworkConfig
) -> None:
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
    """Refuse to hold a decoder that has learnt nothing.

    Raises:
        ConfigError: No flag says what it starts from.
    """
    if model.hold_decoder and not (model.warmstart or model.vocoder_warmstart):
        raise ConfigError(
            f"--model.hold_decoder={model.hold_decoder} is for a decoder that speaks already: give "
            "the voice to start from with --model.warmstart, or leave it out."
        )


def _network_of_checkpoint(
    checkpoint: Mapping[str, Any], path: str, quality: str | None, given: dict[str, Any]
) -> NetworkConfig:
    """Return the network of a checkpoint to resume, where nothing that was given contradicts it.

    Raises:
        CheckpointError: It was trained with another network than the one asked for.
    """
    saved = network_config_from_checkpoint(checkpoint, path)
    values = {key: getattr(saved, key) for key in NETWORK_KEYS}
    if quality is None:
        asked = create_network_config(None, **{**values, **given})
    else:
        later = {key: values[key] for key in LATER_KEYS}
        asked = create_network_config(quality, **{**later, **given})
    differences = find_differences(saved, asked)
    if differences:
        raise CheckpointError(
            f"{path} was trained with another network:\n{difference_table(differences)}\n"
            "Resume with the checkpoint's values (quality in config.json, --model.quality), or "
            "start a new training from its weights with --model.warmstart."
        )
    return asked
