"""A long recording and its text to pieces: learns where sounds lie, aligns, cuts, and doubts.

Writes nothing but the aligner's state.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from piper.audio.encode import write_wav
from piper.errors import DatasetError
from piper.train.aligner.aligner import Aligner, GroupSpan
from piper.train.aligner.features import FRAME_SECONDS, SAMPLE_RATE
from piper.train.aligner.fitting import Lesson, fit_aligner
from piper.train.splitting.long_audio import LongRecording, find_pauses
from piper.train.splitting.long_text import LongText, LongWord
from piper.train.splitting.pieces import (
    LEAST_SECONDS,
    MOST_SECONDS,
    Piece,
    choose_cuts,
    create_pieces,
    find_gaps,
    find_wrong_score,
    score_piece,
)
from piper.train.splitting.rough import Bead, match_roughly

LEAST_MINUTES = 2.0
"""Of speech that an aligner learns on."""
MOST_LESSON_SECONDS = 3600.0
MARGIN_SAMPLES = 1600
"""A tenth of a second around a stretch, so that its first and last sounds are whole."""
ROUNDS = 3
FEW_DOUBTS = 0.05
"""Where more pieces are doubted, the text differs from what is said, and so did what was learnt:
an aligner learns anew on the pieces that fit."""
WORST_SHARE = 0.15
"""Of all pieces; what fits least teaches nothing."""
BORDER_SCORE = -4.0
"""Of a piece's first or last word; what is heard there is another word, or half of it."""
LEAST_UNITS, SQUEEZED_FRAMES = 3, 1.6
"""A word of that many phonemes with fewer frames a phoneme was not said: none of 671 words of
festvox-ru has fewer than 2.1, and words that nobody says get one."""
SLOW_TIMES = 1.5
"""Words that are stretched over others' speech; of 200 right pieces of festvox-ru one has more than
1.3 times the median."""
SLACK_SECONDS = 0.15


@dataclass(frozen=True)
class SplitResult:
    """What became of a long recording.

    Attributes:
        pieces: In order; those with a doubt are not for training until somebody listened.
        aligner: The one that was used.
    """

    pieces: list[Piece]
    aligner: Aligner


def split_recording(
    recording: LongRecording, text: LongText, work_dir: Path, aligner: Aligner | None = None
) -> SplitResult:
    """Cut a recording into pieces with their texts.

    Args:
        recording: The long one.
        text: All that is said in it, in order.
        work_dir: Keeps the state of an aligner that learns, so that stopped work goes on.
        aligner: One that knows the language; None lets one learn on this recording.

    Raises:
        DatasetError: There is too little speech to learn from, or far less than the text has.
    """
    if aligner is not None:
        return SplitResult(_cut(recording, text, aligner), aligner)
    beads = match_roughly(text, find_pauses(recording.samples), recording.seconds)
    aligner = _fit(recording, text, beads, work_dir / "aligner-1.part")
    pieces = _cut(recording, text, aligner)
    for number in range(2, ROUNDS + 1):
        good = [piece for piece in pieces if piece.doubt is None]
        if len(good) > (1 - FEW_DOUBTS) * len(pieces):
            break
        limit = float(np.quantile([piece.score for piece in pieces], WORST_SHARE))
        lessons = [piece for piece in good if piece.score >= limit]
        # Where hardly anything fits, the first guess is as good a teacher as what came of it.
        if sum(piece.seconds for piece in lessons) < 60 * LEAST_MINUTES:
            break
        beads = [
            Bead(piece.start_seconds, piece.end_seconds, piece.first_word, piece.last_word)
            for piece in lessons
        ]
        aligner = _fit(recording, text, beads, work_dir / f"aligner-{number}.part")
        pieces = _cut(recording, text, aligner)
    return SplitResult(pieces, aligner)


