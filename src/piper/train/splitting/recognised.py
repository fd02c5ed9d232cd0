"""Which words are said in which piece, by a recogniser's guess. Cuts in pauses; learns nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from piper.progress import ProgressLine
from piper.train.aligner.features import SAMPLE_RATE
from piper.train.recognisers import Recogniser, find_character_error, normalise_words
from piper.train.splitting.long_audio import LongRecording, find_pauses
from piper.train.splitting.long_text import LongText, Pause
from piper.train.splitting.pieces import Gap, Piece, choose_cuts, create_pieces

MOST_ERRORS = 0.35
"""Of a piece's characters: beyond, recogniser and text speak of different things."""


def split_by_recogniser(
    recording: LongRecording, text: LongText, recogniser: Recogniser
) -> list[Piece]:
    """Cut a recording in its pauses; give each piece the words that are recognised in it.

    Args:
        recording: The long one.
        text: All that is said in it, in order.
        recogniser: Hears the pieces.

    Raises:
        ConfigError: The recogniser failed.
    """
    cuts = choose_cuts(_find_gaps(recording))
    heard: list[list[str]] = []
    progress = ProgressLine("Recognising", len(cuts) - 1, "pieces")
    for left, right in pairwise(cuts):
        start, end = (round(time * SAMPLE_RATE) for time in (left.end_seconds, right.start_seconds))
        samples = recording.samples[max(0, start - 1600) : end + 1600]
        heard.append(normalise_words(recogniser(samples, SAMPLE_RATE)))
        progress.show(len(heard))
    progress.finish(len(heard))
    borders, is_sure = match_words([_written(text, i) for i in range(len(text.words))], heard)
    cuts = [replace(gap, word=border) for gap, border in zip(cuts, borders, strict=True)]
    pieces = create_pieces(text, cuts)
    return [
        _judge(piece, heard[number], is_sure[number] and is_sure[number + 1])
        for number, piece in enumerate(pieces)
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


def _written(text: LongText, index: int) -> str:
    word = text.words[index]
    return "".join(normalise_words(text.text[word.start : word.end]))


def match_words(
    written: Sequence[str], heard: Sequence[Sequence[str]]
) -> tuple[list[int], list[bool]]:
    """Return which written word each piece begins with, and whether the words there agree.

    Args:
        written: The text's words, normalised.
        heard: Those of each piece, normalised.

    Returns:
        For each border, both ends included, the number of the first word after it; and whether the
        words on both sides of it were heard as they are written.
    """
    from rapidfuzz.distance import Levenshtein

    flat = [word for words in heard for word in words]
    places = [0]
    for words in heard:
        places.append(places[-1] + len(words))
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


def _judge(piece: Piece, heard: Sequence[str], is_sure: bool) -> Piece:
    error = find_character_error(normalise_words(piece.text), heard)
    doubt = None
    if not piece.text:
        doubt = "no words of the text are said in it"
    elif error > MOST_ERRORS:
        doubt = f"{' '.join(heard)!r} was recognised, {error:.0%} off the text"
    elif not is_sure:
        doubt = f"{' '.join(heard)!r} was recognised; its first or last word may be its neighbour's"
    return replace(piece, score=round(-error, 3), doubt=doubt)
