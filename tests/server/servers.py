"""Servers' real commands, and what several tests need of servers."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

MAX_SECONDS = 120


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


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def find_error(
    main: Callable[[list[str]], int], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> str:
    """Return the one sentence with which a command ends."""
    assert main(arguments) == 1, arguments
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def find_loaded(module: str, names: set[str]) -> set[str]:
    """Return which of some modules a command loads to show its help."""
    program = (
        "import sys, contextlib\n"
        f"from {module} import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        f"print(*({names} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split())


def copy_voice(source: Path, target: Path, **changes: Any) -> Path:
    """Copy a voice's ONNX and JSON; return the ONNX's path.

    Args:
        source: The ONNX.
        target: Likewise.
        changes: Of keys of the JSON.
    """
    shutil.copy(source, target)
    config = json.loads(Path(f"{source}.json").read_text(encoding="utf-8")) | changes
    Path(f"{target}.json").write_text(json.dumps(config), encoding="utf-8")
    return target


def write_catalogue(root: Path, folder: str, name: str, **facts: Any) -> None:
    """Publish the only voice that lies in a folder of a catalogue's.

    Args:
        root: Where the catalogue lies.
        folder: In it.
        name: The voice's.
        facts: What the catalogue says beside its files.
    """
    files = {}
    for path in (root / folder).iterdir():
        content = path.read_bytes()
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        files[f"{folder}/{path.name}"] = {"size_bytes": len(content), "md5_digest": md5}
    (root / "voices.json").write_text(json.dumps({name: {"files": files, **facts}}))


def wait_until(is_so: Callable[[], bool], seconds: float = MAX_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def connect(port: int) -> socket.socket:
    """Return a connection that holds little for a client that does not read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(MAX_SECONDS)
    connection.connect(("127.0.0.1", port))
    return connection


def ask_for_speech(connection: socket.socket, text: str, **more: Any) -> None:
    """Ask for speech, and read nothing of it."""
    body = json.dumps({"text": text, **more}).encode()
    head = f"POST /synthesize HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
