"""Keeps the clean graph of each voice in a cache folder. Knows nothing of text and of speaking.

A voice's entry is a folder named by the SHA-256 of its ONNX: the two parts of `graph_parts`, the
speakers' embeddings, and a description. It is made the first time that the voice is loaded,
compared with the original, and moved into place by one renaming. To hash 60 MB at each start would
take a third of the time that loading takes, so an index remembers the hash of a file that has the
same path, size and times as before.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from piper.atomic import replace_on_success, temporary_path
from piper.errors import PiperError
from piper.voice.session import BrokenModelError, SpeechSettings, VoiceSession
from piper.voice.stream import PartFiles, PartsSession

_logger = logging.getLogger(__name__)

CACHE_VARIABLE = "PIPER_CACHE_DIR"
"""Environment variable: the cache folder, or `off`."""
OFF = "off"
FORMAT = 1
"""To be raised whenever `graph_parts` builds something else from the same weights."""
MAX_DIFFERENCE = 1e-4
"""Largest difference of a sample from the original's, of a full scale of 1."""

_CHECK_LENGTHS = (9, 33, 65)
"""Phonemes of the sentences that are compared."""
_DESCRIPTION = "voice.json"
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
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def load_parts(
    model_path: Path,
    cache_dir: Path,
    *,
    use_cuda: bool = False,
    threads: int | None = None,
) -> PartsSession | None:
    """Load the clean graph of a voice; make it first where there is none.

    Args:
        model_path: The voice's ONNX.
        cache_dir: The cache folder; made where it is missing.
        use_cuda: Run on an NVIDIA GPU.
        threads: Threads of one run; None leaves it to ONNX Runtime.

    Returns:
        None where the voice's own graph must serve, after a line in the log that says why.

    Raises:
        PiperError: CUDA was asked for and is not there, or the voice itself cannot be loaded.
    """
    try:
        entry = cache_dir / _find_key(model_path, cache_dir)
        if (files := _read_entry(entry)) is not None:
            with suppress(BrokenModelError):
                return PartsSession(files, use_cuda=use_cuda, threads=threads)
            shutil.rmtree(entry, ignore_errors=True)
        reason = _make_entry(model_path, entry)
        if reason is None and (files := _read_entry(entry)) is not None:
            return PartsSession(files, use_cuda=use_cuda, threads=threads)
    except OSError as error:
        reason = f"the cache {cache_dir} cannot be used: {error.strerror or error}"
    _logger.info("%s speaks by its own graph, without its clean one (%s).", model_path, reason)
    return None


def _find_key(model_path: Path, cache_dir: Path) -> str:
    """Return the name of a voice's entry, from the index where the file has not changed."""
    identity = _Identity.of(model_path)
    name = hashlib.sha256(identity.path.encode()).hexdigest()[:32]
    index_path = cache_dir / _INDEX / f"{name}.json"
    known = _read_json(index_path)
    if known.get("identity") == vars(identity) and isinstance(known.get("content"), str):
        content = known["content"]
    else:
        with model_path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        _write_json(index_path, {"identity": vars(identity), "content": content})
    return f"{content[:32]}-{FORMAT}"


def _read_entry(entry: Path) -> PartFiles | None:
    """Return an entry's files; None where it is not there, not whole, or says that there is none.

    Raises:
        OSError: The folder cannot be read.
    """
    data = _read_json(entry / _DESCRIPTION)
    try:
        sizes = {name: (entry / name).stat().st_size for name in data["sizes"]}
        if sizes != data["sizes"]:
            return None
        return PartFiles(
            text=entry / "text.onnx",
            frames=entry / "frames.onnx",
            speakers=entry / "speakers.npy" if "speakers.npy" in sizes else None,
            flow_reach=int(data["flow_reach"]),
            decoder_reach=int(data["decoder_reach"]),
            hop_length=int(data["hop_length"]),
        )
    except (KeyError, TypeError, ValueError, FileNotFoundError):
        return None


def _make_entry(model_path: Path, entry: Path) -> str | None:
    """Build, check and keep a voice's clean graph; return why there is none, or None."""
    refusal_path = entry.with_suffix(".json")
    refusal = _read_json(refusal_path).get("refusal")
    if refusal is not None:
        return str(refusal)
    if find_spec("onnx") is None:
        return "the Python package 'onnx', which makes it, is not installed"
    temporary = temporary_path(entry)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _logger.debug("Making the clean graph of %s in %s", model_path, entry)
        reason = _write_entry(model_path, temporary)
        if reason is not None:
            _write_json(refusal_path, {"refusal": reason})
        elif _read_entry(entry) is None:
            # Another process may have been quicker; what is not whole may lie there, too.
            shutil.rmtree(entry, ignore_errors=True)
            temporary.replace(entry)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return reason


def _write_entry(model_path: Path, folder: Path) -> str | None:
    """Write the files of an entry; return why they must not be used, or None."""
    import onnx

    # Not needed where the cache is already filled.
    from piper.voice.graph_parts import build_parts
    from piper.voice.weights import load_voice_weights

    try:
        weights, config = load_voice_weights(model_path)
        parts = build_parts(weights, config)
    except PiperError as error:
        return str(error)
    for name, model in (("text", parts.text), ("frames", parts.frames)):
        # ONNX Runtime maps weights from a file of their own into memory: 60 MB less at the peak
        # and a third less time than with weights inside.
        onnx.save_model(
            model,
            folder / f"{name}.onnx",
            save_as_external_data=True,
            location=f"{name}.bin",
            # Shapes must stay inside, where ONNX Runtime reads them.
            size_threshold=1024,
        )
    if parts.speakers is not None:
        np.save(folder / "speakers.npy", parts.speakers)
    symbols = len(weights["enc_p.emb.weight"])
    description = {
        "sizes": {path.name: path.stat().st_size for path in folder.iterdir()},
        "flow_reach": parts.flow_reach,
        "decoder_reach": parts.decoder_reach,
        "hop_length": config.hop_length,
    }
    _write_json(folder / _DESCRIPTION, description)
    del weights, parts
    files = _read_entry(folder)
    if files is None:
        return "it could not be written"
    original = VoiceSession(model_path)
    try:
        clean = PartsSession(files)
    except BrokenModelError as error:
        return str(error)
    return compare_with_original(clean, original, symbols, config.num_speakers)


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


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object of the cache; an empty one where there is none or it is broken."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _write_json(path: Path, data: dict[str, Any]) -> None:
    with replace_on_success(path) as temporary:
        temporary.write_text(json.dumps(data), encoding="utf-8")
