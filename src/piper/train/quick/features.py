"""What a quick voice is taught beside samples and ids: how long each phoneme lasts, and its pitch.

The dataset says where phonemes lie, as that of a voice's own speech can, else an aligner that is
fitted on the recordings; the pitch is Praat's (Boersma 1993).
Both are kept in the dataset's cache, an entry an utterance, and made by as many processes as there
are cores. Shapes: P phonemes (padding symbols included), T frames.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from piper.config import VoiceConfig
from piper.errors import DatasetError
from piper.files import hold_lock
from piper.jobs import run_jobs
from piper.phoneme_ids import BOS, EOS, PAD
from piper.train.aligner.aligner import (
    Aligner,
    Alignment,
    is_beside,
    is_unit,
    load_aligner,
    phonemes_to_groups,
)
from piper.train.aligner.features import resample
from piper.train.aligner.fitting import TrainingExample, fit_aligner
from piper.train.data.audio import FloatArray
from piper.train.data.cache import (
    CachedUtterance,
    EntryDamagedError,
    PackEntry,
    PackReader,
    PackWriter,
    PreparedUtterance,
    UtteranceCache,
    load_entries,
)
from piper.train.data.pitch import PitchRange, PitchTracker
from piper.train.data.settings import DataSettings

_LOGGER = logging.getLogger(__name__)
FORMAT_VERSION = 1
FOLDER = "quick"
ALIGNER_NAME = "aligner.pt"
STATE_NAME = "aligner-state.pt"
LOCK_NAME = "features.lock"
ALIGNER_HOURS = 1.2
"""Of recordings that the aligner is fitted on: more takes longer and places phonemes no better."""
EDGE_FRAMES = 8
"""Silence that stays at both ends."""
EVERYONES_RANGE = PitchRange(55.0, 600.0)
SPEAKERS_RANGE = (0.6, 2.5)
"""Of the first and third quartile of a speaker's pitch: where it is looked for."""
RANGE_UTTERANCES = 12

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Features:
    """What is known of an utterance beside its samples and ids.

    Attributes:
        durations: (P,) int64 frames of each id; 0 for padding, stress and length marks.
        f0: (T,) float32 hertz, T the sum of the durations; 0 where there is no voice.
        start_frame: Frames of silence before the first, which are not used.
    """

    durations: IntArray
    f0: FloatArray
    start_frame: int


NO_FEATURES = Features(np.zeros(0, np.int64), np.zeros(0, np.float32), 0)
"""Of an utterance that cannot be aligned, so that this is not tried again and again."""


@dataclass(frozen=True)
class FeatureEntry:
    """Where an utterance's features lie.

    Attributes:
        key: Their name in the cache.
        entry: Their place there.
    """

    key: str
    entry: PackEntry

    @property
    def is_usable(self) -> bool:
        """Whether the recording could be aligned with its text."""
        return self.entry.description[0] > 0


@dataclass(frozen=True)
class _Job:
    utterance: PreparedUtterance
    pitch_range: PitchRange
    key: str


class FeatureCache:
    """The features of a dataset; can be sent to other processes.

    Args:
        folder: The dataset's cache.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        self._reader = PackReader()
        self._writer = PackWriter(self.folder)

    def find(self) -> dict[str, FeatureEntry]:
        """Return all entries by key."""
        return {
            key: FeatureEntry(key, entry)
            for key, entry in load_entries(self.folder).items()
            if len(entry.description) == 3 and all(type(n) is int for n in entry.description)
        }

    def load(self, place: FeatureEntry) -> Features:
        """Read an entry.

        Raises:
            EntryDamagedError: It is missing, cut off or altered.
        """
        ids, frames, start = place.entry.description
        data = self._reader.read(place.key, place.entry)
        if min(ids, frames, start) < 0 or len(data) != 2 * (ids + frames):
            raise EntryDamagedError("its size is not the one that it says")
        durations = data[: 2 * ids].view("<u2").astype(np.int64)
        f0 = data[2 * ids :].view("<f2").astype(np.float32)
        return Features(durations, f0, start)

    def is_whole(self, place: FeatureEntry) -> bool:
        """Return whether an entry can be read."""
        try:
            self.load(place)
        except EntryDamagedError:
            return False
        return True

    def store(self, key: str, features: Features) -> None:
        """Store an utterance's features under a key."""
        durations, f0 = features.durations.astype("<u2"), features.f0.astype("<f2")
        description = [len(durations), len(f0), features.start_frame]
        self._writer.append(key, description, durations.tobytes() + f0.tobytes())

    def __getstate__(self) -> Path:
        return self.folder.parent

    def __setstate__(self, folder: Path) -> None:
        FeatureCache.__init__(self, folder)


