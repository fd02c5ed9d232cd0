"""`python -m piper.train split LONG --text TEXT DIR`: flags, output, exit code."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from piper.errors import DatasetError
from piper.files import place_folder, read_bounded
from piper.messages import configure_logging, say
from piper.options import CommandParser
from piper.progress import count_things
from piper.train.command import run_command

if TYPE_CHECKING:
    from piper.train.splitting.split import LongRecording, LongText, Piece


def create_parser() -> argparse.ArgumentParser:
    """Return the flags of the splitting."""
    parser = CommandParser(
        prog="python -m piper.train split",
        description="Cut a long recording with its text into utterances of 2 to 12 seconds, each "
        "with its words; uncertain ones are left out and listed in split.json.",
    )
    add = parser.add_argument
    add("recording", metavar="LONG", type=Path, help="the recording, of minutes or hours")
    add("folder", metavar="DIR", type=Path, help="folder of the dataset to make")
    add("--text", metavar="TEXT", type=Path, required=True, help="all that is said in it, UTF-8")
    add(
        "--language",
        metavar="VOICE",
        required=True,
        help="espeak-ng voice of the text, such as ru or en-us",
    )
    add(
        "--sample-rate",
        "--sample_rate",
        metavar="HERTZ",
        type=int,
        help="of the voice to be; default: 22050, or 16000 where the recording has less",
    )
    add(
        "--aligner",
        metavar="FILE",
        type=Path,
        help="aligner.pt of an earlier split of the same speaker or language; default: one learns "
        "on this recording",
    )
    add(
        "--recogniser",
        metavar="NAME:MODEL",
        help="let a speech recogniser say what is said where: whisper:MODEL, gigaam:MODEL, "
        "onnx-asr:MODEL or MODULE:FUNCTION",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Split a recording; return the exit code."""
    arguments = create_parser().parse_args(argv)
    configure_logging()
    logging.getLogger("piper").setLevel(logging.INFO)
    stopped = "Stopped; what was trained is kept, and the same command goes on."
    return run_command(lambda: _split(arguments), stopped)


def _split(arguments: argparse.Namespace) -> int:
    from piper.train.check.copying import require_new_folder
    from piper.train.splitting.split import SPLIT_NAME, load_long_recording, write_pieces

    folder: Path = arguments.folder
    require_new_folder(folder)
    text = _read_text(arguments.text, arguments.language)
    recording = load_long_recording(arguments.recording)
    # Stays where the work is stopped: the aligner's state is in it.
    part = folder.with_name(f".{folder.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    pieces = _find_pieces(arguments, recording, text, part)
    shutil.rmtree(part / "wavs", ignore_errors=True)
    write_pieces(part, recording, pieces, arguments.language, arguments.sample_rate)
    place_folder(part, folder)
    good = [piece for piece in pieces if piece.issue is None]
    minutes = sum(piece.seconds for piece in good) / 60
    say(
        f"{count_things(len(good), 'utterance')} ({minutes:.1f} of {recording.seconds / 60:.1f} "
        f"minutes) in {folder}; listed in {folder / SPLIT_NAME}: "
        f"{count_things(len(pieces) - len(good), 'uncertain piece')}."
    )
    return 0


def _read_text(path: Path, language: str) -> LongText:
    from piper.config import PhonemeType
    from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
    from piper.text.frontend import Frontend
    from piper.train.splitting.split import read_long_text

    try:
        text = read_bounded(path, "text file").decode("utf-8-sig")
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist; name the text with --text.") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path} is not UTF-8; save the text as UTF-8.") from None
    frontend = Frontend(PhonemeType.ESPEAK, language, DEFAULT_PHONEME_ID_MAP)
    return read_long_text(text.replace("\r\n", "\n").replace("\r", "\n"), frontend)


def _find_pieces(
    arguments: argparse.Namespace, recording: LongRecording, text: LongText, part: Path
) -> list[Piece]:
    if arguments.recogniser is not None:
        from piper.train.recognisers import load_recogniser
        from piper.train.splitting.split import split_by_recogniser

        recogniser = load_recogniser(arguments.recogniser, arguments.language)
        return split_by_recogniser(recording, text, recogniser)
    from piper.train.aligner.aligner import load_aligner
    from piper.train.splitting.split import split_recording

    aligner = None if arguments.aligner is None else load_aligner(arguments.aligner)
    pieces, aligner = split_recording(recording, text, part, aligner)
    for state_path in part.glob("aligner-*.part"):
        state_path.unlink()
    aligner.save(part / "aligner.pt")
    return pieces


if __name__ == "__main__":
    sys.exit(main())
