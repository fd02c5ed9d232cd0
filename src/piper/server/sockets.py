"""Sockets to listen on."""

from __future__ import annotations

import socket
from pathlib import Path

from piper.errors import PiperError
from piper.system import WINDOWS


def bind_socket(host: str, port: int, options: str = "--host and --port") -> socket.socket:
    """Return a socket that is bound and does not listen yet; the port 0 takes a free one.

    An error names the command's options that say where.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        option = options.partition(" ")[0]
        raise PiperError(
            f"{host} is no address of this machine ({error.strerror}); correct {option}."
        ) from None
    listener = socket.socket(family, kind, protocol)
    if not WINDOWS:  # where it would let two servers have one port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise PiperError(
            f"The server cannot listen on {host}, port {port} ({error.strerror}); "
            f"choose others with {options}."
        ) from None
    return listener


def bind_unix_socket(path: str) -> socket.socket:
    """Return a socket in the file system that is bound and does not listen yet.

    One that an earlier server has left there is replaced; no other file is.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise PiperError("This system has no such sockets; give --uri tcp://HOST:PORT.")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead_socket(path)
        listener.bind(path)
    except OSError as error:
        listener.close()
        raise PiperError(
            f"The server cannot listen on {path} ({error.strerror or error}); "
            "choose another place with --uri."
        ) from None
    return listener


def _remove_dead_socket(path: str) -> None:
    """Remove a socket that nobody listens on."""
    place = Path(path)
    if not place.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(path)
        except ConnectionRefusedError:
            place.unlink(missing_ok=True)
