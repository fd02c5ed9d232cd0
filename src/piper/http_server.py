"""`python -m piper.http_server`: speaks for programs over HTTP."""

from __future__ import annotations

import argparse
import os
import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace

from piper import server_options
from piper.errors import PiperError, needs_extra
from piper.options import CommandParser, add_option, whole_number

API_KEY_VARIABLE = "PIPER_API_KEY"


def create_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = CommandParser(
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
        type=whole_number(0, 65535),
        default=5000,
        help="port to listen on; 0 takes a free one (default: %(default)s)",
    )
    server_options.add_voice_options(parser.add_argument_group("voices"))
    server_options.add_default_options(
        parser.add_argument_group("speech, where a request does not say")
    )
    server_options.add_limit_options(parser.add_argument_group("limits"))
    _add_access_options(parser.add_argument_group("access"))
    parser.add_argument("--debug", action="store_true", help="say more on standard error")
    return parser


def _add_access_options(parser: argparse._ActionsContainer) -> None:
    add_option(
        parser,
        "--api-key",
        type=_parse_api_key,
        metavar="KEY",
        help="what clients must send as Authorization: Bearer KEY; as an argument, other users of "
        f"this machine can read it (default: what the environment's {API_KEY_VARIABLE} says)",
    )
    add_option(
        parser,
        "--allow-origin",
        type=_parse_origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        help="web pages of this origin, such as https://example.org, may use the server; "
        "repeatable, * allows all",
    )
    add_option(
        parser,
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="requests may be addressed to this name, such as speech.example.org behind a proxy, "
        "or *.example.org; repeatable; numbers, localhost and, where --host lets other machines "
        "in, private names may be anyway, and with a key all are",
    )


def _parse_api_key(text: str) -> str:
    if not (text.isascii() and text.isprintable() and text == text.strip() and text):
        raise argparse.ArgumentTypeError("a key must be ASCII letters, digits and signs")
    return text


def find_api_key(args: argparse.Namespace) -> str | None:
    """Return the key that the options or the environment say."""
    text = os.environ.get(API_KEY_VARIABLE)
    if args.api_key is not None or text is None:
        key: str | None = args.api_key
        return key
    try:
        return _parse_api_key(text)
    except argparse.ArgumentTypeError as error:
        reason = str(error) if text else "it is empty, and the server would be open to everybody"
        raise PiperError(
            f"The environment's {API_KEY_VARIABLE} cannot be used: {reason}; correct or unset it."
        ) from None


def _parse_origin(text: str) -> str:
    """Return an origin as browsers write it; a slash at its end would never be met."""
    origin = text.lower().removesuffix("/")
    if not re.fullmatch(r"\*|null|[a-z][a-z0-9+.-]*://[^/?#@\s]+", origin):
        raise argparse.ArgumentTypeError(
            f"{text} is no origin; give scheme, name and port, such as https://example.org"
        )
    return origin


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command until it is told to end; return its exit code."""
    return server_options.run_command(create_parser().parse_args(argv), _serve)


def _serve(args: argparse.Namespace) -> None:
    # FastAPI and ONNX Runtime take a moment to load; --help need not wait for them.
    with needs_extra("http"):
        from piper.server.app import create_app, serve
    from piper.server.settings import Access

    settings = replace(
        server_options.create_settings(args),
        access=Access(
            api_key=find_api_key(args),
            allowed_origins=tuple(args.allow_origin),
            listens_on=args.host,
            # By its own name, too, other machines know this one.
            allowed_hosts=(*args.allow_host, socket.gethostname()),
        ),
    )
    app = create_app(server_options.create_store(args, settings, listed_by="/voices"), settings)
    # What is wrong with the voice or the speaker shows now, not at the first request.
    app.state.service.prepare()
    serve(app, args.host, args.port, is_debug=args.debug)


if __name__ == "__main__":
    sys.exit(main())
