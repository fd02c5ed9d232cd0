"""The phrases of all recordings of a dataset, each measured as it would be cut. Chooses none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from piper.config import VoiceConfig
from piper.errors import DatasetError, PiperError
from piper.text.frontend import create_frontend
from piper.train.check.aligning import ALIGNER_NAME, load_once, measure_fits
from piper.train.check.entries import AudioMeasures, Entry, FitMeasures
from piper.train.check.measuring import find_trained_text
from piper.train.check.recordings import measure_decoded
from piper.train.check.report import CheckReport
from piper.train.check.rules_fit import find_in_fits
from piper.train.check.run import create_voice
from piper.train.data.audio import DecodedAudio, FloatArray
from piper.train.data.settings import DataSettings
from piper.train.data.workers import run_jobs
from piper.train.pages.excerpts import Excerpt, decode_excerpt

if TYPE_CHECKING:
    from piper.train.excerpts.phrases import Phrase

FADE_SECONDS = 0.005
"""In the silence: where it is cut its noise would begin with a step."""


@dataclass(frozen=True)
class Candidate:
    """A phrase that was found.

    Attributes:
        source: The line of its recording.
        phrase: Where it lies, and its words.
        measures: Of its samples.
    """

    source: Entry
    phrase: Phrase
    measures: AudioMeasures


def find_candidates(
    report: CheckReport,
    settings: DataSettings,
    *,
    most_words: int,
    has_own_marks: bool = False,
    num_processes: int | None = None,
) -> list[Candidate]:
    """Return all phrases of a dataset between two pauses, in the order of its lines.

    Args:
        report: Of a quick check. Nothing is cut from a line with an error, or whose text does not
            fit.
        settings: Of the dataset.
        most_words: Of a phrase.
        has_own_marks: Whether texts end as they stand, instead of in a full stop.
        num_processes: None takes one a core for more than a few recordings.

    Raises:
        DatasetError: There is too little speech to learn where words lie.
    """
    with_errors = report.lines_with_errors
    fits = measure_fits(
        report.entries,
        report.audio,
        report.texts,
        settings.cache_dir,
        doubtful_lines=with_errors,
        num_processes=num_processes,
    )
    if fits is None:
        raise DatasetError(
            f"Where words lie could not be learnt from {report.folder}; it takes two minutes of "
            "speech and more whose texts are what is said."
        )
    sources = _choose_sources(report, fits)
    finder = _PhraseFinder(
        settings.cache_dir / ALIGNER_NAME,
        create_voice(settings, report.entries),
        most_words,
        has_own_marks,
    )
    jobs = [(path, find_trained_text(entry, settings)) for entry, path in sources]
    found = run_jobs(finder, jobs, "Looking for phrases", "recordings", num_processes)
    return [
        Candidate(entry, phrase, measures)
        for (entry, _), phrases in zip(sources, found, strict=True)
        for phrase, measures in phrases
    ]


def _choose_sources(report: CheckReport, fits: FitMeasures) -> list[tuple[Entry, Path]]:
    """Return the lines that phrases may be cut from, and their recordings."""
    doubtful = {finding.line for finding in find_in_fits(report.entries, fits)}
    doubtful |= report.lines_with_errors
    return [
        (entry, entry.audio_path)
        for entry in report.entries
        if entry.audio_path is not None and entry.line in fits.fits and entry.line not in doubtful
    ]


@dataclass(frozen=True)
class _PhraseFinder:
    """What a worker process runs: a recording and its text to phrases."""

    aligner_path: Path
    voice: VoiceConfig
    most_words: int
    has_own_marks: bool

    def __call__(self, job: tuple[Path, str]) -> list[tuple[Phrase, AudioMeasures]]:
        from piper.train.aligner.features import load_samples
        from piper.train.excerpts.phrases import find_phrases
        from piper.train.splitting.long_text import read_long_text

        path, spoken = job
        aligner = load_once(self.aligner_path, os.getpid())
        try:
            text = read_long_text(spoken, create_frontend(self.voice))
            hearing = aligner.hear(load_samples(path))
            spans = aligner.align(hearing, text.groups).find_spans()
        except PiperError:
            return []  # of a text that lacks words, or has too many for its recording
        phrases = find_phrases(
            text,
            spans,
            hearing.is_loud,
            most_words=self.most_words,
            has_own_marks=self.has_own_marks,
        )
        return list(_measure(path, list(phrases)))


def _measure(path: Path, phrases: Sequence[Phrase]) -> list[tuple[Phrase, AudioMeasures]]:
    measured = []
    for phrase in phrases:
        samples, rate = cut_phrase(path, phrase)
        decoded = DecodedAudio(samples[:, np.newaxis], rate, "PCM_16", len(samples))
        measured.append((phrase, measure_decoded(decoded)))
    return measured


def cut_phrase(path: Path, phrase: Phrase) -> tuple[FloatArray, int]:
    """Return a phrase's samples, (S,), the mean of the channels, and their rate in hertz.

    Raises:
        DatasetError: The recording cannot be decoded any more.
    """
    seconds = phrase.end_seconds - phrase.start_seconds
    decoded = decode_excerpt(Excerpt(path, phrase.start_seconds, seconds))
    if decoded is None:
        raise DatasetError(f"{path} cannot be decoded any more; replace it.")
    samples, rate = decoded
    count = min(len(samples) // 2, round(FADE_SECONDS * rate))
    ramp = np.linspace(0, 1, count, dtype=np.float32)
    samples[:count] *= ramp
    samples[len(samples) - count :] *= ramp[::-1]
    return samples, rate
