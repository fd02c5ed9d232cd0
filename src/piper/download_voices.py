"""`python -m piper.download_voices`: lists published voices and downloads them by name."""

from __future__ import annotations

import argparse
import logging
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from piper import download
from piper.errors import PiperError
from piper.files import replace_on_success
from piper.jobs import find_exit_code
from piper.messages import configure_logging
from piper.options import CommandParser, add_option
from piper.system import open_standard_streams
from piper.voices import (
    CATALOGUE_URL,
    CONFIG_SUFFIX,
    MODEL_SUFFIX,
    fetch_hub_voice,
    is_hub_address,
)

_LOGGER = logging.getLogger(__name__)

# Names that other programs import from here.
VOICES_JSON = CATALOGUE_URL
URL_FORMAT = (
    CATALOGUE_URL.rpartition("/")[0]
    + "/{lang_family}/{lang_code}/{voice_name}/{voice_quality}"
    + "/{lang_code}-{voice_name}-{voice_quality}{extension}?download=true"
)
"""Address of a published voice's file, `.onnx` or `.onnx.json`."""
VOICE_PATTERN = re.compile(
    r"^(?P<lang_family>[^-]+)_(?P<lang_region>[^-]+)-(?P<voice_name>[^-]+)-(?P<voice_quality>.+)$"
)
"""A published voice's name, such as `en_US-lessac-medium`."""


def list_voices() -> None:
    """Print the names of all published voices."""
    print("\n".join(download.load_catalogue(VOICES_JSON)), flush=True)


def download_voice(voice: str, download_dir: Path | str, force_redownload: bool = False) -> None:
    """Download a published voice, by its name or an alias, whole or not at all.

    What is there is not fetched again unless `force_redownload`.
    """
    model = Path(download_dir, f"{voice}{MODEL_SUFFIX}")
    if model.is_file() and Path(f"{model}{CONFIG_SUFFIX}").is_file() and not force_redownload:
        return  # without a look at the catalogue, so that it works without a network
    found = download.find_catalogue_voice(download.load_catalogue(VOICES_JSON), voice)
    download.download_voice(found, download_dir, is_forced=force_redownload)


def create_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = CommandParser(
        prog="python -m piper.download_voices",
        description="Download published voices; without a name, list them.",
    )
    parser.add_argument(
        "voice",
        nargs="*",
        help="name, such as en_US-lessac-medium, or an address of the Hub, hf://USER/NAME",
    )
    add_option(
        parser,
        "--download-dir",
        "--data-dir",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder to download into (default: the current one)",
    )
    add_option(
        parser,
        "--force-redownload",
        action="store_true",
        help="download again what is already there",
    )
    parser.add_argument(
        "--language",
        action="append",
        default=[],
        metavar="L",
        help="list only this language, such as ru, ru_RU or Russian; repeatable",
    )
    parser.add_argument(
        "--quality",
        action="append",
        default=[],
        metavar="Q",
        help="list only this quality: x_low, low, medium or high; repeatable",
    )
    parser.add_argument(
        "-l", "--long", action="store_true", help="list language, quality, speakers and size, too"
    )
    parser.add_argument(
        "--installed",
        action="store_true",
        help="compare the voices in the folder with the catalogue, all or those named",
    )
    add_option(
        parser,
        "--catalogue-url",
        default=CATALOGUE_URL,
        metavar="URL",
        help="address of the catalogue; the files lie beside it (default: %(default)s)",
    )
    parser.add_argument("--debug", action="store_true", help="say more on standard error")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    open_standard_streams()
    parser = create_parser()
    args = parser.parse_args(argv)
    if (args.voice or args.installed) and (args.language or args.quality or args.long):
        parser.error("--language, --quality and --long are for the list of published voices")
    if args.installed and any(map(is_hub_address, args.voice)):
        parser.error("--installed compares voices with the catalogue, which has no hf:// addresses")
    if args.installed and args.force_redownload:
        parser.error("--installed downloads nothing; leave --force-redownload out")
    configure_logging(logging.DEBUG if args.debug else logging.INFO)
    return find_exit_code(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    addresses = [name for name in args.voice if is_hub_address(name)]
    names = [name for name in args.voice if name not in addresses]
    # Who names addresses alone needs no catalogue.
    needs_catalogue = names or not addresses
    catalogue = download.load_catalogue(args.catalogue_url) if needs_catalogue else {}
    # All names first: a slip in the last must not show after an hour of downloads.
    voices = [download.find_catalogue_voice(catalogue, name) for name in names]
    if args.installed:
        return _show_installed(catalogue, args.download_dir, [voice.name for voice in voices])
    if not args.voice:
        selected = download.select_voices(catalogue, args.language, args.quality).values()
        lines = _describe(selected) if args.long else [voice.name for voice in selected]
        print("\n".join(lines), flush=True)
        return 0
    download.check_room(voices, args.download_dir, is_forced=args.force_redownload)
    try:
        for address in addresses:
            _copy_from_hub(address, args.download_dir, is_forced=args.force_redownload)
        for voice in voices:
            download.download_voice(
                voice,
                args.download_dir,
                is_forced=args.force_redownload,
                options=download.TransferOptions(is_shown=True),
            )
    except KeyboardInterrupt:
        _LOGGER.info("Interrupted; the same command goes on from here.")
        raise
    return 0


def _copy_from_hub(address: str, folder: Path, *, is_forced: bool) -> None:
    """Put a voice of the Hub into a folder; its ONNX last, which tells that it is there."""
    files = fetch_hub_voice(address)
    for source in (files.config, files.model):
        if is_forced or not (folder / source.name).is_file():
            with replace_on_success(folder / source.name) as temporary:
                shutil.copyfile(source, temporary)
    _LOGGER.info("%s lies in %s", files.model.name, folder)


def _show_installed(
    catalogue: Mapping[str, download.CatalogueVoice], folder: Path, names: Sequence[str]
) -> int:
    states = download.inspect_voices(catalogue, folder, names)
    if not states:
        raise PiperError(f"There are no voices in {folder}; name their folder with --download-dir.")
    print("\n".join(_align(list(states.items()))), flush=True)
    if bad := [
        name for name, state in states.items() if state not in (download.WHOLE, download.OWN)
    ]:
        raise PiperError(
            f"{len(bad)} of {len(states)} voices cannot be relied on ({', '.join(bad)}); download "
            "them by name, with --force-redownload where the files are there."
        )
    return 0


def _describe(voices: Iterable[download.CatalogueVoice]) -> list[str]:
    rows = [("name", "language", "quality", "speakers", "size")]
    for voice in voices:
        speakers = str(voice.num_speakers or "?")
        size = download.describe_size(voice.size_bytes)
        rows.append((voice.name, voice.language_title, voice.quality, speakers, size))
    return _align(rows)


def _align(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


if __name__ == "__main__":
    sys.exit(main())
