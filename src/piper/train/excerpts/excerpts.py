"""Words and short phrases between pauses become utterances of their own.

The check's rules are asked of them beside the dataset's own lines, so that a check of the copy has
nothing to find in them.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from piper.config import VoiceConfig
from piper.errors import DatasetError, PiperError
from piper.files import UniqueNames
from piper.jobs import run_jobs
from piper.text.frontend import create_frontend
from piper.train.aligner.aligner import GroupSpan
from piper.train.aligner.features import FRAME_SECONDS
from piper.train.check.aligning import ALIGNER_NAME, load_once, measure_fits
from piper.train.check.copying import LEFT_OUT, Change, Copy, to_int16
from piper.train.check.entries import AudioMeasures, Entry
from piper.train.check.issues import CheckReport
from piper.train.check.measuring import find_trained_text, measure_decoded, measure_texts
from piper.train.check.rules_text import find_in_fits
from piper.train.check.run import ask_rules, create_voice
from piper.train.data.audio import DecodedAudio, FloatArray
from piper.train.data.settings import DataSettings
from piper.train.pages.excerpts import Excerpt, decode_excerpt
from piper.train.splitting.split import (
    BORDER_SCORE,
    Gap,
    LongText,
    Pause,
    compute_wrong_score,
    find_gaps,
    is_squeezed,
)

MIN_SECONDS, MAX_SECONDS = 0.25, 3.0
"""Of speech: less is a word that was swallowed, more is no short utterance any more."""
MIN_KEPT_SECONDS, MAX_KEPT_SECONDS = 0.15, 0.3
"""Of silence on either side; training keeps a quarter of a second."""
NEIGHBOUR_SECONDS = 0.05
"""Of silence that is left to the word beyond: the aligner hears every 20 ms, and a word's last
sound fades away below the threshold of speech."""
MIN_EDGE_UNITS = 2
"""Of the words on either side of both pauses. A single sound, such as "и", may have been said on
the other side of its pause: that was so in all 4 of 290 excerpts of festvox-ru that had a syllable
too many or too few."""
FULL_STOP = "."
OTHER_STOPS = frozenset("?!？！؟")
"""Marks of a sentence's end that say how it is spoken; they stay."""
ENCLOSING = frozenset('«»„“”"()[]{}<>「」『』|')
"""Inside a phrase, what they enclose reaches beyond it."""
FADE_SECONDS = 0.005
"""In the silence: where it is cut its noise would begin with a step."""
MAX_SHARE = 0.1
"""Of the recordings' time: single words are the smaller part of what a voice will say."""
MAX_FROM_ONE = 3
"""Excerpts of one recording, so that they are of many."""
EXCERPTS_NAME = "excerpts.json"


@dataclass(frozen=True)
class Phrase:
    """A few words between two pauses.

    Attributes:
        start_seconds: Where it begins in its recording, silence included.
        text: Exactly these words.
        score: Mean of the aligner's scores over their frames; 0 at best.
        ends_sentence: Whether the text has the end of a sentence after them.
    """

    start_seconds: float
    end_seconds: float
    num_words: int
    text: str
    score: float
    ends_sentence: bool


