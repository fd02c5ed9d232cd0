"""What flags, dataset and checkpoint say together about a training, before anything is built.

Knows the parsed command line as a namespace; builds neither networks nor loaders.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from piper.config import load_json_object
from piper.errors import CheckpointError, ConfigError
from piper.train.checkpoint import (
    difference_table,
    find_differences,
    load_checkpoint,
    network_config_from_checkpoint,
)
from piper.train.data.settings import DataSettings, resolve_settings
from piper.train.presets import (
    DEFAULT_PRESET,
    NETWORK_KEYS,
    PRESET_SAMPLE_RATES,
    create_network_config,
)
from piper.train.vits.config import NetworkConfig

_LOGGER = logging.getLogger(__name__)


def find_last_checkpoint(root: str | None) -> str | None:
    """Return the newest last.ckpt of the trainings in a folder: what `--ckpt_path=last` means.

    None where there is none yet, so that one command both begins a training and goes on with it.
    """
    found = Path(root or ".").glob("lightning_logs/version_*/checkpoints/last.ckpt")
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        _LOGGER.warning("--ckpt_path=last: there is no last.ckpt yet, so training begins anew.")
        return None
    _LOGGER.info("--ckpt_path=last: going on from %s", newest)
    return str(newest)


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


def check_devices(trainer: Any) -> None:
    """Refuse GPUs that are not there.

    Raises:
        ConfigError: Fewer GPUs are visible than the flags ask for.
    """
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


def resolve_network(config: Any) -> None:
    """Let dataset and checkpoint say what the flags leave open, and refuse contradictions."""
    given = {key: config.model[key] for key in NETWORK_KEYS if config.model.get(key) is not None}
    data = config.data.as_dict()
    for key in ("sample_rate", "num_speakers", "num_symbols", "hop_length"):
        data[key] = given.get(key, data[key])
    data["quality"] = config.model.preset or data["quality"]
    settings = _resolve_settings(data)
    for key in ("sample_rate", "num_speakers", "num_symbols"):
        given[key] = getattr(settings, key)
    preset = settings.quality or None
    if config.get("ckpt_path"):
        network = _network_of_checkpoint(config.ckpt_path, preset, given)
    else:
        preset = preset or DEFAULT_PRESET
        network = create_network_config(preset, **given)
    config.model.preset = preset
    config.data.quality = preset
    for key in NETWORK_KEYS:
        config.model[key] = getattr(network, key)
        if key in data:
            config.data[key] = getattr(network, key)


def _resolve_settings(data: dict[str, Any]) -> DataSettings:
    """Return the dataset's settings, with the sample rate of the qualities that imply one."""
    settings = resolve_settings(**data)
    implied = PRESET_SAMPLE_RATES.get(settings.quality.replace("-", "_"))
    if implied is None or settings.sample_rate == implied:
        return settings
    in_file = settings.config_path.is_file() and load_json_object(settings.config_path)
    is_said = data["sample_rate"] or (in_file and (in_file.get("audio") or {}).get("sample_rate"))
    if is_said:
        raise ConfigError(
            f'The quality "{settings.quality}" means {implied} Hz, but the sample rate is '
            f"{settings.sample_rate} (--model.sample_rate, or audio.sample_rate in "
            f"{settings.config_path}): change one of them."
        )
    return resolve_settings(**{**data, "sample_rate": implied})


def _network_of_checkpoint(path: str, preset: str | None, given: dict[str, Any]) -> NetworkConfig:
    """Return the network of a checkpoint to resume, where nothing that was given contradicts it.

    Raises:
        CheckpointError: It was trained with another network than the one asked for.
    """
    saved = network_config_from_checkpoint(load_checkpoint(path))
    values = {key: getattr(saved, key) for key in NETWORK_KEYS}
    if preset is None:
        asked = create_network_config(None, **{**values, **given})
    else:
        asked = create_network_config(preset, **given)
    differences = find_differences(saved, asked)
    if differences:
        raise CheckpointError(
            f"{path} was trained with another network:\n{difference_table(differences)}\n"
            "Resume with the checkpoint's values (quality in config.json, --model.preset), or "
            "start a new training from its weights with --model.warmstart_ckpt."
        )
    return asked
