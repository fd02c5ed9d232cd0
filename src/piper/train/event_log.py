"""TensorBoard's log of a training, here or in a cloud's storage; no failure of it ends training.

Events are written to a local file record by record. For a remote address that file is uploaded
every minute by a thread, and begun anew when it has grown: writing to the address itself would
upload all of it with each line, and training would wait for the network.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import FileWriter, SummaryWriter

from piper.train import storage

_LOGGER = logging.getLogger(__name__)

UPLOAD_SECONDS = 60.0
SEGMENT_BYTES = 8_000_000
"""An uploaded file that has grown beyond this is followed by another, lest each minute uploads
hours of audio again."""
MAX_PENDING_BYTES = 64_000_000
"""What is kept in memory for a disk that is full for a while; then the oldest is lost."""


class EventLog(TensorBoardLogger):
    """Lightning's logger for TensorBoard, with a writer that outlives full disks and networks."""

    _has_saved = False

    def _get_next_version(self) -> int:
        number: int = super()._get_next_version()
        claimed: int | None = rank_zero_only(_claim_version)(self.root_dir, number)
        return number if claimed is None else claimed

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """The writer that callbacks use."""
        if self._experiment is None:
            self._experiment = _Writer(self.log_dir)
        return self._experiment

    @rank_zero_only
    def save(self) -> None:
        """Flush the events; write the hyper-parameters once."""
        self.experiment.flush()
        if self._has_saved:
            return
        self._has_saved = True
        with tempfile.TemporaryDirectory(prefix="piper-") as folder:
            path = Path(folder) / self.NAME_HPARAMS_FILE
            try:
                save_hparams_to_yaml(path, self.hparams)
                storage.copy_file(path, storage.join_address(self.log_dir, path.name))
            except OSError as error:
                _LOGGER.warning("%s could not be written (%s).", path.name, error.strerror or error)


def _claim_version(root: str, number: int) -> int:
    """Make a version's folder: of two trainings that begin at once both find the same one free."""
    while not storage.is_remote(root):
        try:
            (Path(root) / f"version_{number}").mkdir(parents=True)
            break
        except FileExistsError:
            number += 1
    return number


class _Writer(SummaryWriter):
    """torch's writer over a file of ours."""

    file_writer: Any
    all_writers: Any

    def _get_file_writer(self) -> FileWriter:
        if self.file_writer is None:
            self.file_writer = _FileWriter(str(self.log_dir))
            self.all_writers = {str(self.log_dir): self.file_writer}
        return self.file_writer


class _FileWriter(FileWriter):
    def __init__(self, log_dir: str) -> None:
        self.event_writer = EventFile(log_dir)


class EventFile:
    """The events of a run: appended here, uploaded where its folder is remote."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._is_remote = storage.is_remote(folder)
        self._lock = threading.Lock()
        self._spool = tempfile.TemporaryDirectory(prefix="piper-") if self._is_remote else None
        self._has_warned = False
        self._pending: list[bytes] = []
        self._uploaded_bytes = 0
        self._next_upload = 0.0
        self._upload: threading.Thread | None = None
        self._begin_segment()

    def get_logdir(self) -> str:
        """Return the run's folder."""
        return self._folder

    def add_event(self, event: Event) -> None:
        """Append an event."""
        with self._lock:
            self._pending.append(_event_to_record(event))
            self._write_pending()

    def flush(self) -> None:
        """Upload, where that is due; nothing waits for it."""
        with self._lock:
            is_due = time.monotonic() >= self._next_upload
            is_free = self._upload is None or not self._upload.is_alive()
            if not self._is_remote or not is_due or not is_free:
                return
            self._next_upload = time.monotonic() + UPLOAD_SECONDS
            self._upload = threading.Thread(target=self._send, name="piper-log", daemon=True)
            self._upload.start()

    def close(self) -> None:
        """Upload the rest; waits for it."""
        if self._upload is not None:
            self._upload.join()
        if self._is_remote:
            self._send()

    def _begin_segment(self) -> None:
        name = f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        self._path = Path(self._spool.name if self._spool else self._folder) / name
        self._num_bytes = 0
        self._uploaded_bytes = 0
        head = Event(wall_time=time.time(), file_version="brain.Event:2")
        self._pending.insert(0, _event_to_record(head))
        self._write_pending()

    def _write_pending(self) -> None:
        """Append what is waiting; half a record would hide all that follow, so it is cut off."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab", buffering=0) as file:
                while self._pending:
                    record = self._pending[0]
                    file.truncate(self._num_bytes)
                    if file.write(record) != len(record):
                        raise OSError("no room")
                    self._num_bytes += len(record)
                    del self._pending[0]
            self._has_warned = False
        except OSError as error:
            self._warn(error)
            while sum(map(len, self._pending)) > MAX_PENDING_BYTES:
                # Not the first, which says what kind of file it is.
                del self._pending[1 if len(self._pending) > 1 else 0]

    def _send(self) -> None:
        with self._lock:
            path, size = self._path, self._num_bytes
            if size == self._uploaded_bytes:
                return
        try:
            content = path.read_bytes()[:size]
            address = storage.join_address(self._folder, path.name)
            storage.write_file(address, lambda file: file.write(content))
        except (OSError, ValueError) as error:
            self._warn(error)
            return
        with self._lock:
            self._has_warned = False
            self._uploaded_bytes = size
            if size == self._num_bytes and size > SEGMENT_BYTES:
                path.unlink(missing_ok=True)
                self._begin_segment()

    def _warn(self, error: Exception) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        reason = getattr(error, "strerror", None) or error
        _LOGGER.warning("The log in %s cannot be written for now (%s).", self._folder, reason)


def _event_to_record(event: Any) -> bytes:
    buffer = BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()
