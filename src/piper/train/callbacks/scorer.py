"""A process that scores speech beside a training, and the way to it. Knows no training.

It takes few threads of a low priority and sees no GPU; it ends with the process that started it.
Importing this loads no torch: the process hides GPUs first.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from piper.processes import available_cores, describe_end, end_with_parent, interrupts_blocked
from piper.train.callbacks.panel import FloatArray, Opinion, Panel, PanelSettings, Reference

_LOGGER = logging.getLogger(__name__)

NICENESS = 10
"""A tenth of the processor's time where a training wants all of it."""
CORES_A_THREAD = 4
"""A thread for so many cores: the others are the training's."""
MAX_THREADS = 4
LIVES = 2
"""A process that was killed is started once more: it may have been by chance."""


@dataclass(frozen=True)
class Verdict:
    """What a process answers.

    Attributes:
        spoken: Scores of the sentences.
        recorded: Scores of their recordings, where they were asked for.
    """

    spoken: Opinion
    recorded: Opinion


class Scorer:
    """Scores sentences in a process of its own, one job at a time, and never lets anyone wait.

    Args:
        settings: Which judges there are.
        references: What the sentences should be like.
    """

    def __init__(self, settings: PanelSettings, references: Sequence[Reference]) -> None:
        self._arguments = (settings, tuple(references))
        self._verdicts: queue.SimpleQueue[Verdict | None] = queue.SimpleQueue()
        self._process: Any = None
        self._connection: Connection | None = None
        self._lives = LIVES
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def is_over(self) -> bool:
        """Whether the process has ended too often, so that nothing is scored any more."""
        return self._lives <= 0

    @property
    def process_id(self) -> int | None:
        """The process's number; None before it is started."""
        return None if self._process is None else self._process.pid

    def submit(self, spoken: Sequence[FloatArray], *, with_recordings: bool = False) -> None:
        """Begin to score sentences, (S,) each; at once back, and to be taken by `take`."""
        # What is sent is larger than a pipe holds, and a process that starts does not read yet.
        arguments = (tuple(spoken), with_recordings)
        threading.Thread(target=self._score, args=arguments, name="scores", daemon=True).start()

    def take(self, seconds: float = 0.0) -> Verdict | None:
        """Return what came of the job, or raise where it has not come yet.

        Args:
            seconds: How long to wait for it.

        Returns:
            None where the process has ended too often.

        Raises:
            queue.Empty: It has not come.
        """
        return self._verdicts.get(timeout=seconds) if seconds else self._verdicts.get_nowait()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()  # it writes nothing
                self._process.join()

    def _score(self, *job: Any) -> None:
        while not self._is_closed and not self.is_over:
            try:
                connection = self._connect()
                if connection is None:
                    return
                connection.send(job)
                verdict = connection.recv()
            except (EOFError, OSError):
                self._bury()
            else:
                self._verdicts.put(verdict)
                return
        self._verdicts.put(None)

    def _connect(self) -> Connection | None:
        """Return the way to the process, which is started where there is none."""
        with self._lock:
            if self._is_closed:
                return None
            if self._connection is None:
                context = multiprocessing.get_context("spawn")
                self._connection, theirs = context.Pipe()
                self._process = context.Process(
                    target=serve_scores, args=(theirs, *self._arguments), daemon=True
                )
                with theirs, interrupts_blocked():
                    self._process.start()
            return self._connection

    def _bury(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._process.join()
            self._lives -= 1
            end = describe_end(self._process.exitcode)
        if self.is_over:
            _LOGGER.warning(
                "The process that scores speech has ended again (%s): training goes on without "
                "scores, and keeps the best of those that have one.",
                end,
            )
        else:
            _LOGGER.warning("The process that scores speech has ended (%s); it starts anew.", end)


def serve_scores(
    connection: Connection, settings: PanelSettings, references: Sequence[Reference]
) -> None:
    """Score what comes through a connection, until it is closed."""
    end_with_parent()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    import torch

    torch.set_num_threads(max(1, min(MAX_THREADS, available_cores() // CORES_A_THREAD)))
    panel = Panel(settings, references)
    while True:
        try:
            spoken, with_recordings = connection.recv()
            recorded = panel.hear_recordings() if with_recordings else Opinion()
            connection.send(Verdict(panel.hear(spoken), recorded))
        except (EOFError, OSError):
            return
