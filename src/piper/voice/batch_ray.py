"""Lines over the machines of a Ray cluster. Knows nothing of files that are written."""

from __future__ import annotations

import hashlib
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from piper.cluster import connect
from piper.errors import PiperError
from piper.voice.batch_line import LineOutcome, LineSettings, LineSpeaker, LineTask

LINES_A_CORE = 2
"""Lines handed out at once: one that is spoken, and one that waits so that no core does."""


MOST_RETRIES = 4
"""Of a line whose process came to no end; one that ends five is to blame, not the machines."""


class RayWorkers:
    """The cores of a Ray cluster, each of which speaks a line at a time.

    The voice travels with the work, so the machines need this package, but no common disk. A line
    whose machine is lost is spoken on another one. Use it in a `with` block.

    Args:
        model: The voice's ONNX file.
        config: Its JSON.
        settings: How to speak and write.
        address: The cluster, as `host:port`, or `auto` for the one that this machine belongs to.
        max_lines: Lines spoken at once; None means one a core of the cluster.

    Raises:
        PiperError: Ray is not installed, or the cluster does not answer.
    """

    def __init__(
        self,
        model: Path,
        config: Path,
        settings: LineSettings,
        address: str,
        max_lines: int | None = None,
    ) -> None:
        self._ray = connect(address, "speaking", "--jobs")
        self._settings = settings
        self._max_lines = max_lines
        try:
            contents = (model.read_bytes(), config.read_bytes())
        except OSError as error:
            raise PiperError(f"{error.filename} cannot be read ({error.strerror}).") from None
        self._digests = tuple(hashlib.sha256(content).hexdigest() for content in contents)
        self._contents = [self._ray.put(content) for content in contents]

    def run(self, tasks: Iterable[LineTask]) -> Iterator[LineOutcome]:
        """Yield what becomes of each line, in the order in which they are done.

        Raises:
            PiperError: The voice cannot be loaded, or the cluster is gone.
        """
        ray = self._ray
        # A machine may be lost at any time, and that says nothing about the line.
        speak = ray.remote(num_cpus=1, max_retries=MOST_RETRIES)(_speak_line)
        waiting = deque(tasks)
        running: dict[Any, LineTask] = {}
        while waiting or running:
            while waiting and len(running) < self._find_room():
                task = waiting.popleft()
                running[speak.remote(task, self._settings, self._digests, *self._contents)] = task
            [ready], _ = ray.wait(list(running), num_returns=1)
            task = running.pop(ready)
            try:
                result = ray.get(ready)
            except ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines()
                result = LineOutcome(task, error=f"Ray: {reason[-1] if reason else 'no answer'}")
            if isinstance(result, str):
                raise PiperError(result)
            yield result

    def __enter__(self) -> RayWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def _find_room(self) -> int:
        """Return how many lines may be with the cluster, which can grow and shrink."""
        if self._max_lines is not None:
            return self._max_lines
        cores = int(self._ray.cluster_resources().get("CPU", 0))
        return max(1, cores) * LINES_A_CORE


def _speak_line(
    task: LineTask,
    settings: LineSettings,
    digests: tuple[str, ...],
    model: bytes,
    config: bytes,
) -> LineOutcome | str:
    """Speak a line on some machine; a text says why the voice cannot be loaded there."""
    key = repr((digests, settings))
    if key not in _speakers:
        _speakers.clear()  # one voice at a time in a process that others use as well
        try:
            # A file, since that is what a voice is loaded from; afterwards it is not needed.
            with tempfile.TemporaryDirectory(prefix="piper-voice-") as folder:
                files = Path(folder, "voice.onnx"), Path(folder, "voice.onnx.json")
                files[0].write_bytes(model)
                files[1].write_bytes(config)
                _speakers[key] = LineSpeaker(*files, settings)
        except PiperError as error:
            return str(error)
    return _speakers[key].speak(task)


_speakers: dict[str, LineSpeaker] = {}
"""What this process has loaded; Ray gives a process many lines, one after the other."""
