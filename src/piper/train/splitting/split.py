"""A long recording and its text to pieces: where sounds lie, where to cut, and what is wrong.

Stretches between pauses are matched with stretches between punctuation marks, several with several
where a reader paused otherwise than the marks have it, so that lengths agree: as Gale and Church
(1993, "A program for aligning sentences in bilingual corpora") match sentences of two languages.

Writes nothing but the aligner's state.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from piper.audio.output import write_wav
from piper.errors import DatasetError
from piper.files import digest_file, write_json
from piper.progress import ProgressLine
from piper.text.frontend import Frontend, Sentence
from piper.train.aligner.aligner import Aligner, Alignment, Groups, GroupSpan, is_unit
from piper.train.aligner.features import FRAME_SECONDS, SAMPLE_RATE
from piper.train.aligner.fitting import TrainingExample, fit_aligner
from piper.train.data.audio import (
    FloatArray,
    check_header,
    find_trained_rate,
    measure_levels,
    smooth_levels,
)
from piper.train.data.metadata import write_metadata
from piper.train.recognisers import Recogniser, find_character_error, normalise_words

BLOCK_SECONDS = 60.0
MIN_PAUSE_SECONDS = 0.15
"""Shorter ones are stops' closures and breaths within a phrase."""
LOUD_PERCENTILE = 95
FLOOR_PERCENTILE = 2
PAUSE_SHARE = 0.35
"""Of the way from floor to loud speech, in dB: below it there is a pause."""
DoubleArray = npt.NDArray[np.float64]
MAX_TOGETHER = 6
"""Stretches of either side in a match: `он, кажется, всё-таки, уже, ушёл` read in one breath."""
SPREAD = 0.25
"""Of the logarithm of seconds a phoneme, from stretch to stretch; readers have 0.1 to 0.2."""
SMALL_SECONDS = 0.15
"""Added to both lengths: a word of 0.2 s may well take 0.4 s."""
BEAD_COST = 0.8
"""Of each stretch beyond the first on either side: matches one to one are likelier."""
SKIP_COST = 5.0
"""For speech without words, or words without speech, where text and recording differ."""
LONGEST_SECONDS = 20.0
PAUSE_REWARD = 1.5
"""For a long pause where a sentence ends, or a short one where a clause does."""
LONG_PAUSE_SECONDS = 0.45
MIN_SECONDS = 2.0
MAX_SECONDS = 12.0
MIN_GAP_SECONDS = 0.12
"""Of silence between two words that are cut apart: in less a sound would be cut."""
KEEP_SECONDS = 0.3
"""Of silence on either side of a piece; training trims it to what it wants."""
TOO_LONG_COST, TOO_SHORT_COST, OFF_COST = 4.0, 6.0, 3.0
"""For each second too much or too little, and for both: more than any cut is worth."""
EDGE_FRAMES = 4
MIN_UNWRITTEN_SECONDS = 0.3
"""Loud that long inside a pause is speech without a text; less is a breath or a click."""
UNWRITTEN_WORTH = 6.0
"""Of a cut where something is said that the text lacks: no piece should hold it."""
SECONDS_WORTH = 1.0
"""For each second of a pause, up to one."""
MIN_MINUTES = 2.0
"""Of speech that an aligner learns on."""
MAX_EXAMPLE_SECONDS = 3600.0
MARGIN_SAMPLES = 1600
"""A tenth of a second around a stretch, so that its first and last sounds are whole."""
ROUNDS = 3
FEW_ISSUES = 0.05
"""Where more pieces have an issue, the text differs from what is said, and so did what was learnt:
an aligner learns anew on the pieces that fit."""
WORST_SHARE = 0.15
"""Of all pieces; what fits least teaches nothing."""
BORDER_SCORE = -4.0
"""Of a piece's first or last word; what is heard there is another word, or half of it."""
MIN_UNITS, SQUEEZED_FRAMES = 3, 1.6
"""A word of that many phonemes with fewer frames a phoneme was not said: none of 671 words of
festvox-ru has fewer than 2.1, and words that nobody says get one."""
SLOW_TIMES = 1.5
"""Words that are stretched over others' speech; of 200 right pieces of festvox-ru one has more than
1.3 times the median."""
SLACK_SECONDS = 0.15
MAX_ERRORS = 0.35
"""Of a piece's characters: beyond, recogniser and text speak of different things."""
SPLIT_NAME = "split.json"


