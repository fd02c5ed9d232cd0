"""`python -m piper.train phonemes DIR`: what a voice will hear of a dataset's texts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from piper.option_values import CommandParser
from piper.train.command import run_command
from piper.train.data.dataset_flags import add_dataset_flags, find_settings


def create_parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = CommandParser(
        prog="python -m piper.train phonemes",
        description="Write a line for each utterance: its recording, its text, and the phonemes "
        "that training makes of it, separated by tabs; those that the id map lacks stand in <>.",
    )
    add_dataset_flags(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="so many utterances at most")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Show phonemes; return the exit code."""
    arguments = create_parser().parse_args(argv)
    return run_command(lambda: _show(arguments), "Stopped.")


def _show(arguments: argparse.Namespace) -> int:
    from piper.train.data.hearing import Hearing
    from piper.train.data.prepare import load_rows

    settings = find_settings(arguments)
    rows = load_rows(settings)
    hearing = Hearing(settings, rows)
    for row in rows[: arguments.limit]:
        print(row.audio_path.name, row.text, hearing.describe(row.text), sep="\t")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
