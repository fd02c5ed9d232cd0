"""Options that all servers' commands have, and what they mean."""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piper.config import SynthesisConfig
from piper.jobs import find_exit_code, warn_about_conflict
from piper.messages import translate
from piper.options import (
    INPUT_FORMATS,
    add_hardware_options,
    add_option,
    add_pronunciation_options,
    add_speech_options,
    whole_number,
)
from piper.server.settings import Downloads, ServerSettings, SpeechDefaults, SpeechLimits
from piper.system import open_standard_streams
from piper.voices import CATALOGUE_URL, VoiceFiles, find_voice, list_voices

if TYPE_CHECKING:
    from piper.server.store import VoiceStore

_BODY_BYTES = 4096
_CHARACTER_BYTES = 12
"""JSON may write a character as two escapes of six bytes."""
_MAX_LINE = 500
_MAX_TRACEBACK = 20_000
_MAX_ALIKE = 20
_FLOOD_SECONDS = 10.0
_COUNT = whole_number(1, 10**6)


def add_voice_options(parser: argparse._ActionsContainer, *, has_aliases: bool = False) -> None:
    """Add which voices speak, where they are, and on what.

    With aliases `--voice` is taken, too, as commands of others call it.
    """
    parser.add_argument(
        "-m",
        "--model",
        *(["--voice"] if has_aliases else []),
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
        "--fallback-voice",
        nargs="?",
        const="",
        metavar="NAME",
        help="speaks where a request names a voice that is not here, which is an error otherwise; "
        "without a name it is the default voice",
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
    add_hardware_options(parser)


def add_default_options(parser: argparse._ActionsContainer) -> None:
    """Add how voices speak where a request does not say."""
    add_speech_options(parser, "the default voice's speaker")
    add_option(
        parser,
        "--input-format",
        choices=("text", *INPUT_FORMATS),
        default="plain",
        help="what texts are: plain, also called text; markdown (extra `markdown`), as chat "
        "programs send it; or ssml (default: %(default)s)",
    )
    add_pronunciation_options(parser)


def add_limit_options(parser: argparse._ActionsContainer) -> None:
    """Add how much may be asked for."""
    add_option(
        parser,
        "--max-waiting",
        type=_COUNT,
        default=SpeechLimits.max_waiting,
        metavar="N",
        help="requests that may wait beyond those that are spoken; further ones are told to come "
        "again (default: %(default)s)",
    )
    add_option(
        parser,
        "--max-characters",
        type=_COUNT,
        default=SpeechLimits.max_text_characters,
        metavar="N",
        help="characters of one text (default: %(default)s)",
    )


def create_settings(args: argparse.Namespace) -> ServerSettings:
    """Return what the options say but for the voices."""
    usual = SpeechLimits()
    # A longer text than usual is to be spoken, too, and over a WebSocket at once.
    growth = max(1.0, args.max_characters / usual.max_text_characters)
    return ServerSettings(
        defaults=SpeechDefaults(
            speaker=args.speaker,
            input_format=args.input_format,
            config=SynthesisConfig(
                length_scale=args.length_scale,
                noise_scale=args.noise_scale,
                noise_w_scale=args.noise_w_scale,
                pitch=args.pitch,
                volume=args.volume,
                sentence_silence_seconds=args.sentence_silence or 0.0,
                paragraph_silence_seconds=args.paragraph_silence,
                clause_silence_seconds=args.clause_silence or 0.0,
                ellipsis_silence_seconds=args.ellipsis_silence,
            ),
        ),
        limits=SpeechLimits(
            max_waiting=args.max_waiting,
            max_text_characters=args.max_characters,
            max_audio_seconds=usual.max_audio_seconds * growth,
            max_unspoken_characters=round(usual.max_unspoken_characters * growth),
            max_body_bytes=_BODY_BYTES + _CHARACTER_BYTES * args.max_characters,
        ),
        downloads=Downloads(
            folder=args.download_dir or next(iter(args.data_dir), Path()),
            catalogue_url=args.catalogue_url,
        ),
    )


def create_store(
    args: argparse.Namespace,
    settings: ServerSettings,
    *,
    listed_by: str,
    can_download: bool = False,
) -> VoiceStore:
    """Return the voices that the options name.

    Args:
        args: The options.
        settings: By `create_settings`.
        listed_by: What tells a client which voices there are.
        can_download: Whether a published default voice that is not there is downloaded.
    """
    # NumPy and ONNX Runtime take a moment to load; --help need not wait for them.
    from piper.server.store import VoiceStore
    from piper.text.frontend import load_text_options
    from piper.voice.voice import PiperVoice

    text_options = load_text_options(
        args.lexicon, args.write_numbers, args.stress, args.abbreviations
    )
    folders = [*(args.data_dir or [Path()]), settings.downloads.folder]
    default = _find_published(args.model, folders, settings.downloads) if can_download else None
    default = default or find_voice(args.model, data_dirs=args.data_dir)
    fallback = default if args.fallback_voice == "" else None
    if args.fallback_voice:
        fallback = find_voice(args.fallback_voice, data_dirs=folders)
    return VoiceStore(
        default,
        data_dirs=folders,
        load=partial(
            PiperVoice.load, use_cuda=args.cuda, threads=args.threads, text_options=text_options
        ),
        listed_by=listed_by,
        fallback=fallback,
    )


def _find_published(model: str, folders: list[Path], downloads: Downloads) -> VoiceFiles | None:
    """Return a voice by its name, downloaded where it is not there; None where that is a path."""
    if Path(model).name != model or Path(model).suffix:
        return None
    files = list_voices(folders).get(model)
    if files is None:
        from piper import download

        catalogue = download.load_catalogue(downloads.catalogue_url)
        paths = download.download_voice(
            download.find_catalogue_voice(catalogue, model),
            downloads.folder,
            options=download.TransferOptions(is_shown=True),
        )
        files = VoiceFiles(*paths)
    return files


class _BoundedFormatter(logging.Formatter):
    """Writes a line for a message, of bounded length, with what a terminal would obey as escapes.

    Clients' own words get into the log by many ways, and not all of them are ours.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line."""
        text = super().formatMessage(record)
        if len(text) > _MAX_LINE:
            return _escape(f"{text[:_MAX_LINE]} … ({len(text)} characters)")
        return _escape(translate(text))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return a traceback; its end, where it is long."""
        lines = super().formatException(ei)[-_MAX_TRACEBACK:].splitlines()
        return "\n".join(map(_escape, lines))


def _escape(text: str) -> str:
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


class _Flood(logging.Filter):
    """Lets so many lines of one kind through in a while: no client can fill the disk with them."""

    def __init__(self) -> None:
        super().__init__()
        self._start = float("-inf")
        self._counts: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written; the last one says that more are not."""
        now = time.monotonic()
        if now - self._start > _FLOOD_SECONDS:
            self._start = now
            self._counts.clear()
        kind = str(record.msg)[:_MAX_LINE]
        self._counts[kind] += 1
        count = self._counts[kind]
        if count == _MAX_ALIKE:
            record.msg = f"{record.msg} (Further lines like this are left out for a while.)"
        return count <= _MAX_ALIKE


def _start_log(is_debug: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_BoundedFormatter())
    if not is_debug:
        handler.addFilter(_Flood())
    logging.basicConfig(level=logging.DEBUG if is_debug else logging.INFO, handlers=[handler])


def run_command(args: argparse.Namespace, serve: Callable[[argparse.Namespace], None]) -> int:
    """Run a server until it is told to end; return the command's exit code."""
    open_standard_streams()
    _start_log(args.debug)
    warn_about_conflict()
    return find_exit_code(lambda: serve(args))
