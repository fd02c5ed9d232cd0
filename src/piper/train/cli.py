"""The trainer's command line: Lightning's, with our defaults, links and one-sentence errors."""

from __future__ import annotations

import argparse
import copy
import inspect
import logging
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import torch
from jsonargparse import ActionConfigFile
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from piper.errors import CheckpointError, PiperError, describe_error
from piper.messages import configure_logging, print_error, say
from piper.options import guess
from piper.progress import count_things
from piper.train import storage
from piper.train.callbacks.batches import BY_TIME, BatchSizeFinder, Budget, ValidationInterval
from piper.train.callbacks.checkpoints import (
    DEFAULT_KEEP_HOURS,
    DEFAULT_SAVE_MINUTES,
    Ending,
    KeepBest,
    KeepLast,
)
from piper.train.callbacks.listening import Listen
from piper.train.callbacks.progress import DataWait, Memory, Plateau, Progress
from piper.train.callbacks.scores import create_scores
from piper.train.callbacks.sentences import MeasureSentences
from piper.train.callbacks.stopping import DEFAULT_STOP_SECONDS, TrainingStopped, is_parent_process
from piper.train.checkpoints import (
    CHECKPOINT_FOLDER,
    LOG_FOLDER,
    find_asked,
    hold_run,
    load_checkpoint_to_resume,
    version_of_checkpoint,
)
from piper.train.command import EXTRA, PROGRAM, TRAINER_SUBCOMMANDS
from piper.train.data.module import VitsDataModule
from piper.train.distributed import create_strategy, describe_lost_process, find_cluster
from piper.train.event_log import EventLog
from piper.train.flags import (
    Family,
    adopt_dataset,
    check_trainer,
    count_devices,
    describe_refusal,
    find_family,
    has_gpu,
    resolve_network,
)
from piper.train.judges import AUTO
from piper.train.lightning import VitsModel
from piper.train.presets import NETWORK_KEYS, QUICK, QUICK_BATCH_SIZES, QUICK_KEYS, network_keys
from piper.train.quick.data import QuickDataModule
from piper.train.quick_module import QuickModel
from piper.train.resuming import LAST, remember_command, resume_command, translate_arguments
from piper.train.steps.update import create_precision
from piper.train.storage import check_writable, join_address, plain_address
from piper.train.vits.config import NetworkConfig

_LOGGER = logging.getLogger(__name__)


