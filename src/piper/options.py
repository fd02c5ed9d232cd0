"""The options of `python -m piper`, what checks them, and what other commands' options share."""

from __future__ import annotations

import argparse
import copy
import difflib
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from piper.files import find_descriptor
from piper.messages import LANGUAGES, translate

SUBTITLE_ENDINGS = (".srt", ".vtt", ".json")
MAX_THREADS = 1024
"""Or processes; with more than a machine's limit nothing else can be started on it."""
_UNKNOWN = re.compile(r"unrecognized arguments: .*?(?<!\S)(-[^\s=]+)")
_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")
# The values of `OutputNaming`, `OutputFormat`, `MARKUP_KINDS` and others, which are not imported
# for --help's sake.
NAMINGS = ("timestamp", "text", "number")
FORMATS = ("wav", "raw", "flac", "opus", "mp3", "aac")
STRESSES = ("marks", "silero", "off")
INPUT_FORMATS = ("plain", "markdown", "ssml")
# Where the C++ program's --phoneme_silence stood, and which silence that is here.
PHONEME_SILENCES = {
    **dict.fromkeys(",;:", "clause_silence"),
    **dict.fromkeys(".?!", "sentence_silence"),
    "…": "ellipsis_silence",
}
LOUDNESSES = ("sentence", "utterance", "off")


class CommandParser(argparse.ArgumentParser):
    """Argparse's, with each option once in its help, a short usage, and a guess at what is meant.

    `--output_file` is understood as `--output-file` is, and only the latter is shown.
    """

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", _HelpFormatter)
        super().__init__(**settings)

    def error(self, message: str) -> NoReturn:
        """End with code 2, what is wrong, and what may have been meant."""
        whole = f"{message}{self._guess(message)}"
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: {translate('error:')} {translate(whole)}\n")

    def _guess(self, message: str) -> str:
        unknown = _UNKNOWN.search(message)
        if unknown:
            names = [name for action in self._actions for name in shown_names(action)]
            return guess(unknown[1].replace("_", "-"), names)
        choice = _CHOICE.search(message)
        return guess(choice[1], re.findall(r"[^\s,']+", choice[2])) if choice else ""


class _HelpFormatter(argparse.HelpFormatter):
    """Shows an option's names once, and of a usage only what has to be given."""

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[Any],
        prefix: str | None = None,
    ) -> None:
        """Add the usage."""
        groups = [group for group in groups if group.required]
        chosen = [action for group in groups for action in group._group_actions]
        if usage is None:
            self._prog += " [options]"
            actions = [a for a in actions if a.required or not a.option_strings or a in chosen]
        super().add_usage(usage, actions, groups, prefix)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        shown = copy.copy(action)
        shown.option_strings = shown_names(action)
        return super()._format_action_invocation(shown)


def shown_names(action: argparse.Action) -> list[str]:
    """Return the names of an option without those that only have other lines between the words."""
    names = list(action.option_strings)
    return [name for name in names if "_" not in name or name.replace("_", "-") not in names]


