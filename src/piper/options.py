"""The command line of `python -m piper`: its options and their checks. Does nothing with them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

# The values of `piper.audio.sinks.OutputNaming`, which is not imported for --help's sake.
NAMINGS = ("timestamp", "text")


def create_parser() -> argparse.ArgumentParser:
    """Return the parser of all options; the texts after `--` are not its business."""
    parser = argparse.ArgumentParser(
        prog="piper",
        description="Speak text with a Piper voice: each line of standard input, of the input "
        "files, or the text on the command line.",
        epilog="Without an output option the speech is played through ffplay where that is "
        "installed, and written to output.wav where it is not.",
    )
    parser.add_argument("text", nargs="*", help="text to speak; write it after -- to be safe")
    _add_voice_options(parser)
    _add_text_and_output_options(parser)
    _add_speech_options(parser)
    parser.add_argument("--debug", action="store_true", help="say more on standard error")
    return parser


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse and check the command line; a wrong one ends the program with exit code 2."""
    # Cut here, because the versions of argparse disagree on which `--` they drop.
    argv = list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = create_parser()
    args = parser.parse_intermixed_args(argv[:cut])
    args.text += argv[cut + 1 :]
    if args.output_raw and args.output_file == "-":
        args.output_file = None  # both mean standard output; "raw" says more
    outputs = {
        "--output-file": args.output_file is not None,
        "--output-dir": args.output_dir is not None,
        "--output-raw": args.output_raw,
    }
    chosen = [name for name, is_chosen in outputs.items() if is_chosen]
    if len(chosen) > 1:
        parser.error(f"{' and '.join(chosen)} exclude each other; choose one")
    if args.text and args.input_file:
        parser.error("the text on the command line and --input-file exclude each other")
    return args


def _add_voice_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-m",
        "--model",
        required=True,
        help="the voice: path of its ONNX file, or its name in a --data-dir",
    )
    parser.add_argument(
        "-c", "--config", help="the voice's JSON (default: MODEL.json beside the ONNX file)"
    )
    parser.add_argument(
        "--data-dir",
        "--data_dir",
        action="append",
        default=[],
        metavar="DIR",
        help="folder to look for voices in; repeatable (default: the current one)",
    )
    parser.add_argument("--cuda", action="store_true", help="run on an NVIDIA GPU")


def _add_text_and_output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-i",
        "--input-file",
        "--input_file",
        action="append",
        default=[],
        metavar="FILE",
        help="text file (UTF-8) to speak line by line; repeatable (default: standard input)",
    )
    parser.add_argument(
        "-f",
        "--output-file",
        "--output_file",
        metavar="FILE",
        help="one WAV file for everything; - is standard output",
    )
    parser.add_argument(
        "-d",
        "--output-dir",
        "--output_dir",
        type=Path,
        metavar="DIR",
        help="folder for one WAV file per line",
    )
    parser.add_argument(
        "--output-dir-naming",
        "--output_dir_naming",
        choices=NAMINGS,
        default=NAMINGS[0],
        help="name those files by the time or by their text (default: %(default)s)",
    )
    parser.add_argument(
        "--output-raw",
        "--output_raw",
        action="store_true",
        help="16-bit samples without a header to standard output, sentence by sentence",
    )


def _add_speech_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-s", "--speaker", help="number or name of the speaker")
    for names, text in (
        (("--length-scale", "--length_scale"), "factor on durations; above 1 is slower"),
        (("--noise-scale", "--noise_scale"), "liveliness of the voice; 0 is always the same"),
        (
            ("--noise-w-scale", "--noise_w_scale", "--noise-w", "--noise_w"),
            "liveliness of the rhythm; 0 is always the same",
        ),
    ):
        parse = _parse_positive if names[0] == "--length-scale" else _parse_not_negative
        parser.add_argument(
            *names, type=parse, metavar="X", help=f"{text} (default: what the voice's JSON says)"
        )
    parser.add_argument(
        "--sentence-silence",
        "--sentence_silence",
        type=_parse_not_negative,
        default=0.0,
        metavar="SECONDS",
        help="silence between the sentences of a line (default: %(default)s)",
    )
    parser.add_argument(
        "--volume",
        type=_parse_not_negative,
        default=1.0,
        metavar="X",
        help="factor on loudness (default: %(default)s)",
    )
    parser.add_argument(
        "--no-normalize",
        "--no_normalize",
        action="store_true",
        help="leave each sentence as loud as the voice makes it, instead of at full range",
    )
    parser.add_argument(
        "--seed",
        type=_parse_seed,
        metavar="N",
        help="speak repeatably: the same texts, voice and machine give the same samples",
    )


def _parse_not_negative(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 0 or more")
    return value


def _parse_positive(text: str) -> float:
    value = _parse_not_negative(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def _parse_seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**62:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to 2**62 - 1")
    return value


# argparse names these functions in its message about a text that is no number at all.
_parse_not_negative.__name__ = _parse_positive.__name__ = "number"
_parse_seed.__name__ = "whole number"
