"""Imposes on a process of Linux what Windows has otherwise, as far as that can be had here.

Files that are open are neither renamed, replaced nor removed; devices' names and some characters
are no files' names; POSIX's modules and functions are not there; processes start by "spawn".
`impose` is called by a sitecustomize.py on the path, so the rules are those of processes that are
started, too.
"""

from __future__ import annotations

import builtins
import codecs
import io
import multiprocessing
import os
import re
import signal
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "pty"}
FUNCTIONS = {"fork", "nice", "sched_getaffinity", "uname", "chown", "getuid", "sysconf"}
FUNCTIONS |= {"killpg", "setsid", "mkfifo", "O_NOFOLLOW"}
SIGNALS = {"SIGHUP", "SIGUSR1", "SIGALRM", "SIGBUS", "alarm", "pthread_sigmask"}
NO_NAME = re.compile(r'(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*[<>:"|?*\x00-\x1f].*|.*[. ]', re.I)
ELSEWHERE = ("/proc", "/dev", "/sys")


class Lacking(types.ModuleType):
    """A module without some of its names."""

    def __init__(self, real: types.ModuleType, names: set[str]) -> None:
        self.__dict__.update(real=real, names=names)

    def __getattr__(self, name: str) -> Any:
        if name in self.names:
            raise AttributeError(f"module {self.real.__name__!r} has no attribute {name!r}")
        return getattr(self.real, name)


def is_open(path: Any) -> bool:
    """Return whether this process has a file open, or mapped into its memory."""
    real = Path(os.path.realpath(os.fsdecode(path)))
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            if link.readlink() == real:
                return True
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    return f" {real}\n" in maps


def check_name(path: Any) -> None:
    """Raise what Windows raises where a name is none there."""
    name = "" if isinstance(path, int) else os.fsdecode(path)
    last = Path(name).name
    if last != ".." and NO_NAME.fullmatch(last) and not name.startswith(ELSEWHERE):
        raise OSError(22, "Invalid argument", name)


def keep_open_files(function: Callable[..., Any], num_paths: int) -> Callable[..., Any]:
    """Return a function of `os` that refuses files that are open."""

    def kept(*args: Any, **kwargs: Any) -> Any:
        for path in args[:num_paths]:
            is_elsewhere = isinstance(path, int) or os.fsdecode(path).startswith(ELSEWHERE)
            if not is_elsewhere and kwargs.get("dir_fd") is None and is_open(path):
                raise PermissionError(13, "The file is open", os.fsdecode(path))
        check_name(args[num_paths - 1])
        return function(*args, **kwargs)

    return kept


def check_names(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that refuses names that are none."""

    def checked(path: Any, *args: Any, **kwargs: Any) -> Any:
        check_name(path)
        return function(path, *args, **kwargs)

    return checked


def impose() -> None:
    """Impose the rules; those of modules and functions on this package alone."""
    lacking = {"os": Lacking(os, FUNCTIONS), "signal": Lacking(signal, SIGNALS)}
    plain_import = builtins.__import__

    def import_module(
        name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> Any:
        importer = str(globals.get("__name__", "")).partition(".")[0] if globals else ""
        if importer == "piper" and name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        found = plain_import(name, globals, locals, fromlist, level)
        if name == "piper.system":
            sys.modules[name].WINDOWS = True  # type: ignore[attr-defined]
        return lacking.get(name, found) if importer == "piper" else found

    builtins.__import__ = import_module
    # The code page of a Russian Windows.
    codecs.register(lambda name: codecs.lookup("cp1251") if name == "mbcs" else None)
    for name, num_paths in (("rename", 2), ("replace", 2), ("unlink", 1), ("remove", 1)):
        setattr(os, name, keep_open_files(getattr(os, name), num_paths))
    builtins.open = io.open = check_names(open)  # type: ignore[assignment]
    os.open, os.mkdir = check_names(os.open), check_names(os.mkdir)  # type: ignore[assignment]
    multiprocessing.set_start_method("spawn")
