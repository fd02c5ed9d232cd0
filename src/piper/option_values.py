"""Options of all commands, and what their words mean; a wrong one is argparse's error."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

SUBTITLE_ENDINGS = (".srt", ".vtt", ".json")


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


def parse_seed(text: str) -> int:
    """Return a seed for random numbers."""
    value = int(text)
    if not 0 <= value < 2**62:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to 2**62 - 1")
    return value


def parse_jobs(text: str) -> int:
    """Return a number of processes; 0 is one a core."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 0 or more")
    return value


def parse_threads(text: str) -> int:
    """Return a number of threads."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
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
parse_not_negative.__name__ = parse_positive.__name__ = "number"
parse_seed.__name__ = parse_jobs.__name__ = parse_rate.__name__ = "whole number"
parse_threads.__name__ = parse_samples.__name__ = parse_count.__name__ = "whole number"
