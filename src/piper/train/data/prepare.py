"""Rows to prepared utterances in the cache: phonemes, samples. Knows nothing of batches or torch.

Each utterance is one file, written whole, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from piper.config import VoiceConfig
from piper.errors import DatasetError, PiperError
from piper.text.frontend import create_frontend
from piper.train.data.audio import load_recording
from piper.train.data.cache import (
    CacheDamagedError,
    CachedUtterance,
    PreparedUtterance,
    create_cache_context,
    create_cache_key,
    find_manifest_path,
    load_manifest,
    load_utterance,
    write_manifest,
    write_utterance,
)
from piper.train.data.dataset_config import complete_dataset_config, create_voice_config
from piper.train.data.metadata import Row, load_metadata
from piper.train.data.settings import DataSettings
from piper.train.data.workers import run_jobs

_LOGGER = logging.getLogger(__name__)
NAMED_AT_MOST = 5


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset that is ready for training.

    Attributes:
        utterances: In the order of the CSV; one for each of its lines.
        voice: What export writes beside the ONNX.
    """

    utterances: list[PreparedUtterance]
    voice: VoiceConfig


@dataclass(frozen=True)
class PrepareJob:
    """One utterance to prepare, in a form that other processes can be sent."""

    row: Row
    cache_path: Path
    speaker_id: int


def prepare_dataset(
    settings: DataSettings, rows: Sequence[Row] | None = None, *, num_processes: int | None = None
) -> PreparedDataset:
    """Prepare what the cache does not hold yet, and complete the dataset's config.json.

    Run again it finds everything in the cache; after Ctrl+C or SIGKILL it goes on.

    Args:
        settings: Of the dataset.
        rows: Its rows; None reads them from the CSV.
        num_processes: None takes one a core for more than a few utterances.

    Raises:
        DatasetError: Recordings or texts cannot be used; the first few are named with their lines.
        ConfigError: config.json holds something wrong.
        PhonemizeError: The espeak voice is unknown.
    """
    rows = load_rows(settings) if rows is None else rows
    voice = create_voice_config(settings, rows)
    jobs = _create_jobs(settings, voice, rows)
    manifest_path = find_manifest_path(settings.cache_dir, [job.cache_path.stem for job in jobs])
    utterances = _load_prepared(manifest_path, jobs)
    if utterances is None:
        utterances = _run(settings, voice, jobs, num_processes)
        write_manifest(manifest_path, utterances)
    _check_utterances(settings, utterances)
    _warn(settings, utterances)
    complete_dataset_config(settings, voice)
    return PreparedDataset(utterances, voice)


def load_prepared_dataset(settings: DataSettings) -> PreparedDataset:
    """Return the dataset from its manifest, without warnings: for every process but the first.

    Prepares it where that has not been done (a node with a disk of its own).
    """
    rows = load_rows(settings)
    voice = create_voice_config(settings, rows)
    jobs = _create_jobs(settings, voice, rows)
    manifest_path = find_manifest_path(settings.cache_dir, [job.cache_path.stem for job in jobs])
    utterances = _load_prepared(manifest_path, jobs)
    if utterances is None:
        return prepare_dataset(settings, rows)
    return PreparedDataset(utterances, voice)


def prepare_utterance(
    job: PrepareJob, settings: DataSettings, voice: VoiceConfig
) -> PreparedUtterance:
    """Return one utterance from the cache, making its file where that is missing or damaged.

    Raises:
        DatasetError: The recording or its text cannot be used.
        PhonemizeError: The text cannot be phonemised.
    """
    row = job.row
    try:
        utterance = load_utterance(job.cache_path)
    except CacheDamagedError:
        recording = load_recording(row.audio_path, settings.sample_rate, settings.trim)
        ids, missing = _find_ids(row, voice)
        utterance = CachedUtterance(
            np.asarray(ids, dtype=np.int64), recording.samples, recording.source_rate, missing
        )
        write_utterance(job.cache_path, utterance)
    return PreparedUtterance(
        row,
        job.cache_path,
        job.speaker_id,
        job.cache_path.stat().st_size,
        len(utterance.ids),
        len(utterance.samples),
        utterance.source_rate,
        utterance.missing,
    )


def load_rows(settings: DataSettings) -> list[Row]:
    """Return the rows of a dataset's metadata.csv.

    Raises:
        DatasetError: A file is missing or a line is wrong.
    """
    return load_metadata(
        settings.csv_path,
        settings.audio_dir,
        num_speakers=settings.num_speakers,
        dataset_type=settings.dataset_type,
        has_stress_marks=settings.has_stress_marks,
    )


def _create_jobs(
    settings: DataSettings, voice: VoiceConfig, rows: Sequence[Row]
) -> list[PrepareJob]:
    context = create_cache_context(settings, voice)
    return [
        PrepareJob(
            row,
            settings.cache_dir / f"{create_cache_key(row, context)}.npz",
            voice.speaker_id_map[row.speaker] if row.speaker is not None else 0,
        )
        for row in rows
    ]


