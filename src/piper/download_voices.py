"""`python -m piper.download_voices`: lists published voices and downloads them by name."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from piper.catalogue import CATALOGUE_URL, download_voice, find_catalogue_voice, load_catalogue
from piper.errors import PiperError


def create_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m piper.download_voices",
        description="Download published voices; without a name, list them.",
    )
    parser.add_argument("voice", nargs="*", help="name, such as en_US-lessac-medium")
    parser.add_argument(
        "--download-dir",
        "--download_dir",
        "--data-dir",
        "--data_dir",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder to download into (default: the current one)",
    )
    parser.add_argument(
        "--force-redownload",
        "--force_redownload",
        action="store_true",
        help="download again what is already there",
    )
    parser.add_argument(
        "--catalogue-url",
        "--catalogue_url",
        default=CATALOGUE_URL,
        metavar="URL",
        help="address of the catalogue; the files lie beside it (default: %(default)s)",
    )
    parser.add_argument("--debug", action="store_true", help="say more on standard error")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = create_parser().parse_args(argv)
    logging.basicConfig(level=logging.DEBUG if args.debug else logging.INFO, format="%(message)s")
    try:
        catalogue = load_catalogue(args.catalogue_url)
        if not args.voice:
            print("\n".join(catalogue))
        # All names first: a slip in the last must not show after an hour of downloads.
        for voice in [find_catalogue_voice(catalogue, name) for name in args.voice]:
            download_voice(voice, args.download_dir, is_forced=args.force_redownload)
    except PiperError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
