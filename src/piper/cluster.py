"""The way into a Ray cluster. Knows nothing of the work that is done there."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from typing import Any

from piper.errors import PiperError

CONNECT_SECONDS = 10.0


def connect(address: str, purpose: str, local_flag: str) -> Any:
    """Join a cluster, and return the library ray.

    SIGTERM goes on to do what it did: Ray would end the program without a word.

    Args:
        address: The cluster, as `host:port`, or `auto` for the one that this machine belongs to.
        purpose: What is to be done there, such as `speaking`.
        local_flag: The flag that does it on several cores of this machine.

    Raises:
        PiperError: Ray is not installed, or the cluster does not answer.
    """
    try:
        import ray
    except ImportError:
        raise PiperError(
            f"{purpose.capitalize()} on a cluster needs the library ray, which is not installed: "
            f"pip install 'piper-workshop[ray]', or use {local_flag} on this machine."
        ) from None
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        _knock(address)
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:  # ConnectionError, RuntimeError, ValueError, and gRPC's own
        reason = " ".join(str(error).split())
        raise PiperError(
            f"The Ray cluster at {address} does not answer ({reason:.200}); start one with "
            "`ray start --head`, or check --ray."
        ) from None
    if callable(on_sigterm) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)
    return ray


def _knock(address: str) -> None:
    """Raise at once where nothing listens: Ray itself goes on trying for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
