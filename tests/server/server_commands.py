"""A server's real command, run until it listens."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def run_until_listening(
    module: str, address: str, *arguments: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a command; give it and its address.

    Args:
        module: Of the command.
        address: Pattern of what it says that it listens on.
        arguments: Its options.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.fullmatch(rf"Listening on ({address}) \(Ctrl\+C ends it\)\n", line)
        assert found, line + process.stderr.read()
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()
