"""How well each text fits its recording, by an aligner that learns on the dataset.

The aligner is kept in the cache and serves as long as most of what it learnt on is unchanged; what
it says of a recording is kept at once, line by line, as its other measures are.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from piper.errors import DatasetError
from piper.files import append_record, load_results, remove_link
from piper.jobs import run_jobs
from piper.progress import ProgressLine
from piper.train.check.entries import Entry, FitMeasures, TextFit
from piper.train.check.measuring import create_key
from piper.train.recognisers import Recogniser

if TYPE_CHECKING:
    from piper.train.aligner.aligner import Aligner
    from piper.train.aligner.fitting import Lesson

ALIGNER_NAME = "aligner.pt"
FITS_NAME = "fits-1.jsonl"
"""In the cache; the number is raised when the measures change."""
MEDIANS = "medians"
"""Their key among the fits."""
MIN_MINUTES = 2.0
"""Of speech: with less an aligner learns the recordings by heart, wrong texts included."""
SPEAKER_MINUTES = 30.0
MAX_MINUTES = 60.0
LONGEST_LESSON_SECONDS = 20.0
SHARE_KNOWN = 0.8
"""Of what an aligner learnt on: while so much is as it was, it is not made anew."""
WRONG_PAIRS = 40
MIN_DISTANCE = 0.8
"""From right to wrong texts, in the median: with less nothing was learnt, and nothing can be said.
On festvox-ru it is 2.2, on telephone prompts 4, on three minutes of synthetic speech 1.5."""
MIN_SHARE = 0.45
"""Texts that fit less are compared with each other's recordings, to say which belongs where."""
MAX_STRAYS = 12


def measure_fits(
    entries: Sequence[Entry],
    cache_dir: Path,
    *,
    doubtful_lines: Collection[int] = (),
    num_processes: int | None = None,
    is_kept_only: bool = False,
) -> FitMeasures | None:
    """Return how well texts fit; None where that is too little speech to learn from.

    Args:
        doubtful_lines: The aligner does not learn on them.
        is_kept_only: Whether nothing is learnt or aligned: of unchanged lines there is what an
            earlier check has found, and of the others nothing.
    """
    if is_kept_only and not (cache_dir / ALIGNER_NAME).is_file():
        return None
    lessons = _create_lessons(entries)
    seconds = {entry.line: entry.audio.seconds for entry in entries if entry.audio}
    usable = {line: lesson for line, lesson in lessons.items() if line not in doubtful_lines}
    aligner = _find_aligner(cache_dir / ALIGNER_NAME, usable, entries, is_kept_only=is_kept_only)
    if aligner is None:
        return None
    fitter = _Fitter(cache_dir, aligner, num_processes, is_kept_only=is_kept_only)
    fits = fitter.measure({(line, line): lesson for line, lesson in lessons.items()})
    own = {line: fit for (line, _), fit in fits.items()}
    scores = fitter.load_medians() if is_kept_only else None
    if scores is None:
        wrong = [fit.score for fit in fitter.measure(_pair_with_others(lessons, seconds)).values()]
        if not own or not wrong:
            return None
        scores = (median(fit.score for fit in own.values()), median(wrong))
        fitter.keep_medians(*scores)
    usual, other = scores
    if usual - other < MIN_DISTANCE:
        return None
    measures = FitMeasures(own, usual, other, {})
    strays = [line for line, fit in own.items() if measures.find_share(fit.score) < MIN_SHARE]
    measures.likely_lines.update(_find_owners(measures, lessons, fitter, strays))
    return measures


def _create_lessons(entries: Sequence[Entry]) -> dict[int, Lesson]:
    from piper.train.aligner.aligner import phonemes_to_groups
    from piper.train.aligner.fitting import Lesson, create_lesson_key

    lessons = {}
    for entry in entries:
        path = entry.audio_path
        if path is not None and entry.audio and entry.read:
            groups = phonemes_to_groups(entry.read.phonemes)
            if groups:
                lessons[entry.line] = Lesson(create_lesson_key(path, groups), path, groups)
    return lessons


