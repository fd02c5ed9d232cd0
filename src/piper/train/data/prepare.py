"""Rows to prepared utterances in the cache: phonemes, samples.

Each utterance is stored as soon as it is made, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from piper.config import VoiceConfig
from piper.errors import DatasetError, PiperError, describe_os_error, name_some
from piper.files import hold_lock
from piper.jobs import JOBS_A_CHUNK, MAX_LOSSES_ON_CLUSTER, Lost, run_jobs, run_on_cluster
from piper.progress import ProgressLine
from piper.text.frontend import VOICE_KEY, Frontend, create_frontend
from piper.train import storage
from piper.train.data.audio import load_recording, normalise_loudness
from piper.train.data.cache import (
    CachedUtterance,
    PackEntry,
    PreparedDataset,
    PreparedUtterance,
    UtteranceCache,
    encode_utterance,
)
from piper.train.data.dataset_config import complete_dataset_config, create_voice_config
from piper.train.data.metadata import Row, load_metadata
from piper.train.data.remote_dataset import list_recordings, load_recordings
from piper.train.data.scripts import describe_named_letters, find_named_letters
from piper.train.data.settings import DataSettings

_LOGGER = logging.getLogger(__name__)
FORMAT_VERSION = 2
"""Raised whenever decoding, trimming or phonemising changes what is stored."""
LOCK_NAME = "prepare.lock"
LEFT_OUT_SHARE = 0.1
"""Of the lines. Where more cannot be used, something is wrong with the set, not with a file."""
KeyedRow = tuple[str, Row]
"""A row and its name in the cache."""


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
    """
    rows = load_rows(settings) if rows is None else rows
    voice = create_voice_config(settings, rows)
    keyed = list(zip(create_cache_keys(rows, settings, voice), rows, strict=True))
    cache = UtteranceCache(settings.cache_dir)
    entries = cache.find(dict(keyed))
    damaged = _find_damaged(cache, entries, num_processes) if is_verified else {}
    if damaged or len(entries) < len(dict(keyed)):
        cache.create()
        # One run at a time, so that two do not do the same work.
        with hold_lock(settings.cache_dir / LOCK_NAME, lambda: _tell_waiting(settings)):
            found = cache.find(dict(keyed))
            entries = {key: entry for key, entry in found.items() if damaged.get(key) != entry}
            missing = [(key, row) for key, row in keyed if key not in entries]
            maker = Maker(settings, voice)
            if ray_address is not None:
                made = _make_on_cluster(maker, missing, cache, ray_address)
            else:
                storing = _StoringMaker(maker, cache)
                made = run_jobs(storing, missing, "Preparing", "recordings", num_processes)
            cache.close()
        _leave_out(settings, [result for result in made if isinstance(result, str)], len(rows))
        for (key, _), result in zip(missing, made, strict=True):
            if isinstance(result, PackEntry):
                entries[key] = result
    prepared = _join(keyed, entries, voice)
    _refuse_short(settings, prepared.utterances)
    _warn_of_losses(settings, prepared.utterances)
    complete_dataset_config(settings, voice)
    return prepared


def load_prepared_dataset(settings: DataSettings) -> PreparedDataset:
    """Return the dataset from the cache, without warnings: for every process but the first.

    Prepares it where that has not been done (a node with a disk of its own).
    """
    rows = load_rows(settings, is_listed_anew=False)
    voice = create_voice_config(settings, rows)
    keyed = list(zip(create_cache_keys(rows, settings, voice), rows, strict=True))
    prepared = _join(keyed, UtteranceCache(settings.cache_dir).find(dict(keyed)), voice)
    # The first process of the machine has prepared it: what is not there was left out.
    if not _may_be_left_out(len(rows) - len(prepared.utterances), len(rows)):
        return prepare_dataset(settings, rows)
    return prepared