def find_phrases(
    text: LongText,
    spans: Sequence[GroupSpan | None],
    is_loud: npt.NDArray[np.bool_],
    *,
    most_words: int,
    has_own_marks: bool = False,
) -> Iterator[Phrase]:
    """Give the phrases of a recording, in order; a recording that is one phrase has none.

    Args:
        spans: Where each word lies; None for those that take no time.
        is_loud: (T,) whether a frame of the recording is loud.
        most_words: Of a phrase.
        has_own_marks: Whether texts end as they stand, instead of in a full stop.
    """
    if not any(spans):
        return
    gaps = (_measure_gap(gap, len(text.words), is_loud) for gap in find_gaps(text, spans, is_loud))
    spoken = [number for number, span in enumerate(spans) if span is not None]
    for left, right in pairwise(filter(None, gaps)):
        numbers = [number for number in spoken if left.word <= number < right.word]
        speech_seconds = right.start_seconds - left.end_seconds
        if not 0 < len(numbers) <= most_words or numbers == spoken:
            continue
        if not MIN_SECONDS <= speech_seconds <= MAX_SECONDS:
            continue
        written = _write(text, left.word, right.word, has_own_marks)
        if written and not _are_unsure(text, spans, numbers):
            own = [span for number in numbers if (span := spans[number]) is not None]
            seconds = [span.end_seconds - span.start_seconds for span in own]
            score = float(np.average([span.score for span in own], weights=seconds))
            yield Phrase(
                round(left.end_seconds - left.kept_before_seconds, 3),
                round(right.start_seconds + right.kept_after_seconds, 3),
                len(numbers),
                written,
                round(score, 3),
                text.words[right.word - 1].pause >= Pause.SENTENCE,
            )


@dataclass(frozen=True)
class _QuietGap:
    """A pause in which a phrase may begin or end.

    Attributes:
        word: The first one after it.
        start_seconds: Where the word before ends.
        end_seconds: Where that word begins.
        kept_before_seconds: Of silence that a phrase which begins here keeps.
        kept_after_seconds: Of silence that one which ends here keeps.
    """

    word: int
    start_seconds: float
    end_seconds: float
    kept_before_seconds: float
    kept_after_seconds: float


def _measure_gap(gap: Gap, num_words: int, is_loud: npt.NDArray[np.bool_]) -> _QuietGap | None:
    """Return a gap that is quiet for long enough next to both of its words, else None.

    A recording's own beginning and end are as good, however little silence is left there.
    """
    first, last = (round(s / FRAME_SECONDS) for s in (gap.start_seconds, gap.end_seconds))
    loud = np.flatnonzero(is_loud[first:last])
    # Where nothing is loud the silence reaches from word to word.
    after, before = (loud[0], last - first - 1 - loud[-1]) if len(loud) else (last - first,) * 2
    is_end = gap.word in (0, num_words)
    left_seconds = 0.0 if is_end else NEIGHBOUR_SECONDS
    kept = [
        min(MAX_KEPT_SECONDS, float(frames) * FRAME_SECONDS - left_seconds)
        for frames in (before, after)
    ]
    if min(kept) < MIN_KEPT_SECONDS and not is_end:
        return None
    return _QuietGap(gap.word, gap.start_seconds, gap.end_seconds, *kept)


def _are_unsure(text: LongText, spans: Sequence[GroupSpan | None], numbers: Sequence[int]) -> bool:
    """Tell whether a word fits badly or hardly at all, or may be said beyond a pause."""
    before = next((word for word in text.words[: numbers[0]][::-1] if word.units), None)
    after = next((word for word in text.words[numbers[-1] + 1 :] if word.units), None)
    edges = (before, text.words[numbers[0]], text.words[numbers[-1]], after)
    if any(word is not None and len(word.units) < MIN_EDGE_UNITS for word in edges):
        return True
    return any(
        span.score < BORDER_SCORE or is_squeezed(text.words[number], span)
        for number in numbers
        if (span := spans[number]) is not None
    )


def _write(text: LongText, first: int, last: int, has_own_marks: bool) -> str:
    """Return the text of the words `first` to `last - 1`; empty where it cannot be told."""
    written = text.excerpt(first, last)
    bare = _strip_marks(written)
    if not bare or ENCLOSING & set(bare):
        return ""
    ending = written[written.rindex(bare) + len(bare) :]
    if has_own_marks:
        # A bracket or quote that closes was opened before the phrase.
        return bare + "".join(sign for sign in ending if sign not in ENCLOSING).rstrip(" -–—")
    return bare + next((sign for sign in ending if sign in OTHER_STOPS), FULL_STOP)


