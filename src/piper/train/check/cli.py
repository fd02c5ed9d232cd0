"""`python -m piper.train check DIR`: flags, output, exit code."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from piper.errors import ConfigError
from piper.files import remove_link, write_json
from piper.messages import configure_logging, translate
from piper.options import CommandParser
from piper.progress import count_things
from piper.train.command import run_command
from piper.train.data.dataset_flags import add_dataset_flags, find_settings, refuse_storage

NOT_READY = 2


def create_parser() -> argparse.ArgumentParser:
    """Return the flags of the check."""
    parser = CommandParser(
        prog="python -m piper.train check",
        description="Say what is wrong with a dataset before anything is trained on it.",
    )
    add_dataset_flags(parser)
    add = parser.add_argument
    add(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="where report.html and report.json go; default: check in the dataset's folder",
    )
    add("--ignore", default="", metavar="RULES", help="rules to leave out, joined by commas")
    add(
        "--stress",
        action="store_true",
        help="Russian: compare the stress of each word with silero-stress (extra ru)",
    )
    add(
        "--quick",
        action="store_true",
        help="leave out what takes minutes: an aligner that learns on the dataset and finds texts "
        "that are not what is said, and measuring what training will take",
    )
    add(
        "--recogniser",
        metavar="NAME:MODEL",
        help="let a recogniser transcribe every recording: whisper:MODEL, gigaam:MODEL, "
        "onnx-asr:MODEL or MODULE:FUNCTION",
    )
    add(
        "--fix",
        type=Path,
        metavar="OUT",
        help="write a corrected copy there, with changes.json; the dataset stays as it is",
    )
    add(
        "--strict",
        action="store_true",
        help=f"end with exit code {NOT_READY} where the dataset is not ready, for scripts",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Check a dataset; return the exit code."""
    arguments = create_parser().parse_args(argv)
    configure_logging()
    logging.getLogger("piper.train.aligner").setLevel(logging.INFO)
    stopped = "Stopped; what was measured is kept, and the same command goes on."
    return run_command(lambda: _check(arguments), stopped)


def _check(arguments: argparse.Namespace) -> int:
    from piper.train.check.issues import Verdict
    from piper.train.check.page import write_report_page
    from piper.train.check.run import check_dataset, ignore_rules
    from piper.train.check.terminal import report_to_text

    settings = find_settings(arguments)
    refuse_storage(settings, "checked")
    if arguments.stress and settings.espeak_voice != "ru":
        raise ConfigError("--stress compares Russian stresses; leave it out for other languages.")
    checked = check_dataset(
        settings,
        has_stress=arguments.stress,
        is_quick=arguments.quick,
        recogniser=arguments.recogniser,
    )
    report = ignore_rules(checked, arguments.ignore)
    folder = arguments.output_dir or arguments.dataset / "check"
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.output_dir is None:
        for name in ("report.json", "report.html"):
            remove_link(folder / name)
    write_json(folder / "report.json", report.to_dict())
    write_report_page(report, folder / "report.html")
    print(report_to_text(report, _count_columns(), has_colours=sys.stdout.isatty()))
    print(f"{translate('report:')} {folder / 'report.html'}")
    if arguments.fix is not None:
        from piper.train.check.copying import LEFT_OUT, fix_dataset

        changes = fix_dataset(report, settings.config_path, arguments.fix)
        left_out = len({change.line for change in changes if change.what == LEFT_OUT})
        print(
            translate(
                f"corrected: {arguments.fix} ({count_things(len(changes), 'change')}, "
                f"{count_things(left_out, 'line')} left out: changes.json lists them)"
            )
        )
    is_refused = arguments.strict and report.verdict is Verdict.NOT_READY
    return NOT_READY if is_refused else 0


def _count_columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 100


if __name__ == "__main__":
    sys.exit(main())
