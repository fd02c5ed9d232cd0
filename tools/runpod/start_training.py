"""Starts a training that fits this machine: dataset, flags, signals, log.

    python tools/runpod/start_training.py --dataset DIR --batch-size 80 --num-gpus 2

Flags of the trainer itself (`python -m piper.train fit --help`) go after `--`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tools" / "runpod"), str(ROOT / "tools" / "datasets")]

if importlib.util.find_spec("piper") is None:
    sys.exit(
        f"The package piper is not installed for {sys.executable}; run `make install` in {ROOT} "
        "and then `source .venv/bin/activate`."
    )

from machine import (  # noqa: E402
    CPU_QUALITY,
    BatchPlan,
    Devices,
    Machine,
    find_machine,
    plan_batch,
    plan_devices,
)
from relay import Relay, Tee  # noqa: E402

from piper.errors import CheckpointError, DatasetError, PiperError  # noqa: E402
from piper.files import load_json_object  # noqa: E402
from piper.messages import print_error, say, translate  # noqa: E402
from piper.options import CommandParser, whole_number  # noqa: E402
from piper.train.presets import (  # noqa: E402
    DEFAULT_QUALITY,
    QUICK,
    QUICK_BATCH_SIZES,
    create_network_config,
    parse_quality,
)
from piper.train.resuming import (  # noqa: E402
    CHECKPOINT,
    COMMAND_VARIABLE,
    DATASET_FLAGS,
    FLAGS,
    LAST,
    Run,
    find_run,
    quote_command,
)
from piper.train.storage import is_remote, plain_address  # noqa: E402

TEST_DATASETS = ROOT / "datasets"
FOR_CPUS = (QUICK, "tiny")
DEFAULT_BATCH_SIZE = 32
DEFAULT_NUM_GPUS = 2
TEST_BATCH_SIZE = 8
TEST_MINUTES = 10
"""Of the small test dataset: batches enough for an epoch to have several, and a few minutes."""
LOG_NAME = "training.log"
MOST = 1_000_000
EXIT_ERROR = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT


@dataclass(frozen=True)
class Plan:
    """What will be run, and what there is to say about it.

    Attributes:
        command: Program and arguments.
        dataset: Folder of the recordings.
        test_sample_rate: Hertz of the launcher's own test dataset, to be made where it is
            missing; None for a dataset of the user's.
        lines: What differs from what was asked for, a sentence each.
        resume_words: The command that goes on, as `resuming.COMMAND_VARIABLE` has it.
    """

    command: list[str]
    dataset: Path
    test_sample_rate: int | None
    lines: list[str]
    resume_words: list[str]


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the flags; what follows `--` becomes `trainer_flags`; `words` are all of them."""
    own, rest = list(argv), []
    if "--" in own:
        position = own.index("--")
        own, rest = own[:position], own[position + 1 :]
    args = create_parser().parse_args(own)
    args.trainer_flags = rest
    args.words = list(argv)
    return args


