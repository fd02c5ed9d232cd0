"""The voices of a server: found by name, loaded when needed, kept."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from google.protobuf.message import Message  # type: ignore[import-untyped]

from piper.config import SynthesisConfig, VoiceConfig
from piper.download import (
    TransferOptions,
    download_voice,
    fetch_catalogue,
    find_catalogue_voice,
    parse_catalogue,
)
from piper.errors import (
    PiperError,
    VoiceNotFoundError,
    describe_briefly,
    describe_os_error,
)
from piper.files import load_json_object
from piper.server.settings import MAX_ECHO, Downloads, RequestError
from piper.system import limit_process
from piper.text.frontend import create_frontend
from piper.voice.voice import PiperVoice
from piper.voices import MODEL_SUFFIX, VoiceFiles, list_voices

_LOGGER = logging.getLogger(__name__)

_Stamp = tuple[int, ...]
_MAX_FIELDS = 1000
"""Of an ONNX file's outermost message that are looked at."""
_GRAPH_FIELD = 7
"""Of ONNX's `ModelProto`: https://onnx.ai/onnx/api/classes.html#modelproto"""
_KEEP_SECONDS = 600.0
"""The catalogue changes a few times a year; a client must not make us fetch it each time."""
_RETRY_SECONDS = 30
_TRIED_BYTES = 2_000_000_000
_TRIED_SECONDS = 120
_TRIED_IDS = 20
Result = TypeVar("Result")


@dataclass(frozen=True)
class ListedVoice:
    """A voice that clients are told of; `data` is its JSON as it is."""

    files: VoiceFiles
    config: VoiceConfig
    data: dict[str, Any]


class VoiceStore:
    """Voices by name; safe to use from many threads.

    No path is ever made of a name that a client gives: it is looked up among the files that are
    there.

    Args:
        default: The voice that speaks where none is named.
        data_dirs: Folders with more voices; none means the current one.
        load: `PiperVoice.load`, maybe with some of its arguments.
        max_loaded: Voices that are kept in memory; the one that was not used for longest goes.
        listed_by: What tells a client which voices there are; an error names it.
        fallback: The voice that speaks where one is named that is not there; None is an error.
    """

    def __init__(
        self,
        default: VoiceFiles,
        *,
        data_dirs: Sequence[Path | str] = (),
        load: Callable[..., PiperVoice] = PiperVoice.load,
        max_loaded: int = 4,
        listed_by: str = "/voices",
        fallback: VoiceFiles | None = None,
    ) -> None:
        self.default = default
        self.fallback = fallback
        self.default_name = default.model.name.removesuffix(MODEL_SUFFIX)
        self._data_dirs = list(data_dirs)
        self._load = load
        self._max_loaded = max(1, max_loaded)
        self._listed_by = listed_by
        self._lock = threading.Lock()
        self._slots: OrderedDict[VoiceFiles, _Slot] = OrderedDict()
        self._listed: dict[VoiceFiles, tuple[_Stamp, ListedVoice | None]] = {}

    def find_all(self) -> dict[str, VoiceFiles]:
        """Return the files of all voices by name, in order, whatever is in them."""
        voices = list_voices(self._data_dirs) | {self.default_name: self.default}
        return dict(sorted(voices.items()))

    def list(self) -> dict[str, ListedVoice]:
        """Return the voices that can be loaded, by name, in order.

        That is seen by their files, which takes a moment; none is loaded for it. What is wrong with
        one that is left out stands in the log, once.
        """
        listed = {}
        for name, files in self.find_all().items():
            if (voice := self._look_at(name, files)) is not None:
                listed[name] = voice
        return listed

    def _look_at(self, name: str, files: VoiceFiles) -> ListedVoice | None:
        try:
            stamp = _find_stamp(files)
        except OSError:  # deleted since the folder was read
            return None
        seen_stamp, voice = self._listed.get(files, (None, None))
        if seen_stamp == stamp:
            return voice
        voice = None
        try:
            voice = check_voice(name, files)
        except Exception as error:  # whatever others wrote, the other voices are to be listed
            reason = describe_os_error(error) if isinstance(error, OSError) else str(error)
            _LOGGER.warning("%r is not listed: %s", name, reason or type(error).__name__)
        self._listed[files] = stamp, voice
        return voice

    def find(self, name: str | None) -> VoiceFiles:
        """Return the files of a voice."""
        if self.is_name_of(self.default, name):
            return self.default
        name = str(name).removesuffix(MODEL_SUFFIX)
        files = self.find_all().get(name)
        if files is None and self.fallback is not None:
            _LOGGER.info("There is no voice %r; %s speaks.", name, self.fallback.model.stem)
            return self.fallback
        if files is None:
            raise VoiceNotFoundError(
                f"There is no voice {name[:MAX_ECHO]!r} here; "
                f"{self._listed_by} lists those that there are."
            )
        return files

    def is_name_of(self, files: VoiceFiles, name: str | None) -> bool:
        """Return whether a client that names a voice so means this one."""
        wanted = (name or self.default_name).removesuffix(MODEL_SUFFIX)
        return wanted == files.model.name.removesuffix(MODEL_SUFFIX)

    def load(self, files: VoiceFiles) -> PiperVoice:
        """Return a voice, ready to speak; load it where it is not, or its files have changed."""
        with self._lock:
            slot = self._slots.setdefault(files, _Slot())
            self._slots.move_to_end(files)
            while len(self._slots) > self._max_loaded:
                self._slots.popitem(last=False)
        # Others may load other voices meanwhile; who wants this one waits for the first to ask.
        with slot.lock:
            try:
                # A voice may be downloaded anew while the server runs.
                stamp = _find_stamp(files)
                if slot.voice is None or stamp != slot.stamp:
                    slot.voice, slot.stamp = None, stamp
                    slot.voice = self._load(files.model, files.config, is_shared=True)
            except OSError as error:
                raise PiperError(describe_os_error(error)) from None
            except PiperError:
                self._listed[files] = slot.stamp, None
                raise
            if self._listed.get(files) == (slot.stamp, None):
                del self._listed[files]  # there was too little memory for it, or the like
            return slot.voice


