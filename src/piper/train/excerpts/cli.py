"""`python -m piper.train excerpts DIR OUT`: flags, output, exit code."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from piper.errors import ConfigError, DatasetError
from piper.messages import configure_logging, say
from piper.options import CommandParser
from piper.progress import count_things
from piper.train.command import run_command
from piper.train.data.dataset_flags import add_dataset_flags, find_settings

MAX_WORDS = 3


def create_parser() -> argparse.ArgumentParser:
    """Return the flags of the excerpts."""
    parser = CommandParser(
        prog="python -m piper.train excerpts",
        description="Write a copy of a dataset with single words and short phrases, cut out of its "
        "recordings between two pauses, as further utterances; excerpts.json lists them.",
    )
    add_dataset_flags(parser)
    add = parser.add_argument
    add("folder", metavar="OUT", type=Path, nargs="?", help="folder of the copy")
    add(
        "--words",
        metavar="N",
        type=int,
        default=MAX_WORDS,
        help="phrases of so many words at most; default: %(default)s",
    )
    add(
        "--most",
        metavar="N",
        type=int,
        help="so many excerpts at most; default: a tenth of the recordings' time",
    )
    add(
        "--own-marks",
        "--own_marks",
        action="store_true",
        help="let texts end as they stand, with a comma or without a mark; default: a full stop, "
        "as speaking adds it to a single word",
    )
    add(
        "--sentence-ends",
        "--sentence_ends",
        action="store_true",
        help="only phrases that end a sentence; default: those first",
    )
    add("--list", action="store_true", help="print what would be cut, and write nothing")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Cut excerpts; return the exit code."""
    arguments = create_parser().parse_args(argv)
    configure_logging()
    logging.getLogger("piper.train.aligner").setLevel(logging.INFO)
    stopped = "Stopped; what was trained is kept, and the same command goes on."
    return run_command(lambda: _cut(arguments), stopped)


def _cut(arguments: argparse.Namespace) -> int:
    from piper.train.check.copying import require_new_folder
    from piper.train.check.run import check_dataset
    from piper.train.excerpts import excerpts

    settings = find_settings(arguments)
    if settings.address is not None:
        raise ConfigError(
            f"Nothing can be cut out of {settings.address} where it lies; copy it to a folder "
            "first."
        )
    folder: Path | None = None if arguments.list else arguments.folder
    if folder is None and not arguments.list:
        raise ConfigError("The copy has no folder; name one after the dataset, or pass --list.")
    for flag, value in (("--words", arguments.words), ("--most", arguments.most)):
        if value is not None and value < 1:
            raise ConfigError(f"{flag}={value} leaves nothing to cut; give 1 or more.")
    if folder is not None:
        require_new_folder(folder)
    report = check_dataset(settings, is_quick=True)
    candidates = excerpts.find_candidates(
        report, settings, most_words=arguments.words, has_own_marks=arguments.own_marks
    )
    if arguments.sentence_ends:
        candidates = [one for one in candidates if one.phrase.ends_sentence]
    chosen = excerpts.choose_excerpts(candidates, report, settings, arguments.most)
    if not chosen:
        raise DatasetError(
            f"No phrase of {count_things(arguments.words, 'word')} or fewer was found between two "
            f"pauses in {arguments.dataset}; allow more with --words."
        )
    minutes = sum(one.measures.seconds for one in chosen) / 60
    sources = count_things(len({one.source.line for one in chosen}), "recording")
    what = f"{count_things(len(chosen), 'excerpt')} ({minutes:.1f} minutes) of {sources}"
    if folder is None:
        for one in excerpts.name_excerpts(chosen):
            phrase = one.phrase
            place = f"{phrase.start_seconds:.2f}\t{phrase.end_seconds:.2f}\t{phrase.score:.2f}"
            print(f"{one.name}\t{place}\t{phrase.text}")
        say(f"{what} would be cut.", file=sys.stderr)
    else:
        excerpts.write_copy(report, chosen, settings.config_path, folder)
        listed = folder / excerpts.EXCERPTS_NAME
        say(f"{what} are in {folder} beside them; {listed} lists them.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