class Pause(IntEnum):
    """What follows a word; the longer the pause that readers make there, the higher."""

    NONE = 0
    CLAUSE = 1
    SENTENCE = 2
    PARAGRAPH = 3


@dataclass(frozen=True)
class LongWord:
    """A word of the text.

    Attributes:
        units: What of it takes time; empty where it is only written.
    """

    start: int
    end: int
    units: tuple[str, ...]
    pause: Pause


@dataclass(frozen=True)
class LongText:
    """A text and its words."""

    text: str
    words: list[LongWord]

    @property
    def groups(self) -> Groups:
        """The words' units."""
        return tuple(word.units for word in self.words)

    @property
    def open_gaps(self) -> set[int]:
        """Words before which something may be said that the text lacks: after marks, at the ends.

        Elsewhere a short word would be found in speech that is not its own.
        """
        after_marks = (n + 1 for n, word in enumerate(self.words) if word.pause is not Pause.NONE)
        return {0, len(self.words), *after_marks}

    def excerpt(self, first: int, last: int) -> str:
        """Return the text of words `first` to `last - 1`, on one line, their punctuation included.

        A sign belongs to the word that it touches: what opens a quotation or a bracket to the word
        after it, all else to the word before.
        """
        start = 0 if first == 0 else self._find_border(first)
        end = len(self.text) if last == len(self.words) else self._find_border(last)
        # A dash that a line of speech begins with, or that stands between two pieces, is not said.
        return " ".join(self.text[start:end].split()).strip(" -–—")

    def _find_border(self, index: int) -> int:
        """Return where the text of the words from `index` on begins."""
        before, start = self.words[index - 1].end, self.words[index].start
        space = max(self.text.rfind(sign, before, start) for sign in " \n\t\u00a0")
        return space + 1 if space >= 0 else start


def read_long_text(text: str, frontend: Frontend) -> LongText:
    """Return the words of a text."""
    words: list[LongWord] = []
    place = 0
    for sentence in frontend.text_to_sentences(text):
        place = text.find(sentence.text, place)
        words += _read_sentence(sentence, place)
        place += len(sentence.text)
    if not any(word.units for word in words):
        raise DatasetError("The text holds no words; write what is said in the recording.")
    return LongText(text, words)


def _read_sentence(sentence: Sentence, place: int) -> list[LongWord]:
    words = []
    starts = [*(word.first_phoneme for word in sentence.words), len(sentence.phonemes)]
    for word, following in zip(sentence.words, starts[1:], strict=True):
        phonemes = sentence.phonemes[word.first_phoneme : word.last_phoneme]
        breaks = range(word.last_phoneme - 1, following)
        pause = Pause.CLAUSE if set(breaks) & set(sentence.clause_breaks) else Pause.NONE
        if word is sentence.words[-1]:
            pause = Pause.PARAGRAPH if sentence.ends_paragraph else Pause.SENTENCE
        units = tuple(phoneme for phoneme in phonemes if is_unit(phoneme))
        words.append(LongWord(place + word.start, place + word.end, units, pause))
    return words


@dataclass(frozen=True)
class Piece:
    """A stretch of the recording with its words: an utterance to be.

    Attributes:
        start_seconds: Where it begins in the long recording, silence included.
        last_word: After its last one.
        score: How well the text fits; 0 at best.
        issue: Why it should be listened to; None where nothing speaks against it.
    """

    start_seconds: float
    end_seconds: float
    first_word: int
    last_word: int
    text: str = ""
    score: float = 0.0
    issue: str | None = None

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end_seconds - self.start_seconds


@dataclass(frozen=True)
class LongRecording:
    """A recording of any length.

    Attributes:
        samples: (S,) at `features.SAMPLE_RATE`, channels averaged.
    """

    path: Path
    samples: FloatArray
    source_rate: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / SAMPLE_RATE