@dataclass
class _Slot:
    """A place for a loaded voice."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    stamp: _Stamp = ()
    voice: PiperVoice | None = None


def _find_stamp(files: VoiceFiles) -> _Stamp:
    """Return what changes with the files."""
    statuses = [path.stat() for path in (files.model, files.config)]
    return tuple(number for status in statuses for number in (status.st_mtime_ns, status.st_size))


def check_voice(name: str, files: VoiceFiles) -> ListedVoice:
    """Return a voice that looks as if it can be loaded, and may stand in an answer, or raise."""
    name.encode()  # what is no UTF-8 in a file's name is a lone surrogate here
    data = load_json_object(files.config)
    json.dumps(data, allow_nan=False, ensure_ascii=False).encode()
    config = VoiceConfig.from_dict(data, str(files.config))
    create_frontend(config)
    with files.model.open("rb") as file:
        if not _is_whole_onnx(file):
            raise PiperError(f"{files.model} is no whole ONNX file; download or export it again.")
    return ListedVoice(files, config, data)


def try_voice(model: str, config: str) -> int:
    """Speak by files of a stranger, in a process for this alone; print what is wrong with them."""
    import onnx

    limit_process(_TRIED_BYTES + 10 * Path(model).stat().st_size, _TRIED_SECONDS)
    try:
        network = onnx.load(model, load_external_data=False)
        if _names_files(network):
            raise PiperError(f"{model} keeps weights in another file; export it again.")
        voice = PiperVoice.load(model, config, threads=1)
        speakers, known = voice.config.num_speakers, 1
        if speakers > known and all(value.name != "sid" for value in network.graph.input):
            raise PiperError(
                f"{config} says num_speakers {speakers}, but the network has "
                f"{known}; correct the file, or take the one that belongs to the voice."
            )
        ids = sorted({one for some in voice.config.phoneme_id_map.values() for one in some})
        last = SynthesisConfig(speaker_id=speakers - 1 if speakers > 1 else None)
        audio = voice.phoneme_ids_to_audio(ids[-_TRIED_IDS:], last)
        if not audio.size or not np.isfinite(audio).all():
            raise PiperError(f"{model} gives no sound; export it again.")
    except Exception as error:
        reason = str(error) if isinstance(error, PiperError) else describe_briefly(error)
        print(reason or type(error).__name__)
        return 1
    return 0


def _names_files(message: Message) -> bool:
    """Return whether a part of an ONNX file has its values in another file."""
    for kind, value in message.ListFields():
        if kind.name == "external_data":
            return True
        if kind.message_type is not None:
            inner = [value] if isinstance(value, Message) else value
            if any(map(_names_files, inner)):
                return True
    return False


def _is_whole_onnx(file: BinaryIO) -> bool:
    """Return whether a file is a protobuf message with a graph; of what is in it nothing is read.

    Its fields tell their lengths, so a file that was cut off shows by the last one.
    Source: https://protobuf.dev/programming-guides/encoding/
    """

    def read_number() -> int:
        number = 0
        for shift in range(0, 70, 7):
            byte = file.read(1)
            if not byte:
                return -1
            number |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return number
        return -1

    size = os.fstat(file.fileno()).st_size
    has_graph = False
    for _ in range(_MAX_FIELDS):
        if file.tell() >= size:
            break
        field, kind = divmod(read_number(), 8)
        length = {0: 0, 1: 8, 5: 4}.get(kind)
        if kind in (0, 2):
            number = read_number()
            length = number if kind == 2 else min(number, 0)
        if field < 1 or length is None or length < 0:
            return False
        has_graph = has_graph or field == _GRAPH_FIELD
        file.seek(min(length, size), os.SEEK_CUR)
    return has_graph and file.tell() == size


class Downloader:
    """Fetches the catalogue and voices; safe to use from many threads, and blocking."""

    def __init__(self, settings: Downloads) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._options = TransferOptions(is_patient=False, stop=self._stop)
        self._catalogue: dict[str, Any] = {}
        self._fetched_at = float("-inf")
        self._work: Future[Any] = Future()

    def list_published(self) -> dict[str, Any]:
        """Return the catalogue as it is published."""
        return self._catalogue if self._is_fresh() else self._do(self._fetch)

    def download(self, name: str, *, is_forced: bool) -> str:
        """Download what of a voice is not there yet, or all of it; return its name.

        It may be asked for by another name that the catalogue knows.
        """

        def fetch() -> str:
            catalogue = parse_catalogue(self._fetch(), self._settings.catalogue_url)
            voice = find_catalogue_voice(catalogue, name)
            download_voice(voice, self._settings.folder, is_forced=is_forced, options=self._options)
            return voice.name

        return self._do(fetch)

    def close(self) -> None:
        """End the download that is going on; what has come of it is kept for the next one."""
        self._stop.set()
        self._work.cancel()

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._fetched_at < _KEEP_SECONDS

    def _fetch(self) -> dict[str, Any]:
        if not self._is_fresh():
            self._catalogue = fetch_catalogue(self._settings.catalogue_url)
            self._fetched_at = time.monotonic()
        return self._catalogue

    def _do(self, work: Callable[[], Result]) -> Result:
        """Do one thing at a time, in a thread that nothing waits for at the end.

        The other server may say nothing for half a minute, or ask for a minute's patience. Who does
        not find his voice is told so; all else is no mistake of his.
        """
        if not self._lock.acquire(blocking=False):
            raise unavailable("Another download is going on; try again later.")
        done: Future[Result] = Future()
        self._work = done

        def run() -> None:
            with suppress(InvalidStateError):  # nobody waits any more
                try:
                    done.set_result(work())
                except Exception as error:
                    done.set_exception(error)

        try:
            threading.Thread(target=run, name="piper-download", daemon=True).start()
            if self._stop.is_set():
                done.cancel()
            return done.result()
        except CancelledError:
            raise unavailable("The server ends; ask again when it is back.") from None
        except VoiceNotFoundError:
            raise
        except PiperError as error:
            raise unavailable(str(error)) from error
        finally:
            self._lock.release()


def unavailable(message: str) -> RequestError:
    """Return what is answered where a client is to come again."""
    return RequestError(message, HTTPStatus.SERVICE_UNAVAILABLE, _RETRY_SECONDS)