def _cut(recording: LongRecording, text: LongText, aligner: Aligner) -> list[Piece]:
    """Return the pieces that an aligner finds, those of doubtful texts named."""
    hearing = aligner.hear(recording.samples)
    alignment = aligner.align(hearing, text.groups, text.open_gaps)
    spans = alignment.find_spans()
    pieces = create_pieces(text, choose_cuts(find_gaps(text, spans, hearing.is_loud)))
    return _doubt([score_piece(piece, alignment) for piece in pieces], spans, text)


def _fit(
    recording: LongRecording, text: LongText, beads: Sequence[Bead], state_path: Path
) -> Aligner:
    """Let an aligner learn on stretches of the recording whose words are thought to be known."""
    seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        lessons = []
        for number, bead in enumerate(beads):
            groups = text.groups[bead.first_word : bead.last_word]
            length = bead.end_seconds - bead.start_seconds
            if not any(groups) or seconds + length > MOST_LESSON_SECONDS:
                continue
            seconds += length
            start = max(0, round(bead.start_seconds * SAMPLE_RATE) - MARGIN_SAMPLES)
            end = round(bead.end_seconds * SAMPLE_RATE) + MARGIN_SAMPLES
            path = Path(folder) / f"{number}.wav"
            write_wav(path, recording.samples[start:end], SAMPLE_RATE)
            stat = recording.path.stat()
            key = f"{recording.path}|{stat.st_size}|{stat.st_mtime_ns}|{start}|{end}|{groups}"
            lessons.append(Lesson(key, path, groups))
        if seconds < 60 * LEAST_MINUTES:
            raise DatasetError(
                f"{recording.path} has {seconds / 60:.1f} minutes of speech, too little to learn "
                f"where sounds lie ({LEAST_MINUTES:g} are needed); name an aligner of another "
                "recording with --aligner."
            )
        return fit_aligner(lessons, state_path)


def _doubt(
    pieces: Sequence[Piece], spans: Sequence[GroupSpan | None], text: LongText
) -> list[Piece]:
    """Return the pieces, each with what speaks against it."""
    limit = find_wrong_score(np.asarray([piece.score for piece in pieces]))
    paces = [_find_pace(piece, spans, text) for piece in pieces]
    usual = float(np.median([pace for pace in paces if pace > 0] or [0.0]))
    doubts = [_find_doubt(piece, spans, text, limit) for piece in pieces]
    return [
        replace(piece, doubt=doubt or _doubt_pace(pace, usual))
        for piece, doubt, pace in zip(pieces, doubts, paces, strict=True)
    ]


def _find_pace(piece: Piece, spans: Sequence[GroupSpan | None], text: LongText) -> float:
    """Return the frames that a phoneme of the piece takes in the mean; 0 where there is none."""
    numbers = [n for n in range(piece.first_word, piece.last_word) if spans[n] is not None]
    seconds = sum(span.end_seconds - span.start_seconds for n in numbers if (span := spans[n]))
    return seconds / FRAME_SECONDS / max(1, sum(len(text.words[n].units) for n in numbers))


def _doubt_pace(pace: float, usual: float) -> str | None:
    if pace <= SLOW_TIMES * usual:
        return None
    return (
        f"spoken {pace / usual:.1f} times slower than the others: more may be said than is written"
    )


def _find_doubt(
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
        return f"the {which} word does not fit what is heard there"
    if piece.seconds > MOST_SECONDS + SLACK_SECONDS:
        return f"{piece.seconds:.1f} s, for there is no pause to cut it in"
    if piece.seconds < LEAST_SECONDS - SLACK_SECONDS:
        return f"only {piece.seconds:.1f} s, with no neighbour that it could be joined to"
    return None


def is_squeezed(word: LongWord, span: GroupSpan) -> bool:
    """Tell whether a word has so little room that it was not said there."""
    frames = (span.end_seconds - span.start_seconds) / FRAME_SECONDS
    return len(word.units) >= LEAST_UNITS and frames < SQUEEZED_FRAMES * len(word.units)