def create_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = CommandParser(
        description="Train a voice on what this machine has: GPUs, or the CPU.",
        epilog="Flags of `python -m piper.train fit` can follow after --, for example "
        "-- --trainer.check_val_every_n_epoch=5",
    )
    add = parser.add_argument
    add(
        "--dataset",
        type=Path,
        metavar="DIR",
        help="folder with metadata.csv and wavs/; without it that of the run of --checkpoint, "
        "else a small test dataset is made",
    )
    add(
        "--output-dir",
        metavar="DIR",
        help="where lightning_logs/ and the log go (default: the current folder); of an s3://… "
        "the log stays here",
    )
    add(
        "--batch-size",
        type=whole_number(1, MOST),
        metavar="N",
        help=f"utterances of a batch on each device (default: {DEFAULT_BATCH_SIZE}, of the test "
        f"dataset {TEST_BATCH_SIZE}; of quick voices {QUICK_BATCH_SIZES['cpu']}, on a GPU "
        f"{QUICK_BATCH_SIZES['gpu']})",
    )
    add(
        "--num-gpus",
        type=whole_number(0, MOST),
        default=DEFAULT_NUM_GPUS,
        metavar="N",
        help="GPUs to use; with fewer here those, with none or 0 the CPU (default: %(default)s)",
    )
    add(
        "--max-epochs",
        type=whole_number(1, MOST),
        metavar="N",
        help="passes over the dataset (default: the trainer ends by itself, with the test dataset "
        f"after {TEST_MINUTES} minutes)",
    )
    add(
        "--checkpoint",
        metavar="FILE",
        help="go on from it; last: the newest",
    )
    add(
        "--quality",
        "--preset",  # its name in earlier versions
        metavar="NAME",
        help="x-low, low, medium, high, or quick, which is trained in minutes (default: what the "
        "dataset's config.json says, else medium, without a GPU quick)",
    )
    add(
        "--precision",
        metavar="P",
        help="32, 16-mixed or bf16-mixed (default: the trainer's own, 32)",
    )
    add(
        "--num-workers",
        type=whole_number(0, MOST),
        metavar="N",
        help="processes that load data, a device (default: by cores and memory)",
    )
    add(
        "--accumulate-grad-batches",
        type=whole_number(1, MOST),
        default=1,
        metavar="N",
        help="batches of an update (default: %(default)s)",
    )
    add(
        "--log-file",
        type=Path,
        metavar="FILE",
        help=f"where the output goes beside the terminal (default: {LOG_NAME} in --output-dir)",
    )
    add("--dry-run", action="store_true", help="print the command and end")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the launcher; return the training's exit code.

    Args:
        argv: The arguments after the program's name; None means those of the process.
    """
    args = parse_arguments(sys.argv[1:] if argv is None else argv)
    try:
        check_paths(args)
        plan = create_plan(args, find_machine())
        if args.dry_run:
            for line in plan.lines:
                say(line, file=sys.stderr)
            print(quote_command(plan.command))
            return 0
        return run_plan(plan, args.log_file or find_log_folder(args.output_dir) / LOG_NAME)
    except PiperError as error:
        print_error(error)
        return EXIT_ERROR
    except KeyboardInterrupt:
        say("Stopped before training began; nothing was lost.", file=sys.stderr)
        return EXIT_INTERRUPTED


def run_plan(plan: Plan, log_path: Path) -> int:
    """Make what is missing, start the training and wait for it.

    Raises:
        PiperError: The test dataset or the log file cannot be written.
    """
    try:
        tee = Tee(log_path)
    except OSError as error:
        raise PiperError(
            f"{log_path} cannot be written ({error.strerror}); choose another --output-dir or "
            "--log-file."
        ) from None
    try:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        tee.say(f"{now} · {translate('log:')} {log_path}")
        for line in plan.lines:
            tee.say(line)
        if plan.test_sample_rate and not (plan.dataset / "metadata.csv").is_file():
            tee.say(f"No --dataset was given: making a test dataset in {plan.dataset}")
            make_dataset(plan.dataset, plan.test_sample_rate)
        tee.say(f"$ {quote_command(plan.command)}")
        words = os.environ.get(COMMAND_VARIABLE) or "\n".join(plan.resume_words)
        return Relay(tee).run(plan.command, {COMMAND_VARIABLE: words})
    finally:
        tee.close()


def make_dataset(folder: Path, sample_rate: int) -> None:
    """Make the test dataset: synthetic speech by espeak-ng, at `sample_rate` hertz.

    Raises:
        PiperError: It cannot be written, or espeak-ng is not there.
    """
    # Brings NumPy and espeak-ng, which a training with recordings of one's own does not need here.
    from make_test_dataset import make_test_dataset

    try:
        make_test_dataset(folder, sample_rate=sample_rate)
    except (OSError, RuntimeError) as error:
        raise DatasetError(
            f"The test dataset cannot be made in {folder} ({error}); make room there, or pass "
            "recordings of your own with --dataset."
        ) from None


def check_paths(args: argparse.Namespace) -> None:
    """Look for the files that were named, before the slow part begins.

    Raises:
        PiperError: One is not there.
    """
    if args.dataset is not None and not args.dataset.is_dir():
        raise DatasetError(
            f"The dataset's folder {args.dataset} does not exist; check --dataset, or leave it out "
            "to train on a small test dataset."
        )
    # What lies in a cloud's storage the trainer looks for.
    is_path = args.checkpoint not in (None, "last") and not is_remote(args.checkpoint)
    if is_path and not Path(args.checkpoint).exists():
        raise CheckpointError(
            f"{args.checkpoint} does not exist; check --checkpoint "
            "(`find lightning_logs -name '*.ckpt'` lists what there is)."
        )


def create_plan(args: argparse.Namespace, machine: Machine) -> Plan:
    """Fit what was asked for to the machine. Writes nothing.

    Raises:
        PiperError: PyTorch is missing, or the dataset's config.json cannot be read.
    """
    if machine.num_gpus is None:
        raise PiperError(
            f"PyTorch is not installed for {sys.executable}, and training needs it; run "
            f"`make install` in {ROOT}, or `pip install '.[train]'` there."
        )
    devices, line = plan_devices(args.num_gpus, machine)
    lines = [line] if line else []
    is_cpu = devices.accelerator == "cpu"
    run = find_run_of(args)
    # `last` begins a training where there is none yet.
    is_resumed = run is not None or (args.checkpoint is not None and args.dataset is not None)
    quality, line = choose_quality(args, is_cpu, is_resumed)
    lines += [line] if line else []
    rate, dataset = None, args.dataset
    if run is not None:
        dataset = Path(run.dataset)
        if dataset.parent == TEST_DATASETS:
            rate = find_sample_rate(run.quality or DEFAULT_QUALITY)
    elif dataset is None:
        trained = quality or (CPU_QUALITY if is_cpu else DEFAULT_QUALITY)
        # One a quality, for their sample rates differ.
        dataset = TEST_DATASETS / f"test_ru_{parse_quality(trained)}"
        rate = find_sample_rate(trained)
    is_test = rate is not None
    trained = quality or find_trained_quality(args) or find_quality(dataset) or DEFAULT_QUALITY
    size = TEST_BATCH_SIZE if is_test else DEFAULT_BATCH_SIZE
    if parse_quality(trained) == QUICK:
        size = QUICK_BATCH_SIZES[devices.accelerator]
    batch = BatchPlan(args.batch_size or size, args.accumulate_grad_batches)
    if is_cpu:
        batch, line = plan_batch(batch, trained, machine.memory_bytes)
        lines += [line] if line else []
    # The trainer takes more than a folder from the run: what it held out, how it was cut.
    named = None if run is not None else dataset
    limits = ("--trainer.max_", "--patience", "--trainer.fast_dev_run")
    ends = args.max_epochs is not None or any(f.startswith(limits) for f in args.trainer_flags)
    minutes = TEST_MINUTES if is_test and not is_resumed and not ends else None
    if minutes is not None:
        lines.append(
            f"The test training ends after {minutes} minutes; --max-epochs sets another end."
        )
    command = create_command(args, named, devices, batch, quality, minutes)
    return Plan(command, dataset, rate, lines, find_resume_words(args))


def find_run_of(args: argparse.Namespace) -> Run | None:
    """Return the run that the checkpoint belongs to, where no dataset was named.

    Raises:
        PiperError: Nothing says what it was trained on.
    """
    is_named = any(find_flag(f"data.{name}", args.trainer_flags) for name in DATASET_FLAGS)
    if args.dataset is not None or args.checkpoint is None or is_named:
        return None
    checkpoint = find_checkpoint_file(args)
    return None if checkpoint is None else find_run(checkpoint, made=TEST_DATASETS)


def find_checkpoint_file(args: argparse.Namespace) -> str | None:
    """Return the file or address that `--checkpoint` means, or None where there is none yet."""
    checkpoint: str = args.checkpoint
    if checkpoint != LAST and not is_remote(checkpoint) and Path(checkpoint).is_dir():
        from piper.train.checkpoints import find_checkpoint

        return find_checkpoint(checkpoint)
    if checkpoint == LAST:
        # Brings torch, which nothing else here needs.
        from piper.train.checkpoints import find_last_checkpoint

        return find_last_checkpoint(args.output_dir)
    return checkpoint


def find_trained_quality(args: argparse.Namespace) -> str:
    """Return the quality of the run that a checkpoint belongs to; empty where it is not known."""
    if args.checkpoint is not None:
        with suppress(PiperError, OSError):
            checkpoint = find_checkpoint_file(args)
            return find_run(checkpoint, made=TEST_DATASETS).quality if checkpoint else ""
    return ""


def find_resume_words(args: argparse.Namespace) -> list[str]:
    """Return the launcher's own command, with a place for the checkpoint."""
    own = sys.orig_argv[: len(sys.orig_argv) - len(args.words)] + args.words
    rest = [*args.trainer_flags, FLAGS]
    cut = own.index("--") if "--" in own else len(own)
    return [*own[:cut], f"--checkpoint={CHECKPOINT}", "--", *rest]