def load_rows(settings: DataSettings, *, is_listed_anew: bool = True) -> list[Row]:
    """Return the rows of a dataset's metadata.csv.

    Args:
        settings: Of the dataset.
        is_listed_anew: Whether a storage is asked which recordings it has now.
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


def create_cache_keys(rows: Sequence[Row], settings: DataSettings, voice: VoiceConfig) -> list[str]:
    """Return the utterances' names in the cache: digests of all that their entries depend on.

    A recording counts by path, size and time of change: reading 24 hours of audio for a digest at
    each start would take a minute. One in a storage counts by address, size and ETag.
    """
    context = _digest(
        [
            FORMAT_VERSION,
            settings.sample_rate,
            asdict(settings.trim),
            voice.espeak_voice,
            voice.phoneme_type.value,
            voice.phoneme_id_map,
            voice.phoneme_map,
            voice.extra.get(VOICE_KEY),
            asdict(voice.phonemizer) if voice.phonemizer else None,
            *([voice.vowel_clusters] if voice.vowel_clusters else []),
            *([] if settings.loudness is None else [settings.loudness]),
        ]
    )
    return [_digest([context, *_identify(row), row.text, row.ids]) for row in rows]


def _identify(row: Row) -> list[Any]:
    if row.version:
        return [storage.plain_address(row.audio_path), row.version]
    stat = row.audio_path.stat()
    return [str(row.audio_path.absolute()), stat.st_size, stat.st_mtime_ns]


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _find_damaged(
    cache: UtteranceCache, entries: Mapping[str, PackEntry], num_processes: int | None
) -> dict[str, PackEntry]:
    jobs = list(entries.items())
    are_whole = run_jobs(_Verifier(cache), jobs, "Verifying", "recordings", num_processes)
    return {
        key: entry for (key, entry), is_whole in zip(jobs, are_whole, strict=True) if not is_whole
    }


def _join(
    keyed: Sequence[KeyedRow], entries: Mapping[str, PackEntry], voice: VoiceConfig
) -> PreparedDataset:
    ids = voice.speaker_id_map
    utterances = [
        PreparedUtterance(row, ids[row.speaker] if row.speaker else 0, key, entries[key])
        for key, row in keyed
        if key in entries
    ]
    return PreparedDataset(utterances, voice)


def _tell_waiting(settings: DataSettings) -> None:
    _LOGGER.warning("Another run prepares into %s; waiting for its end.", settings.cache_dir)


@dataclass(frozen=True)
class _Verifier:
    cache: UtteranceCache

    def __call__(self, job: tuple[str, PackEntry]) -> bool:
        return self.cache.is_whole(*job)


@dataclass(frozen=True)
class Maker:
    """What a worker runs, here or in a cluster: a row to an encoded utterance, or to why not.

    Attributes:
        settings: Of the dataset.
        voice: Whose phonemes and ids.
    """

    settings: DataSettings
    voice: VoiceConfig

    def __call__(self, sent: tuple[Row, bytes | str | None]) -> tuple[list[Any], bytes] | str:
        """Prepare a row.

        Args:
            sent: The row, with its recording's bytes where they were read already, or why they
                could not be.
        """
        row, content = sent
        try:
            if isinstance(content, str):
                raise PiperError(content)
            return encode_utterance(make_utterance(row, self.settings, self.voice, content))
        except PiperError as error:
            return f"line {row.line}: {error}"


@dataclass(frozen=True)
class _StoringMaker:
    maker: Maker
    cache: UtteranceCache

    def __call__(self, job: KeyedRow) -> PackEntry | str:
        key, row = job
        made = self.maker((row, None))
        return made if isinstance(made, str) else self.cache.store_encoded(key, *made)


def _make_on_cluster(
    maker: Maker, jobs: Sequence[KeyedRow], cache: UtteranceCache, address: str
) -> list[PackEntry | str]:
    """Prepare rows on a Ray cluster, store them here, and return entries or why there are none.

    A recording travels with its row, unless it lies in a storage, which the machines read
    themselves.
    """
    made = run_on_cluster(
        maker, jobs, address, "preparing", "--num-processes", jobs_a_chunk=JOBS_A_CHUNK, send=_send
    )
    progress = ProgressLine("Preparing", len(jobs), "recordings")
    results: dict[int, PackEntry | str] = {}
    with closing(made):
        for number, result in made:
            key, row = jobs[number]
            if isinstance(result, Lost):
                results[number] = (
                    f"line {row.line}: {row.audio_path.name} ended {MAX_LOSSES_ON_CLUSTER} "
                    f"processes that read it; correct or remove it (Ray: {result.reason})"
                )
            elif isinstance(result, str):
                results[number] = result
            else:
                results[number] = cache.store_encoded(key, *result)
            progress.show(len(results))
    progress.finish(len(results))
    return [results[number] for number in range(len(jobs))]


def _send(job: KeyedRow) -> tuple[Row, bytes | str | None]:
    _, row = job
    if storage.is_remote(row.audio_path):
        return row, None
    try:
        return row, row.audio_path.read_bytes()
    except OSError as error:
        return row, describe_os_error(error)


def make_utterance(
    row: Row, settings: DataSettings, voice: VoiceConfig, content: bytes | None = None
) -> CachedUtterance:
    """Decode a row's recording once, and phonemise its text.

    Args:
        row: What to make.
        settings: Of the dataset.
        voice: Whose phonemes and ids.
        content: The recording's bytes, where they were read already.
    """
    rate = settings.sample_rate
    samples, source_rate = load_recording(row.audio_path, rate, settings.trim, content)
    if settings.loudness is not None:
        samples = normalise_loudness(samples, rate, settings.loudness)
    ids, missing = find_ids(row, voice)
    return CachedUtterance(np.asarray(ids, dtype=np.int64), samples, source_rate, missing)


def find_ids(row: Row, voice: VoiceConfig) -> tuple[list[int], str]:
    """Return a row's ids, and the phonemes that the id map lacks."""
    if row.ids is not None:
        if max(row.ids) >= voice.num_symbols:
            raise DatasetError(
                f"the phoneme id {max(row.ids)} is beyond the network's {voice.num_symbols} "
                "symbols; correct it, or raise --data.num_symbols."
            )
        return row.ids, ""
    if named := find_named_letters(row.text, voice):
        raise DatasetError(f"{describe_named_letters(named, voice.espeak_voice)}.")
    phonemes, ids = text_to_ids(row.text, voice)
    if not ids:
        raise DatasetError(
            f"the text {row.text!r:.60} gives no phonemes; write what is said in words."
        )
    return ids, "".join(phoneme for phoneme in phonemes if phoneme not in voice.phoneme_id_map)