def _load_prepared(path: Path, jobs: Sequence[PrepareJob]) -> list[PreparedUtterance] | None:
    return load_manifest(
        path,
        [job.row for job in jobs],
        [job.cache_path for job in jobs],
        [job.speaker_id for job in jobs],
    )


@dataclass(frozen=True)
class _Preparer:
    """What a worker process runs: a job to an utterance, or to the sentence that says why not."""

    settings: DataSettings
    voice: VoiceConfig

    def __call__(self, job: PrepareJob) -> PreparedUtterance | str:
        try:
            return prepare_utterance(job, self.settings, self.voice)
        except PiperError as error:
            return f"line {job.row.line}: {error}"


def _run(
    settings: DataSettings,
    voice: VoiceConfig,
    jobs: Sequence[PrepareJob],
    num_processes: int | None,
) -> list[PreparedUtterance]:
    try:
        settings.cache_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(
            f"The cache folder {settings.cache_dir} cannot be made ({error.strerror}); "
            "pass another with --data.cache_dir."
        ) from None
    results = run_jobs(_Preparer(settings, voice), jobs, "Preparing", "recordings", num_processes)
    errors = [result for result in results if isinstance(result, str)]
    if len(errors) == 1:
        raise DatasetError(f"{settings.csv_path} {errors[0]}")
    if errors:
        more = f" … and {len(errors) - NAMED_AT_MOST} more." if len(errors) > NAMED_AT_MOST else ""
        raise DatasetError(
            f"{settings.csv_path}: {len(errors)} of {len(jobs)} lines cannot be used; mend or "
            f"remove them: {' '.join(errors[:NAMED_AT_MOST])}{more}"
        )
    return [result for result in results if not isinstance(result, str)]


def _find_ids(row: Row, voice: VoiceConfig) -> tuple[list[int], str]:
    """Return a row's ids, and the phonemes that the id map lacks."""
    if row.ids is not None:
        if max(row.ids) >= voice.num_symbols:
            raise DatasetError(
                f"the phoneme id {max(row.ids)} is beyond the network's {voice.num_symbols} "
                "symbols; mend it, or raise --data.num_symbols."
            )
        return row.ids, ""
    frontend = create_frontend(voice)
    ids: list[int] = []
    missing: list[str] = []
    for phonemes in frontend.text_to_phonemes(row.text):
        # Sorted out here, so that each process does not warn of the same phoneme on its own.
        known = [phoneme for phoneme in phonemes if phoneme in voice.phoneme_id_map]
        missing.extend(phoneme for phoneme in phonemes if phoneme not in voice.phoneme_id_map)
        if known:
            ids.extend(frontend.phonemes_to_ids(known))
    if not ids:
        raise DatasetError(
            f"the text {row.text!r:.60} gives no phonemes; write what is said in words."
        )
    return ids, "".join(missing)


def _check_utterances(settings: DataSettings, utterances: Sequence[PreparedUtterance]) -> None:
    """Refuse texts that cannot be aligned: each id needs a frame of its own."""
    bad = [u for u in utterances if u.num_ids > u.num_samples // settings.hop_length]
    if bad:
        named = "; ".join(
            f"line {u.row.line}: {u.num_samples / settings.sample_rate:.2f} s for "
            f"{u.num_ids} phoneme ids ({u.row.audio_path.name})"
            for u in bad[:NAMED_AT_MOST]
        )
        more = f"; and {len(bad) - NAMED_AT_MOST} more" if len(bad) > NAMED_AT_MOST else ""
        raise DatasetError(
            f"{settings.csv_path}: {len(bad)} recordings are too short for their texts, so text "
            f"and recording do not belong together ({named}{more}); mend or remove these lines."
        )


def _warn(settings: DataSettings, utterances: Sequence[PreparedUtterance]) -> None:
    lower = Counter(u.source_rate for u in utterances if u.source_rate < settings.sample_rate)
    if lower:
        rates = ", ".join(f"{count} of {rate} Hz" for rate, count in lower.most_common())
        _LOGGER.warning(
            "%d of %d recordings (%s) are resampled up to %d Hz, which adds no brightness; "
            "--model.sample_rate=%d (and the key in %s) would train on them as they are.",
            lower.total(),
            len(utterances),
            rates,
            settings.sample_rate,
            max(lower),
            settings.config_path.name,
        )
    missing = Counter("".join(u.missing for u in utterances))
    if missing:
        named = ", ".join(
            f"{phoneme!r} (U+{ord(phoneme):04X}) {count} times"
            for phoneme, count in missing.most_common()
        )
        _LOGGER.warning(
            "The phoneme_id_map lacks phonemes of these texts, and they are dropped: %s.", named
        )
