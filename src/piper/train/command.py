"""How a command of ours ends: an exit code, and one sentence where something went wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from piper.errors import (
    TOO_LITTLE_MEMORY,
    PiperError,
    describe_missing_package,
    describe_os_error,
)
from piper.messages import print_error, say
from piper.processes import calm_threads, open_standard_streams, stops_as_interrupt

EXTRA = "train"
"""Brings what these commands import; what one of them needs beside, it names itself."""
FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT


def run_command(work: Callable[[], int], if_stopped: str) -> int:
    """Return the exit code of a command's work.

    Args:
        work: Does it, and returns its exit code.
        if_stopped: What to say after Ctrl+C, SIGTERM or SIGHUP: what was kept, and how to go on.
    """
    open_standard_streams()
    calm_threads()
    with stops_as_interrupt() as received:
        return _run(work, if_stopped, received)


def _run(work: Callable[[], int], if_stopped: str, received: Sequence[int]) -> int:
    try:
        Path.cwd()  # torch ends the process where the folder is gone
        return work()
    except PiperError as error:
        print_error(error)
        return FAILED
    except ModuleNotFoundError as error:
        print_error(describe_missing_package(error, EXTRA))
        return FAILED
    except BrokenPipeError:
        # Who read the output has gone: `… | head`. Nothing is written to it any more.
        sys.stdout = None
        return FAILED
    except OSError as error:
        print_error(describe_os_error(error))
        return FAILED
    except MemoryError:
        print_error(TOO_LITTLE_MEMORY)
        return FAILED
    except KeyboardInterrupt:
        say(if_stopped, sys.stderr)
        return 128 + received[0] if received else INTERRUPTED