def prepare_features(
    settings: DataSettings,
    voice: VoiceConfig,
    utterances: Sequence[PreparedUtterance],
    *,
    num_processes: int | None = None,
    is_verified: bool = False,
) -> dict[str, FeatureEntry]:
    """Make what the cache lacks; return the entries by the utterances' keys.

    An utterance whose text cannot be laid over its recording has none; how many is said.

    Args:
        settings: Of the dataset.
        voice: What its ids were made with.
        utterances: As prepared.
        num_processes: None takes one a core for more than a few utterances.
        is_verified: Read all that the cache holds, and make anew what is damaged.
    """
    cache = FeatureCache(settings.cache_dir)
    cache.folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(cache.folder / LOCK_NAME):
        found = _find_features(settings, cache, utterances)
        damaged = {p.key for p in found.values() if not cache.is_whole(p)} if is_verified else set()
        if damaged or len(found) < len(utterances):
            aligner = None
            if any(utterance.row.durations is None for utterance in utterances):
                aligner = _find_aligner(settings, voice, utterances)
            found = _find_features(settings, cache, utterances)
            whole = {key for key, place in found.items() if place.key not in damaged}
            missing = [u for u in utterances if u.key not in whole]
            ranges = _find_pitch_ranges(settings, utterances)
            keys = _create_keys(settings, utterances)
            jobs = [_Job(u, ranges[u.speaker_id], keys[u.key]) for u in missing]
            maker = _Maker(settings, voice, aligner, cache)
            label = "Aligning" if aligner else "Measuring"
            results = run_jobs(maker, jobs, label, "recordings", num_processes)
            _tell_failures([reason for reason in results if reason], len(utterances))
            found = _find_features(settings, cache, utterances)
    usable = {key: place for key, place in found.items() if place.is_usable}
    if not usable:
        raise DatasetError(
            "No recording can be aligned with its text; python -m piper.train check says why."
        )
    return usable


def find_aligner_path(settings: DataSettings) -> Path:
    """Return where a dataset's aligner lies: under its own name in a cache that it may share.

    Shards and datasets of a storage have their cache in the working folder: another voice's
    aligner would know the phonemes, but not the speaker.
    """
    name = ALIGNER_NAME
    if settings.cache_dir.absolute().parent != settings.csv_path.absolute().parent:
        digest = hashlib.blake2b(settings.voice_name.encode(), digest_size=6).hexdigest()
        name = f"{digest}-{ALIGNER_NAME}"
    return settings.cache_dir / FOLDER / name


def find_used_keys(settings: DataSettings, utterances: Sequence[PreparedUtterance]) -> set[str]:
    """Return the names in the cache that these utterances' features have, or would have."""
    return set(_create_keys(settings, utterances).values())


def _find_features(
    settings: DataSettings, cache: FeatureCache, utterances: Sequence[PreparedUtterance]
) -> dict[str, FeatureEntry]:
    """Return what the cache has of these utterances, by their keys."""
    entries = cache.find()
    keys = _create_keys(settings, utterances)
    return {key: entries[digest] for key, digest in keys.items() if digest in entries}


def _tell_failures(reasons: Sequence[str], count: int) -> None:
    for reason in reasons[:3]:
        _LOGGER.warning("%s", reason)
    if reasons:
        _LOGGER.warning(
            "%d of %d recordings cannot be aligned with their texts and are left out; "
            "python -m piper.train check says more of them.",
            len(reasons),
            count,
        )


