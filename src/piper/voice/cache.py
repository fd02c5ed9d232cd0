"""Keeps the optimised model of each voice in a cache folder.

A voice's entry is a folder named by the SHA-256 of its ONNX and by the machine. It holds the three
parts (`build_parts`, `cut_quick_parts`), as ONNX Runtime has optimised them for this processor
where that is wanted, the speakers' embeddings, and a description. It is made the first time that
the voice is loaded, compared with the original, and moved into place by one renaming. To hash 60 MB
at each start would take longer than all the rest of loading, so an index remembers the hash of a
file that has the same path, size and times as before.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from piper.errors import BrokenModelError, PiperError, VoiceNotFoundError
from piper.files import (
    digest_file,
    hold_lock,
    load_kept_object,
    remove_folder,
    sync_file,
    write_json,
)
from piper.system import describe_processor, user_cache_dir
from piper.voice.graph_quick import QuickGraphConfig, cut_quick_parts
from piper.voice.session import (
    Cuda,
    Network,
    PartFiles,
    PartsSession,
    SpeechSettings,
    VoiceSession,
    create_session,
    find_cuda,
)

if TYPE_CHECKING:
    import onnx

    from piper.voice.graph_config import GraphConfig
    from piper.voice.graph_writer import VoiceParts

CacheDir = Path | str | Literal[False] | None
CACHE_VARIABLE = "PIPER_CACHE_DIR"
"""Environment variable: the cache folder, or `off`."""
OFF = "off"
FORMAT = 3
"""To be raised whenever something else is built from the same weights."""
PLAIN = "plain"
"""In place of the machine where ONNX Runtime is to optimise the graph at each start: on a GPU."""

_CHECK_LENGTHS = (9, 33, 65)
"""Phonemes of the sentences that are compared."""
_CHECK_SECONDS = 24 * 3600.0
"""How long files that nobody has written to are believed to be whole."""
_PARTS = ("text", "flow", "decoder")
_DESCRIPTION = "voice.json"
_CHECKED = "checked.json"
_SPEAKERS = "speakers.npy"
_INDEX = "index"
_LOGGER = logging.getLogger(__name__)


def find_cache_dir(cache_dir: CacheDir = None) -> Path | None:
    """Return the folder for optimised models; None where caching is off.

    Args:
        cache_dir: A folder, or False for none. None means what the environment variable
            `PIPER_CACHE_DIR` says (a folder, or `off`), else the user's cache folder.
    """
    if cache_dir is None:
        cache_dir = os.environ.get(CACHE_VARIABLE) or user_cache_dir() / "piper"
    if cache_dir is False or cache_dir == OFF:
        return None
    return Path(cache_dir)


def describe_machine() -> str:
    """Return a short name of what ONNX Runtime's optimisation depends on.

    That is its own version and the instructions of the processor: weights of convolutions are laid
    out in blocks as wide as its registers.
    """
    import onnxruntime

    return f"{onnxruntime.__version__}-{zlib.crc32(describe_processor().encode()):08x}"


def load_network(
    model_path: Path,
    cache_dir: CacheDir,
    *,
    use_cuda: Cuda = False,
    threads: int | None = None,
    seed: int | None = None,
) -> Network:
    """Load the optimised model of a voice, made first where there is none, or else its own graph.

    Args:
        model_path: The voice's ONNX.
        cache_dir: As for `find_cache_dir`; the folder is made where it is missing.
        use_cuda: Run on an NVIDIA GPU, as for `create_session`.
        threads: Threads of one run; None leaves it to ONNX Runtime.
        seed: For the random nodes of the voice's own graph.

    Raises:
        PiperError: The file is no voice, or CUDA is wanted strictly and not there.
    """
    use_cuda = use_cuda and find_cuda(use_cuda)
    reason = ""
    if (folder := find_cache_dir(cache_dir)) is not None:
        try:
            found = _load_parts(model_path, folder, use_cuda, threads)
            if not isinstance(found, str):
                return found
            reason = found
        except OSError as error:
            reason = f"the cache {folder} cannot be used: {error.strerror or error}"
        except (BrokenModelError, MemoryError) as error:
            reason = f"its optimised model cannot be made now: {error or 'too little memory'}"
        except Exception as error:  # whatever it is: what the voice itself cannot do, it will say
            reason = f"its optimised model cannot be made now: {type(error).__name__}: {error}"
    session = VoiceSession(model_path, use_cuda=use_cuda, threads=threads, seed=seed)
    if reason:
        _LOGGER.info(
            "%s speaks by its own graph, not by its optimised model (%s).", model_path, reason
        )
    return session


def _load_parts(
    model_path: Path, cache_dir: Path, use_cuda: Cuda, threads: int | None
) -> PartsSession | str:
    """Load the optimised model of a voice; where the voice's own must serve, return why."""
    machine = PLAIN if use_cuda else describe_machine()
    entry = cache_dir / f"{_find_content(model_path, cache_dir)}-{machine}-{FORMAT}"
    for is_last in (False, True):
        if (files := read_optimised_model(entry)) is not None:
            # Another process may be mending the entry at this moment.
            with suppress(BrokenModelError, VoiceNotFoundError, ValueError):
                return PartsSession(files, use_cuda=use_cuda, threads=threads)
        if is_last:
            break
        is_broken = files is not None
        reason = _make_entry(model_path, entry, is_broken, is_for_machine=not use_cuda)
        if reason is not None:
            return reason
    return "its optimised model cannot be loaded"