def load_long_recording(path: Path) -> LongRecording:
    """Read a recording block by block: of an hour, 230 MB are kept."""
    blocks: list[FloatArray] = []
    try:
        with soundfile.SoundFile(path) as file:
            rate = int(file.samplerate)
            check_header(rate, file.channels)
            resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
            size = round(BLOCK_SECONDS * rate)
            while len(block := file.read(size, dtype="float32", always_2d=True)):
                mixed = np.nan_to_num(block.mean(axis=1, dtype=np.float32))
                blocks.append(resampler.resample_chunk(mixed, last=False))
            blocks.append(resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True))
    except DatasetError as error:
        raise DatasetError(f"{path} {error}.") from None
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        if not path.is_file():
            raise DatasetError(f"{path} does not exist; name a recording.") from None
        reason = str(error).rsplit(": ", maxsplit=1)[-1].rstrip(".")
        raise DatasetError(f"{path} cannot be decoded ({reason}); convert it to WAV.") from None
    samples = np.concatenate(blocks)
    if len(samples) < SAMPLE_RATE:
        raise DatasetError(f"{path} is shorter than a second; name a long recording.")
    return LongRecording(path, samples, rate)


def find_pauses(samples: FloatArray) -> list[tuple[float, float]]:
    """Return start and end of each pause, in seconds, the ends of the recording included.

    Args:
        samples: (S,) at `features.SAMPLE_RATE`.
    """
    levels = smooth_levels(measure_levels(samples, SAMPLE_RATE))
    floor, loud = np.percentile(levels, [FLOOR_PERCENTILE, LOUD_PERCENTILE])
    is_quiet = levels < floor + PAUSE_SHARE * (loud - floor)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_quiet.astype(np.int8), [0]])))
    hop = FRAME_SECONDS / 2
    return [
        (float(start) * hop, float(end) * hop)
        for start, end in zip(edges[::2], edges[1::2], strict=True)
        if (end - start) * hop >= MIN_PAUSE_SECONDS
    ]


