"""How well each text fits its recording, by an aligner that learns on the dataset; and what a
speech recogniser understands.

The aligner is cached and serves as long as most of what it was fitted to is unchanged; what it says
of a recording is cached at once, line by line, as its other measures are.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from itertools import pairwise, permutations
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
    from piper.train.aligner.aligner import Aligner, Groups
    from piper.train.aligner.fitting import TrainingExample

ALIGNER_NAME = "aligner.pt"
FITS_NAME = "fits-1.jsonl"
"""In the cache; the number is raised when the measures change."""
RECOGNISED_NAME = "recognised-1.jsonl"
"""The same of what was recognised."""
MEDIANS = "medians"
"""Their key among the fits."""
MIN_MINUTES = 2.0
"""Of speech: with less an aligner learns the recordings by heart, wrong texts included."""
SPEAKER_MINUTES = 30.0
MAX_MINUTES = 60.0
MAX_EXAMPLE_SECONDS = 20.0
SHARE_KNOWN = 0.8
"""Of what an aligner was fitted to: while so much is as it was, it is not made anew."""
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
    unfit_lines: Collection[int] = (),
    num_processes: int | None = None,
    is_cached_only: bool = False,
) -> FitMeasures | None:
    """Return how well texts fit; None where that is too little speech to learn from.

    Args:
        unfit_lines: The aligner is not fitted to them.
        is_cached_only: Whether nothing is fitted or aligned: of unchanged lines there is what an
            earlier check has found, and of the others nothing.
    """
    if is_cached_only and not (cache_dir / ALIGNER_NAME).is_file():
        return None
    from piper.train.aligner.aligner import phonemes_to_groups

    seconds = {entry.line: entry.audio.seconds for entry in entries if entry.audio}
    examples = {
        entry.line: _create_example(entry.audio_path, groups)
        for entry in entries
        if entry.audio_path is not None and entry.audio and entry.read
        if (groups := phonemes_to_groups(entry.read.phonemes))
    }
    usable = {line: example for line, example in examples.items() if line not in unfit_lines}
    path = cache_dir / ALIGNER_NAME
    aligner = _load_aligner(path, usable)
    if aligner is None and not is_cached_only:
        aligner = _fit_aligner(path, usable, entries)
    if aligner is None:
        return None
    fitter = _Fitter(cache_dir, aligner, num_processes, is_cached_only=is_cached_only)
    fits = fitter.measure({(line, line): example for line, example in examples.items()})
    own = {line: fit for (line, _), fit in fits.items()}
    scores = fitter.load_medians() if is_cached_only else None
    if scores is None:
        wrong = [fit.score for fit in fitter.measure(_pair_with_others(examples, seconds)).values()]
        if not own or not wrong:
            return None
        scores = (median(fit.score for fit in own.values()), median(wrong))
        fitter.cache_medians(*scores)
    if scores[0] - scores[1] < MIN_DISTANCE:
        return None
    measures = FitMeasures(own, *scores, {})
    measures.likely_lines.update(_find_owners(measures, examples, fitter))
    return measures


def _create_example(path: Path, groups: Groups) -> TrainingExample:
    from piper.train.aligner.fitting import TrainingExample, create_example_key

    return TrainingExample(create_example_key(path, groups), path, groups)


def _load_aligner(path: Path, examples: Mapping[int, TrainingExample]) -> Aligner | None:
    """Return the cache's aligner where there is one that still serves."""
    from piper.train.aligner.aligner import load_aligner

    try:
        aligner = load_aligner(path) if path.is_file() else None
    except DatasetError:
        return None  # of an earlier version, or damaged
    known = {example.key for example in examples.values()}
    if aligner and len(aligner.seen & known) >= SHARE_KNOWN * max(1, len(aligner.seen)):
        return aligner
    return None


def _fit_aligner(
    path: Path, examples: Mapping[int, TrainingExample], entries: Sequence[Entry]
) -> Aligner | None:
    """Fit an aligner and put it into the cache; None where there is too little speech for it.

    It is fitted to so many minutes a speaker, chosen by their digests.
    """
    from piper.train.aligner.fitting import fit_aligner

    minutes: dict[str | None, float] = defaultdict(float)
    chosen = []
    usable = [(one, one.audio.seconds) for one in entries if one.audio and one.line in examples]
    for entry, seconds in sorted(usable, key=lambda one: examples[one[0].line].key):
        has_room = minutes[entry.speaker] < SPEAKER_MINUTES and sum(minutes.values()) < MAX_MINUTES
        if seconds <= MAX_EXAMPLE_SECONDS and has_room:
            minutes[entry.speaker] += seconds / 60
            chosen.append(examples[entry.line])
    if sum(minutes.values()) < MIN_MINUTES:
        return None
    state_path = path.with_name(f"{path.name}.part")
    remove_link(path)
    remove_link(state_path)
    aligner = fit_aligner(chosen, state_path)
    aligner.save(path)
    state_path.unlink(missing_ok=True)
    return aligner