def _identify(path: Path) -> dict[str, Any]:
    """Return by what a file is known to be the same without reading it."""
    status = path.stat()
    return {
        "path": str(path.resolve()),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
    }


def _find_content(model_path: Path, cache_dir: Path) -> str:
    """Return what names a voice's bytes, from the index where the file has not changed."""
    identity = _identify(model_path)
    # Two paths of one number take turns in the index, no more.
    index_path = cache_dir / _INDEX / f"{zlib.crc32(identity['path'].encode()):08x}.json"
    known = load_kept_object(index_path)
    content = str(known.get("content"))
    # It becomes a folder's name.
    if known.get("identity") != identity or not re.fullmatch("[0-9a-f]{64}", content):
        content = digest_file(model_path)
        # A cache that others have filled may be only readable.
        with suppress(OSError):
            write_json(index_path, {"identity": identity, "content": content})
    return content[:32]


def _make_entry(
    model_path: Path, entry: Path, is_broken: bool, *, is_for_machine: bool
) -> str | None:
    """Build, check and keep a voice's optimised model; return why there is none, or None."""
    # Takes a moment to load, and is not needed from the second start on.
    from importlib.util import find_spec

    # The number is to be raised whenever voices of more kinds can be optimised.
    refusal_path = entry.with_name(f"refused-2-{entry.name}.json")
    refusal = load_kept_object(refusal_path).get("refusal")
    if refusal is not None:
        return f"{refusal} (noted in {refusal_path})"
    if find_spec("onnx") is None:
        return "the Python package 'onnx', which makes it, is not installed"
    identity = _identify(model_path)
    with hold_lock(entry.with_name(f".{entry.name}.lock")):
        if not is_broken and read_optimised_model(entry) is not None:
            return None  # another process was quicker
        if entry.exists():
            _LOGGER.warning("%s is damaged: it is made anew.", entry)
        temporary = entry.with_name(f".{entry.name}.part")
        remove_folder(temporary)  # of a process that was killed
        temporary.mkdir(parents=True)
        try:
            _LOGGER.debug("Making the optimised model of %s in %s", model_path, entry)
            reason = write_optimised_model(model_path, temporary, is_for_machine=is_for_machine)
            if _identify(model_path) != identity:
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


def write_optimised_model(model_path: Path, folder: Path, *, is_for_machine: bool) -> str | None:
    """Write a voice's optimised model; return why it must not be used, or None.

    Args:
        model_path: The voice's ONNX.
        folder: An empty folder.
        is_for_machine: Optimise for this machine's processor now, and not at each start.
    """
    # Not needed where the cache is already filled.
    from piper.voice.weights import UnreadableModelError

    # First, as it says whether the file can be read at all; what fails later is the taking apart.
    original = VoiceSession(model_path)
    try:
        parts, config = _make_parts(original)
        for name in _PARTS:
            _write_part(getattr(parts, name), folder / f"{name}.onnx", is_for_machine)
    except UnreadableModelError as error:
        # ONNX Runtime has just read it.
        raise BrokenModelError(str(error)) from None
    except (BrokenModelError, MemoryError):
        raise
    except PiperError as error:
        return str(error)
    except Exception as error:  # weights of others can be wrong in any way; their own graph speaks
        return f"it could not be made of the voice's weights ({error})"
    if parts.speakers is not None:
        np.save(folder / _SPEAKERS, parts.speakers)
    symbols, limit = parts.num_symbols, parts.max_difference
    description = {
        "sizes": _describe_files(folder, sorted(path.name for path in folder.iterdir())),
        "flow_reach": parts.flow_context_frames,
        "decoder_reach": parts.decoder_context_frames,
        "hop_length": config.hop_length,
        "is_optimized": is_for_machine,
        "mean_hertz": original.mean_hertz,
    }
    write_json(folder / _DESCRIPTION, {**description, "sum": _sum_description(description)})
    for path in folder.iterdir():
        sync_file(path)
    del parts
    files = read_optimised_model(folder)
    if files is None:
        return "it could not be written"
    session = PartsSession(files)
    try:
        return compare_with_original(session, original, symbols, config.num_speakers, limit)
    except PiperError as error:
        return f"it cannot be compared with the voice's own ({error})"