def _find_aligner(
    path: Path, lessons: Mapping[int, Lesson], entries: Sequence[Entry], *, is_kept_only: bool
) -> Aligner | None:
    """Return the cache's aligner where it still serves, else one that is fitted now, if it may."""
    from piper.train.aligner.aligner import load_aligner
    from piper.train.aligner.fitting import fit_aligner

    if path.is_file():
        try:
            aligner = load_aligner(path)
            known = {lesson.key for lesson in lessons.values()}
            if len(aligner.learnt & known) >= SHARE_KNOWN * max(1, len(aligner.learnt)):
                return aligner
        except DatasetError:
            pass  # of an earlier version, or damaged
    chosen, minutes = ([], 0.0) if is_kept_only else choose_lessons(lessons, entries)
    if minutes < MIN_MINUTES:
        return None
    state_path = path.with_name(f"{path.name}.part")
    remove_link(path)
    remove_link(state_path)
    aligner = fit_aligner(chosen, state_path)
    aligner.save(path)
    state_path.unlink(missing_ok=True)
    return aligner


def choose_lessons(
    lessons: Mapping[int, Lesson], entries: Sequence[Entry]
) -> tuple[list[Lesson], float]:
    """Return what an aligner learns on, and its minutes: so many a speaker, by their digests."""
    minutes: dict[str | None, float] = defaultdict(float)
    chosen = []
    usable = [(one, one.audio.seconds) for one in entries if one.audio and one.line in lessons]
    for entry, seconds in sorted(usable, key=lambda one: lessons[one[0].line].key):
        has_room = minutes[entry.speaker] < SPEAKER_MINUTES and sum(minutes.values()) < MAX_MINUTES
        if seconds <= LONGEST_LESSON_SECONDS and has_room:
            minutes[entry.speaker] += seconds / 60
            chosen.append(lessons[entry.line])
    return chosen, sum(minutes.values())


class _Fitter:
    """Lays texts over recordings on all cores, unless only what is kept counts; keeps each result.

    Beside them it keeps the medians of right and of wrong texts: what a score is to be measured by.
    """

    def __init__(
        self, cache_dir: Path, aligner: Aligner, num_processes: int | None, *, is_kept_only: bool
    ) -> None:
        self._kept_path = cache_dir / FITS_NAME
        self._aligner_path = cache_dir / ALIGNER_NAME
        learnt = "".join(sorted(aligner.learnt)) + "".join(aligner.inventory)
        self._digest = hashlib.blake2b(learnt.encode(), digest_size=8).hexdigest()
        self._num_processes = num_processes
        self._is_kept_only = is_kept_only

    def keep_medians(self, usual: float, other: float) -> None:
        """Keep the medians of the texts' own scores and of those of other recordings."""
        append_record(self._kept_path, [f"{self._digest}|{MEDIANS}", [usual, other]])

    def load_medians(self) -> tuple[float, float] | None:
        """Return the medians that an earlier check has kept."""
        kept = load_results(self._kept_path, lambda value: (float(value[0]), float(value[1])))
        return kept.get(f"{self._digest}|{MEDIANS}")

    def measure(self, lessons: Mapping[tuple[int, int], Lesson]) -> dict[tuple[int, int], TextFit]:
        """Return the fits of lessons; those that cannot be aligned are not among them."""
        kept = load_results(self._kept_path, lambda value: value and TextFit(*value))
        keys = {place: f"{self._digest}|{lesson.key}" for place, lesson in lessons.items()}
        missing = [place for place, key in keys.items() if key not in kept]
        missing = [] if self._is_kept_only else missing
        function = _FitMeasurer(self._aligner_path, self._kept_path, self._digest)
        jobs = [lessons[place] for place in missing]
        results = run_jobs(function, jobs, "Aligning", "texts", self._num_processes) if jobs else []
        found = {place: kept[key] for place, key in keys.items() if key in kept}
        found.update(zip(missing, results, strict=True))
        return {place: fit for place, fit in found.items() if fit is not None}


@dataclass(frozen=True)
class _FitMeasurer:
    """What a worker process runs: a text laid over a recording, the result kept at once."""

    aligner_path: Path
    kept_path: Path
    digest: str

    def __call__(self, lesson: Lesson) -> TextFit | None:
        from piper.train.aligner.features import load_samples

        aligner = load_once(self.aligner_path, os.getpid())
        try:
            alignment = aligner.align(aligner.hear(load_samples(lesson.path)), lesson.groups)
        except DatasetError:
            result = None
        else:
            num_units = sum(map(len, lesson.groups))
            result = TextFit(alignment.score, num_units, *alignment.find_worst())
        value = None if result is None else astuple(result)
        append_record(self.kept_path, [f"{self.digest}|{lesson.key}", value])
        return result


