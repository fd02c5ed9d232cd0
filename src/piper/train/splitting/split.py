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
from piper.train.aligner.aligner import Aligner, Alignment
from piper.train.aligner.features import SAMPLE_RATE
from piper.train.aligner.fitting import Lesson, fit_aligner
from piper.train.splitting.long_audio import LongRecording, find_pauses
from piper.train.splitting.long_text import LongText
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
BORDER_SCORE = -4.0
"""Of a piece's first or last word; what is heard there is another word, or half of it."""


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
    if aligner is None:
        beads = match_roughly(text, find_pauses(recording.samples), recording.seconds)
        aligner = _fit(recording, text, beads, work_dir)
    hearing = aligner.hear(recording.samples)
    alignment = aligner.align(hearing, text.groups, has_gaps=True)
    gaps = find_gaps(text, alignment.find_spans(), hearing.is_loud)
    pieces = create_pieces(text, choose_cuts(gaps))
    return SplitResult(_doubt([score_piece(p, alignment) for p in pieces], alignment), aligner)


def _fit(
    recording: LongRecording, text: LongText, beads: Sequence[Bead], work_dir: Path
) -> Aligner:
    """Let an aligner learn on stretches that were matched by their lengths."""
    seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        lessons = []
        for number, bead in enumerate(beads):
            groups = text.groups[bead.first_word : bead.last_word]
            length = bead.end_seconds - bead.start_seconds
            if not any(groups) or seconds + length > MOST_LESSON_SECONDS:
                continue
            seconds += length
            start, end = (
                round(time * SAMPLE_RATE) for time in (bead.start_seconds, bead.end_seconds)
            )
            path = Path(folder) / f"{number}.wav"
            write_wav(path, recording.samples[max(0, start - 1600) : end + 1600], SAMPLE_RATE)
            stat = recording.path.stat()
            key = f"{recording.path}|{stat.st_size}|{stat.st_mtime_ns}|{start}|{end}|{groups}"
            lessons.append(Lesson(key, path, groups))
        if seconds < 60 * LEAST_MINUTES:
            raise DatasetError(
                f"{recording.path} has {seconds / 60:.1f} minutes of speech, too little to learn "
                f"where sounds lie ({LEAST_MINUTES:g} are needed); name an aligner of another "
                "recording with --aligner."
            )
        return fit_aligner(lessons, work_dir / "aligner.pt.part")


def _doubt(pieces: Sequence[Piece], alignment: Alignment) -> list[Piece]:
    """Return the pieces, each with what speaks against it."""
    limit = find_wrong_score(np.asarray([piece.score for piece in pieces]))
    spans = alignment.find_spans()
    result = []
    for piece in pieces:
        words = [span for span in spans[piece.first_word : piece.last_word] if span is not None]
        doubt = None
        if not words or not piece.text:
            doubt = "nothing is said in it"
        elif piece.score < limit:
            doubt = f"the text does not fit (score {piece.score:.2f}, usual are above {limit:.2f})"
        elif min(words[0].score, words[-1].score) < BORDER_SCORE:
            which = "first" if words[0].score <= words[-1].score else "last"
            doubt = f"the {which} word does not fit what is heard there"
        elif piece.seconds > MOST_SECONDS + 0.05:
            doubt = f"{piece.seconds:.1f} s, for there is no pause to cut it in"
        elif piece.seconds < LEAST_SECONDS - 0.05:
            doubt = f"only {piece.seconds:.1f} s, with no neighbour that it could be joined to"
        result.append(replace(piece, doubt=doubt))
    return result