def _strip_marks(text: str) -> str:
    """Return a text from its first letter or digit to its last one, signs of stress included."""
    places = [
        place
        for place, sign in enumerate(text)
        if sign.isalnum() or unicodedata.category(sign)[0] == "M"
    ]
    if not places:
        return ""
    start = places[0] - (places[0] > 0 and text[places[0] - 1] == "+")
    return text[start : places[-1] + 1]


@dataclass(frozen=True)
class Candidate:
    """A phrase that was found; its recording gets a name when it is chosen."""

    source: Entry
    phrase: Phrase
    measures: AudioMeasures
    name: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return what excerpts.json says of it; times are those of the source, in seconds."""
        phrase = self.phrase
        return {
            "name": self.name,
            "source": self.source.name,
            "start": phrase.start_seconds,
            "end": phrase.end_seconds,
            "words": phrase.num_words,
            "text": phrase.text,
            "score": phrase.score,
            "ends_sentence": phrase.ends_sentence,
        }


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
        has_own_marks: Whether texts end as they stand, instead of in a full stop.
    """
    fits = measure_fits(
        report.entries,
        settings.cache_dir,
        unfit_lines=report.lines_with_errors,
        num_processes=num_processes,
    )
    if fits is None:
        raise DatasetError(
            f"Where words lie could not be determined from {report.folder}; it takes two minutes "
            "of speech and more whose texts are what is said."
        )
    unfit = {issue.line for issue in find_in_fits(report.entries, fits)} | report.lines_with_errors
    sources = [
        (entry, entry.audio_path)
        for entry in report.entries
        if entry.audio_path is not None and entry.line in fits.fits and entry.line not in unfit
    ]
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


@dataclass(frozen=True)
class _PhraseFinder:
    """What a worker process runs: a recording and its text to phrases."""

    aligner_path: Path
    voice: VoiceConfig
    most_words: int
    has_own_marks: bool

    def __call__(self, job: tuple[Path, str]) -> list[tuple[Phrase, AudioMeasures]]:
        from piper.train.aligner.features import load_samples
        from piper.train.splitting.split import read_long_text

        path, spoken = job
        aligner = load_once(self.aligner_path, os.getpid())
        try:
            text = read_long_text(spoken, create_frontend(self.voice))
            frames = aligner.score_frames(load_samples(path))
            spans = aligner.align(frames, text.groups).find_spans()
        except PiperError:
            return []  # of a text that lacks words, or has too many for its recording
        phrases = find_phrases(
            text,
            spans,
            frames.is_loud,
            most_words=self.most_words,
            has_own_marks=self.has_own_marks,
        )
        measured = []
        for phrase in phrases:
            samples, rate = cut_phrase(path, phrase)
            decoded = DecodedAudio(samples[:, np.newaxis], rate, "PCM_16", len(samples))
            measured.append((phrase, measure_decoded(decoded)))
        return measured


def cut_phrase(path: Path, phrase: Phrase) -> tuple[FloatArray, int]:
    """Return a phrase's samples, (S,), the mean of the channels, and their rate in hertz."""
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


def choose_excerpts(
    candidates: Sequence[Candidate],
    report: CheckReport,
    settings: DataSettings,
    most: int | None = None,
) -> list[Candidate]:
    """Return the phrases to cut, in the order of the dataset's lines.

    Those that end a sentence come first, since the voice falls there as it does after a single
    word; among them those of fewer words, then those that fit best. No text stands twice, nor where
    a recording has it already.

    Args:
        most: So many; None takes at most `MAX_SHARE` of the recordings' time.
    """
    good = _leave_out_faulty(_leave_out_poor(candidates), report, settings)
    known = {entry.spoken for entry in report.entries}
    room_seconds = MAX_SHARE * sum(measures.seconds for measures in report.audio.values())
    from_one: Counter[int] = Counter()
    chosen: list[Candidate] = []
    for one in sorted(good, key=_rank):
        spoken = _create_entry(one).spoken
        seconds = one.measures.seconds
        is_full = len(chosen) == most if most is not None else seconds > room_seconds
        if spoken in known or is_full or from_one[one.source.line] == MAX_FROM_ONE:
            continue
        known.add(spoken)
        from_one[one.source.line] += 1
        room_seconds -= seconds
        chosen.append(one)
    return sorted(chosen, key=lambda one: (one.source.line, one.phrase.start_seconds))


