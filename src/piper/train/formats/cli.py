"""`python -m piper.train import SOURCE DIR`: flags, output, exit code."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from piper.errors import DatasetError
from piper.messages import say, translate
from piper.options import CommandParser
from piper.progress import count_things
from piper.train.command import run_command
from piper.train.data.audio import TRAINED_RATES
from piper.train.formats.convert import (
    ImportOptions,
    ImportReport,
    describe_left_out,
    import_dataset,
)
from piper.train.formats.readers import FORMATS
from piper.train.formats.source import ReadOptions, parse_columns


def create_parser() -> argparse.ArgumentParser:
    """Return the flags of the import."""
    formats = "\n".join(f"  {one.name:<14} {one.summary}" for one in FORMATS)
    parser = CommandParser(
        prog="python -m piper.train import",
        description="Make a dataset (metadata.csv, wavs/, config.json) of recordings and texts "
        "in another layout. The source stays as it is; run again, it goes on.",
        epilog=f"formats:\n{formats}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=Path,
        help="folder, or the file that lists the recordings; or hf://datasets/USER/NAME",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder of the dataset to make")
    parser.add_argument("--format", metavar="NAME", help="see below; default: found out")
    parser.add_argument(
        "--language", metavar="VOICE", help="espeak-ng voice of the texts, such as ru or en-us"
    )
    parser.add_argument(
        "--sample-rate",
        "--sample_rate",
        type=int,
        choices=TRAINED_RATES,
        help="hertz of the voice; default: what fits most recordings, which keep their own",
    )
    parser.add_argument("--limit", metavar="N", type=int, help="at most N recordings")
    parser.add_argument("--config", metavar="NAME", help="configuration of a dataset of the Hub")
    parser.add_argument(
        "--split", metavar="NAME", help="part of a dataset of the Hub; default: train"
    )
    parser.add_argument(
        "--columns",
        metavar="audio=A,text=B,speaker=C",
        help="names of the columns (csv, jsonl, hugging_face, hub); default: the usual ones",
    )
    parser.add_argument(
        "--audio-dir",
        "--audio_dir",
        metavar="FOLDER",
        type=Path,
        help="where the recordings lie, if not in SOURCE",
    )
    parser.add_argument(
        "--original-text",
        "--original_text",
        action="store_true",
        help="take the text before it was normalised, where there are two",
    )
    parser.add_argument(
        "--one-speaker",
        "--one_speaker",
        action="store_true",
        help="the source's speakers or folders are one person",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Import a dataset; return the exit code."""
    arguments = create_parser().parse_args(argv)
    stopped = "Stopped; run the same command again to go on with what is missing."
    return run_command(lambda: _import(arguments), stopped)


def _import(arguments: argparse.Namespace) -> int:
    if arguments.limit is not None and arguments.limit < 1:
        raise DatasetError(f"--limit is {arguments.limit}; give 1 or more.")
    columns = parse_columns(arguments.columns) if arguments.columns else {}
    options = ImportOptions(
        format_name=arguments.format,
        language=arguments.language,
        sample_rate=arguments.sample_rate,
        read=ReadOptions(
            arguments.original_text,
            columns,
            arguments.audio_dir,
            arguments.config,
            arguments.split,
        ),
        is_one_speaker=arguments.one_speaker,
        limit=arguments.limit,
    )
    say(_describe_report(import_dataset(arguments.source, arguments.folder, options)))
    return 0


def _describe_report(report: ImportReport) -> str:
    rates = ", ".join(f"{count} at {rate} Hz" for rate, count in sorted(report.rates.items()))
    lines = [
        f"{count_things(report.num_recordings, 'recording')} ({report.seconds / 60:.1f} min, "
        f"{count_things(report.num_speakers, 'speaker')}; {rates}) of {report.format_name} are in "
        f"{report.folder}; the voice will have {report.sample_rate} Hz.",
    ]
    if report.left_out:
        lines.append(
            f"{len(report.left_out)} left out: {describe_left_out(report.left_out)}; "
            f"see {report.folder / 'import.json'}."
        )
    if report.changes:
        lines.append(f"{report.changes} changed; see {report.folder / 'import.json'}.")
    if report.columns:
        lines.append(f"Read as: {report.columns}.")
    lines += [translate(note) for note in report.notes]
    command = shlex.join(["python", "-m", "piper.train", "check", str(report.folder)])
    return "\n".join([*lines, f"Next: {command}"])


if __name__ == "__main__":
    sys.exit(main())