def _create_keys(settings: DataSettings, utterances: Sequence[PreparedUtterance]) -> dict[str, str]:
    """Return the names of utterances' features in the cache, by the utterances' keys."""
    path = find_aligner_path(settings)
    aligner = _digest(path.read_bytes()) if path.is_file() else "none"

    def create_key(utterance: PreparedUtterance) -> str:
        durations = utterance.row.durations
        source = aligner if durations is None else _digest(str(durations).encode())
        parts = (FORMAT_VERSION, source, settings.sample_rate, settings.hop_length, utterance.key)
        return _digest("|".join(map(str, parts)).encode())

    return {utterance.key: create_key(utterance) for utterance in utterances}


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()


# -- alignment


def ids_to_phonemes(ids: Sequence[int], voice: VoiceConfig) -> list[str]:
    """Return the phoneme of each id; of an id that no phoneme has, an empty text."""
    names = {numbers[0]: phoneme for phoneme, numbers in voice.phoneme_id_map.items() if numbers}
    return [names.get(number, "") for number in ids]


def _text_of(utterance: PreparedUtterance, cache: UtteranceCache, voice: VoiceConfig) -> list[str]:
    return ids_to_phonemes(_load(cache, utterance).ids.tolist(), voice)


def _to_groups(phonemes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return phonemes_to_groups([" " if p in (BOS, EOS) else p for p in phonemes if p and p != PAD])


def _find_aligner(
    settings: DataSettings, voice: VoiceConfig, utterances: Sequence[PreparedUtterance]
) -> Aligner:
    """Return the cache's aligner where it knows all phonemes of the texts, else fit one."""
    folder = settings.cache_dir / FOLDER
    path = find_aligner_path(settings)
    cache = UtteranceCache(settings.cache_dir)
    groups = {u.key: _to_groups(_text_of(u, cache, voice)) for u in utterances}
    needed = {unit for text in groups.values() for group in text for unit in group}
    if path.is_file():
        try:
            aligner = load_aligner(path)
            if needed <= set(aligner.inventory):
                return aligner
        except DatasetError as error:
            _LOGGER.warning("%s", error)
    limit = ALIGNER_HOURS * 3600 * settings.sample_rate
    examples, samples = [], 0
    # In an order that follows from the recordings alone, and not that of the speakers' lines.
    for utterance in sorted(utterances, key=lambda u: u.key):
        load = partial(_load_samples, cache, utterance, settings.sample_rate)
        examples.append(
            TrainingExample(utterance.key, utterance.row.audio_path, groups[utterance.key], load)
        )
        samples += utterance.num_samples
        if samples > limit:
            break
    known = {unit for example in examples for group in example.groups for unit in group}
    examples += [
        TrainingExample(
            u.key,
            u.row.audio_path,
            groups[u.key],
            partial(_load_samples, cache, u, settings.sample_rate),
        )
        for u in utterances
        if any(unit not in known for group in groups[u.key] for unit in group)
    ]
    aligner = fit_aligner(examples, folder / STATE_NAME)
    aligner.save(path)
    (folder / STATE_NAME).unlink(missing_ok=True)
    return aligner


def _load_samples(cache: UtteranceCache, utterance: PreparedUtterance, rate: int) -> FloatArray:
    return resample(_load(cache, utterance).samples, rate)


def _load(cache: UtteranceCache, utterance: PreparedUtterance) -> CachedUtterance:
    try:
        return cache.load(utterance.key, utterance.entry)
    except EntryDamagedError as error:
        raise DatasetError(
            f"What was prepared of {utterance.row.audio_path.name} is damaged ({error}); make it "
            "anew with `python -m piper.train prepare DIR --verify`."
        ) from None


class _Maker:
    """Makes and stores the features of an utterance; returns why it cannot, or nothing."""

    def __init__(
        self,
        settings: DataSettings,
        voice: VoiceConfig,
        aligner: Aligner | None,
        cache: FeatureCache,
    ) -> None:
        self._settings = settings
        self._voice = voice
        self._aligner = aligner
        self._cache = cache
        self._utterances = UtteranceCache(settings.cache_dir)

    def __call__(self, job: _Job) -> str:
        import torch

        torch.set_num_threads(1)  # as many processes as cores do this
        try:
            made = self._make(job)
        except EntryDamagedError as error:  # nothing is stored: it may be made anew
            return f"{job.utterance.row.audio_path.name}: {error}"
        features = made if isinstance(made, Features) else NO_FEATURES
        self._cache.store(job.key, features)
        return "" if isinstance(made, Features) else f"{job.utterance.row.audio_path.name}: {made}"

    def _make(self, job: _Job) -> Features | str:
        """Return an utterance's features, or why it has none."""
        utterance, settings = job.utterance, self._settings
        cached = self._utterances.load(utterance.key, utterance.entry)
        phonemes = ids_to_phonemes(cached.ids.tolist(), self._voice)
        samples = resample(cached.samples, settings.sample_rate)
        frames = len(cached.samples) // settings.hop_length
        rate = settings.sample_rate / settings.hop_length
        start = 0
        try:
            if utterance.row.durations is not None:
                durations = given_to_durations(utterance.row.durations, phonemes, frames)
            else:
                assert self._aligner is not None
                scored = self._aligner.score_frames(samples)
                alignment = self._aligner.align(scored, _to_groups(phonemes))
                units = set(self._aligner.inventory)
                durations = alignment_to_durations(alignment, phonemes, units, frames, rate)
                start = trim_silence(durations, alignment, phonemes, rate)
        except DatasetError as error:
            return str(error)
        total = int(durations.sum())
        piece = cached.samples[start * settings.hop_length : (start + total) * settings.hop_length]
        f0 = track_pitch(piece, settings.sample_rate, settings.hop_length, job.pitch_range)
        return Features(durations, f0, start)


def given_to_durations(given: Sequence[int], phonemes: Sequence[str], frames: int) -> IntArray:
    """Return the frames that a dataset gives for each id, (P,), their sum being `frames`.

    Padding's frames go to the symbol before it: it is left out before anything is learnt.

    Args:
        given: (P,) frames.
        phonemes: (P,) of the ids, padding included.
        frames: T of the recording.
    """
    if sum(given) != frames:
        raise DatasetError(
            f"Its phonemes last {sum(given)} frames, but the recording has {frames}; leave its "
            "silence with --data.trim_silence=false, or correct the last column."
        )
    durations = np.array(given, dtype=np.int64)
    spoken = 0
    for place, phoneme in enumerate(phonemes):
        if phoneme != PAD:
            spoken = place
        elif place:
            durations[spoken] += durations[place]
            durations[place] = 0
    return durations


def alignment_to_durations(
    alignment: Alignment,
    phonemes: Sequence[str],
    units: set[str],
    frames: int,
    frame_rate: float,
) -> IntArray:
    """Return the frames of each id, (P,), their sum being `frames`.

    A letter has the frames in which the aligner finds it, at least one. A pause belongs to the
    space or mark between the words, and to BOS and EOS at the ends.

    Args:
        alignment: Of the recording.
        phonemes: (P,) of the ids, padding included.
        units: What the aligner knows.
        frames: T of the recording.
        frame_rate: Frames a second.
    """
    from piper.train.aligner.features import FRAME_SECONDS

    places = [
        i for i, p in enumerate(phonemes) if p in units and p not in (BOS, EOS) and is_unit(p)
    ]
    edges = [*np.flatnonzero(np.diff(alignment.states, prepend=-1)), len(alignment.states)]
    spans: list[tuple[int, float]] = []
    spoken = 0
    if (aligned := int(np.count_nonzero(alignment.units[edges[:-1]]))) != len(places):
        raise DatasetError(
            f"Its text has {len(places)} letters, of which the aligner places {aligned}."
        )
    for start, end in pairwise(edges):
        seconds = float(end) * FRAME_SECONDS
        if alignment.units[start]:
            spans.append((places[spoken], seconds))
            spoken += 1
        else:
            spans.append((_place_of_pause(phonemes, places, spoken), seconds))
    ends = [round(seconds * frame_rate) for _, seconds in spans]
    ends[-1] = frames
    for i in range(len(ends)):  # one frame each at least, from the left …
        ends[i] = max(ends[i], (ends[i - 1] if i else 0) + 1)
    limit = frames + 1
    for i in reversed(range(len(ends))):  # … and within the recording, from the right
        limit = ends[i] = min(ends[i], limit - 1)
    if ends[0] < 1:
        raise DatasetError("It is too short for its text.")
    durations = np.zeros(len(phonemes), dtype=np.int64)
    for (place, _), (start, end) in zip(spans, pairwise([0, *ends]), strict=True):
        durations[place] += end - start
    return durations


def trim_silence(
    durations: IntArray, alignment: Alignment, phonemes: Sequence[str], frame_rate: float
) -> int:
    """Take most silence at both ends out of durations; return how many frames at the start.

    Where no symbol before or after the letters has the silence, nothing of it stays: a letter would
    learn it.

    Args:
        durations: (P,), changed.
        alignment: Of the recording.
        phonemes: (P,) of the ids, padding included.
        frame_rate: Frames a second.
    """
    from piper.train.aligner.features import FRAME_SECONDS

    spoken = np.flatnonzero(alignment.units)
    places = np.flatnonzero(durations)
    total = int(durations.sum())
    before, end = total, total
    if len(spoken):
        before, end = (round(n * FRAME_SECONDS * frame_rate) for n in (spoken[0], spoken[-1] + 1))
    removed = []
    for place, silence in ((places[0], before), (places[-1], total - end)):
        kept = 0 if is_unit(phonemes[place]) else EDGE_FRAMES
        removed.append(int(min(max(0, silence - kept), durations[place] - 1)))
        durations[place] -= removed[-1]
    return removed[0]


def _place_of_pause(phonemes: Sequence[str], places: Sequence[int], spoken: int) -> int:
    """Return the id that a pause belongs to, after so many letters."""
    # Padding is left out before anything is learnt, and what it had of the sound with it.
    if spoken == 0:
        return next((i for i, p in enumerate(phonemes) if p != PAD), 0)
    if spoken == len(places):
        return next((i for i in reversed(range(len(phonemes))) if phonemes[i] != PAD), 0)
    place = places[spoken - 1] + 1
    while place < places[spoken] and (phonemes[place] == PAD or is_beside(phonemes[place])):
        place += 1
    return min(place, places[spoken])


# -- pitch


def track_pitch(
    samples: FloatArray, rate: int, hop_length: int, pitch_range: PitchRange
) -> FloatArray:
    """Return the pitch of each frame in hertz, (T,); 0 where there is no voice.

    Args:
        samples: (S,).
        rate: Hertz.
        hop_length: Samples per frame; frame t is about its middle.
        pitch_range: Where it is looked for.
    """
    tracker = PitchTracker(samples, rate, hop_length / rate, "train")
    pitch = tracker.to_frames(tracker.look(pitch_range), len(samples) // hop_length)
    return pitch.astype(np.float32)


def _find_pitch_ranges(
    settings: DataSettings, utterances: Sequence[PreparedUtterance]
) -> Mapping[int, PitchRange]:
    """Return where each speaker's pitch lies, by a first look at some utterances."""
    cache = UtteranceCache(settings.cache_dir)
    by_speaker: dict[int, list[PreparedUtterance]] = defaultdict(list)
    for utterance in utterances:
        by_speaker[utterance.speaker_id].append(utterance)
    ranges = {}
    for speaker, own in by_speaker.items():
        step = max(1, len(own) // RANGE_UTTERANCES)
        voiced = []
        for utterance in own[::step]:
            samples = _load(cache, utterance).samples
            rate, hop = settings.sample_rate, settings.hop_length
            pitch = track_pitch(samples, rate, hop, EVERYONES_RANGE)
            voiced.append(pitch[pitch > 0])
        ranges[speaker] = EVERYONES_RANGE.narrow(np.concatenate(voiced), SPEAKERS_RANGE)
    return ranges