@lru_cache(maxsize=1)
def load_once(path: Path, process: int) -> Aligner:
    """Return an aligner, read when a process (its id) first asks for it."""
    import multiprocessing

    import torch

    from piper.train.aligner.aligner import load_aligner

    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)  # one process a core
    return load_aligner(path)


def _pair_with_others(
    lessons: Mapping[int, Lesson], seconds: Mapping[int, float]
) -> dict[tuple[int, int], Lesson]:
    """Return some recordings with the text of the one that is next in length."""
    by_length = sorted(lessons, key=seconds.__getitem__)
    pairs = [
        (line, other)
        for line, other in pairwise(by_length)
        if lessons[line].groups != lessons[other].groups
    ]
    step = max(1, len(pairs) // WRONG_PAIRS)
    return {
        (line, other): _exchange(lessons[line], lessons[other]) for line, other in pairs[::step]
    }


def _exchange(lesson: Lesson, other: Lesson) -> Lesson:
    """Return the recording of the one with the text of the other."""
    from piper.train.aligner.fitting import Lesson, create_lesson_key

    return Lesson(create_lesson_key(lesson.path, other.groups), lesson.path, other.groups)


def _find_owners(
    measures: FitMeasures, lessons: Mapping[int, Lesson], fitter: _Fitter, strays: Sequence[int]
) -> dict[int, int]:
    """Return for recordings whose text is another's the line, among those, whose text fits."""
    worst = sorted(strays, key=lambda line: measures.fits[line].score)[:MAX_STRAYS]
    pairs = {
        (line, other): _exchange(lessons[line], lessons[other])
        for line in worst
        for other in worst
        if line != other
    }
    owners: dict[int, int] = {}
    best: dict[int, float] = {}
    for (line, other), fit in fitter.measure(pairs).items():
        is_fit = measures.find_share(fit.score) >= MIN_SHARE
        if is_fit and fit.score > best.get(line, float("-inf")):
            owners[line], best[line] = other, fit.score
    return owners


RECOGNISED_NAME = "recognised-1.jsonl"
"""In the cache; the number is raised when what is kept changes."""


def load_heard(entries: Sequence[Entry], cache_dir: Path) -> tuple[str, dict[int, str]]:
    """Return what an earlier check's recogniser heard of the recordings, and the recogniser's name.

    Of several the one that heard most of them; the name is empty where there is none.
    """
    lines = {create_key(e.audio_path): e.line for e in entries if e.audio_path and e.audio}
    heard: dict[str, dict[int, str]] = defaultdict(dict)
    for key, text in load_results(cache_dir / RECOGNISED_NAME, str).items():
        name, _, recording = key.partition("|")
        if recording in lines:
            heard[name][lines[recording]] = text
    return max(heard.items(), key=lambda item: len(item[1]), default=("", {}))


def recognise_recordings(
    entries: Sequence[Entry],
    cache_dir: Path,
    recogniser: Recogniser,
    name: str,
) -> dict[int, str]:
    """Return what was heard, by line; one process, since recognisers use all cores by themselves.

    Args:
        name: Of the recogniser and its model, for what is kept.
    """
    # Here, because it brings torch, which most checks do without.
    from piper.train.aligner.features import SAMPLE_RATE, load_samples

    kept = load_results(cache_dir / RECOGNISED_NAME, str)
    heard: dict[int, str] = {}
    progress = ProgressLine("Recognising", len(entries), "recordings")
    for done, entry in enumerate(entries, start=1):
        if entry.audio_path is not None and entry.audio:
            key = f"{name}|{create_key(entry.audio_path)}"
            if key not in kept:
                kept[key] = recogniser(load_samples(entry.audio_path), SAMPLE_RATE)
                append_record(cache_dir / RECOGNISED_NAME, [key, kept[key]])
            heard[entry.line] = kept[key]
        progress.show(done)
    progress.finish(len(entries))
    return heard