def guess(word: str, names: Iterable[str]) -> str:
    """Return a question for the end of a message: which of the names may have been meant."""
    found = difflib.get_close_matches(word, list(names), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def add_option(parser: argparse._ActionsContainer, *names: str, **settings: Any) -> None:
    """Add an option that may also be spelt with underscores."""
    others = [f"--{name[2:].replace('-', '_')}" for name in names if name.startswith("--")]
    parser.add_argument(*dict.fromkeys([*names, *others]), **settings)


def parse_not_negative(text: str) -> float:
    """Return a number of 0 or more."""
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 0 or more")
    return value


def parse_positive(text: str) -> float:
    """Return a number above 0."""
    value = parse_not_negative(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def parse_pitch(text: str) -> float:
    """Return semitones up or down."""
    value = float(text)
    if not -12 <= value <= 12:
        raise argparse.ArgumentTypeError(f"{text} is not a number of semitones from -12 to 12")
    return value


# argparse names these functions in its message about a text that is no number at all.
parse_not_negative.__name__ = parse_positive.__name__ = parse_pitch.__name__ = "number"


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return what parses a whole number within bounds, both included."""

    def parse(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least} to {most}")
        return value

    parse.__name__ = "whole number"
    return parse


def parse_subtitles(text: str) -> Path:
    """Return the path of a file of subtitles."""
    path = Path(text)
    if path.suffix.lower() not in SUBTITLE_ENDINGS:
        raise argparse.ArgumentTypeError(f"{text} does not end in {', '.join(SUBTITLE_ENDINGS)}")
    return path


def create_parser() -> argparse.ArgumentParser:
    """Return the parser of all options; the texts after `--` are not its business."""
    parser = CommandParser(
        prog="piper",
        description="Speak text with a Piper voice: each line of standard input or of the input "
        "files, whole documents with markup, or the text on the command line.",
        epilog="Without an output option the speech is played through ffplay, or what macOS and "
        "Windows have for that, and written to output.wav where there is none; where standard "
        "output is a pipe or a file, it is WAV there.",
    )
    parser.add_argument("text", nargs="*", help="text to speak; write it after -- to be safe")
    _add_voice_options(parser.add_argument_group("voice"))
    _add_text_and_output_options(parser.add_argument_group("text and output"))
    _add_file_options(parser.add_argument_group("files"))
    speech = parser.add_argument_group("speech")
    add_speech_options(speech)
    _add_loudness_options(speech)
    add_pronunciation_options(parser.add_argument_group("pronunciation"))
    parser.add_argument("--debug", action="store_true", help="say more on standard error")
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="say nothing but errors on standard error"
    )
    # Obeyed before all else, by `messages.take_language`.
    parser.add_argument(
        "--language", choices=LANGUAGES, help="of messages (default: the environment's, as LANG)"
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and end")
    _add_former_options(parser)
    return parser


class _ShowVersion(argparse.Action):
    """Looks the version up when it is asked for, which takes a moment."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(sys.modules["piper"].__version__)
        parser.exit()


def _add_former_options(parser: argparse._ActionsContainer) -> None:
    """Add what Piper's C++ program and Piper 1.2 had, and what is called otherwise here."""
    group = parser.add_argument_group("as Piper's C++ program and Piper 1.2 have them")
    add_option(
        group,
        "--json-input",
        dest="input_format",
        action="store_const",
        const="json",
        help="the same as --input-format json",
    )
    add_option(
        group,
        "--espeak-data",
        type=Path,
        metavar="DIR",
        help="espeak-ng's data folder (default: PIPER_ESPEAK_DATA, else what came with it)",
    )
    add_option(
        group,
        "--phoneme-silence",
        nargs=2,
        action="append",
        default=[],
        metavar=("MARK", "SECONDS"),
        help="silence after a mark: the same as --clause-silence for , ; : and so on; repeatable",
    )
    add_option(
        group,
        "--download-dir",
        type=Path,
        metavar="DIR",
        help="download a published voice of --model's name to here where there is none",
    )
    for name, what in (
        ("--update-voices", "not needed: the list of published voices is always a fresh one"),
        ("--tashkeel-model", "not needed: the extra `ar` brings Arabic vowel signs"),
    ):
        takes = {"metavar": "FILE"} if name == "--tashkeel-model" else {"action": "store_true"}
        add_option(group, name, help=what, **takes)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse and check the command line; a wrong one ends the program with exit code 2."""
    # Cut here, because the versions of argparse disagree on which `--` they drop.
    argv = list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = create_parser()
    args = parser.parse_intermixed_args(argv[:cut])
    args.text += argv[cut + 1 :]
    if args.output_file is not None and find_descriptor(args.output_file) == 1:
        args.output_file = "-"
    # By several processes or machines.
    args.is_batch = args.jobs is not None or args.ray is not None
    # Raw samples go to standard output whatever else is named, as in the existing client.
    args.left_out = ""
    if args.output_raw:
        if args.output_file not in (None, "-") or args.output_dir is not None:
            args.left_out = "--output-dir" if args.output_file is None else "--output-file"
        args.output_file = args.output_dir = None
    mistake = _find_mistake(args)
    if mistake is not None:
        parser.error(mistake)
    if args.no_normalize:
        args.normalize = "off"
    for mark, seconds in args.phoneme_silence:
        setattr(args, PHONEME_SILENCES[mark], float(seconds))
    return args


def _find_mistake(args: argparse.Namespace) -> str | None:
    """Return what is wrong with options that are right each for itself."""
    outputs = {
        "--output-file": args.output_file is not None,
        "--output-dir": args.output_dir is not None,
        "--output-raw": args.output_raw,
    }
    chosen = [name for name, is_chosen in outputs.items() if is_chosen]
    for mark, seconds in args.phoneme_silence:
        if mark not in PHONEME_SILENCES:
            marks = " ".join(PHONEME_SILENCES)
            return f"--phoneme-silence {mark}: silence is added after {marks} only"
        try:
            parse_not_negative(seconds)
        except (ValueError, argparse.ArgumentTypeError):
            return f"--phoneme-silence {mark} {seconds}: give seconds, 0 or more"
    if args.input_format == "json":
        if args.text:
            return "--input-format json reads lines of JSON; leave the text on the command line out"
        if args.is_batch or args.subtitles is not None:
            name = "--subtitles" if args.subtitles is not None else "--jobs or --ray"
            return f"--input-format json names a file per line; it goes without {name}"
    if len(chosen) > 1:
        return f"{' and '.join(chosen)} exclude each other; choose one"
    if args.text and args.input_file:
        return "the text on the command line and --input-file exclude each other"
    if args.stream and (not args.output_raw or args.subtitles is not None):
        return "--stream gives pieces as they are made; use it with --output-raw, without subtitles"
    if args.no_normalize and args.normalize not in (None, "off"):
        return f"--no-normalize and --normalize {args.normalize} exclude each other"
    if args.stream and args.normalize not in (None, "off"):
        return f"--stream speaks before a peak is known; leave --normalize {args.normalize} away"
    if args.output_format is not None and chosen not in (["--output-file"], ["--output-dir"]):
        return "--output-format says how a file is written; give --output-file or --output-dir"
    if args.subtitles is not None and args.output_dir is not None:
        return "--subtitles times one file; give --output-file in place of --output-dir"
    if args.is_batch:
        name = "--jobs" if args.ray is None else "--ray"
        if args.output_dir is None:
            return f"{name} writes a file per line; give --output-dir"
        if args.output_dir_naming not in (None, "number"):
            return f"{name} names lines by number, so that it can go on after an interruption"
        if args.cuda:
            return f"{name} speaks on many cores; --cuda goes without it"
    return None


def _add_voice_options(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "-m",
        "--model",
        required=True,
        help="the voice: path of its ONNX file, or its name in a --data-dir",
    )
    parser.add_argument(
        "-c", "--config", help="the voice's JSON (default: MODEL.json beside the ONNX file)"
    )
    add_option(
        parser,
        "--data-dir",
        action="append",
        default=[],
        metavar="DIR",
        help="folder to look for voices in; repeatable (default: the current one)",
    )
    add_hardware_options(parser)


def add_hardware_options(parser: argparse._ActionsContainer) -> None:
    """Add what the network runs on; servers have these, too."""
    add_option(
        parser,
        "--cuda",
        "--use-cuda",
        action="store_true",
        help="run on an NVIDIA GPU; where none can be started, the CPU speaks after a warning",
    )
    add_option(
        parser,
        "--strict-cuda",
        dest="cuda",
        action="store_const",
        const="strict",
        help="run on an NVIDIA GPU and on nothing else",
    )
    parser.add_argument(
        "--threads",
        type=whole_number(1, MAX_THREADS),
        metavar="N",
        help="threads of one sentence's network (default: a core each)",
    )


def _add_text_and_output_options(parser: argparse._ActionsContainer) -> None:
    add_option(
        parser,
        "-i",
        "--input-file",
        action="append",
        default=[],
        metavar="FILE",
        help="text file (UTF-8) to speak line by line, or a document to speak as a whole; "
        "repeatable (default: standard input)",
    )
    add_option(
        parser,
        "--input-format",
        choices=(*INPUT_FORMATS, "json"),
        help="plain: each line is an utterance; markdown (extra `markdown`) and ssml: each file "
        "is one; json: each line is an object with `text`, and where wanted `speaker` (name or "
        "number) and `output_file` (default: by the ending of --input-file: .md, .markdown, .ssml, "
        ".xml; else plain)",
    )
    add_option(
        parser,
        "-f",
        "--output-file",
        metavar="FILE",
        help="one file for everything, of the kind that its ending says (.wav, .flac, .opus, .mp3, "
        ".aac, .raw); - is standard output",
    )
    add_option(
        parser,
        "-d",
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="folder for one file per line or document",
    )
    add_option(
        parser,
        "--output-dir-naming",
        choices=NAMINGS,
        help="name those files by the time, their text or their number; text names a document as "
        "its file is named (default: timestamp, of documents text; number with --jobs or --ray)",
    )
    add_option(
        parser,
        "--output-raw",
        action="store_true",
        help="16-bit samples without a header to standard output, sentence by sentence",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="with --output-raw: write each piece as soon as it is made, before its sentence is "
        "done, as loud as the voice makes it",
    )


def _add_file_options(parser: argparse._ActionsContainer) -> None:
    add_option(
        parser,
        "--output-format",
        choices=FORMATS,
        help="kind of the files (default: by the ending of --output-file, else wav); flac, opus "
        "and mp3 need the extra `codecs`, aac the extra `aac`",
    )
    add_option(
        parser,
        "--sample-rate",
        type=whole_number(4000, 192_000),
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
        type=whole_number(0, MAX_THREADS),
        metavar="N",
        help="speak N lines or documents at once (0: one a core) to files in --output-dir, lines "
        "to numbered ones, documents to one each of their name; a run that was interrupted goes "
        "on where it was",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="the same on a Ray cluster: host:port, or auto; needs the extra `ray`",
    )


def add_speech_options(parser: argparse._ActionsContainer, whose: str = "the speaker") -> None:
    """Add who speaks, and how; servers have these, too."""
    parser.add_argument(
        "-s", "--speaker", help=f"number or name of {whose}, or a mixture like 3:0.7,5:0.3"
    )
    for names, parse, text in (
        (["--length-scale"], parse_positive, "factor on durations; above 1 is slower"),
        (["--noise-scale"], parse_not_negative, "liveliness of the voice; 0 is always the same"),
        (
            ["--noise-w-scale", "--noise-w"],
            parse_not_negative,
            "liveliness of the rhythm; 0 is always the same",
        ),
    ):
        text += " (default: what the voice's JSON says)"
        add_option(parser, *names, type=parse, metavar="X", help=text)
    parser.add_argument(
        "--pitch",
        type=parse_pitch,
        default=0.0,
        metavar="SEMITONES",
        help="higher or lower by so much, from -12 to 12; quick voices only (default: 0)",
    )
    for name, text in (
        ("--sentence-silence", "silence between the sentences of a text (default: 0)"),
        (
            "--paragraph-silence",
            "silence between paragraphs: of a document, and where a blank line stands between "
            "lines that are spoken to one output (default: that of sentences; of lines 0)",
        ),
        ("--clause-silence", "silence added after , ; : (default: 0)"),
        ("--ellipsis-silence", "silence added after … (default: that of clauses)"),
    ):
        add_option(parser, name, type=parse_not_negative, metavar="SECONDS", help=text)
    parser.add_argument(
        "--volume",
        type=parse_not_negative,
        default=1.0,
        metavar="X",
        help="factor on loudness (default: %(default)s)",
    )


def _add_loudness_options(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--normalize",
        choices=LOUDNESSES,
        help="full range: of each sentence (default); by one factor of each utterance, with "
        "--output-file of the whole file, so that the loudness does not jump; or off",
    )
    add_option(parser, "--no-normalize", action="store_true", help="the same as --normalize off")
    add_option(
        parser,
        "--whole-ends",
        action=argparse.BooleanOptionalAction,
        help="give the first and last sound of each sentence more time, lest the voice cut them "
        "(default: in sentences of a single word)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**62 - 1),
        metavar="N",
        help="speak repeatably: the same texts, voice and machine give the same samples",
    )


def add_pronunciation_options(parser: argparse._ActionsContainer) -> None:
    """Add how texts are prepared; servers have these, too."""
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
    add_option(
        parser,
        "--write-numbers",
        action=argparse.BooleanOptionalAction,
        help="write out Russian and English numbers, dates, money and abbreviations (extra "
        "`numbers`; default: as the voice was trained)",
    )
    add_option(
        parser,
        "--abbreviations",
        action=argparse.BooleanOptionalAction,
        help="make no sentence end of titles and short forms, as in Dr. Smith (default: as the "
        "voice was trained, else yes; with --no-abbreviations the phonemes are those of Piper)",
    )
