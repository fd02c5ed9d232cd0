"""The command line of `python -m piper`: its options and their checks. Does nothing with them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from piper.option_values import (
    parse_jobs,
    parse_not_negative,
    parse_positive,
    parse_rate,
    parse_seed,
    parse_subtitles,
    parse_threads,
)

# The values of `piper.audio.naming.OutputNaming` and `piper.audio.formats.OutputFormat`, which are
# not imported for --help's sake.
NAMINGS = ("timestamp", "text", "number")
FORMATS = ("wav", "raw", "flac", "opus", "mp3")
STRESSES = ("marks", "silero", "off")


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
    _add_file_options(parser)
    _add_speech_options(parser)
    _add_pronunciation_options(parser)
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
    mistake = _find_mistake(args)
    if mistake is not None:
        parser.error(mistake)
    if args.output_dir_naming is None:
        args.output_dir_naming = "number" if is_batch(args) else "timestamp"
    return args


def is_batch(args: argparse.Namespace) -> bool:
    """Return whether the lines are to be spoken by several processes or machines."""
    return args.jobs is not None or args.ray is not None


def _find_mistake(args: argparse.Namespace) -> str | None:
    """Return what is wrong with options that are right each for itself."""
    outputs = {
        "--output-file": args.output_file is not None,
        "--output-dir": args.output_dir is not None,
        "--output-raw": args.output_raw,
    }
    chosen = [name for name, is_chosen in outputs.items() if is_chosen]
    if len(chosen) > 1:
        return f"{' and '.join(chosen)} exclude each other; choose one"
    if args.text and args.input_file:
        return "the text on the command line and --input-file exclude each other"
    if args.stream and (not args.output_raw or args.subtitles is not None):
        return "--stream gives pieces as they are made; use it with --output-raw, without subtitles"
    if args.output_format is not None and chosen not in (["--output-file"], ["--output-dir"]):
        return "--output-format says how a file is written; give --output-file or --output-dir"
    if args.subtitles is not None and args.output_dir is not None:
        return "--subtitles times one file; give --output-file in place of --output-dir"
    if is_batch(args):
        name = "--jobs" if args.ray is None else "--ray"
        if args.output_dir is None:
            return f"{name} writes a file per line; give --output-dir"
        if args.output_dir_naming not in (None, "number"):
            return f"{name} names files by number, so that it can go on after an interruption"
        if args.cuda:
            return f"{name} speaks on many cores; --cuda goes without it"
    return None


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
    parser.add_argument(
        "--threads",
        type=parse_threads,
        metavar="N",
        help="threads of one sentence's network (default: a core each)",
    )


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
        help="one file for everything, of the kind that its ending says (.wav, .flac, .opus, .mp3, "
        ".raw); - is standard output",
    )
    parser.add_argument(
        "-d",
        "--output-dir",
        "--output_dir",
        type=Path,
        metavar="DIR",
        help="folder for one file per line",
    )
    parser.add_argument(
        "--output-dir-naming",
        "--output_dir_naming",
        choices=NAMINGS,
        help="name those files by the time, their text or their number "
        "(default: timestamp; number with --jobs or --ray)",
    )
    parser.add_argument(
        "--output-raw",
        "--output_raw",
        action="store_true",
        help="16-bit samples without a header to standard output, sentence by sentence",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="with --output-raw: write each piece as soon as it is made, before its sentence is "
        "done, as loud as the voice makes it",
    )


def _add_file_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output-format",
        "--output_format",
        choices=FORMATS,
        help="kind of the files (default: by the ending of --output-file, else wav); flac, opus "
        "and mp3 need the extra `codecs`",
    )
    parser.add_argument(
        "--sample-rate",
        "--sample_rate",
        type=parse_rate,
        metavar="HERTZ",
        help="convert the speech, for telephony to 8000 (default: the voice's rate); needs the "
        "extra `codecs`",
    )
    parser.add_argument(
        "--subtitles",
        type=parse_subtitles,
        metavar="FILE",
        help="also write when what is spoken: .srt, .vtt or .json",
    )
    parser.add_argument(
        "-j",
        "--jobs",
        type=parse_jobs,
        metavar="N",
        help="speak N lines at once (0: one a core) to numbered files in --output-dir; a run that "
        "was interrupted goes on where it was",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="the same on a Ray cluster: host:port, or auto; needs the extra `ray`",
    )


def _add_speech_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-s",
        "--speaker",
        help="number or name of the speaker, or a mixture like 3:0.7,5:0.3",
    )
    for names, text in (
        (("--length-scale", "--length_scale"), "factor on durations; above 1 is slower"),
        (("--noise-scale", "--noise_scale"), "liveliness of the voice; 0 is always the same"),
        (
            ("--noise-w-scale", "--noise_w_scale", "--noise-w", "--noise_w"),
            "liveliness of the rhythm; 0 is always the same",
        ),
    ):
        parse = parse_positive if names[0] == "--length-scale" else parse_not_negative
        parser.add_argument(
            *names, type=parse, metavar="X", help=f"{text} (default: what the voice's JSON says)"
        )
    parser.add_argument(
        "--sentence-silence",
        "--sentence_silence",
        type=parse_not_negative,
        default=0.0,
        metavar="SECONDS",
        help="silence between the sentences of a line (default: %(default)s)",
    )
    for names, text in (
        (("--clause-silence", "--clause_silence"), "silence added after , ; : (default: 0)"),
        (
            ("--ellipsis-silence", "--ellipsis_silence"),
            "silence added after … (default: that of clauses)",
        ),
    ):
        parser.add_argument(*names, type=parse_not_negative, metavar="SECONDS", help=text)
    parser.add_argument(
        "--volume",
        type=parse_not_negative,
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
        type=parse_seed,
        metavar="N",
        help="speak repeatably: the same texts, voice and machine give the same samples",
    )


def _add_pronunciation_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lexicon",
        type=Path,
        metavar="FILE",
        help="lines of a word, a tab, and what is said instead: a text or [[phonemes]]",
    )
    parser.add_argument(
        "--stress",
        choices=STRESSES,
        help="Russian stress: as marked by + or U+0301 (default), also by silero-stress (extra "
        "`ru`), or off",
    )
    parser.add_argument(
        "--write-numbers",
        "--write_numbers",
        action=argparse.BooleanOptionalAction,
        help="write out Russian and English numbers, dates, money and abbreviations (extra "
        "`numbers`; default: as the voice was trained)",
    )
