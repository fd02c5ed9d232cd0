"""`python -m piper.http_server`: speaks for programs over HTTP. Knows nothing of the endpoints."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from piper.catalogue import CATALOGUE_URL
from piper.errors import PiperError
from piper.installation import warn_about_rival
from piper.option_values import add_option, parse_not_negative, parse_positive, parse_threads

if TYPE_CHECKING:
    from piper.server.settings import ServerSettings

API_KEY_VARIABLE = "PIPER_API_KEY"
EXIT_ERROR = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT


def create_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m piper.http_server",
        description="Speak for programs over HTTP: GET / is a page to try it.",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 lets other machines in (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=_parse_port,
        default=5000,
        help="port to listen on; 0 takes a free one (default: %(default)s)",
    )
    _add_voice_options(parser)
    _add_speech_options(parser)
    _add_access_options(parser)
    parser.add_argument("--debug", action="store_true", help="say more on standard error")
    return parser


def _add_voice_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-m",
        "--model",
        required=True,
        help="the default voice: path of its ONNX file, or its name in a --data-dir",
    )
    add_option(
        parser,
        "--data-dir",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder with voices; repeatable (default: the current one)",
    )
    add_option(
        parser,
        "--download-dir",
        type=Path,
        metavar="DIR",
        help="folder to download voices into (default: the first --data-dir)",
    )
    add_option(
        parser,
        "--catalogue-url",
        default=CATALOGUE_URL,
        metavar="URL",
        help="address of the published voices' list (default: %(default)s)",
    )
    parser.add_argument("--cuda", action="store_true", help="run on an NVIDIA GPU")
    parser.add_argument(
        "--threads",
        type=parse_threads,
        metavar="N",
        help="threads of one sentence's network (default: a core each)",
    )


def _add_speech_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-s",
        "--speaker",
        help="number or name of the default voice's speaker, or a mixture like 3:0.7,5:0.3",
    )
    for names, parse, text in (
        (
            ("--length-scale",),
            parse_positive,
            "factor on durations; above 1 is slower",
        ),
        (
            ("--noise-scale",),
            parse_not_negative,
            "liveliness of the voice; 0 is always the same",
        ),
        (
            ("--noise-w-scale", "--noise-w"),
            parse_not_negative,
            "liveliness of the rhythm; 0 is always the same",
        ),
    ):
        help_text = f"{text} (default: what the voice's JSON says)"
        add_option(parser, *names, type=parse, metavar="X", help=help_text)
    add_option(
        parser,
        "--sentence-silence",
        type=parse_not_negative,
        default=0.0,
        metavar="SECONDS",
        help="silence between sentences (default: %(default)s)",
    )


def _add_access_options(parser: argparse.ArgumentParser) -> None:
    add_option(
        parser,
        "--api-key",
        type=_parse_api_key,
        default=os.environ.get(API_KEY_VARIABLE) or None,
        metavar="KEY",
        help="what clients must send as Authorization: Bearer KEY; as an argument, other users of "
        f"this machine can read it (default: what the environment's {API_KEY_VARIABLE} says)",
    )
    add_option(
        parser,
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="web pages of this origin, such as https://example.org, may use the server; "
        "repeatable, * allows all",
    )


def _parse_api_key(text: str) -> str:
    if not (text.isascii() and text.isprintable() and text == text.strip() and text):
        raise argparse.ArgumentTypeError("a key must be ASCII letters, digits and signs")
    return text


def _parse_port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to 65535")
    return port


_parse_port.__name__ = "whole number"  # as argparse calls it in its message


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command until it is told to end; return its exit code."""
    args = create_parser().parse_args(argv)
    logging.basicConfig(level=logging.DEBUG if args.debug else logging.INFO, format="%(message)s")
    warn_about_rival()
    try:
        _serve(args)
    except PiperError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _serve(args: argparse.Namespace) -> None:
    # FastAPI and ONNX Runtime take a moment to load; --help need not wait for them.
    try:
        from piper.server.app import create_app
        from piper.server.run import serve
    except ModuleNotFoundError as error:
        raise PiperError(
            f"The server needs the Python package {error.name!r}; "
            "install it with: pip install 'piper-workshop[http]'"
        ) from None
    from piper.server.store import VoiceStore
    from piper.voices import find_voice

    settings = _create_settings(args)
    voices = VoiceStore(
        find_voice(args.model, data_dirs=args.data_dir),
        data_dirs=[*(args.data_dir or [Path()]), settings.downloads.folder],
        use_cuda=args.cuda,
        threads=args.threads,
    )
    app = create_app(voices, settings)
    # What is wrong with the voice or the speaker shows now, not at the first request.
    app.state.service.prepare()
    serve(app, args.host, args.port, is_debug=args.debug)


def _create_settings(args: argparse.Namespace) -> ServerSettings:
    from piper.server.settings import Access, Downloads, ServerSettings, SpeechDefaults

    return ServerSettings(
        defaults=SpeechDefaults(
            speaker=args.speaker,
            length_scale=args.length_scale,
            noise_scale=args.noise_scale,
            noise_w_scale=args.noise_w_scale,
            sentence_silence_seconds=args.sentence_silence,
        ),
        downloads=Downloads(
            folder=args.download_dir or next(iter(args.data_dir), Path()),
            catalogue_url=args.catalogue_url,
        ),
        access=Access(api_key=args.api_key, allowed_origins=tuple(args.allow_origin)),
    )


if __name__ == "__main__":
    sys.exit(main())
