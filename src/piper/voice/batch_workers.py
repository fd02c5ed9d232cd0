"""Lines over several processes of this machine. Knows nothing of files that are written."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from piper.errors import PiperError
from piper.processes import interrupts_blocked
from piper.voice.batch_line import LineOutcome, LineSettings, LineSpeaker, LineTask

MAX_ATTEMPTS = 2
"""A line whose process is killed, most often for want of memory, gets another chance."""


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    is_ready: bool = False
    task: LineTask | None = None


class LocalWorkers:
    """Processes with a voice each; a line at a time goes to whichever is free.

    Use it in a `with` block, whose end ends the processes, too.

    Args:
        model: The voice's ONNX file.
        config: Its JSON.
        settings: How to speak and write.
        num_processes: How many.
    """

    def __init__(
        self, model: Path, config: Path, settings: LineSettings, num_processes: int
    ) -> None:
        self._arguments = (model, config, settings)
        self._num_processes = num_processes
        self._workers: list[_Worker] = []
        self._attempts: dict[int, int] = {}

    def run(self, tasks: Iterable[LineTask]) -> Iterator[LineOutcome]:
        """Yield what becomes of each line, in the order in which they are done.

        Raises:
            PiperError: The voice cannot be loaded, or processes cannot be started.
        """
        waiting = deque(tasks)
        for _ in range(min(self._num_processes, len(waiting))):
            self._start()
        while self._workers:
            connections = [worker.connection for worker in self._workers]
            ready = multiprocessing.connection.wait(connections)
            for worker in [worker for worker in self._workers if worker.connection in ready]:
                outcome = self._receive(worker, waiting)
                if outcome is not None:
                    yield outcome
                if worker in self._workers:
                    self._give(worker, waiting)

    def __enter__(self) -> LocalWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        # They write no files, so ending them leaves nothing half done.
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
        self._workers.clear()

    def _start(self) -> None:
        # "spawn" everywhere: espeak-ng's and ONNX Runtime's state does not survive a fork.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, *self._arguments), daemon=True)
        with interrupts_blocked():
            process.start()
            self._workers.append(_Worker(process, ours))
        theirs.close()

    def _receive(self, worker: _Worker, waiting: deque[LineTask]) -> LineOutcome | None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            return self._replace(worker, waiting)
        if isinstance(message, LineOutcome):
            worker.task = None
            return message
        if message:
            raise PiperError(message)
        worker.is_ready = True
        return None

    def _give(self, worker: _Worker, waiting: deque[LineTask]) -> None:
        if waiting:
            worker.task = waiting.popleft()
            try:
                worker.connection.send(worker.task)
            except OSError:
                return  # it has ended; the next wait() finds that out
        else:
            self._workers.remove(worker)
            worker.connection.close()  # which ends it
            worker.process.join()

    def _replace(self, worker: _Worker, waiting: deque[LineTask]) -> LineOutcome | None:
        """Start another process for one that ended unasked."""
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.join()
        if not worker.is_ready:
            raise PiperError(
                "A process for speaking ended while it started "
                f"(exit code {worker.process.exitcode}); try fewer --jobs, and in a program of "
                'your own call speak_lines under `if __name__ == "__main__":`.'
            )
        self._start()
        task = worker.task
        if task is None:
            return None
        self._attempts[task.number] = self._attempts.get(task.number, 0) + 1
        if self._attempts[task.number] < MAX_ATTEMPTS:
            waiting.appendleft(task)
            return None
        return LineOutcome(
            task,
            error=f"the process that spoke it ended (exit code {worker.process.exitcode}) "
            f"{MAX_ATTEMPTS} times, perhaps for want of memory",
        )


def _work(connection: Connection, model: Path, config: Path, settings: LineSettings) -> None:
    # Ctrl+C goes to all processes of a terminal; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        speaker = LineSpeaker(model, config, settings)
    except PiperError as error:
        connection.send(str(error))
        return
    connection.send("")
    # The parent's end, however it came, closes the pipe, and that is this process's end.
    try:
        while True:
            connection.send(speaker.speak(connection.recv()))
    except (EOFError, OSError):
        return
