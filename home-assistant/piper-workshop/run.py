"""Starts the Wyoming server with the add-on's options, and tells Home Assistant where it is.

With a key there is the HTTP server, too, whose page takes voices.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OPTIONS = Path(os.environ.get("ADDON_OPTIONS", "/data/options.json"))
VOICES = os.environ.get("ADDON_VOICES", "/share/piper")
SUPERVISOR = os.environ.get("ADDON_SUPERVISOR", "http://supervisor")
PORT = int(os.environ.get("ADDON_PORT", "10200"))
HTTP_PORT = int(os.environ.get("ADDON_HTTP_PORT", "5000"))
START_SECONDS = 600
"""A published voice is downloaded first, and its optimised model is made."""


WYOMING = ["piper.wyoming_server", "--uri", f"tcp://0.0.0.0:{PORT}"]
HTTP = ["piper.http_server", "--host", "0.0.0.0", "--port", str(HTTP_PORT)]


def create_command(options: Mapping[str, Any], server: Sequence[str] = WYOMING) -> list[str]:
    """Return a server's command line; what is empty or zero is the voice's own."""
    command = [sys.executable, "-m", *server, "--data-dir", VOICES, "--model", options["voice"]]
    for name in ("speaker", "length_scale", "sentence_silence", "pitch"):
        if options.get(name):
            command.append(f"--{name.replace('_', '-')}={options[name]}")
    command += ["--write-numbers"] if options.get("write_numbers") else []
    command += ["--debug"] if options.get("debug_logging") else []
    return command


def announce() -> None:
    """Tell the supervisor of the server once it answers."""
    end = time.monotonic() + START_SECONDS
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                break
        if time.monotonic() > end:
            sys.exit("The server does not answer; its log says why.")
        time.sleep(0.5)
    address = f"tcp://{socket.gethostname()}:{PORT}"
    request = urllib.request.Request(
        f"{SUPERVISOR}/discovery",
        json.dumps({"service": "wyoming", "config": {"uri": address}}).encode(),
        {
            "Authorization": f"Bearer {os.environ.get('SUPERVISOR_TOKEN', '')}",
            "Content-Type": "application/json",
        },
    )
    try:
        urllib.request.urlopen(request, timeout=30).close()
    except OSError as error:
        print(f"Home Assistant does not know of {address} yet ({error}); add it by hand.")


if __name__ == "__main__":
    Path(VOICES).mkdir(parents=True, exist_ok=True)
    given = json.loads(OPTIONS.read_text(encoding="utf-8"))
    words = create_command(given)
    if os.fork() == 0:
        announce()
        if given.get("api_key"):  # the voice is there now
            http = create_command(given, HTTP)
            os.execve(http[0], http, {**os.environ, "PIPER_API_KEY": given["api_key"]})
        os._exit(0)
    os.execv(words[0], words)  # the server itself gets the supervisor's signals
