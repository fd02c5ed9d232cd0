"""`python -m piper`: speak."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

from piper.cli import main

WITH_PROCESSES = ("multiprocessing", "ray")
"""Modules whose processes want to be ended in order."""


def run() -> NoReturn:
    """Run the command and end the process with its exit code.

    Taking an interpreter apart that holds NumPy and ONNX Runtime takes as long as two words take
    to be spoken. All files are closed by then, so the process simply ends.
    """
    code = main()
    if not any(name in sys.modules for name in WITH_PROCESSES):
        try:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            sys.exit(code)  # the interpreter says what it could not write
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    run()