def _rank(candidate: Candidate) -> tuple[bool, int, float]:
    """Return what phrases are sorted by; the one to take first is the least."""
    phrase = candidate.phrase
    return not phrase.ends_sentence, phrase.num_words, -phrase.score


def _create_entry(candidate: Candidate, line: int = 0) -> Entry:
    """Return a phrase as a line of the dataset; no file has its path."""
    source, phrase = candidate.source, candidate.phrase
    path = Path(f"{source.audio_path} {phrase.start_seconds:.3f}")
    return Entry(line, path.name, path, source.speaker, phrase.text, candidate.measures)


def _leave_out_poor(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return those that fit about as well as most."""
    if not candidates:
        return []
    limit = compute_wrong_score(np.asarray([one.phrase.score for one in candidates]))
    return [one for one in candidates if one.phrase.score >= limit]


def _leave_out_faulty(
    candidates: Sequence[Candidate], report: CheckReport, settings: DataSettings
) -> list[Candidate]:
    """Return those in which a check would find nothing."""
    first = max((entry.line for entry in report.entries), default=0) + 1
    own = [_create_entry(one, line) for line, one in enumerate(candidates, start=first)]
    texts = measure_texts(own, settings, create_voice(settings, report.entries), None)
    own = [replace(entry, read=texts.get(entry.line)) for entry in own]
    issues = ask_rules(settings, [*report.entries, *own], {})
    faulty = {issue.line for issue in issues}
    return [one for entry, one in zip(own, candidates, strict=True) if entry.line not in faulty]


def write_copy(
    report: CheckReport, excerpts: Sequence[Candidate], config_path: Path, folder: Path
) -> None:
    """Write the dataset's lines, then the excerpts, whole or not at all.

    Args:
        report: Of the dataset's check; lines without a readable recording are left out.
        config_path: The dataset's config.json; need not exist.
    """
    copy = Copy(report.entries, report.issues)
    for entry in report.entries:
        path = entry.audio_path
        if path is None or entry.audio is None:
            rule = "missing-file" if path is None else "unreadable"
            copy.changes.append(Change(entry.line, entry.name, rule, LEFT_OUT))
            continue
        copy.add(path, copy.names.take(path.stem, path.suffix), entry.speaker, entry.text)
    named = name_excerpts(excerpts, copy.names)
    for one in named:
        source, phrase = one.source, one.phrase
        assert source.audio_path is not None  # it was cut from there
        make = partial(_cut_recording, source.audio_path, phrase)
        copy.add(source.audio_path, one.name, source.speaker, phrase.text, make)
    copy.write(folder, config_path, {EXCERPTS_NAME: [one.to_dict() for one in named]})


def name_excerpts(
    excerpts: Sequence[Candidate], names: UniqueNames | None = None
) -> list[Candidate]:
    """Return the excerpts with names: `a-w01.wav` is the first of `a.wav`."""
    names = names or UniqueNames()
    counts: Counter[int] = Counter()
    named = []
    for one in excerpts:
        counts[one.source.line] += 1
        assert one.source.audio_path is not None
        name = f"{one.source.audio_path.stem}-w{counts[one.source.line]:02}"
        named.append(replace(one, name=names.take(name, ".wav")))
    return named


def _cut_recording(path: Path, phrase: Phrase) -> tuple[np.ndarray, int]:
    samples, rate = cut_phrase(path, phrase)
    return to_int16(samples), rate
