"""Rows to prepared utterances in the cache: phonemes, samples. Knows nothing of batches or torch.

Each utterance is stored as soon as it is made, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from piper.atomic import hold_lock
from piper.config import VoiceConfig
from piper.errors import PiperError
from piper.train.data.acceptance import (
    leave_out_errors,
    may_be_left_out,
    refuse_short,
    warn_of_losses,
)
from piper.train.data.cache import (
    PreparedUtterance,
    UtteranceCache,
    create_cache_context,
    create_cache_key,
)
from piper.train.data.dataset_config import complete_dataset_config, create_voice_config
from piper.train.data.metadata import Row, load_metadata
from piper.train.data.packs import EntryDamagedError, PackEntry
from piper.train.data.prepare_ray import run_on_cluster
from piper.train.data.remote_dataset import list_recordings, load_recordings
from piper.train.data.settings import DataSettings
from piper.train.data.utterance import PrepareJob, make_utterance
from piper.train.data.workers import run_jobs

_LOGGER = logging.getLogger(__name__)
LOCK_NAME = "prepare.lock"


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset that is ready for training.

    Attributes:
        utterances: In the order of the CSV; one for each of its lines that can be used.
        voice: What export writes beside the ONNX.
    """

    utterances: list[PreparedUtterance]
    voice: VoiceConfig


def prepare_dataset(
    settings: DataSettings,
    rows: Sequence[Row] | None = None,
    *,
    num_processes: int | None = None,
    is_verified: bool = False,
    ray_address: str | None = None,
) -> PreparedDataset:
    """Prepare what the cache does not hold yet, and complete the dataset's config.json.

    Run again it finds everything in the cache; after Ctrl+C or SIGKILL it goes on. A second run in
    the same cache waits for the first, and then makes what is still missing.

    Args:
        settings: Of the dataset.
        rows: Its rows; None reads them from the CSV.
        num_processes: None takes one a core for more than a few utterances.
        is_verified: Read all that the cache holds, and make anew what is damaged; training finds
            out by itself when it reads an utterance.
        ray_address: The Ray cluster whose cores do it; None means those of this machine.

    Raises:
        DatasetError: More than a few recordings or texts cannot be used; the first of them are
            named with their lines. A few are left out with a warning.
        ConfigError: config.json holds something wrong.
        PhonemizeError: The espeak voice is unknown.
        PiperError: The cluster does not answer, or a library is not installed.
    """
    rows = load_rows(settings) if rows is None else rows
    voice = create_voice_config(settings, rows)
    jobs = _create_jobs(settings, voice, rows)
    cache = UtteranceCache(settings.cache_dir)
    entries = cache.find({job.key for job in jobs})
    damaged = _find_damaged(cache, entries, num_processes) if is_verified else {}
    if damaged or any(job.key not in entries for job in jobs):
        preparer = _Preparer(settings, voice, cache)

        def make(missing: Sequence[PrepareJob]) -> list[PackEntry | str]:
            if ray_address is not None:
                return run_on_cluster(missing, settings, voice, cache, ray_address)
            return run_jobs(preparer, missing, "Preparing", "recordings", num_processes)

        entries = _complete(settings, jobs, damaged, cache, make)
    utterances = _join(jobs, entries)
    refuse_short(settings, utterances)
    warn_of_losses(settings, utterances)
    complete_dataset_config(settings, voice)
    return PreparedDataset(utterances, voice)


def load_prepared_dataset(settings: DataSettings) -> PreparedDataset:
    """Return the dataset from the cache, without warnings: for every process but the first.

    Prepares it where that has not been done (a node with a disk of its own).
    """
    rows = load_rows(settings, is_listed_anew=False)
    voice = create_voice_config(settings, rows)
    jobs = _create_jobs(settings, voice, rows)
    entries = UtteranceCache(settings.cache_dir).find({job.key for job in jobs})
    # The first process of the machine has prepared it: what is not there was left out.
    if not may_be_left_out(sum(job.key not in entries for job in jobs), len(jobs)):
        return prepare_dataset(settings, rows)
    return PreparedDataset(_join(jobs, entries), voice)


