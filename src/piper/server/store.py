"""The voices of a server: found by name, loaded when needed, kept. Knows nothing of requests."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piper.errors import ConfigError, PiperError, VoiceNotFoundError, describe_os_error
from piper.json_reader import load_json_object
from piper.voices import MODEL_SUFFIX, VoiceFiles, list_voices

if TYPE_CHECKING:
    from piper.voice.voice import PiperVoice

_logger = logging.getLogger(__name__)

_MAX_ECHO = 60
"""Characters of a client's own words that an answer repeats."""


class VoiceStore:
    """Voices by name; safe to use from many threads.

    No path is ever made of a name that a client gives: it is looked up among the files that are
    there.

    Args:
        default: The voice that speaks where none is named.
        data_dirs: Folders with more voices; none means the current one.
        use_cuda: Run on an NVIDIA GPU.
        threads: Threads of one sentence's network; None takes a core each.
        max_loaded: Voices that are kept in memory; the one that was not used for longest goes.
        listed_by: What tells a client which voices there are; an error names it.
    """

    def __init__(
        self,
        default: VoiceFiles,
        *,
        data_dirs: Sequence[Path | str] = (),
        use_cuda: bool = False,
        threads: int | None = None,
        max_loaded: int = 4,
        listed_by: str = "/voices",
    ) -> None:
        self.default = default
        self.default_name = default.model.name.removesuffix(MODEL_SUFFIX)
        self._data_dirs = list(data_dirs)
        self._use_cuda = use_cuda
        self._threads = threads
        self._max_loaded = max(1, max_loaded)
        self._listed_by = listed_by
        self._lock = threading.Lock()
        self._slots: OrderedDict[VoiceFiles, _Slot] = OrderedDict()

    def list(self) -> dict[str, VoiceFiles]:
        """Return all voices by name, in order."""
        voices = list_voices(self._data_dirs) | {self.default_name: self.default}
        return dict(sorted(voices.items()))

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return the JSON of all voices by name; a file that cannot be read is left out."""
        described = {}
        for name, files in self.list().items():
            try:
                described[name] = load_json_object(files.config)
            except (ConfigError, OSError) as error:
                _logger.warning("%s is not listed: %s", name, error)
        return described

    def find(self, name: str | None) -> VoiceFiles:
        """Return the files of a voice.

        Args:
            name: None or an empty one means the default voice.

        Raises:
            VoiceNotFoundError: There is none of this name.
        """
        name = (name or self.default_name).removesuffix(MODEL_SUFFIX)
        if name == self.default_name:
            return self.default
        files = self.list().get(name)
        if files is None:
            raise VoiceNotFoundError(
                f"There is no voice {name[:_MAX_ECHO]!r} here; "
                f"{self._listed_by} lists those that there are."
            )
        return files

    def load(self, files: VoiceFiles) -> PiperVoice:
        """Return a voice, ready to speak; load it where it is not, or its files have changed.

        Raises:
            PiperError: It cannot be loaded.
        """
        with self._lock:
            slot = self._slots.setdefault(files, _Slot())
            self._slots.move_to_end(files)
            while len(self._slots) > self._max_loaded:
                self._slots.popitem(last=False)
        # Others may load other voices meanwhile; who wants this one waits for the first to ask.
        with slot.lock:
            try:
                return slot.load(files, self._use_cuda, self._threads)
            except OSError as error:
                raise PiperError(describe_os_error(error)) from None


class _Slot:
    """A place for a loaded voice."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._voice: PiperVoice | None = None
        self._stamp: tuple[int, ...] = ()

    def load(self, files: VoiceFiles, use_cuda: bool, threads: int | None) -> PiperVoice:
        from piper.voice.voice import PiperVoice

        # A voice may be downloaded anew while the server runs.
        statuses = [path.stat() for path in (files.model, files.config)]
        stamp = tuple(n for status in statuses for n in (status.st_mtime_ns, status.st_size))
        if self._voice is None or stamp != self._stamp:
            self._voice = None
            self._voice = PiperVoice.load(
                files.model, files.config, use_cuda=use_cuda, threads=threads
            )
            self._stamp = stamp
        return self._voice