def _make_parts(original: VoiceSession) -> tuple[VoiceParts, GraphConfig | QuickGraphConfig]:
    """Return the parts of a voice of either family, and its shape."""
    from piper.voice.graph import METADATA_KEY, build_kept_parts, build_parts
    from piper.voice.weights import load_voice_weights, read_model

    if (quick := original.find_quick_config()) is not None:
        model = read_model(original.path)
        keeps_text = any(entry.key == METADATA_KEY for entry in model.metadata_props)
        return (build_kept_parts if keeps_text else cut_quick_parts)(model, quick), quick
    weights, config = load_voice_weights(original.path)
    return build_parts(weights, config), config


def _write_part(model: onnx.ModelProto, path: Path, is_for_machine: bool) -> None:
    """Write one part, its weights in a file of their own.

    ONNX Runtime maps such a file into memory: 60 MB less at the peak and a third less time than
    with weights inside. Optimised, the convolutions' weights lie in it as the processor wants them,
    and most of loading is spared.
    """
    import onnx

    plain = path.with_name(f"plain-{path.name}") if is_for_machine else path
    weights = plain.with_suffix(".bin")
    # Shapes must stay inside, where ONNX Runtime reads them.
    onnx.save_model(
        model, plain, save_as_external_data=True, location=weights.name, size_threshold=1024
    )
    if is_for_machine:
        create_session(plain, threads=1, optimized_path=path)
        plain.unlink()
        weights.unlink()


def compare_with_original(
    parts: PartsSession,
    original: VoiceSession,
    symbols: int,
    num_speakers: int,
    max_difference: float = 1e-4,
) -> str | None:
    """Speak the same ids by both graphs without noise; return what differs, or None.

    A duration within rounding of a whole number may come out one frame longer in either graph, so
    one sentence of another length is let pass.
    """
    rng = np.random.default_rng(0)
    others = 0
    for i, length in enumerate(_CHECK_LENGTHS):
        ids = rng.integers(0, symbols, length).tolist()
        settings = SpeechSettings(speakers={(num_speakers - 1) * (i % 2): 1.0})
        mine, theirs = (
            np.concatenate(list(net.speak(ids, settings, rng, is_streamed=False).audio))
            for net in (parts, original)
        )
        if len(mine) != len(theirs):
            others += 1
            continue
        difference = float(np.abs(mine - theirs).max())
        # Written so that a NaN is a difference.
        if not difference <= max_difference:
            return f"its samples differ by {difference:.2g}"
    return "its durations differ" if others > 1 else None


def read_optimised_model(folder: Path) -> PartFiles | None:
    """Return the files in a folder; None where they are not there or not whole.

    All of them are read and compared with their checksums where a file was written to since that
    was last done, and once a day, for a disk can fail without anybody writing.

    Raises:
        OSError: The folder cannot be read.
    """
    data, checked = load_kept_object(folder / _DESCRIPTION), load_kept_object(folder / _CHECKED)
    try:
        sizes = data["sizes"]
        if data.pop("sum") != _sum_description(data) or not _are_whole(folder, sizes, checked):
            return None
        text, flow, decoder = (folder / f"{name}.onnx" for name in _PARTS)
        return PartFiles(
            text,
            flow,
            decoder,
            speakers=folder / _SPEAKERS if _SPEAKERS in sizes else None,
            flow_context_frames=int(data["flow_reach"]),
            decoder_context_frames=int(data["decoder_reach"]),
            hop_length=int(data["hop_length"]),
            is_for_machine=data["is_optimized"] is True,
            # Not in descriptions of an earlier time.
            mean_hertz=float(hertz) if (hertz := data.get("mean_hertz")) else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _are_whole(
    folder: Path, sizes: Mapping[str, Sequence[int]], checked: Mapping[str, Any]
) -> bool:
    """Compare files with their sizes and checksums, where that was not done lately."""
    states = {name: _find_state(folder / name) for name in sizes}
    if any(states[name][0] != size for name, (size, _) in sizes.items()):
        return False
    now, when = time.time(), checked.get("time")
    is_recent = isinstance(when, float) and now - _CHECK_SECONDS < when <= now
    if is_recent and checked.get("states") == states:
        return True
    if {name: list(pair) for name, pair in sizes.items()} != _describe_files(folder, sizes):
        return False
    # A cache that others have filled may be only readable.
    with suppress(OSError):
        write_json(folder / _CHECKED, {"time": now, "states": states})
    return True


def _find_state(path: Path) -> list[int]:
    """Return what changes where somebody writes to a file."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _describe_files(folder: Path, names: Iterable[str]) -> dict[str, list[int]]:
    """Return size and checksum of files."""
    found = {}
    for name in names:
        size = total = 0
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 20):
                size, total = size + len(block), zlib.crc32(block, total)
        found[name] = [size, total]
    return found


def _sum_description(data: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(data, sort_keys=True).encode())
