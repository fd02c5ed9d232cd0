"""`python -m piper.wyoming_server`: speaks for Home Assistant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from piper import server_options
from piper.errors import needs_extra
from piper.options import CommandParser, add_option, whole_number


def create_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = CommandParser(
        prog="python -m piper.wyoming_server",
        description="Speak for Home Assistant, and whoever else knows the Wyoming protocol.",
    )
    parser.add_argument(
        "--uri",
        default="tcp://127.0.0.1:10200",
        help="where to listen: tcp://HOST:PORT, where 0.0.0.0 lets other machines in and the port "
        "0 takes a free one; unix://PATH; or stdio:// (default: %(default)s)",
    )
    parser.add_argument(
        "--zeroconf",
        nargs="?",
        const="piper",
        metavar="NAME",
        help="announce the server in the local network, so that Home Assistant finds it by itself "
        "(default NAME: %(const)s)",
    )
    voices = parser.add_argument_group("voices")
    server_options.add_voice_options(voices, has_aliases=True)
    add_option(
        voices,
        "--local-files-only",
        action="store_true",
        help="do not download the default voice where it is not there",
    )
    server_options.add_default_options(
        parser.add_argument_group("speech, where a request does not say")
    )
    limits = parser.add_argument_group("limits")
    server_options.add_limit_options(limits)
    add_option(
        limits,
        "--samples-per-chunk",
        type=whole_number(1, 1 << 20),
        default=1024,
        metavar="N",
        help="samples of one audio-chunk at most (default: %(default)s)",
    )
    parser.add_argument(
        "--streaming",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="take texts in pieces, and speak each sentence once it is there (default: yes)",
    )
    parser.add_argument("--debug", action="store_true", help="say more on standard error")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command until it is told to end; return its exit code."""
    return server_options.run_command(create_parser().parse_args(argv), _serve)


def _serve(args: argparse.Namespace) -> None:
    # ONNX Runtime takes a moment to load; --help need not wait for it.
    with needs_extra("wyoming"):
        from piper.server.wyoming import WyomingSettings, serve
    from piper.server.speech import SpeechService

    if args.zeroconf is not None:
        with needs_extra("zeroconf"):
            import zeroconf  # noqa: F401 - what is missing is said before a voice is loaded
    settings = server_options.create_settings(args)
    voices = server_options.create_store(
        args, settings, listed_by="describe", can_download=not args.local_files_only
    )
    service = SpeechService(voices, settings.defaults, settings.limits)
    # What is wrong with the voice or the speaker shows now, not at the first request.
    service.prepare()
    answers = WyomingSettings(args.samples_per_chunk, args.streaming)
    serve(service, args.uri, answers, announced_as=args.zeroconf)


if __name__ == "__main__":
    sys.exit(main())