class SafeCheckpointIO(TorchCheckpointIO):
    """Leaves the old or the new file whole, however a write ends; reads plain data only."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint."""
        storage.write_file(path, lambda file: torch.save(checkpoint, file))

    def load_checkpoint(
        self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint of any age; `weights_only` is always meant."""
        return load_checkpoint_to_resume(path, map_location or "cpu")

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint, where it is there."""
        storage.remove_file(path)


TRAINER_DEFAULTS: dict[str, Any] = {
    "log_every_n_steps": 10,
    "num_sanity_val_steps": 0,
    "check_val_every_n_epoch": BY_TIME,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    # Tuned kernels for each shape: but every batch has another length, and would be tuned anew.
    "benchmark": False,
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

_ODD_STATE = (AttributeError, IndexError, KeyError, TypeError, ValueError, ZeroDivisionError)
"""How Lightning and callbacks answer to a checkpoint of odd structure, before a first update."""

SHOWN_FLAGS = {
    "ckpt_path": "Checkpoint to go on from; last: the newest of --trainer.default_root_dir.",
    "trainer.default_root_dir": "Where lightning_logs/ goes, also s3://…; without it here.",
    "trainer.max_epochs": "Passes over the dataset; default: by the size of the dataset.",
    "trainer.max_steps": "Updates; -1: no limit.",
    "trainer.max_time": "DD:HH:MM:SS, over all runs of a training together.",
    "patience": "",
    "trainer.accelerator": "gpu, cpu, or auto.",
    "trainer.devices": "How many on each machine, or which, such as 0,1.",
    "trainer.num_nodes": "Machines.",
    "trainer.precision": "32, bf16-mixed or 16-mixed.",
    "trainer.accumulate_grad_batches": "Batches of an update.",
    "trainer.gradient_clip_val": "Largest norm of the gradients.",
    "trainer.check_val_every_n_epoch": "Epochs between two validations; 0: by the time they take.",
    **dict.fromkeys(("validation_quality", "verbose", "save_minutes", "keep_best"), ""),
    **dict.fromkeys(("keep_every_hours", "stop_seconds"), ""),
}
"""Those of neither data nor voice that the help has; what they mean, where Lightning's is long."""

_SHAPES = (NETWORK_KEYS | QUICK_KEYS) - {"sample_rate", "num_speakers"}
FULL_HELP = "--help=all"


class TrainParser(LightningArgumentParser):
    """Lightning's parser, whose help begins with what this project adds."""

    is_help_full = False

    def format_usage(self) -> str:
        """Return a line; there are more flags than anybody reads in it."""
        return f"usage: {self._program()} --data.dataset_dir=DIR [flags]\n"

    def format_help(self, formatter: argparse.HelpFormatter | None = None) -> str:
        """Return the help: what is trained on, how, and what; all else by a flag."""
        data = self._find("data.")
        if self.is_help_full or not data:
            return super().format_help(formatter)
        groups = {
            "recordings": [flag for flag in data if not str(flag.help).startswith("Follows")],
            "training": [
                flag
                for name, text in SHOWN_FLAGS.items()
                for flag in self._find(name.rpartition(".")[0], name, text)
            ],
            "voice": [
                flag for flag in self._find("model.") if flag.dest.rpartition(".")[2] not in _SHAPES
            ],
        }
        formatter = argparse.HelpFormatter(self._program(), max_help_position=30)
        for title, actions in groups.items():
            formatter.start_section(title)
            formatter.add_arguments(map(_shown, actions))
            formatter.end_section()
        about = TRAINER_SUBCOMMANDS.get(self._program().rpartition(" ")[2], "")
        return (
            f"{self.format_usage()}\n{about[:1].upper()}{about[1:]}. Flags may also stand in a "
            f"YAML file (--config=FILE).\n\n{formatter.format_help()}\n"
            f"All flags, of the network and of Lightning, too: {self._program()} {FULL_HELP}\n"
        )

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End with what is wrong, and which flag may have been meant."""
        parser = getattr(ex, "subcommand_parser", None) or self
        message = parser._describe_other_family(message) or message
        unknown = re.match(r"unrecognized arguments: (-[^\s=]+)", message, re.IGNORECASE)
        if unknown:
            names = [name for action in parser._actions for name in action.option_strings]
            message += guess(unknown[1], names)
        print_error(message)
        say(f"All flags: {parser._program()} --help", sys.stderr)
        self.exit(2)

    def _describe_other_family(self, message: str) -> str | None:
        """Return what to do where a flag was refused that voices of another family have."""
        quick, vits = (
            {f"model.{name}" for name in inspect.signature(model.__init__).parameters}
            for model in (QuickModel, VitsModel)
        )
        others, trained, instead = quick - vits, "a VITS voice", "--model.quality=quick"
        if any(action.dest in quick - vits for action in self._actions):
            others, trained, instead = vits - quick, "a quick voice", "another quality"
        found = [name for name in re.findall(r"model\.\w+", message) if name in others]
        if not found:
            return None
        flags = ", ".join(f"--{name}" for name in dict.fromkeys(found))
        return (
            f"{flags}: not a flag of {trained}, which is what is trained; leave it out, or give "
            f"{instead}."
        )

    def _program(self) -> str:
        return self.prog.replace(" [options]", "")

    def _find(self, prefix: str, name: str = "", text: str = "") -> list[argparse.Action]:
        """Return the flags of a group, or the one of a name, with another help."""
        found = []
        for action in self._actions:
            is_flag = action.default is not argparse.SUPPRESS and action.option_strings
            group = action.dest.rpartition(".")[0]
            if is_flag and group == prefix.rstrip(".") and action.dest == (name or action.dest):
                found.append(copy.copy(action))
                found[-1].help = text or action.help
        return found


def _shown(action: argparse.Action) -> argparse.Action:
    """Return a flag as the help shows it: its name alone, and a default where it has one."""
    shown = copy.copy(action)
    shown.option_strings = action.option_strings[:1]
    if not isinstance(action, argparse._StoreTrueAction):
        shown.nargs, shown.metavar = None, action.dest.rpartition(".")[2].upper()
    has_default = action.default is not None and "efault" not in (action.help or "")
    text = f" (default: {action.default})" if has_default and shown.nargs is None else ""
    shown.help = f"{action.help}{text}".replace("%", "%%")
    return shown


class TrainCLI(LightningCLI):
    """LightningCLI for voices."""

    def __init__(self, family: Family, **kwargs: Any) -> None:
        self.family = family
        is_quick = family.quality == QUICK
        model, data = (QuickModel, QuickDataModule) if is_quick else (VitsModel, VitsDataModule)
        super().__init__(model, data, **kwargs)

    _version: int | None = None
    _held: BinaryIO | None = None
    """Open as long as no other training may write where this one does."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make a parser whose help is ours."""
        parser = TrainParser(**kwargs)
        parser.add_argument("-c", "--config", action=ActionConfigFile, help="YAML with flags.")
        return parser

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Offer what a voice needs of Lightning's subcommands."""
        left_out = {"model", "train_dataloaders", "val_dataloaders", "dataloaders", "datamodule"}
        # Checkpoints are always read weights-only here, and our --verbose is another.
        left_out |= {"weights_only", "verbose"}
        return {"fit": left_out, "validate": left_out}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what belongs neither to the network, nor the data, nor Lightning's Trainer."""
        add = parser.add_argument
        add(
            "--keep_best",
            type=int,
            default=3,
            help="Checkpoints to keep, best first: by val_loss, or the first of --model.scores.",
        )
        add(
            "--save_minutes",
            type=float,
            default=DEFAULT_SAVE_MINUTES,
            help="Minutes between two writes of last.ckpt.",
        )
        add(
            "--keep_every_hours",
            type=NonNegativeFloat,
            default=DEFAULT_KEEP_HOURS,
            help="Hours between two checkpoints that stay, eight at most; 0: none.",
        )
        add(
            "--stop_seconds",
            type=NonNegativeFloat,
            default=DEFAULT_STOP_SECONDS,
            help="Seconds that a step may go on after Ctrl+C, SIGTERM or SIGHUP before it is given "
            "up for the last checkpoint; 0: for ever.",
        )
        add(
            "--patience",
            type=NonNegativeInt,
            default=0,
            help="End after so many validations without a better val_loss (or first of "
            "--model.scores); 0: never for that.",
        )
        add(
            "--validation_quality",
            type=str,
            default=AUTO,
            help="Score speech at validations: auto (DistillMOS where it is installed), off, or "
            "another predictor as package.module:function.",
        )
        add(
            "--verbose",
            action="store_true",
            help="Say all figures of a validation, and what they let one expect.",
        )
        if self.family.quality == QUICK:
            device = "gpu" if has_gpu(self.family.accelerator) else "cpu"
            parser.set_defaults({"data.batch_size": QUICK_BATCH_SIZES[device]})
            if torch.backends.mps.is_available():
                # Apple's GPUs know no float64, in which the pitch's phase is added up.
                parser.set_defaults({"trainer.accelerator": "cpu"})
        # What a family has no flag for follows from the others.
        keys = network_keys(self.family.quality)
        for name, default in ((n, d) for n, d in DATA_FROM_MODEL.items() if n in keys):
            parser.link_arguments(
                f"model.{name}",
                f"data.{name}",
                compute_fn=lambda value, default=default: default if value is None else value,
            )

    def _parse_ckpt_path(self) -> None:
        """Do nothing: a checkpoint's hyper-parameters are read by `flags.py`, safely."""

    def before_instantiate_classes(self) -> None:
        """Settle what flags, dataset and checkpoint say together, before anything is built."""
        config = self.config[self.subcommand]
        check_trainer(config.trainer)
        if config.trainer.default_root_dir:
            config.trainer.default_root_dir = plain_address(config.trainer.default_root_dir)
        if self.subcommand == "fit" and keeps_checkpoints(config.trainer):
            check_writable(config.trainer.default_root_dir or ".")
        if asked := config.get("ckpt_path"):
            root = config.trainer.default_root_dir
            if self.family.finds(asked, root):
                config.ckpt_path = self.family.path
            else:
                config.ckpt_path = find_asked(asked, root)
            if asked == LAST:
                self._version = version_of_checkpoint(config.ckpt_path)
        if config.get("ckpt_path"):
            adopt_dataset(config)
        resolve_network(config, self.family)
        self.family = self.family._replace(checkpoint=None)  # which may be large

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Build the Trainer with our strategy, checkpoint files and callbacks."""
        trainer = self.config_init[self.subcommand].trainer
        devices = count_devices(trainer.accelerator, trainer.devices) * trainer.num_nodes
        kwargs["strategy"] = create_strategy(trainer.strategy, devices)
        kwargs["plugins"] = [*(trainer.plugins or []), SafeCheckpointIO(), *find_cluster()]
        precision = create_precision(trainer.precision, trainer.accelerator)
        if precision is not None:
            kwargs["plugins"].append(precision)
            kwargs["precision"] = None
        # Lightning refuses these under manual optimization; the module takes them instead.
        kwargs["accumulate_grad_batches"] = 1
        kwargs["gradient_clip_val"] = kwargs["gradient_clip_algorithm"] = None
        root, log = trainer.default_root_dir or Path.cwd(), None
        if trainer.logger is not False:
            # `last` goes on in the same folder: each restart of a machine would fill another one.
            log = EventLog(root, LOG_FOLDER, version=self._version, default_hp_metric=False)
            given = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
            # Others log beside it: checkpoints and config.yaml lie where they always do.
            kwargs["logger"] = [log, *(one for one in given if isinstance(one, Logger))]
        if self.subcommand == "fit" and keeps_checkpoints(trainer):
            folder = log.log_dir if log else join_address(root, CHECKPOINT_FOLDER)
            self._held = rank_zero_only(hold_run)(folder)
        if not has_limit(trainer):
            kwargs["max_epochs"] = -1  # `Budget` sets the end instead
        if trainer.check_val_every_n_epoch == BY_TIME:
            kwargs["check_val_every_n_epoch"] = 1  # `ValidationInterval` leaves some out
        if trainer.max_steps > 0:
            # Both optimizers step once an update, and Lightning counts each of them.
            kwargs["max_steps"] = 2 * trainer.max_steps
        return super().instantiate_trainer(**kwargs)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Any:
        options = self.config[self.subcommand]
        scores = create_scores(
            options.model.scores, options.model.phoneme_recogniser, options.validation_quality
        )
        chooser = scores if scores is not None and scores.chooses else None
        plateau, wait, measures = Plateau(options.patience, chooser), DataWait(), MeasureSentences()
        is_warm = bool(options.model.get("warmstart"))
        budget = Budget(is_active=not has_limit(options.trainer), is_warm=is_warm)
        self.progress = Progress(plateau, measures, wait, scores, is_verbose=options.verbose)
        ours: list[Any] = [
            BatchSizeFinder(),
            budget,
            measures,
            *([scores] if scores else []),
            plateau,
        ]
        ours += [self.progress, Memory(), Listen(scores)]
        is_by_time = options.trainer.check_val_every_n_epoch == BY_TIME
        if is_by_time and options.trainer.val_check_interval is None:
            ours.append(ValidationInterval(measures))
        if keeps_checkpoints(config):
            ours += [
                KeepBest(options.keep_best, chooser),
                KeepLast(options.save_minutes, options.keep_every_hours, options.stop_seconds),
            ]
        return super()._instantiate_trainer(config, [*callbacks, *ours, Ending(), wait])

    def after_instantiate_classes(self) -> None:
        """Hand over what was kept from the Trainer."""
        trainer = self.config[self.subcommand].trainer
        self.model.accumulate_grad_batches = trainer.accumulate_grad_batches or 1
        self.datamodule.accumulate_grad_batches = self.model.accumulate_grad_batches
        self.model.updater.clip_value = trainer.gradient_clip_val
        self.model.updater.clip_algorithm = trainer.gradient_clip_algorithm or "norm"

    def _run_subcommand(self, subcommand: str) -> None:
        path = self.config[subcommand].get("ckpt_path")
        try:
            super()._run_subcommand(subcommand)
        except _ODD_STATE as error:
            is_said = isinstance(error, PiperError | OSError)
            if is_said or not path or self.model.updater.has_updated:
                raise
            raise CheckpointError(
                f"{path} cannot be gone on from: what its training kept beside the weights is not "
                f"as this version writes it ({type(error).__name__}: {error!s:.120}). Begin a new "
                f"training from its weights with --model.warmstart={path}."
            ) from error

    def after_fit(self) -> None:
        """Say so where a resumed training had nothing left to do."""
        if self.progress.is_idle and self.trainer.is_global_zero:
            _LOGGER.warning(
                "Nothing to train: the checkpoint has already reached the end, %s; raise "
                "--trainer.max_epochs (or max_steps, max_time) to go on.",
                count_things(self.trainer.current_epoch, "epoch"),
            )


def has_limit(trainer: Any) -> bool:
    """Return whether the `--trainer.*` flags say when a training ends."""
    return trainer.max_epochs is not None or trainer.max_steps > 0 or trainer.max_time is not None


def keeps_checkpoints(trainer: Any) -> bool:
    """Return whether a Trainer's flags leave checkpoints on."""
    return trainer.get("enable_checkpointing") is not False and not trainer.get("fast_dev_run")


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; raises what goes wrong."""
    remember_command(arguments)
    typed = translate_arguments(sys.argv[1:] if arguments is None else arguments)
    TrainParser.is_help_full = FULL_HELP in typed
    TrainCLI(
        find_family(typed),
        args=["--help" if word == FULL_HELP else word for word in typed],
        seed_everything_default=1234,
        trainer_defaults=TRAINER_DEFAULTS,
        save_config_kwargs={"overwrite": True},
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
        # An abbreviated flag would change its meaning when a longer one is added.
        parser_kwargs={"prog": PROGRAM, "allow_abbrev": False},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, and turn what the user can mend into one sentence.

    Returns:
        0 at the end of training, 1 for an error, 128 + N after signal N.
    """
    _quieten("--debug" in (sys.argv[1:] if arguments is None else arguments))
    try:
        run(arguments)
    except Exception as error:
        said = _describe_error(error)
        if said is None:
            raise
        print_error(said)
        return 1
    except TrainingStopped as stop:
        if is_parent_process():
            say(str(stop), sys.stderr)
        return 128 + stop.signal_number
    except KeyboardInterrupt:
        return _say_stopped_early()
    except SystemExit as end:
        # Lightning turns a Ctrl+C while it prepares data into exit code 1, without a word.
        if isinstance(end.__context__, KeyboardInterrupt):
            return _say_stopped_early()
        raise
    return 0


def _describe_error(error: Exception) -> str | None:
    """Return a sentence for what the user can mend, else None."""
    if isinstance(error, RuntimeError) and (lost := describe_lost_process(error)):
        return f"{lost} Go on with:\n  {resume_command(LAST)}"
    if isinstance(error, ValueError) and "Union subtypes" in str(error):
        # jsonargparse's, of a class that was named (a logger, a callback) and could not be made.
        reason = str(error).partition("Errors:")[2].partition("Expected")[0].strip(" -\n")
        return f"A class that the flags name cannot be made: {' '.join(reason.split())}"
    return describe_refusal(error) or describe_error(error, EXTRA)


def _say_stopped_early() -> int:
    say("Stopped before training began; nothing was lost.", sys.stderr)
    return 128 + signal.SIGINT


def _quieten(is_debugged: bool) -> None:
    """Leave out what Lightning prints beside the progress, and its advice that misleads here."""
    configure_logging()
    logging.getLogger("piper").setLevel(logging.DEBUG if is_debugged else logging.INFO)
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*number of training batches.*smaller than the logging interval.*",
        ".*Checkpoint directory.*exists and is not empty.*",
        ".*overridden `on_before_batch_transfer` in `LightningModule`.*",
        ".*dirpath has changed.*",
        ".*treespec.*",
        # A slim checkpoint's schedule goes on, its optimizers begin anew.
        ".*lr_scheduler.step.. before .optimizer.step.*",
        ".*LightningCLI's args parameter.*",  # they are the command line's, with names of today
    ):
        warnings.filterwarnings("ignore", message)
