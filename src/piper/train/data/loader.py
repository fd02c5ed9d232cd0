"""Prepared utterances to batches that are loaded ahead, through signals, kills and resuming."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, cuda
from torch.utils.data import DataLoader, Dataset, get_worker_info

from piper.config import VoiceConfig
from piper.errors import DatasetError, PiperError, describe_briefly
from piper.jobs import describe_end
from piper.system import available_cores, available_memory_bytes
from piper.train.data.batches import Batch, LengthBatchSampler, UtteranceItem, collate
from piper.train.data.cache import (
    CachedUtterance,
    EntryDamagedError,
    PreparedUtterance,
    UtteranceCache,
)
from piper.train.data.prepare import make_utterance
from piper.train.data.settings import DataSettings
from piper.train.data.shards import replace_shard
from piper.train.data.split import remove_final_stop
from piper.train.vits.mel import spectrogram

_LOGGER = logging.getLogger(__name__)

LINGER_SECONDS = 20
"""After SIGTERM: more than the parent takes for its running step and for saving; torch itself
ends the processes by other means, and by SIGTERM only those that hang."""
LOOK_SECONDS = 1.0
MAX_LOOKS = 120
"""Seconds without a batch after which the processes that load count as hanging. A batch takes
them a second; where a disk or a machine is that slow, starting them again costs little."""
RECOVERED_BATCHES = 100
"""A process that is lost again after fewer batches was not lost by chance."""
KILLED_SECONDS = 5.0
_SHARED_MEMORY = "/dev/shm"
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class _Failure:
    """What a process could not load: sent as it is, since torch would make a traceback of it.

    Attributes:
        error: Of the dataset; of the memory that processes share where `is_sharing`.
    """

    error: Exception
    is_sharing: bool = False


def outlast_signals(worker_id: int) -> None:
    """Leave signals to the parent; a DataLoader calls it in each process that it starts.

    Ctrl+C in a terminal, systemd, SLURM and a lost connection tell all processes of a training at
    once. A loader that dies then takes the training with it before it can save.
    """
    # A forked process shares the socket by which the parent hears of signals: it would repeat them.
    signal.set_wakeup_fd(-1)
    for name in ("SIGINT", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, _end_later)


def _end_later(number: int, frame: FrameType | None) -> None:
    signal.alarm(LINGER_SECONDS)


class UtteranceDataset(Dataset[UtteranceItem]):
    """Utterances by number; an entry that was damaged or removed meanwhile is made anew.

    Args:
        utterances: As prepared.
        settings: Of the dataset.
        voice: What its ids were made with.
    """

    def __init__(
        self, utterances: Sequence[PreparedUtterance], settings: DataSettings, voice: VoiceConfig
    ) -> None:
        self._utterances = utterances
        self._entries = [utterance.entry for utterance in utterances]
        self._cache = UtteranceCache(settings.cache_dir)
        self._settings = settings
        self._voice = voice

    def __len__(self) -> int:
        return len(self._utterances)

    def __getitem__(self, index: int) -> UtteranceItem:
        utterance, cached = self._utterances[index], self._load(index)
        settings = self._settings
        samples = torch.from_numpy(cached.samples)
        frames = len(samples) // settings.hop_length
        linear = self._measure_spectrogram(samples)
        ids = torch.from_numpy(cached.ids)
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self._voice.num_symbols:
            raise DatasetError(
                f"{utterance.row.audio_path.name} was prepared with phoneme ids that the voice has "
                f"not ({self._voice.num_symbols} are its symbols); prepare the dataset again."
            )
        if utterance.drops_final_stop:
            ids = torch.tensor(remove_final_stop(ids.tolist(), self._voice))
        return UtteranceItem(
            ids,
            linear,
            samples[: frames * settings.hop_length],
            utterance.speaker_id,
            utterance.row.audio_path.name,
        )

    def load_batch(self, indices: Sequence[int]) -> Batch:
        """Return a batch of these utterances."""
        settings = self._settings
        return collate(
            [self[index] for index in indices],
            segment_frames=settings.segment_size // settings.hop_length,
            hop_length=settings.hop_length,
            has_speakers=settings.num_speakers > 1,
        )

    def __getitems__(self, indices: Sequence[int]) -> Batch | _Failure:
        """Return a batch; in a process that loads, in memory that it shares with the parent."""
        try:
            batch = self.load_batch(indices)
        except (PiperError, OSError) as error:
            return _Failure(error)
        if get_worker_info() is None:
            return batch
        try:
            # Here, and not where torch's queue would do it in a thread: a batch that does not fit
            # there is dropped, and the parent waits for it for ever.
            return batch.share_memory()
        except (RuntimeError, OSError) as error:
            return _Failure(error, is_sharing=True)

    def _measure_spectrogram(self, samples: Tensor) -> Tensor:
        """Return linear magnitudes (F, T) of samples (S,)."""
        settings = self._settings
        return spectrogram(
            samples.unsqueeze(0), settings.filter_length, settings.hop_length, settings.win_length
        )[0, :, : len(samples) // settings.hop_length]

    def _load(self, index: int) -> CachedUtterance:
        key = self._utterances[index].key
        try:
            return self._cache.load(key, self._entries[index])
        except EntryDamagedError:
            # Compacting moves entries, and another process may have made this one anew.
            found = self._cache.find({utterance.key for utterance in self._utterances})
            pairs = zip(self._utterances, self._entries, strict=True)
            self._entries = [found.get(utterance.key, entry) for utterance, entry in pairs]
        try:
            return self._cache.load(key, self._entries[index])
        except EntryDamagedError as error:
            self._mend(index, error)
        try:
            return self._cache.load(key, self._entries[index])
        except EntryDamagedError as error:
            raise DatasetError(
                f"An utterance is damaged wherever it comes from ({error}); prepare it again."
            ) from None

    def _mend(self, index: int, error: EntryDamagedError) -> None:
        settings, utterance = self._settings, self._utterances[index]
        if settings.shards is None:
            made = make_utterance(utterance.row, settings, self._voice)
            self._entries[index] = self._cache.store(utterance.key, made)
            return
        replace_shard(settings.shards, utterance.entry.pack, str(error))
        self._cache = UtteranceCache(settings.cache_dir)


class _WaitEndedError(Exception):
    """Training ends; no batch is wanted any more."""


class ResumableLoader(DataLoader[Any]):
    """Counts the batches it has given, so that a checkpoint can tell where an epoch stopped.

    Lightning stores `state_dict` in checkpoints and gives it back before the first batch. The
    order of an epoch follows from its number alone, so number and count are all there is to keep;
    the number of batches and ranks is kept to see whether they are the same when it goes on.

    Where its sampler goes on after an epoch, so do the processes that load ahead: a GPU takes the
    nine batches of an hour and a half in a second, and would wait for the first of them as long.

    Those processes may be killed, hang, or find no memory to share. They are then started again,
    and where that is no help batches are loaded in this process: training goes on, with the same
    batches.
    """

    batch_sampler: LengthBatchSampler
    on_wait: Callable[[], bool] = staticmethod(lambda: False)
    """Called each second that a batch is waited for; whether to wait no longer, but to end."""
    siblings: Sequence[ResumableLoader] = ()
    """All loaders of the training; what memory is short for one, is short for the others."""
    has_failed = False
    """Whether the next batch could not be loaded, and an error says why."""
    _stream: Iterator[Batch] | None = None
    _stream_place = (0, 0)
    _processes: tuple[BaseProcess, ...] = ()
    _good_batches = RECOVERED_BATCHES
    epoch = 0
    given = 0
    """How many batches of the present epoch were given, those before a checkpoint included."""
    is_restored = False
    """Whether it has a checkpoint's position, and has given nothing since."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Give the rest of a restored epoch, or else all of the next one."""
        if self.given and not self.is_restored:
            self.epoch, self.given = self.epoch + 1, 0
        self.is_restored = False
        # Lightning does not hand back the state of a checkpoint that lies between two epochs, but
        # it does tell the sampler which epoch begins.
        if self.batch_sampler.epoch > self.epoch:
            self.epoch, self.given = self.batch_sampler.epoch, 0
        self.batch_sampler.set_epoch(self.epoch)
        while self.given < len(self):
            try:
                batch = self._load_next()
            except _WaitEndedError:
                return
            except Exception:
                self.has_failed = True
                raise
            self.given += 1
            is_over = self.given == len(self)
            self._stream_place = (self.epoch + 1, 0) if is_over else (self.epoch, self.given)
            if is_over and not self.batch_sampler.goes_on:
                self._stream = None
            yield batch

    def _continue_stream(self) -> Iterator[Batch]:
        """Return what gives the batches from the present place on."""
        place = (self.epoch, self.given)
        if self._stream is None or self._stream_place != place:
            self.batch_sampler.skip(self.given)
            self._stream, self._stream_place = self._begin_stream(), place
        return self._stream

    def _begin_stream(self) -> Iterator[Batch]:
        if not self.num_workers:
            return super().__iter__()
        if self._processes:  # they are told that a new pass begins, and have to answer
            return self._wait_for(super().__iter__)
        # torch would raise what happens to them wherever this process is: in the middle of a step,
        # or while it writes a checkpoint.
        on_child = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
        try:
            stream: Any = super().__iter__()
            self._processes = tuple(stream._workers)
            return cast(Iterator[Batch], stream)
        finally:
            if on_child is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGCHLD, on_child)

    def _load_next(self) -> Batch:
        while True:
            is_sharing = False
            try:
                stream = self._continue_stream()
                take = partial(next, stream)
                loaded = self._wait_for(take) if self.num_workers else take()
            except (RuntimeError, OSError, EOFError) as error:
                if not self.num_workers:
                    raise
                reason = describe_briefly(error)
            else:
                if not isinstance(loaded, _Failure):
                    self._good_batches += 1
                    return loaded
                if not loaded.is_sharing:
                    raise loaded.error
                is_sharing, reason = True, describe_briefly(loaded.error)
            self._recover(reason, is_sharing=is_sharing)

    def _wait_for(self, work: Callable[[], _Found]) -> _Found:
        """Return what `work` returns, or raise what it raises.

        A thread does the work: none of the ways by which processes send batches has an end of its
        waiting under all circumstances.
        """
        answers: SimpleQueue[tuple[_Found | None, BaseException | None]] = SimpleQueue()

        def answer() -> None:
            try:
                answers.put((work(), None))
            except BaseException as error:
                answers.put((None, error))

        threading.Thread(target=answer, name="piper-loader", daemon=True).start()
        # Not by the clock: who suspends a training stops this process, too.
        for _ in range(MAX_LOOKS):
            with suppress(Empty):
                found, error = answers.get(timeout=LOOK_SECONDS)
                if error is not None:
                    raise error
                return cast(_Found, found)
            if any(process.exitcode for process in self._processes):
                raise ChildProcessError("one of them has ended")
            if self.on_wait():
                for loader in (self, *self.siblings):  # those may hang, too
                    loader.end_processes()
                raise _WaitEndedError
        raise TimeoutError(f"no batch came for {MAX_LOOKS * LOOK_SECONDS:.0f} s")

    def _recover(self, reason: str, *, is_sharing: bool) -> None:
        """Start the processes again, or do their work here, and say why."""
        if not is_sharing:
            # A connection breaks a moment before the end of its process shows; seconds where the
            # machine is busy.
            connection.wait([process.sentinel for process in self._processes], KILLED_SECONDS)
        ends = {process.exitcode for process in self._processes} - {None, 0}
        is_sharing = is_sharing or -getattr(signal, "SIGBUS", 0) in ends - {0}
        if is_sharing:
            cause = f"The memory that processes share is too small{_describe_shared_memory()}"
        elif ends:
            names = ", ".join(sorted(describe_end(end) for end in ends))
            cause = f"A process that loads data was killed ({names})"
            if -getattr(signal, "SIGKILL", 0) in ends:
                cause += ", as the system does where memory is short"
        else:
            cause = f"The processes that load data do not work ({reason})"
        self.end_processes()
        if is_sharing or self._good_batches < RECOVERED_BATCHES:
            for loader in (self, *self.siblings) if is_sharing else (self,):
                loader.num_workers = 0
            _LOGGER.warning(
                "%s: from here on the training process loads the data itself, which is slower. "
                "%s; --data.num_workers=0 begins so.",
                cause,
                "Containers get more with --shm-size=1g (docker run)"
                if is_sharing
                else "Another time take fewer such processes with --data.num_workers",
            )
        else:
            _LOGGER.warning("%s: started again, nothing is lost.", cause)
        self._good_batches = 0

    def end_processes(self) -> None:
        """End the processes that load at once; the next batch starts others."""
        for process in self._processes:
            process.kill()  # SIGTERM would wait for one that is stopped
        for process in self._processes:
            process.join(KILLED_SECONDS)
            # What it was about to share when it was killed, or when there was no room, has a name.
            for path in Path(_SHARED_MEMORY).glob(f"torch_{process.pid}_*"):
                with suppress(OSError):
                    path.unlink()
        stream: Any = self._iterator
        self._processes, self._stream, self._iterator = (), None, None
        if hasattr(stream, "__del__"):
            # What a killed process held, such as a lock, may let this wait for ever.
            threading.Thread(target=stream.__del__, daemon=True).start()

    def state_dict(self) -> dict[str, int]:
        """Return the epoch's number, how many of its batches were given, and how many it has."""
        return {
            "epoch": self.epoch,
            "given": self.given,
            "batches": len(self),
            "ranks": self.batch_sampler.bounds.world_size,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches that a checkpoint says were given.

        Where an epoch has another number of batches now (other ranks, batch size or dataset), it
        goes on after the same share of it.
        """
        if not _is_place(state):
            _LOGGER.warning("The checkpoint does not say where its epoch was: it begins anew.")
            return
        self.epoch, self.given = state["epoch"], state["given"]
        batches, ranks = state.get("batches", len(self)), state.get("ranks")
        if self.given >= batches:
            self.epoch, self.given = self.epoch + 1, 0
        self.is_restored = True
        here = self.batch_sampler.bounds.world_size
        is_other = batches != len(self)
        self.given = self.given * len(self) // batches
        if self.batch_sampler.rank or not self.given or (not is_other and ranks in (None, here)):
            return
        _LOGGER.warning(
            "The checkpoint's epoch had %d batches for %s processes, now it has %d for %d: it goes "
            "on after batch %d%s.",
            batches,
            ranks or "other",
            len(self),
            here,
            self.given,
            ", the same share, so that in this epoch some utterances come twice or not at all"
            if is_other
            else " with the same utterances",
        )


def _is_place(state: Any) -> bool:
    if not isinstance(state, dict):
        return False
    numbers = [state.get("epoch"), state.get("given"), state.get("batches", 1)]
    return all(type(n) is int and 0 <= n < 2**31 for n in numbers) and numbers[2] > 0


def default_num_workers(world_size: int = 1) -> int:
    """Return how many loader processes each of `world_size` training processes should have.

    One core is left for training itself; a worker with torch takes about 400 MB; eight workers
    give about 900 utterances a second (9 ms each), more than one GPU takes.
    """
    cores = available_cores() // world_size
    by_memory = available_memory_bytes() // world_size // (800 * 1024**2)
    return int(max(0, min(8, cores - 1, by_memory)))


def create_loader(
    dataset: UtteranceDataset,
    sampler: LengthBatchSampler,
    num_workers: int,
    on_wait: Callable[[], bool],
) -> ResumableLoader:
    """Return the loader of a dataset's batches, with so many processes that fill them."""
    options: dict[str, Any] = {"persistent_workers": True} if num_workers else {}
    loader = ResumableLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=_keep,
        num_workers=num_workers,
        pin_memory=cuda.is_available(),
        worker_init_fn=outlast_signals,
        **options,
    )
    loader.on_wait = on_wait
    return loader


def _keep(batch: Any) -> Any:
    return batch


def _describe_shared_memory() -> str:
    with suppress(OSError):
        return f" ({_SHARED_MEMORY} has {shutil.disk_usage(_SHARED_MEMORY).total / 1e6:,.1f} MB)"
    return ""
