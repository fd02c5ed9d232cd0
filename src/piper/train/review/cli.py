"""`python -m piper.train review DIR`: flags, output, exit code."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from piper.errors import needs_extra
from piper.messages import say
from piper.options import CommandParser, whole_number
from piper.train.command import run_command
from piper.train.data.dataset_flags import add_dataset_flags, find_settings, refuse_storage

if TYPE_CHECKING:
    from piper.train.data.settings import DataSettings
    from piper.train.review.gathering import Gathered
    from piper.train.review.session import Clip, Review


def create_parser() -> argparse.ArgumentParser:
    """Return the flags of the review."""
    parser = CommandParser(
        prog="python -m piper.train review",
        description="Open a page to listen to what the check or the split is unsure of, to correct "
        "texts and borders, and to drop what is no good. The dataset stays as it is.",
    )
    add_dataset_flags(parser)
    add = parser.add_argument
    add("--all", action="store_true", help="show every line, not only those with an issue")
    add("--rules", default="", metavar="RULES", help="show only issues of these, joined by commas")
    add(
        "--fix",
        type=Path,
        metavar="OUT",
        help="write a copy there with all that was decided, and end; no page is opened",
    )
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add(
        "--port",
        type=whole_number(0, 65535),
        default=0,
        help="port to listen on; 0 takes a free one (default: %(default)s)",
    )
    add("--no-browser", action="store_true", help="only print the address")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Review a dataset; return the exit code."""
    arguments = create_parser().parse_args(argv)
    stopped = "Ended; every decision is kept in review.jsonl, and the same command goes on."
    return run_command(lambda: _review(arguments), stopped)


def _review(arguments: argparse.Namespace) -> int:
    from piper.train.review.gathering import gather_clips, select_clips
    from piper.train.review.session import JOURNAL_NAME, Review, hold_journal

    settings = find_settings(arguments)
    refuse_storage(settings, "reviewed")
    gathered = gather_clips(settings)
    path = settings.csv_path.parent / JOURNAL_NAME
    if arguments.fix is not None:
        return _write_copy(settings, gathered, Review(gathered.clips, path), arguments.fix)
    clips = select_clips(
        gathered, settings.csv_path.parent, is_all=arguments.all, rules=arguments.rules
    )
    if not gathered.has_report and not arguments.all:
        folder = settings.csv_path.parent
        more = f"python -m piper.train check {folder}"
        say(f"Only what the split is unsure of; more is found by: {more}")
    if not clips:
        say("Nothing to review: no line has an error or a warning; --all shows every line.")
        return 0
    with hold_journal(path):
        review = Review(gathered.clips, path)
        say(_describe(clips, review))
        _open_page(arguments, settings, gathered, clips, review)
    return 0


def _write_copy(settings: DataSettings, gathered: Gathered, review: Review, folder: Path) -> int:
    from piper.train.review.reviewed_copy import write_reviewed_copy

    summary = write_reviewed_copy(gathered, review, settings.config_path, folder)
    say(f"reviewed: {folder} ({summary})")
    if void := sum(bool(review.find_outcome(clip).note) for clip in gathered.clips):
        say(
            f"{void} decided before and changed since did not count; look at them again: "
            f"python -m piper.train review {settings.csv_path.parent}"
        )
    return 0


def _describe(clips: Sequence[Clip], review: Review) -> str:
    from piper.progress import count_things
    from piper.train.review.session import State

    outcomes = [review.find_outcome(clip) for clip in clips]
    decided = sum(outcome.state is not State.UNDECIDED for outcome in outcomes)
    void = sum(bool(outcome.note) for outcome in outcomes)
    said = f"{count_things(len(clips), 'clip')} to review, {decided} decided"
    return f"{said}, {void} to decide anew, since they have changed" if void else said


def _open_page(
    arguments: argparse.Namespace,
    settings: DataSettings,
    gathered: Gathered,
    clips: Sequence[Clip],
    review: Review,
) -> None:
    with needs_extra("http"):
        from piper.train.review.app import (
            ReviewContext,
            create_app,
            create_media_folder,
            serve_page,
        )

    with create_media_folder(settings.cache_dir, settings.csv_path.parent) as folder:
        context = ReviewContext(settings, gathered, clips, review, folder)
        token = secrets.token_urlsafe(16)  # 128 bits are not guessed
        serve_page(
            create_app(context, token, arguments.host),
            arguments.host,
            arguments.port,
            f"/{token}/",
            has_browser=not arguments.no_browser,
        )


if __name__ == "__main__":
    sys.exit(main())