_made: list[tuple[VoiceConfig, Frontend]] = []
"""The front end of the last voice: it is made once a process."""


def text_to_ids(text: str, voice: VoiceConfig) -> tuple[list[str], list[int]]:
    """Return a text's phonemes, and the ids of those that the id map has."""
    if not _made or _made[0][0] != voice:
        _made[:] = [(voice, create_frontend(voice))]
    frontend = _made[0][1]
    sentences = frontend.text_to_phonemes(text)
    # Sorted out here, so that each process does not warn of the same phoneme on its own.
    known = [[one for one in sentence if one in voice.phoneme_id_map] for sentence in sentences]
    ids = [
        number for sentence in known if sentence for number in frontend.phonemes_to_ids(sentence)
    ]
    return [phoneme for sentence in sentences for phoneme in sentence], ids


def _may_be_left_out(count: int, num_rows: int) -> bool:
    return count <= LEFT_OUT_SHARE * num_rows


def _leave_out(settings: DataSettings, errors: Sequence[str], num_rows: int) -> None:
    """Name the first few lines that cannot be used, of so many that the CSV has.

    One bad file among thousands does not end the work of hours: it is left out with a warning.
    """
    if not errors:
        return
    named = name_some(errors, separator=" ")
    if _may_be_left_out(len(errors), num_rows):
        _LOGGER.warning(
            "%s: of %d lines %d cannot be used and %s left out: %s",
            settings.csv_path,
            num_rows,
            len(errors),
            "is" if len(errors) == 1 else "are",
            named,
        )
        return
    if len(errors) == 1:
        raise DatasetError(f"{settings.csv_path} {errors[0]}")
    raise DatasetError(
        f"{settings.csv_path}: {len(errors)} of {num_rows} lines cannot be used; correct or "
        f"remove them: {named}"
    )


def _refuse_short(settings: DataSettings, utterances: Sequence[PreparedUtterance]) -> None:
    """Refuse texts that cannot be aligned: each id needs a frame of its own."""
    bad = [u for u in utterances if u.num_ids > u.num_samples // settings.hop_length]
    if bad:
        named = name_some(
            (
                f"line {u.row.line}: {u.num_samples / settings.sample_rate:.2f} s for "
                f"{u.num_ids} phoneme ids ({u.row.audio_path.name})"
                for u in bad
            ),
            separator="; ",
        )
        raise DatasetError(
            f"{settings.csv_path}: {len(bad)} recordings are too short for their texts, so text "
            f"and recording do not belong together ({named}); correct or remove these lines."
        )


def _warn_of_losses(settings: DataSettings, utterances: Sequence[PreparedUtterance]) -> None:
    """Warn of recordings of a lower rate, and of phonemes that the id map lacks."""
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
