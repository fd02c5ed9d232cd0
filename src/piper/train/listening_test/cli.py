"""`python -m piper.train listening-test`: flags, output, exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from piper.files import refuse_overwriting
from piper.messages import say
from piper.options import CommandParser, whole_number
from piper.progress import count_things
from piper.train.command import run_command


def create_parser() -> argparse.ArgumentParser:
    """Return the flags of the listening test."""
    parser = CommandParser(
        prog="python -m piper.train listening-test",
        description="Let people compare voices blindly: write a page from an evaluation's report, "
        "or say what the listeners of its results preferred.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--report", type=Path, metavar="JSON", help="report.json of an evaluation")
    what.add_argument(
        "--results", type=Path, metavar="CSV", nargs="+", help="results that listeners downloaded"
    )
    add = parser.add_argument
    add(
        "-o",
        "--output",
        type=Path,
        default=Path("listen.html"),
        metavar="HTML",
        help="the page (default: %(default)s)",
    )
    add(
        "--systems",
        metavar="LABELS",
        help="what to compare, joined by commas, as the report has them; default: its voices, and "
        "a voice that is alone with the recordings",
    )
    add("--most", type=whole_number(1, 10**6), metavar="N", help="at most N pairs; default: all")
    add("--seed", type=int, default=1234, help="of order and sides (default: %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write a listening test, or summarise its results; return the exit code."""
    arguments = create_parser().parse_args(argv)
    return run_command(lambda: _run(arguments), "Stopped; nothing was written.")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.results:
        from piper.train.listening_test.preferences import summarise_listening_test, summary_to_text

        say(summary_to_text(summarise_listening_test(arguments.results)))
        return 0
    from piper.train.listening_test.making import make_listening_test, read_spoken_sentences

    labels = arguments.systems.split(",") if arguments.systems else None
    spoken = read_spoken_sentences(arguments.report, labels)
    files = [file for audio in spoken.audio.values() for file in audio]
    inputs = {"--report": arguments.report, **{file.name: file for file in files}}
    refuse_overwriting({"--output": arguments.output}, inputs)
    count = make_listening_test(
        spoken.audio,
        arguments.output,
        texts=spoken.texts,
        names=spoken.names,
        seed=arguments.seed,
        most=arguments.most,
    )
    say(f"{arguments.output}: {count_things(count, 'pair')} of {', '.join(spoken.audio)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