def load_rows(settings: DataSettings, *, is_listed_anew: bool = True) -> list[Row]:
    """Return the rows of a dataset's metadata.csv.

    Args:
        settings: Of the dataset.
        is_listed_anew: Whether a storage is asked which recordings it has now.

    Raises:
        DatasetError: A file is missing or a line is wrong.
    """
    recordings = None
    if settings.address is not None:
        find = list_recordings if is_listed_anew else load_recordings
        recordings = find(settings.address, settings.csv_path.parent)
    return load_metadata(
        settings.csv_path,
        settings.audio_dir,
        num_speakers=settings.num_speakers,
        dataset_type=settings.dataset_type,
        has_stress_marks=settings.has_stress_marks,
        recordings=recordings,
    )


def _create_jobs(
    settings: DataSettings, voice: VoiceConfig, rows: Sequence[Row]
) -> list[PrepareJob]:
    context = create_cache_context(settings, voice)
    return [
        PrepareJob(
            row,
            create_cache_key(row, context),
            voice.speaker_id_map[row.speaker] if row.speaker is not None else 0,
        )
        for row in rows
    ]


def _join(jobs: Sequence[PrepareJob], entries: Mapping[str, PackEntry]) -> list[PreparedUtterance]:
    return [
        PreparedUtterance(job.row, job.speaker_id, job.key, entries[job.key])
        for job in jobs
        if job.key in entries
    ]


@dataclass(frozen=True)
class _Verifier:
    """What a worker process runs: whether an entry is what it should be."""

    cache: UtteranceCache

    def __call__(self, job: tuple[str, PackEntry]) -> bool:
        try:
            self.cache.load(*job)
        except EntryDamagedError:
            return False
        return True


def _find_damaged(
    cache: UtteranceCache, entries: Mapping[str, PackEntry], num_processes: int | None
) -> dict[str, PackEntry]:
    jobs = list(entries.items())
    good = run_jobs(_Verifier(cache), jobs, "Verifying", "recordings", num_processes)
    return {key: entry for (key, entry), is_good in zip(jobs, good, strict=True) if not is_good}


@dataclass(frozen=True)
class _Preparer:
    """What a worker process runs: a job to its entry, or to the sentence that says why not."""

    settings: DataSettings
    voice: VoiceConfig
    cache: UtteranceCache

    def __call__(self, job: PrepareJob) -> PackEntry | str:
        try:
            utterance = make_utterance(job.row, self.settings, self.voice)
        except PiperError as error:
            return f"line {job.row.line}: {error}"
        return self.cache.store(job.key, utterance)


def _complete(
    settings: DataSettings,
    jobs: Sequence[PrepareJob],
    damaged: Mapping[str, PackEntry],
    cache: UtteranceCache,
    make: Callable[[Sequence[PrepareJob]], list[PackEntry | str]],
) -> dict[str, PackEntry]:
    """Let what the cache lacks or holds damaged be made, and return all entries."""
    cache.create()

    def say() -> None:
        _LOGGER.warning("Another run prepares into %s; waiting for its end.", settings.cache_dir)

    # One run at a time, so that two do not do the same work.
    with hold_lock(settings.cache_dir / LOCK_NAME, say):
        found = cache.find({job.key for job in jobs})
        entries = {key: entry for key, entry in found.items() if damaged.get(key) != entry}
        missing = [job for job in jobs if job.key not in entries]
        results = make(missing)
        cache.close()
    leave_out_errors(settings, [result for result in results if isinstance(result, str)], len(jobs))
    for job, result in zip(missing, results, strict=True):
        if isinstance(result, PackEntry):
            entries[job.key] = result
    return entries
