"""Serves the review's page on this machine and opens a browser. Knows nothing of decisions."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from contextlib import closing

import uvicorn
from fastapi import FastAPI

from piper.messages import say
from piper.server.run import bind_socket

_GRACE_SECONDS = 3
"""So long may answers take that are on their way at Ctrl+C."""


def serve_page(app: FastAPI, host: str, port: int, path: str, *, has_browser: bool) -> None:
    """Answer requests until the process is told to end.

    Args:
        app: From `create_app`.
        host: Address or name to listen on.
        port: 0 takes a free one.
        path: Of the page, with the token.
        has_browser: Whether a browser is opened.

    Raises:
        PiperError: The address or the port cannot be had.
        KeyboardInterrupt: Ctrl+C ended it.
    """
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE_SECONDS
    )
    with closing(bind_socket(host, port)) as listener:
        # Before anybody is told the address: a request now waits for the loop, and is not refused.
        listener.listen()
        address, bound_port = listener.getsockname()[:2]
        url = f"http://{_name_address(address)}:{bound_port}{path}"
        say(f"Review: {url} (Ctrl+C ends it)")
        if has_browser and _has_window():
            # A browser that stays in the foreground must not keep the server waiting.
            threading.Thread(target=_open, args=(url,), daemon=True).start()
        uvicorn.Server(config).run(sockets=[listener])


def _name_address(address: str) -> str:
    """Return an address as a browser takes it; "all addresses" is none to open."""
    if address in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{address}]" if ":" in address else address


def _has_window() -> bool:
    """Return False where only a browser inside this terminal would answer."""
    if sys.platform in ("darwin", "win32"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _open(url: str) -> None:
    try:
        webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return  # The address is printed.
