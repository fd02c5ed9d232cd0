"""The trainer's command line: Lightning's, with our defaults, links and one-sentence errors.

Knows flags and how they depend on each other; all work is done elsewhere.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from piper.config import load_json_object
from piper.errors import CheckpointError, ConfigError, PiperError
from piper.train.callbacks.keep import (
    DEFAULT_SAVE_MINUTES,
    KeepBest,
    KeepLast,
    TrainingStopped,
)
from piper.train.callbacks.listen import Listen
from piper.train.callbacks.memory import Memory
from piper.train.callbacks.progress import Progress
from piper.train.checkpoint import (
    difference_table,
    find_differences,
    load_checkpoint,
    network_config_from_checkpoint,
)
from piper.train.checkpoint_io import SafeCheckpointIO
from piper.train.data.module import VitsDataModule
from piper.train.data.settings import DataSettings, resolve_settings
from piper.train.distributed import create_strategy
from piper.train.lightning import VitsModel
from piper.train.presets import (
    DEFAULT_PRESET,
    NETWORK_KEYS,
    PRESET_SAMPLE_RATES,
    create_network_config,
)
from piper.train.vits.config import NetworkConfig

TRAINER_DEFAULTS: dict[str, Any] = {
    "max_epochs": 10_000,
    "log_every_n_steps": 10,
    "num_sanity_val_steps": 0,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "benchmark": True,
}

DATA_FROM_MODEL: dict[str, Any] = {
    "sample_rate": None,
    "num_speakers": None,
    "filter_length": NetworkConfig.filter_length,
    "hop_length": NetworkConfig.hop_length,
    "win_length": NetworkConfig.win_length,
    "segment_size": NetworkConfig.segment_size,
}
"""Arguments of the data module that follow the model's flags, and what they are without one."""

_LOGGER = logging.getLogger(__name__)


class TrainCLI(LightningCLI):
    """LightningCLI for voices."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Offer what a voice needs of Lightning's verbs."""
        left_out = {"model", "train_dataloaders", "val_dataloaders", "dataloaders", "datamodule"}
        # Checkpoints are always read weights-only here.
        left_out.add("weights_only")
        return {"fit": left_out, "validate": left_out}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what belongs neither to the network, nor the data, nor Lightning's Trainer."""
        parser.add_argument(
            "--keep_best", type=int, default=3, help="Checkpoints to keep, best val_loss first."
        )
        parser.add_argument(
            "--save_minutes",
            type=float,
            default=DEFAULT_SAVE_MINUTES,
            help="Minutes between two writes of last.ckpt.",
        )

        for name, default in DATA_FROM_MODEL.items():
            parser.link_arguments(
                f"model.{name}",
                f"data.{name}",
                compute_fn=lambda value, default=default: default if value is None else value,
            )

    def _parse_ckpt_path(self) -> None:
        """Do nothing: a checkpoint's hyper-parameters are read by `_resolve_network`, safely."""

    def before_instantiate_classes(self) -> None:
        """Settle what flags, dataset and checkpoint say together, before anything is built."""
        config = self.config[self.subcommand]
        _check_devices(config.trainer)
        if config.get("ckpt_path") == "last":
            config.ckpt_path = find_last_checkpoint(config.trainer.default_root_dir)
        _resolve_network(config)

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Build the Trainer with our strategy, checkpoint files and callbacks."""
        trainer = self.config_init[self.subcommand].trainer
        devices = _count_devices(trainer.accelerator, trainer.devices) * trainer.num_nodes
        kwargs["strategy"] = create_strategy(trainer.strategy, devices)
        kwargs["plugins"] = [*(trainer.plugins or []), SafeCheckpointIO()]
        # Lightning refuses these under manual optimization; the module takes them instead.
        kwargs["accumulate_grad_batches"] = 1
        kwargs["gradient_clip_val"] = kwargs["gradient_clip_algorithm"] = None
        if trainer.max_steps > 0:
            # Both optimizers step once an update, and Lightning counts each of them.
            kwargs["max_steps"] = 2 * trainer.max_steps
        return super().instantiate_trainer(**kwargs)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Any:
        options = self.config[self.subcommand]
        ours: list[Any] = [Progress(), Memory(), Listen()]
        if config.get("enable_checkpointing") is not False and not config.get("fast_dev_run"):
            ours += [KeepBest(options.keep_best), KeepLast(options.save_minutes)]
        return super()._instantiate_trainer(config, [*callbacks, *ours])

    def after_instantiate_classes(self) -> None:
        """Hand over what was kept from the Trainer."""
        trainer = self.config[self.subcommand].trainer
        self.model.accumulate_grad_batches = trainer.accumulate_grad_batches or 1
        self.model.gradient_clip_val = trainer.gradient_clip_val
        self.model.gradient_clip_algorithm = trainer.gradient_clip_algorithm or "norm"


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


def _count_devices(accelerator: str, devices: Any) -> int:
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


def _check_devices(trainer: Any) -> None:
    if trainer.accelerator not in ("gpu", "cuda"):
        return
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if available == 0:
        raise ConfigError(
            "--trainer.accelerator=gpu, but PyTorch sees no GPU here: check the driver with "
            "nvidia-smi, or train with --trainer.accelerator=auto."
        )
    wanted = _count_devices(trainer.accelerator, trainer.devices)
    if wanted > available:
        raise ConfigError(
            f"--trainer.devices={trainer.devices}, but PyTorch sees {available} GPU here: "
            f"use --trainer.devices={available}."
        )


def _resolve_network(config: Any) -> None:
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


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; raises what goes wrong.

    Raises:
        PiperError: A mistake that the user can mend.
        TrainingStopped: A signal ended the training, after it had saved.
    """
    TrainCLI(
        VitsModel,
        VitsDataModule,
        args=list(arguments) if arguments is not None else None,
        seed_everything_default=1234,
        trainer_defaults=TRAINER_DEFAULTS,
        save_config_kwargs={"overwrite": True},
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
        parser_kwargs={"prog": "python -m piper.train"},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, and turn what the user can mend into one sentence.

    Returns:
        0 at the end of training, 1 for an error, 128 + N after signal N.
    """
    _quieten()
    try:
        run(arguments)
    except PiperError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except TrainingStopped as stop:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            name = signal.Signals(stop.signal_number).name
            print(
                f"{name}: stopped and saved; go on with --ckpt_path={stop.checkpoint}",
                file=sys.stderr,
            )
        return 128 + stop.signal_number
    except KeyboardInterrupt:
        return _say_stopped_early()
    except SystemExit as end:
        # Lightning turns a Ctrl+C while it prepares data into exit code 1, without a word.
        if isinstance(end.__context__, KeyboardInterrupt):
            return _say_stopped_early()
        raise
    return 0


def _say_stopped_early() -> int:
    print("Stopped before training began; nothing was lost.", file=sys.stderr)
    return 128 + signal.SIGINT


def _quieten() -> None:
    """Leave out what Lightning prints beside the progress, and its advice that misleads here."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("piper").setLevel(logging.INFO)
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*number of training batches.*smaller than the logging interval.*",
        ".*Checkpoint directory.*exists and is not empty.*",
        ".*dirpath has changed.*",
        ".*treespec.*",
    ):
        warnings.filterwarnings("ignore", message)
