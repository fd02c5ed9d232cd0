"""`python -m piper.train`: the trainer's command line."""

import sys
from pathlib import Path

from piper.errors import describe_missing_package, describe_os_error
from piper.processes import open_standard_streams
from piper.train.command import EXTRA, FAILED, INTERRUPTED
from piper.train.verbs import run_verb


def run() -> int:
    """Run a verb or the trainer; return the exit code."""
    open_standard_streams()
    try:
        Path.cwd()  # torch ends the process where the folder is gone
    except OSError as error:
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        return FAILED
    try:
        code = run_verb(sys.argv[1:])
        if code is not None:
            return code
        # Here and not above: processes that prepare recordings import this module too, and torch
        # would cost each of them seconds.
        from piper.train.cli import main

        return main()
    except ModuleNotFoundError as error:
        print(f"error: {describe_missing_package(error, EXTRA)}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("Stopped before training began; nothing was lost.", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(run())