def match_roughly(
    text: LongText, pauses: Sequence[tuple[float, float]], seconds: float
) -> list[Piece]:
    """Match the speech between pauses with the words between marks; of the pieces there are no
    texts yet."""
    stretches, silences = _find_stretches(pauses, seconds)
    clauses, marks = _find_clauses(text)
    lengths = np.asarray([end - start for start, end in stretches])
    units = [sum(len(word.units) for word in text.words[a:b]) for a, b in clauses]
    expected = np.asarray(units, dtype=float) * lengths.sum() / max(1.0, sum(units))
    spoken = np.concatenate([[0.0], np.cumsum(lengths)])
    written = np.concatenate([[0.0], np.cumsum(expected)])
    rows, columns = len(stretches), len(clauses)
    # A stretch may end with the clauses around the same share of the whole.
    half = max(40, 4 * MAX_TOGETHER, columns // 8)
    best: dict[tuple[int, int], tuple[float, tuple[int, int]]] = {(0, 0): (0.0, (0, 0))}
    for i in range(rows + 1):
        middle = round(i * columns / max(1, rows))
        for j in range(max(0, middle - half), min(columns, middle + half) + 1):
            steps = [((i - 1, j), SKIP_COST), ((i, j - 1), SKIP_COST)]
            if i and j:
                is_long = silences[i - 1] >= LONG_PAUSE_SECONDS
                reward = PAUSE_REWARD * (is_long == (marks[j - 1] >= Pause.SENTENCE))
                steps += [
                    (place, cost - reward) for place, cost in _find_steps(i, j, spoken, written)
                ]
            options = [(best[place][0] + cost, place) for place, cost in steps if place in best]
            if options:
                best[i, j] = min(options)
    pieces: list[Piece] = []
    place = (rows, columns)
    while place in best and place != (0, 0):
        before = best[place][1]
        if before[0] < place[0] and before[1] < place[1]:  # else one of the two is not matched
            start, end = stretches[before[0]][0], stretches[place[0] - 1][1]
            pieces.append(Piece(start, end, clauses[before[1]][0], clauses[place[1] - 1][1]))
        place = before
    return pieces[::-1]


def _find_stretches(
    pauses: Sequence[tuple[float, float]], seconds: float
) -> tuple[list[tuple[float, float]], list[float]]:
    """Return the speech between pauses, and how long it is quiet after each."""
    borders = [(0.0, 0.0), *pauses, (seconds, seconds)]
    stretches, silences = [], []
    for (_, start), (end, after) in pairwise(borders):
        if end - start > 0.04:
            stretches.append((start, end))
            silences.append(after - end if after < seconds else LONG_PAUSE_SECONDS)
    return stretches, silences


def _find_clauses(text: LongText) -> tuple[list[tuple[int, int]], list[Pause]]:
    """Return first and last word of what stands between marks, and what pause follows."""
    clauses, marks, first = [], [], 0
    for index, word in enumerate(text.words):
        is_last = index + 1 == len(text.words)
        has_units = any(other.units for other in text.words[first : index + 1])
        if (word.pause is not Pause.NONE and has_units) or is_last:
            clauses.append((first, index + 1))
            marks.append(Pause.PARAGRAPH if is_last else word.pause)
            first = index + 1
    return clauses, marks


def _find_steps(
    i: int, j: int, spoken: DoubleArray, written: DoubleArray
) -> Iterator[tuple[tuple[int, int], float]]:
    """Yield where a match that ends before stretch i and clause j may begin, and its cost."""
    for a in range(max(0, i - MAX_TOGETHER), i):
        seconds = spoken[i] - spoken[a]
        if seconds > LONGEST_SECONDS and i - a > 1:
            continue
        for b in range(max(0, j - MAX_TOGETHER), j):
            expected = written[j] - written[b]
            ratio = np.log((seconds + SMALL_SECONDS) / (expected + SMALL_SECONDS))
            # The longer, the surer: the spread of a mean falls with the root of what it is of.
            spread = SPREAD / np.sqrt(max(0.5, expected / 2))
            yield (a, b), float((ratio / spread) ** 2 / 2 + BEAD_COST * (i - a + j - b - 2))


GAP_WORTH = {Pause.NONE: -1.0, Pause.CLAUSE: -0.4, Pause.SENTENCE: 2.0, Pause.PARAGRAPH: 2.5}


@dataclass(frozen=True)
class Gap:
    """A pause between two words, where a cut may be.

    Attributes:
        word: The first one after it; 0 before the first of all.
        start_seconds: Where the word before ends.
        end_seconds: Where that word begins.
        quiet_until_seconds: From `start_seconds` on it is quiet up to here; then, where that is not
            `end_seconds`, something is said that the text lacks.
        quiet_from_seconds: From here on it is quiet up to `end_seconds`.
    """

    word: int
    start_seconds: float
    end_seconds: float
    pause: Pause
    quiet_until_seconds: float
    quiet_from_seconds: float

    @property
    def middle_seconds(self) -> float:
        """Where two pieces meet that are cut here."""
        return (self.start_seconds + self.end_seconds) / 2

    @property
    def worth(self) -> float:
        """How good a place to cut it is; below 0 it is only cut where a piece would be too long."""
        length = min(1.0, self.end_seconds - self.start_seconds)
        worth = GAP_WORTH[self.pause] + SECONDS_WORTH * length
        return worth + UNWRITTEN_WORTH * (self.quiet_until_seconds < self.end_seconds)


def find_gaps(
    text: LongText,
    spans: Sequence[GroupSpan | None],
    is_loud: npt.NDArray[np.bool_],
) -> list[Gap]:
    """Return where cuts may be, both ends of the recording included.

    Args:
        spans: Where each word lies; None for those that take no time.
        is_loud: (T,) whether a frame of the recording is loud.
    """
    seconds = len(is_loud) * FRAME_SECONDS
    spoken = [(index, span) for index, span in enumerate(spans) if span is not None]
    gaps = [_create_gap(0, 0.0, spoken[0][1].start_seconds, Pause.PARAGRAPH, is_loud)]
    for (before, left), (after, right) in pairwise(spoken):
        if right.start_seconds - left.end_seconds >= MIN_GAP_SECONDS:
            pause = max(word.pause for word in text.words[before:after])
            # Words that take no time go with what was said before them.
            gaps.append(_create_gap(after, left.end_seconds, right.start_seconds, pause, is_loud))
    last = spoken[-1][1].end_seconds
    gaps.append(_create_gap(len(text.words), last, seconds, Pause.PARAGRAPH, is_loud))
    return gaps


def _create_gap(
    word: int, start: float, end: float, pause: Pause, is_loud: npt.NDArray[np.bool_]
) -> Gap:
    first, last = round(start / FRAME_SECONDS), round(end / FRAME_SECONDS)
    loud = np.flatnonzero(is_loud[first:last])
    # A word's last sounds, and the next one's first, may be louder than the threshold.
    inner = loud[(loud >= EDGE_FRAMES) & (loud < last - first - EDGE_FRAMES)]
    if len(inner) * FRAME_SECONDS < MIN_UNWRITTEN_SECONDS:
        return Gap(word, start, end, pause, end, start)
    until, begin = (first + int(frame) for frame in (inner[0], inner[-1] + 1))
    return Gap(word, start, end, pause, until * FRAME_SECONDS, begin * FRAME_SECONDS)


def choose_cuts(gaps: Sequence[Gap]) -> list[Gap]:
    """Return the gaps to cut in: most worth, with pieces of `MIN_SECONDS` to `MAX_SECONDS`.

    The first and the last are always among them.
    """
    best: list[tuple[float, int]] = [(0.0, -1)]
    for place in range(1, len(gaps)):
        options = []
        for before in range(place - 1, -1, -1):
            start, end = find_edges(gaps[before], gaps[place])
            too_long = max(0.0, end - start - MAX_SECONDS)
            too_short = max(0.0, MIN_SECONDS - (end - start))
            cost = TOO_LONG_COST * too_long + TOO_SHORT_COST * too_short
            cost += OFF_COST * bool(too_long or too_short)
            options.append((best[before][0] + gaps[place].worth - cost, before))
            if end - start > 2 * MAX_SECONDS:
                break
        best.append(max(options))
    chosen, place = [], len(gaps) - 1
    while place >= 0:
        chosen.append(gaps[place])
        place = best[place][1]
    return chosen[::-1]


def find_edges(left: Gap, right: Gap) -> tuple[float, float]:
    """Return where a piece between two gaps begins and ends, in seconds.

    It keeps `KEEP_SECONDS` of silence on either side, or half of a shorter one; nothing of what is
    said there that the text lacks.
    """
    start = max(left.end_seconds - KEEP_SECONDS, left.quiet_from_seconds, left.middle_seconds)
    end = min(right.start_seconds + KEEP_SECONDS, right.quiet_until_seconds, right.middle_seconds)
    return start, end


def create_pieces(text: LongText, cuts: Sequence[Gap]) -> list[Piece]:
    """Return the pieces between cuts."""
    pieces = []
    for left, right in pairwise(cuts):
        start, end = find_edges(left, right)
        excerpt = text.excerpt(left.word, right.word)
        pieces.append(Piece(round(start, 3), round(end, 3), left.word, right.word, excerpt))
    return pieces


def _score_piece(piece: Piece, alignment: Alignment) -> Piece:
    first, last = (round(s / FRAME_SECONDS) for s in (piece.start_seconds, piece.end_seconds))
    part = slice(first, last)
    own = Alignment(
        alignment.units[part],
        alignment.groups[part],
        alignment.scores[part],
        alignment.num_groups,
        alignment.states[part],
    )
    return replace(piece, score=round(own.score, 3))


def compute_wrong_score(scores: np.ndarray) -> float:
    """Return the score below which a piece has an issue, from those of all.

    Six spreads below the median, the spread taken from the better half, since wrong texts lie in
    the other: 0.5 below it at least, 1.2 at most.
    """
    middle = float(np.median(scores))
    spread = 1.4826 * float(np.median(scores[scores >= middle] - middle))
    return middle - float(np.clip(6 * spread, 0.5, 1.2))


def split_recording(
    recording: LongRecording, text: LongText, work_dir: Path, aligner: Aligner | None = None
) -> tuple[list[Piece], Aligner]:
    """Cut a recording into pieces with their texts.

    Args:
        work_dir: Keeps the state of an aligner that learns, so that stopped work goes on.
        aligner: One that knows the language; None lets one learn on this recording.

    Returns:
        The pieces in order, and the aligner. Those with an issue are not for training until
        somebody listened.
    """
    if aligner is not None:
        return _cut(recording, text, aligner), aligner
    rough = match_roughly(text, find_pauses(recording.samples), recording.seconds)
    aligner = _fit(recording, text, rough, work_dir / "aligner-1.part")
    pieces = _cut(recording, text, aligner)
    for number in range(2, ROUNDS + 1):
        good = [piece for piece in pieces if piece.issue is None]
        if len(good) > (1 - FEW_ISSUES) * len(pieces):
            break
        limit = float(np.quantile([piece.score for piece in pieces], WORST_SHARE))
        fitting = [piece for piece in good if piece.score >= limit]
        # Where hardly anything fits, the first guess is as good a teacher as what came of it.
        if sum(piece.seconds for piece in fitting) < 60 * MIN_MINUTES:
            break
        aligner = _fit(recording, text, fitting, work_dir / f"aligner-{number}.part")
        pieces = _cut(recording, text, aligner)
    return pieces, aligner


def _cut(recording: LongRecording, text: LongText, aligner: Aligner) -> list[Piece]:
    """Return the pieces that an aligner finds, with what speaks against each."""
    frames = aligner.score_frames(recording.samples)
    alignment = aligner.align(frames, text.groups, text.open_gaps)
    spans = alignment.find_spans()
    pieces = create_pieces(text, choose_cuts(find_gaps(text, spans, frames.is_loud)))
    pieces = [_score_piece(piece, alignment) for piece in pieces]
    limit = compute_wrong_score(np.asarray([piece.score for piece in pieces]))
    paces = [_compute_pace(piece, spans, text) for piece in pieces]
    usual = float(np.median([pace for pace in paces if pace > 0] or [0.0]))
    checked = []
    for piece, pace in zip(pieces, paces, strict=True):
        issue = _find_issue(piece, spans, text, limit)
        if issue is None and pace > SLOW_TIMES * usual:
            issue = (
                f"spoken {pace / usual:.1f} times slower than the others: more may be said than is "
                "written"
            )
        checked.append(replace(piece, issue=issue))
    return checked


def _fit(
    recording: LongRecording, text: LongText, pieces: Sequence[Piece], state_path: Path
) -> Aligner:
    """Let an aligner learn on stretches of the recording whose words are thought to be known."""
    seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        examples = []
        for number, piece in enumerate(pieces):
            groups = text.groups[piece.first_word : piece.last_word]
            if not any(groups) or seconds + piece.seconds > MAX_EXAMPLE_SECONDS:
                continue
            seconds += piece.seconds
            start = max(0, round(piece.start_seconds * SAMPLE_RATE) - MARGIN_SAMPLES)
            end = round(piece.end_seconds * SAMPLE_RATE) + MARGIN_SAMPLES
            path = Path(folder) / f"{number}.wav"
            write_wav(path, recording.samples[start:end], SAMPLE_RATE)
            stat = recording.path.stat()
            key = f"{recording.path}|{stat.st_size}|{stat.st_mtime_ns}|{start}|{end}|{groups}"
            examples.append(TrainingExample(key, path, groups))
        if seconds < 60 * MIN_MINUTES:
            raise DatasetError(
                f"{recording.path} has {seconds / 60:.1f} minutes of speech, too little to learn "
                f"where sounds lie ({MIN_MINUTES:g} are needed); name an aligner of another "
                "recording with --aligner."
            )
        return fit_aligner(examples, state_path)


def _compute_pace(piece: Piece, spans: Sequence[GroupSpan | None], text: LongText) -> float:
    """Return the frames that a phoneme of the piece takes in the mean; 0 where there is none."""
    numbers = [n for n in range(piece.first_word, piece.last_word) if spans[n] is not None]
    seconds = sum(span.end_seconds - span.start_seconds for n in numbers if (span := spans[n]))
    return seconds / FRAME_SECONDS / max(1, sum(len(text.words[n].units) for n in numbers))


def _find_issue(
    piece: Piece, spans: Sequence[GroupSpan | None], text: LongText, limit: float
) -> str | None:
    numbers = range(piece.first_word, piece.last_word)
    words = [(text.words[n], span) for n in numbers if (span := spans[n]) is not None]
    if not words or not piece.text:
        return "nothing is said in it"
    squeezed = [text.text[word.start : word.end] for word, span in words if is_squeezed(word, span)]
    if squeezed:
        more = f" and {len(squeezed) - 1} more words are" if len(squeezed) > 1 else " is"
        return f"{squeezed[0]!r}{more} not heard in it"
    if piece.score < limit:
        return f"the text does not fit (score {piece.score:.2f}, usual are above {limit:.2f})"
    edges = {"first": words[0][1].score, "last": words[-1][1].score}
    which = min(edges, key=lambda edge: edges[edge])
    if edges[which] < BORDER_SCORE:
        return f"the {which} word does not fit the sound there"
    if piece.seconds > MAX_SECONDS + SLACK_SECONDS:
        return f"{piece.seconds:.1f} s, for there is no pause to cut it in"
    if piece.seconds < MIN_SECONDS - SLACK_SECONDS:
        return f"only {piece.seconds:.1f} s, with no neighbour that it could be joined to"
    return None


def is_squeezed(word: LongWord, span: GroupSpan) -> bool:
    """Tell whether a word has so little room that it was not said there."""
    frames = (span.end_seconds - span.start_seconds) / FRAME_SECONDS
    return len(word.units) >= MIN_UNITS and frames < SQUEEZED_FRAMES * len(word.units)


def split_by_recogniser(
    recording: LongRecording, text: LongText, recogniser: Recogniser
) -> list[Piece]:
    """Cut a recording in its pauses; give each piece the words that are recognised in it."""
    cuts = choose_cuts(_find_gaps(recording))
    recognised: list[list[str]] = []
    progress = ProgressLine("Recognising", len(cuts) - 1, "pieces")
    for left, right in pairwise(cuts):
        start, end = (round(time * SAMPLE_RATE) for time in (left.end_seconds, right.start_seconds))
        samples = recording.samples[max(0, start - 1600) : end + 1600]
        recognised.append(normalise_words(recogniser(samples, SAMPLE_RATE)))
        progress.show(len(recognised))
    progress.finish(len(recognised))
    written = ("".join(normalise_words(text.text[one.start : one.end])) for one in text.words)
    borders, is_sure = match_words(list(written), recognised)
    cuts = [replace(gap, word=border) for gap, border in zip(cuts, borders, strict=True)]
    return [
        _compare(piece, recognised[number], is_sure[number] and is_sure[number + 1])
        for number, piece in enumerate(create_pieces(text, cuts))
    ]


def _find_gaps(recording: LongRecording) -> list[Gap]:
    """Return the pauses; of the words that are between them nothing is known yet."""
    pauses = find_pauses(recording.samples)
    start = pauses[0][1] if pauses and pauses[0][0] == 0 else 0.0
    end = pauses[-1][0] if pauses and pauses[-1][1] >= recording.seconds - 0.1 else None
    inner = [(first, last) for first, last in pauses if first > 0 and first != end]
    gaps = [Gap(0, 0.0, start, Pause.PARAGRAPH, start, 0.0)]
    gaps += [Gap(0, first, last, Pause.CLAUSE, last, first) for first, last in inner]
    last = recording.seconds if end is None else end
    return [*gaps, Gap(0, last, recording.seconds, Pause.PARAGRAPH, recording.seconds, last)]


def match_words(
    written: Sequence[str], recognised: Sequence[Sequence[str]]
) -> tuple[list[int], list[bool]]:
    """Return which written word each piece begins with, and whether the words there agree.

    Returns:
        For each border, both ends included, the number of the first word after it; and whether the
        words on both sides of it were recognised as they are written.
    """
    from rapidfuzz.distance import Levenshtein

    flat = [word for words in recognised for word in words]
    places = list(accumulate(map(len, recognised), initial=0))
    to_written: dict[int, int] = {}
    equal: set[int] = set()
    for code in Levenshtein.opcodes(flat, list(written)):
        if code.tag == "equal":
            equal.update(range(code.src_start, code.src_end))
        for offset in range(code.src_end - code.src_start):
            share = (code.dest_end - code.dest_start) / max(1, code.src_end - code.src_start)
            to_written[code.src_start + offset] = code.dest_start + round(offset * share)
    borders = [to_written.get(place, len(written)) for place in places]
    borders[0], borders[-1] = 0, len(written)
    is_sure = [
        (place == 0 or place - 1 in equal)
        and (place == len(flat) or place in equal)
        and (place in (0, len(flat)) or to_written[place] == to_written[place - 1] + 1)
        for place in places
    ]
    return borders, is_sure


def _compare(piece: Piece, recognised: Sequence[str], is_sure: bool) -> Piece:
    error = find_character_error(normalise_words(piece.text), recognised)
    said, issue = repr(" ".join(recognised)), None
    if not piece.text:
        issue = "no words of the text are said in it"
    elif error > MAX_ERRORS:
        issue = f"{said} was recognised, {error:.0%} off the text"
    elif not is_sure:
        issue = f"{said} was recognised; its first or last word may be its neighbour's"
    return replace(piece, score=round(-error, 3), issue=issue)


def write_pieces(
    folder: Path,
    recording: LongRecording,
    pieces: Sequence[Piece],
    language: str,
    sample_rate: int | None,
) -> None:
    """Write the dataset of the pieces without an issue, and a list of all.

    Their recordings are called after the long one, with a number.

    Args:
        recording: What the pieces are cut from, at its own rate.
        sample_rate: Of the voice to be, in hertz; None takes what fits the recording.
    """
    (folder / "wavs").mkdir(parents=True, exist_ok=True)
    progress = ProgressLine("Cutting", len(pieces), "pieces")
    digits = max(4, len(str(len(pieces))))
    stem = "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in recording.path.stem)
    names = [f"{stem}-{number:0{digits}}" for number in range(1, len(pieces) + 1)]
    rows = []
    with soundfile.SoundFile(recording.path) as file:
        for done, (name, piece) in enumerate(zip(names, pieces, strict=True), start=1):
            if piece.issue is None:
                samples = _read(file, piece)
                write_wav(folder / "wavs" / f"{name}.wav", samples, recording.source_rate)
                rows.append((f"{name}.wav", None, piece.text.replace("|", " ")))
            progress.show(done)
    progress.finish(len(pieces))
    rate = sample_rate or find_trained_rate(recording.source_rate)
    config = {"audio": {"sample_rate": rate}, "espeak": {"voice": language}}
    write_json(folder / "config.json", config)
    listed = [
        {
            "name": name,
            "start": piece.start_seconds,
            "end": piece.end_seconds,
            "text": piece.text,
            "score": piece.score,
            "doubt": piece.issue,
        }
        for name, piece in zip(names, pieces, strict=True)
    ]
    source = {"source": str(recording.path.absolute()), "sha256": digest_file(recording.path)}
    write_json(folder / SPLIT_NAME, {**source, "pieces": listed})
    write_metadata(folder, rows)


def _read(file: soundfile.SoundFile, piece: Piece) -> np.ndarray:
    first, last = (
        round(time * file.samplerate) for time in (piece.start_seconds, piece.end_seconds)
    )
    file.seek(min(first, file.frames))
    samples = file.read(max(0, last - first), dtype="float32", always_2d=True)
    return np.asarray(samples.mean(axis=1, dtype=np.float32))