class _Fitter:
    """Lays texts over recordings on all cores, unless only the cache counts; caches each result.

    Beside them lie the medians of right and of wrong texts: what a score is to be measured by.
    """

    def __init__(
        self, cache_dir: Path, aligner: Aligner, num_processes: int | None, *, is_cached_only: bool
    ) -> None:
        seen = "".join(sorted(aligner.seen)) + "".join(aligner.inventory)
        digest = hashlib.blake2b(seen.encode(), digest_size=8).hexdigest()
        self._job = _FitMeasurer(cache_dir / ALIGNER_NAME, cache_dir / FITS_NAME, digest)
        self._num_processes = num_processes
        self._is_cached_only = is_cached_only

    def cache_medians(self, usual: float, other: float) -> None:
        """Cache the medians of the texts' own scores and of those of other recordings."""
        append_record(self._job.cache_path, [self._job.key(MEDIANS), [usual, other]])

    def load_medians(self) -> tuple[float, float] | None:
        """Return the medians that an earlier check has cached."""
        parsed = load_results(
            self._job.cache_path, lambda value: (float(value[0]), float(value[1]))
        )
        return parsed.get(self._job.key(MEDIANS))

    def measure(
        self, examples: Mapping[tuple[int, int], TrainingExample]
    ) -> dict[tuple[int, int], TextFit]:
        """Return the fits of examples; those that cannot be aligned are not among them."""
        cached = load_results(self._job.cache_path, lambda value: value and TextFit(*value))
        keys = {place: self._job.key(example.key) for place, example in examples.items()}
        found = {place: cached[key] for place, key in keys.items() if key in cached}
        missing = [] if self._is_cached_only else [place for place in keys if place not in found]
        if missing:
            jobs = [examples[place] for place in missing]
            results = run_jobs(self._job, jobs, "Aligning", "texts", self._num_processes)
            found.update(zip(missing, results, strict=True))
        return {place: fit for place, fit in found.items() if fit is not None}


@dataclass(frozen=True)
class _FitMeasurer:
    """What a worker process runs: a text laid over a recording, the result cached at once."""

    aligner_path: Path
    cache_path: Path
    digest: str

    def key(self, name: str) -> str:
        return f"{self.digest}|{name}"

    def __call__(self, example: TrainingExample) -> TextFit | None:
        from piper.train.aligner.features import load_samples

        aligner = load_once(self.aligner_path, os.getpid())
        try:
            alignment = aligner.align(
                aligner.score_frames(load_samples(example.path)), example.groups
            )
        except DatasetError:
            result = None
        else:
            num_units = sum(map(len, example.groups))
            result = TextFit(alignment.score, num_units, *alignment.find_worst())
        append_record(self.cache_path, [self.key(example.key), result and astuple(result)])
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
    examples: Mapping[int, TrainingExample], seconds: Mapping[int, float]
) -> dict[tuple[int, int], TrainingExample]:
    """Return some recordings with the text of the one that is next in length."""
    by_length = sorted(examples, key=seconds.__getitem__)
    pairs = [
        (line, other)
        for line, other in pairwise(by_length)
        if examples[line].groups != examples[other].groups
    ]
    return _exchange(examples, pairs[:: max(1, len(pairs) // WRONG_PAIRS)])


def _exchange(
    examples: Mapping[int, TrainingExample], pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], TrainingExample]:
    """Return for each pair of lines the recording of the first with the text of the second."""
    return {
        (line, other): _create_example(examples[line].path, examples[other].groups)
        for line, other in pairs
    }


def _find_owners(
    measures: FitMeasures, examples: Mapping[int, TrainingExample], fitter: _Fitter
) -> dict[int, int]:
    """Return for recordings whose text is another's the line, among those, whose text fits."""
    scores = {line: fit.score for line, fit in measures.fits.items()}
    strays = [line for line, score in scores.items() if measures.score_to_share(score) < MIN_SHARE]
    worst = sorted(strays, key=scores.__getitem__)[:MAX_STRAYS]
    owners: dict[int, int] = {}
    best: dict[int, float] = {}
    for (line, other), fit in fitter.measure(
        _exchange(examples, [*permutations(worst, 2)])
    ).items():
        is_fit = measures.score_to_share(fit.score) >= MIN_SHARE
        if is_fit and fit.score > best.get(line, float("-inf")):
            owners[line], best[line] = other, fit.score
    return owners


def load_recognised(entries: Sequence[Entry], cache_dir: Path) -> tuple[str, dict[int, str]]:
    """Return what an earlier check's recogniser understood, by line, and the recogniser's name.

    Of several the one that has most of the recordings; the name is empty where there is none.
    """
    lines = {create_key(e.audio_path): e.line for e in entries if e.audio_path and e.audio}
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for key, text in load_results(cache_dir / RECOGNISED_NAME, str).items():
        name, _, recording = key.partition("|")
        if recording in lines:
            found[name][lines[recording]] = text
    return max(found.items(), key=lambda item: len(item[1]), default=("", {}))


def recognise_recordings(
    entries: Sequence[Entry], cache_dir: Path, recogniser: Recogniser, name: str
) -> dict[int, str]:
    """Return what is understood, by line; one process, for recognisers use all cores themselves.

    Args:
        name: Of the recogniser and its model, for the cache.
    """
    # Here, because it brings torch, which most checks do without.
    from piper.train.aligner.features import SAMPLE_RATE, load_samples

    cached = load_results(cache_dir / RECOGNISED_NAME, str)
    recognised: dict[int, str] = {}
    progress = ProgressLine("Recognising", len(entries), "recordings")
    for done, entry in enumerate(entries, start=1):
        if entry.audio_path is not None and entry.audio:
            key = f"{name}|{create_key(entry.audio_path)}"
            if key not in cached:
                cached[key] = recogniser(load_samples(entry.audio_path), SAMPLE_RATE)
                append_record(cache_dir / RECOGNISED_NAME, [key, cached[key]])
            recognised[entry.line] = cached[key]
        progress.show(done)
    progress.finish(len(entries))
    return recognised
