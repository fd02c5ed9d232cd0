"""Makes, checks and reads the files of a voice's clean graph in a folder; knows no cache.

The files are the parts of `graph_parts`, as ONNX Runtime has optimised them for this machine
where that is wanted, the speakers' embeddings, and a description.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from piper.atomic import replace_on_success, sync_file
from piper.errors import PiperError
from piper.json_reader import load_kept_object
from piper.voice.graph_quick import QuickGraphConfig, QuickParts, cut_quick_parts
from piper.voice.runtime import BrokenModelError, create_session
from piper.voice.session import SpeechSettings, VoiceSession
from piper.voice.stream import PartFiles, PartsSession

if TYPE_CHECKING:
    import onnx

    from piper.voice.graph_config import GraphConfig
    from piper.voice.graph_parts import GraphParts

MAX_DIFFERENCE = 1e-4
"""Largest difference of a sample from the original's, of a full scale of 1."""

_CHECK_LENGTHS = (9, 33, 65)
"""Phonemes of the sentences that are compared."""
_PARTS = ("text", "flow", "decoder")
_DESCRIPTION = "voice.json"
_CHECKED = "checked.json"
_CHECK_SECONDS = 24 * 3600.0
"""How long files that nobody has written to are believed to be whole."""


def read_clean_graph(folder: Path) -> PartFiles | None:
    """Return the files in a folder; None where they are not there or not whole.

    All of them are read and compared with their checksums where a file was written to since that
    was last done, and once a day, for a disk can fail without anybody writing.

    Raises:
        OSError: The folder cannot be read.
    """
    data = load_kept_object(folder / _DESCRIPTION)
    try:
        sizes = data["sizes"]
        if data.pop("sum") != _sum_description(data) or not _are_whole(folder, sizes):
            return None
        return PartFiles(
            text=folder / "text.onnx",
            flow=folder / "flow.onnx",
            decoder=folder / "decoder.onnx",
            speakers=folder / "speakers.npy" if "speakers.npy" in sizes else None,
            flow_reach=int(data["flow_reach"]),
            decoder_reach=int(data["decoder_reach"]),
            hop_length=int(data["hop_length"]),
            is_optimized=data["is_optimized"] is True,
            # Not in descriptions of an earlier time.
            mean_hertz=float(hertz) if (hertz := data.get("mean_hertz")) else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _are_whole(folder: Path, sizes: Mapping[str, Sequence[int]]) -> bool:
    """Compare files with their sizes and checksums, as `_describe_files` gives them."""
    states = {name: _find_state(folder / name) for name in sizes}
    if any(states[name][0] != size for name, (size, _) in sizes.items()):
        return False
    checked, now = load_kept_object(folder / _CHECKED), time.time()
    when = checked.get("time")
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


def write_clean_graph(model_path: Path, folder: Path, *, is_optimized: bool) -> str | None:
    """Write a voice's clean graph; return why it must not be used, or None.

    Args:
        model_path: The voice's ONNX.
        folder: An empty folder.
        is_optimized: Optimise for this machine's processor now, and not at each start.

    Raises:
        BrokenModelError: A graph could not be loaded now; with more memory it may be.
    """
    # Not needed where the cache is already filled.
    from piper.voice.weights import UnreadableModelError

    # First, as it says whether the file can be read at all; what fails later is the taking apart.
    original = VoiceSession(model_path)
    try:
        parts, config = _make_parts(original)
        for name in _PARTS:
            _write_part(getattr(parts, name), folder / f"{name}.onnx", is_optimized=is_optimized)
    except UnreadableModelError as error:
        # ONNX Runtime has just read it.
        raise BrokenModelError(str(error)) from None
    except BrokenModelError:
        raise
    except PiperError as error:
        return str(error)
    except MemoryError:
        raise
    except Exception as error:  # weights of others can be wrong in any way; their own graph speaks
        return f"it could not be made of the voice's weights ({error})"
    if parts.speakers is not None:
        np.save(folder / "speakers.npy", parts.speakers)
    symbols = parts.num_symbols
    description = {
        "sizes": _describe_files(folder, sorted(path.name for path in folder.iterdir())),
        "flow_reach": parts.flow_reach,
        "decoder_reach": parts.decoder_reach,
        "hop_length": config.hop_length,
        "is_optimized": is_optimized,
        "mean_hertz": original.mean_hertz,
    }
    write_json(folder / _DESCRIPTION, {**description, "sum": _sum_description(description)})
    for path in folder.iterdir():
        sync_file(path)
    del parts
    files = read_clean_graph(folder)
    if files is None:
        return "it could not be written"
    session = PartsSession(files)
    try:
        return compare_with_original(session, original, symbols, config.num_speakers)
    except PiperError as error:
        return f"it cannot be compared with the voice's own ({error})"


def _make_parts(
    original: VoiceSession,
) -> tuple[GraphParts, GraphConfig] | tuple[QuickParts, QuickGraphConfig]:
    """Return the parts of a voice of either family, and its shape.

    Raises:
        PiperError: It has none.
    """
    from piper.voice.graph_parts import build_parts
    from piper.voice.weights import load_voice_weights, read_model

    if (quick := original.find_quick_config()) is not None:
        return cut_quick_parts(read_model(original.path), quick), quick
    weights, config = load_voice_weights(original.path)
    return build_parts(weights, config), config


def _write_part(model: onnx.ModelProto, path: Path, *, is_optimized: bool) -> None:
    """Write one part, its weights in a file of their own.

    ONNX Runtime maps such a file into memory: 60 MB less at the peak and a third less time than
    with weights inside. Optimised, the convolutions' weights lie in it as the processor wants them,
    and most of loading is spared.
    """
    import onnx

    from piper.voice.graph_blocked import keep_blocked

    if not is_optimized:
        _save(model, path)
        return
    plain, optimized = (path.with_name(f"{kind}-{path.name}") for kind in ("plain", "optimized"))
    _save(model, plain)
    create_session(plain, threads=1, optimized_path=optimized)
    model = onnx.load(optimized)
    keep_blocked(model)
    _save(model, path)
    for file in (plain, optimized):
        file.unlink()
        file.with_suffix(".bin").unlink()


def _save(model: onnx.ModelProto, path: Path) -> None:
    import onnx

    onnx.save_model(
        model,
        path,
        save_as_external_data=True,
        location=path.with_suffix(".bin").name,
        # Shapes must stay inside, where ONNX Runtime reads them.
        size_threshold=1024,
    )


def compare_with_original(
    parts: PartsSession, original: VoiceSession, symbols: int, num_speakers: int
) -> str | None:
    """Speak the same ids by both graphs without noise; return what differs, or None.

    A duration within rounding of a whole number may come out one frame longer in either graph, so
    one sentence of another length is let pass.
    """
    random = np.random.default_rng(0)
    others = 0
    for i, length in enumerate(_CHECK_LENGTHS):
        ids = random.integers(0, symbols, length).tolist()
        settings = SpeechSettings(0.0, 1.0, 0.0, {(num_speakers - 1) * (i % 2): 1.0})
        mine, theirs = (
            np.concatenate(list(net.speak(ids, settings, random, is_streamed=False).audio))
            for net in (parts, original)
        )
        if len(mine) != len(theirs):
            others += 1
            continue
        difference = float(np.abs(mine - theirs).max())
        # Written so that a NaN is a difference.
        if not difference <= MAX_DIFFERENCE:
            return f"its samples differ by {difference:.2g}"
    return "its durations differ" if others > 1 else None


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON object."""
    with replace_on_success(path) as temporary:
        temporary.write_text(json.dumps(data), encoding="utf-8")
