"""The name of Piper's earlier trainer: its commands answer with those of today, in one line."""

from __future__ import annotations

import sys

WRONG_USAGE = 2


def answer(module: str, today: str) -> int:
    """Say what a command is called today; return the exit code."""
    print(f"error: `python -m {module}` is now {today}.", file=sys.stderr)
    return WRONG_USAGE
