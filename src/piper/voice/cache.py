"""Keeps the clean graph of each voice in a cache folder. Knows nothing of text and of speaking.

A voice's entry is a folder named by the SHA-256 of its ONNX and by the machine: the two parts of
`graph_parts` as ONNX Runtime has optimised them for this processor, the speakers' embeddings, and a
description. It is made the first time that the voice is loaded, compared with the original, and
moved into place by one renaming. To hash 60 MB at each start would take longer than all the rest of
loading, so an index remembers the hash of a file that has the same path, size and times as before.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from piper.atomic import digest_file, hold_lock, remove_folder, sync_file
from piper.errors import VoiceNotFoundError
from piper.json_reader import load_kept_object
from piper.voice.clean_graph import read_clean_graph, write_clean_graph, write_json
from piper.voice.machine import describe_machine
from piper.voice.runtime import BrokenModelError, Cuda
from piper.voice.stream import PartFiles, PartsSession

_logger = logging.getLogger(__name__)

CACHE_VARIABLE = "PIPER_CACHE_DIR"
"""Environment variable: the cache folder, or `off`."""
OFF = "off"
FORMAT = 3
"""To be raised whenever something else is built from the same weights."""
PLAIN = "plain"
"""In place of the machine where ONNX Runtime is to optimise the graph at each start: on a GPU."""

_INDEX = "index"

CacheDir = Path | str | Literal[False] | None


@dataclass(frozen=True)
class _Identity:
    """By what a file is known to be the same without reading it."""

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path) -> _Identity:
        status = path.stat()
        return cls(str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def find_cache_dir(cache_dir: CacheDir = None) -> Path | None:
    """Return the folder for clean graphs; None where caching is off.

    Args:
        cache_dir: A folder, or False for none. None means what the environment variable
            `PIPER_CACHE_DIR` says (a folder, or `off`), else the user's cache folder.
    """
    if cache_dir is None:
        cache_dir = os.environ.get(CACHE_VARIABLE) or _user_cache_dir() / "piper"
    if cache_dir is False or cache_dir == OFF:
        return None
    return Path(cache_dir)


def _user_cache_dir() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # nobody's process, as in some containers
        return Path(os.devnull)  # where nothing can be kept


def load_parts(
    model_path: Path,
    cache_dir: Path,
    *,
    use_cuda: Cuda = False,
    threads: int | None = None,
) -> PartsSession | str:
    """Load the clean graph of a voice; make it first where there is none.

    Args:
        model_path: The voice's ONNX.
        cache_dir: The cache folder; made where it is missing.
        use_cuda: Run on an NVIDIA GPU, as for `create_session`.
        threads: Threads of one run; None leaves it to ONNX Runtime.

    Returns:
        The graph; where the voice's own must serve, why.
    """
    try:
        machine = PLAIN if use_cuda else describe_machine()
        entry = cache_dir / f"{_find_content(model_path, cache_dir)}-{machine}-{FORMAT}"
        for is_last in (False, True):
            if (files := read_clean_graph(entry)) is not None:
                # Another process may be mending the entry at this moment.
                with suppress(BrokenModelError, VoiceNotFoundError, ValueError):
                    return PartsSession(files, use_cuda=use_cuda, threads=threads)
            if is_last:
                break
            reason = _make_entry(model_path, entry, files, is_optimized=not use_cuda)
            if reason is not None:
                return reason
    except OSError as error:
        return f"the cache {cache_dir} cannot be used: {error.strerror or error}"
    except (BrokenModelError, MemoryError) as error:
        return f"its clean graph cannot be made now: {error or 'too little memory'}"
    except Exception as error:  # whatever it is: what the voice itself cannot do, it will say
        return f"its clean graph cannot be made now: {type(error).__name__}: {error}"
    return "its clean graph cannot be loaded"


def _find_content(model_path: Path, cache_dir: Path) -> str:
    """Return what names a voice's bytes, from the index where the file has not changed."""
    identity = _Identity.of(model_path)
    # Two paths of one number take turns in the index, no more.
    index_path = cache_dir / _INDEX / f"{zlib.crc32(identity.path.encode()):08x}.json"
    known = load_kept_object(index_path)
    content = str(known.get("content"))
    # It becomes a folder's name.
    if known.get("identity") != vars(identity) or not re.fullmatch("[0-9a-f]{64}", content):
        content = digest_file(model_path)
        # A cache that others have filled may be only readable.
        with suppress(OSError):
            write_json(index_path, {"identity": vars(identity), "content": content})
    return content[:32]


def _make_entry(
    model_path: Path, entry: Path, broken: PartFiles | None, *, is_optimized: bool
) -> str | None:
    """Build, check and keep a voice's clean graph; return why there is none, or None.

    Args:
        model_path: The voice's ONNX.
        entry: The folder to make.
        broken: What lies there and could not be loaded.
        is_optimized: As for `write_clean_graph`.

    Raises:
        OSError: The cache cannot be written.
        BrokenModelError: A graph could not be loaded now.
    """
    # Takes a moment to load, and is not needed from the second start on.
    from importlib.util import find_spec

    refusal_path = entry.with_name(f"refused-{entry.name}.json")
    refusal = load_kept_object(refusal_path).get("refusal")
    if refusal is not None:
        return f"{refusal} (noted in {refusal_path})"
    if find_spec("onnx") is None:
        return "the Python package 'onnx', which makes it, is not installed"
    identity = _Identity.of(model_path)
    with hold_lock(entry.with_name(f".{entry.name}.lock")):
        if broken is None and read_clean_graph(entry) is not None:
            return None  # another process was quicker
        if entry.exists():
            _logger.warning("%s is damaged: it is made anew.", entry)
        temporary = entry.with_name(f".{entry.name}.part")
        remove_folder(temporary)  # of a process that was killed
        temporary.mkdir(parents=True)
        try:
            _logger.debug("Making the clean graph of %s in %s", model_path, entry)
            reason = write_clean_graph(model_path, temporary, is_optimized=is_optimized)
            if _Identity.of(model_path) != identity:
                return "the voice was changed meanwhile"
            if reason is None:
                remove_folder(entry)
                temporary.replace(entry)
                sync_file(entry.parent)
            else:
                write_json(refusal_path, {"refusal": reason})
        finally:
            remove_folder(temporary)
    return reason
