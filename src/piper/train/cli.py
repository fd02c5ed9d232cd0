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

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from piper.errors import PiperError, describe_os_error
from piper.train.callbacks.keep import (
    DEFAULT_SAVE_MINUTES,
    KeepBest,
    KeepLast,
    TrainingStopped,
)
from piper.train.callbacks.listen import Listen
from piper.train.callbacks.memory import Memory
from piper.train.callbacks.progress import Progress
from piper.train.checkpoint_io import SafeCheckpointIO
from piper.train.data.module import VitsDataModule
from piper.train.distributed import create_strategy
from piper.train.flags import (
    check_devices,
    count_devices,
    find_last_checkpoint,
    resolve_network,
)
from piper.train.lightning import VitsModel
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
        check_devices(config.trainer)
        if config.get("ckpt_path") == "last":
            config.ckpt_path = find_last_checkpoint(config.trainer.default_root_dir)
        resolve_network(config)

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Build the Trainer with our strategy, checkpoint files and callbacks."""
        trainer = self.config_init[self.subcommand].trainer
        devices = count_devices(trainer.accelerator, trainer.devices) * trainer.num_nodes
        kwargs["strategy"] = create_strategy(trainer.strategy, devices)
        kwargs["plugins"] = [*(trainer.plugins or []), SafeCheckpointIO()]
        # Lightning refuses these under manual optimization; the module takes them instead.
        kwargs["accumulate_grad_batches"] = 1
        kwargs["gradient_clip_val"] = kwargs["gradient_clip_algorithm"] = None
        if trainer.logger in (None, True):
            root = trainer.default_root_dir or Path.cwd()
            kwargs["logger"] = TensorBoardLogger(root, "lightning_logs", default_hp_metric=False)
        if trainer.max_steps > 0:
            # Both optimizers step once an update, and Lightning counts each of them.
            kwargs["max_steps"] = 2 * trainer.max_steps
        return super().instantiate_trainer(**kwargs)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Any:
        options = self.config[self.subcommand]
        self.progress = Progress()
        ours: list[Any] = [self.progress, Memory(), Listen()]
        if config.get("enable_checkpointing") is not False and not config.get("fast_dev_run"):
            ours += [KeepBest(options.keep_best), KeepLast(options.save_minutes)]
        return super()._instantiate_trainer(config, [*callbacks, *ours])

    def after_instantiate_classes(self) -> None:
        """Hand over what was kept from the Trainer."""
        trainer = self.config[self.subcommand].trainer
        self.model.accumulate_grad_batches = trainer.accumulate_grad_batches or 1
        self.model.gradient_clip_val = trainer.gradient_clip_val
        self.model.gradient_clip_algorithm = trainer.gradient_clip_algorithm or "norm"

    def after_fit(self) -> None:
        """Say so where a resumed training had nothing left to do."""
        if self.progress.is_idle and self.trainer.is_global_zero:
            _LOGGER.warning(
                "Nothing to train: the checkpoint has already reached the end, %d epochs; raise "
                "--trainer.max_epochs (or max_steps, max_time) to go on.",
                self.trainer.current_epoch,
            )


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
        # An abbreviated flag would change its meaning when a longer one is added.
        parser_kwargs={
            "prog": "python -m piper.train",
            "allow_abbrev": False,
        },
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
    except OSError as error:
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        return 1
    except TrainingStopped as stop:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            name = signal.Signals(stop.signal_number).name
            print(
                f"{name}: stopped and saved; go on with --ckpt_path={stop.checkpoint} "
                "(--checkpoint of the launcher)",
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
