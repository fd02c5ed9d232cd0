"""Options of all commands, and what their words mean; a wrong one is argparse's error."""

from __future__ import annotations

import argparse
import copy
import difflib
import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from piper.messages import translate

SUBTITLE_ENDINGS = (".srt", ".vtt", ".json")
MOST_THREADS = 1024
"""Or processes; with more than a machine's limit nothing else can be started on it."""
_UNKNOWN = re.compile(r"unrecognized arguments: .*?(?<!\S)(-[^\s=]+)")
_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")


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


def parse_seed(text: str) -> int:
    """Return a seed for random numbers."""
    value = int(text)
    if not 0 <= value < 2**62:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to 2**62 - 1")
    return value


def parse_jobs(text: str) -> int:
    """Return a number of processes; 0 is one a core."""
    value = int(text)
    if not 0 <= value <= MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to {MOST_THREADS}")
    return value


def parse_threads(text: str) -> int:
    """Return a number of threads."""
    value = int(text)
    if not 1 <= value <= MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 to {MOST_THREADS}")
    return value


def parse_count(text: str) -> int:
    """Return how many of something there may be."""
    value = int(text)
    if not 1 <= value <= 10**6:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 to 1000000")
    return value


def parse_samples(text: str) -> int:
    """Return a number of samples."""
    value = int(text)
    if not 1 <= value <= 1 << 20:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 to {1 << 20}")
    return value


def parse_rate(text: str) -> int:
    """Return a sample rate in hertz."""
    value = int(text)
    if not 4000 <= value <= 192_000:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 4000 to 192000")
    return value


def parse_subtitles(text: str) -> Path:
    """Return the path of a file of subtitles."""
    path = Path(text)
    if path.suffix.lower() not in SUBTITLE_ENDINGS:
        raise argparse.ArgumentTypeError(f"{text} does not end in {', '.join(SUBTITLE_ENDINGS)}")
    return path


# argparse names these functions in its message about a text that is no number at all.
parse_not_negative.__name__ = parse_positive.__name__ = parse_pitch.__name__ = "number"
parse_seed.__name__ = parse_jobs.__name__ = parse_rate.__name__ = "whole number"
parse_threads.__name__ = parse_samples.__name__ = parse_count.__name__ = "whole number"
