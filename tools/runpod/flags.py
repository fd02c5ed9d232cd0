"""The launcher's flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from piper.options import CommandParser
from piper.train.presets import QUICK_BATCH_SIZES

DEFAULT_BATCH_SIZE = 32
DEFAULT_NUM_GPUS = 2
TEST_BATCH_SIZE = 8
TEST_MINUTES = 10
"""Of the small test dataset: batches enough for an epoch to have several, and a few minutes."""
LOG_NAME = "training.log"


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
        type=_parse_positive,
        metavar="N",
        help=f"utterances of a batch on each device (default: {DEFAULT_BATCH_SIZE}, of the test "
        f"dataset {TEST_BATCH_SIZE}; of quick voices {QUICK_BATCH_SIZES['cpu']}, on a GPU "
        f"{QUICK_BATCH_SIZES['gpu']})",
    )
    add(
        "--num-gpus",
        type=_parse_not_negative,
        default=DEFAULT_NUM_GPUS,
        metavar="N",
        help="GPUs to use; with fewer here those, with none or 0 the CPU (default: %(default)s)",
    )
    add(
        "--max-epochs",
        type=_parse_positive,
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
        type=_parse_not_negative,
        metavar="N",
        help="processes that load data, a device (default: by cores and memory)",
    )
    add(
        "--accumulate-grad-batches",
        type=_parse_positive,
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


def _parse_not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 0 or more")
    return value


def _parse_positive(text: str) -> int:
    value = _parse_not_negative(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return value


# argparse names these functions in its message about a text that is no number at all.
_parse_not_negative.__name__ = _parse_positive.__name__ = "whole number"