def choose_quality(
    args: argparse.Namespace, is_cpu: bool, is_resumed: bool
) -> tuple[str | None, str | None]:
    """Choose `--model.quality`; None leaves it to config.json or the checkpoint. Also give a line.

    Raises:
        ConfigError: There is no such quality.
    """
    given = find_flag("model.quality", args.trainer_flags) or args.quality
    if given is not None:
        parse_quality(given)
        return given, None
    if not is_cpu or is_resumed:
        return None, None
    said = find_quality(args.dataset) if args.dataset is not None else ""
    if parse_quality(said or CPU_QUALITY) in FOR_CPUS and said:
        return None, None
    if said:
        return None, (
            f"The quality {said}, as {args.dataset / 'config.json'} says, takes days on a CPU; "
            f"--quality {CPU_QUALITY} trains a voice in minutes."
        )
    return CPU_QUALITY, (
        f"On a CPU the quality {CPU_QUALITY} is trained, which is understood after minutes, where "
        f"{DEFAULT_QUALITY} takes days; --quality {DEFAULT_QUALITY} overrides it."
    )


def find_flag(name: str, trainer_flags: Sequence[str]) -> str | None:
    """Return the value of a flag of the trainer, or None where it is not given."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(f"--{name}", dest="value")
    value: str | None = parser.parse_known_args(trainer_flags)[0].value
    return value


def find_sample_rate(quality: str) -> int:
    """Return the hertz that a quality is trained at where nothing else says so."""
    return create_network_config(quality).sample_rate


def find_quality(dataset: Path) -> str:
    """Return the quality that a dataset's config.json names, or an empty text.

    Raises:
        ConfigError: The file is not valid JSON.
    """
    path = dataset / "config.json"
    if not path.is_file():
        return ""
    audio = load_json_object(path).get("audio")
    quality = audio.get("quality") if isinstance(audio, dict) else None
    return quality if isinstance(quality, str) else ""


def find_log_folder(output_dir: str | None) -> Path:
    """Return the folder of the log, which is written line by line and so on this machine."""
    return Path("." if output_dir is None or is_remote(output_dir) else plain_address(output_dir))


def create_command(
    args: argparse.Namespace,
    dataset: Path | None,
    devices: Devices,
    batch: BatchPlan,
    quality: str | None,
    minutes: int | None = None,
) -> list[str]:
    """Return the trainer's command line; a flag after `--` comes last and so wins."""
    flags: dict[str, object] = {
        "data.dataset_dir": dataset,
        "data.batch_size": batch.batch_size,
        "data.num_workers": args.num_workers,
        "model.quality": quality,
        "trainer.accelerator": devices.accelerator,
        "trainer.devices": devices.count,
        "trainer.strategy": devices.strategy,
        "trainer.precision": args.precision,
        "trainer.max_epochs": args.max_epochs,
        "trainer.max_time": None if minutes is None else f"00:00:{minutes:02}:00",
        "trainer.accumulate_grad_batches": batch.accumulate if batch.accumulate > 1 else None,
        "trainer.default_root_dir": args.output_dir,
        "ckpt_path": args.checkpoint,
    }
    given = [f"--{name}={value}" for name, value in flags.items() if value is not None]
    return [sys.executable, "-m", "piper.train", "fit", *given, *args.trainer_flags]


if __name__ == "__main__":
    sys.exit(main())
