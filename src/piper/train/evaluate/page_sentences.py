"""A sentence on the report's page: recording and systems side by side. Chooses no sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from piper.train.evaluate.meanings import name_score
from piper.train.evaluate.page_differences import draw_heard_phonemes, draw_heard_words
from piper.train.evaluate.page_scores import format_value
from piper.train.evaluate.results import (
    Evaluation,
    Group,
    Kind,
    Score,
    Sentence,
    SpokenSentence,
    Trouble,
)
from piper.train.evaluate.worst import RankedSentence
from piper.train.pages.excerpts import Excerpt, Media, collect_media, find_excerpt
from piper.train.pages.parts import draw_table, escape, fold
from piper.train.pages.players import (
    draw_picture,
    draw_player,
    draw_spectrogram,
    draw_times,
    find_share,
)

NO_LIMIT = 1 << 60
"""Bytes; the page counts what it draws."""
UNREADABLE = "The sound cannot be decoded."
SHOWN_GROUPS = (Group.QUALITY, Group.INTELLIGIBILITY)
"""Whose values stand below a player; the others are folded."""


def find_spoken(
    evaluation: Evaluation, kinds: Iterable[Kind]
) -> dict[str, dict[str, SpokenSentence]]:
    """Return what was spoken, by sentence's name and system's label."""
    wanted = set(kinds)
    found: dict[str, dict[str, SpokenSentence]] = {}
    for system in evaluation.systems:
        for spoken in system.spoken:
            if spoken.sentence.kind in wanted:
                found.setdefault(spoken.sentence.name, {})[system.label] = spoken
    # Recordings of sentences that no system spoke are not asked for.
    for spoken in evaluation.recordings.spoken if evaluation.recordings else ():
        if spoken.sentence.name in found and evaluation.recordings:
            label = evaluation.recordings.label
            found[spoken.sentence.name] = {label: spoken, **found[spoken.sentence.name]}
    return found


def draw_sentence(
    evaluation: Evaluation,
    ranked: RankedSentence,
    spoken: Mapping[str, SpokenSentence],
    number: int,
) -> str:
    """Return a sentence with sound and picture of all that spoke it; its files are decoded.

    Args:
        evaluation: All that was found.
        ranked: The sentence.
        spoken: By label.
        number: Of the sentence on the page, from 1.
    """
    sentence = ranked.sentence
    longest = max((one.seconds for one in spoken.values()), default=0.0)
    columns = "".join(
        _draw_system(evaluation, label, one, f"sentence-{number}-{place}", longest)
        for place, (label, one) in enumerate(spoken.items())
    )
    return (
        f'<article>\n<h3 dir="auto">{number}. {escape(name_sentence(sentence))}</h3>\n'
        f'<blockquote dir="auto">{escape(sentence.text)}</blockquote>\n'
        f'{_draw_reasons(ranked, spoken)}<div class="systems">\n{columns}</div>\n'
        f"{_draw_values(evaluation, sentence, spoken)}</article>\n"
    )


def name_sentence(sentence: Sentence) -> str:
    """Return a sentence's name, with its speaker in voices of several."""
    return f"{sentence.name} · {sentence.speaker}" if sentence.speaker else sentence.name


def decode_spoken(spoken: SpokenSentence) -> tuple[Excerpt, Media] | None:
    """Return sound and picture of what was spoken, or of the surroundings of its first trouble.

    None where it cannot be decoded.
    """
    if not spoken.seconds > 0:
        return None
    first = next(iter(spoken.troubles), None)
    span = (first.start_seconds, first.end_seconds) if first else None
    excerpt = find_excerpt(spoken.audio, spoken.seconds, span)
    media = collect_media([excerpt], NO_LIMIT).get(excerpt)
    return None if media is None else (excerpt, media)


def draw_troubles(spoken: SpokenSentence) -> str:
    """Return what is wrong with it, at its times."""
    items = "".join(
        f"<li>{escape(trouble.message)}, {_name_times(trouble)}</li>\n"
        for trouble in spoken.troubles
    )
    return f"<ul>\n{items}</ul>\n" if items else ""


def _draw_media(spoken: SpokenSentence, name: str, identifier: str, longest: float) -> str:
    """Return spectrogram and player; all of a sentence's pictures have one scale of time."""
    decoded = decode_spoken(spoken)
    if decoded is None:
        return f'<p class="faint">{UNREADABLE}</p>\n'
    excerpt, media = decoded
    shares = [
        find_share((max(start, excerpt.start_seconds), min(end, _find_end(excerpt))), excerpt)
        for start, end in ((one.start_seconds, one.end_seconds) for one in spoken.troubles)
        if end >= excerpt.start_seconds and start <= _find_end(excerpt)
    ]
    messages = ", ".join(trouble.message for trouble in spoken.troubles)
    marked = f"; marked: {messages}" if messages else ""
    picture = draw_picture(media, identifier)
    player = draw_player(media.audio, name, f"{identifier}-audio") if media.audio else ""
    width = 100 * min(1.0, excerpt.seconds / longest)
    return (
        f'<div class="length" style="width: {width:.0f}%">\n'
        f"{draw_spectrogram(media, picture, shares, name, marked)}"
        f"{draw_times(excerpt)}</div>\n{player}"
    )


def _draw_system(
    evaluation: Evaluation, label: str, spoken: SpokenSentence, identifier: str, longest: float
) -> str:
    name = f"{label}, {spoken.sentence.name}"
    shown = [
        f"<span>{escape(score.title)}</span> {format_value(score, spoken.values[score.name])}"
        for score in evaluation.scores
        if score.group in SHOWN_GROUPS and score.name in spoken.values
    ]
    values = f'<p class="values">{"; ".join(shown)}</p>\n' if shown else ""
    return (
        f"<div>\n<h4>{escape(label)}</h4>\n{_draw_media(spoken, name, identifier, longest)}{values}"
        f"{draw_troubles(spoken)}{draw_heard_phonemes(spoken.wanted, spoken.heard)}"
        f"{draw_heard_words(spoken.sentence.text, spoken.recognised)}</div>\n"
    )


def _name_times(trouble: Trouble) -> str:
    start, end = f"{trouble.start_seconds:.2f}", f"{trouble.end_seconds:.2f}"
    return f"at {start} s" if start == end else f"{start} to {end} s"


def _find_end(excerpt: Excerpt) -> float:
    return excerpt.start_seconds + excerpt.seconds


def _draw_reasons(ranked: RankedSentence, spoken: Mapping[str, SpokenSentence]) -> str:
    if not ranked.stands_out:
        return ""
    said = ", ".join(
        f"<span>{escape(score.title)}</span> "
        f"{format_value(score, spoken[label].values[score.name])} ({escape(label)})"
        for label, score in ranked.stands_out
    )
    return f'<p class="faint"><span>Among the worst by:</span> {said}.</p>\n'


def _draw_values(
    evaluation: Evaluation, sentence: Sentence, spoken: Mapping[str, SpokenSentence]
) -> str:
    rows = [
        [name_score(score), *(_format(score, one) for one in spoken.values())]
        for score in evaluation.scores
        if any(score.name in one.values for one in spoken.values())
    ]
    if not rows:
        return ""
    table = draw_table(f"Values of {sentence.name}", ["score", *spoken], rows)
    return fold("All values", table)


def _format(score: Score, spoken: SpokenSentence) -> str:
    value = spoken.values.get(score.name)
    return "" if value is None else format_value(score, value)
