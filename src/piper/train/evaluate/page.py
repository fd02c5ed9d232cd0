"""The report as a page that opens without a network. Measures nothing."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from piper.files import replace_on_success
from piper.train.evaluate.results import (
    Comparison,
    Evaluation,
    Figure,
    Group,
    Kind,
    Score,
    Sentence,
    SpokenSentence,
    System,
    Trouble,
)
from piper.train.pages.document import (
    PAGE_BYTES,
    draw_document,
    draw_html_table,
    draw_table,
    escape,
    fold,
    frame_table,
)
from piper.train.pages.drawings import (
    DotRow,
    draw_dots,
    draw_picture,
    draw_player,
    draw_spectrogram,
    draw_times,
    find_share,
)
from piper.train.pages.excerpts import Excerpt, Media, collect_media, find_excerpt

_WORD = re.compile(r"[\w'’-]+")


def draw_heard_phonemes(wanted: str, heard: str) -> str:
    """Return phonemes, apart by spaces, with marks where what was heard differs."""
    return _draw("Phonemes heard", wanted.split(), heard.split())


def draw_heard_words(text: str, recognised: str) -> str:
    """Return the words that were heard with marks; case and punctuation do not count."""
    wanted, heard = (_WORD.findall(words.casefold()) for words in (text, recognised))
    return _draw("Words heard", wanted, heard)


def _draw(title: str, wanted: Sequence[str], heard: Sequence[str]) -> str:
    if not heard:
        return ""
    if not wanted:
        marked = escape(" ".join(heard))
    elif list(wanted) == list(heard):
        marked = f"{escape(' '.join(heard))}, as wanted"
    else:
        marked = _mark(wanted, heard)
    return f'<p class="said" dir="auto"><span class="faint">{title}</span>{marked}</p>\n'


def _mark(wanted: Sequence[str], heard: Sequence[str]) -> str:
    from rapidfuzz.distance import Levenshtein

    parts = []
    for step in Levenshtein.opcodes(wanted, heard):
        lost = escape(" ".join(wanted[step.src_start : step.src_end]))
        found = escape(" ".join(heard[step.dest_start : step.dest_end]))
        if step.tag == "equal":
            parts.append(found)
            continue
        if lost:
            parts.append(f'<del title="was to be said">{lost}</del>')
        if found:
            parts.append(f'<ins title="was heard instead">{found}</ins>')
    return " ".join(parts)


STYLE = """
.groups th[scope=rowgroup] { color: var(--ink); padding-top: 1rem; }
.groups th[scope=row] {
  font-weight: 400; white-space: normal; min-width: 9rem; position: sticky; left: 0;
  background: var(--ground);
}
.groups td { white-space: nowrap; }
.groups th, .groups td { padding-right: 1.4rem; }
.interval, .mark { display: block; font-size: .85rem; }
.interval { color: var(--faint); }
.better { color: var(--ready); font-weight: 600; }
.worse { color: var(--error); font-weight: 600; }
article h3 { margin: 0 0 .4rem; }
.histogram { max-width: 26rem; }
.systems {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(17rem, 100%), 1fr));
  gap: 1rem 1.25rem; margin: .8rem 0;
}
.systems .length { min-width: 35%; }
.systems ul { margin: .3rem 0; }
.systems li::marker { color: var(--error); }
.systems .strip { height: 6rem; }
.values { margin: .4rem 0; font-variant-numeric: tabular-nums; }
.said { margin: .3rem 0; font-size: .95rem; }
.said .faint { display: block; font-size: .85rem; }
del { color: var(--error); text-decoration-thickness: 2px; }
ins { color: var(--warning); text-underline-offset: 3px; text-decoration-thickness: 2px; }
.short audio { width: 13rem; margin-top: 0; }
.short td { min-width: 9rem; }
.short td:first-child { min-width: 4rem; font-size: 1.1rem; }
@media (max-width: 40rem) {
  .groups th, .groups td { padding-right: .8rem; }
  .groups th[scope=row] { min-width: 6rem; max-width: 8rem; }
  .groups th[scope=col] {
    white-space: normal; overflow-wrap: anywhere; min-width: 5rem; font-size: .85rem;
  }
  .meanings { grid-template-columns: 1fr; }
  .meanings dd { margin-bottom: .6rem; }
  .groups .interval, .groups .mark { font-size: .75rem; }
}
@media print {
  ins, del { color: #000; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .groups th[scope=row] { position: static; }
}
"""


STANDS_OUT = 0.9
"""Share of the sentences that are better in a score, from which a sentence stands out by it."""
MOST_NAMED = 3
NO_CONCERN = 0.5
"""What a sentence gets that nothing is known of: it is neither good nor bad."""
ORDER = (
    "The worst sentences come first: in each score that has a better end (cost left out) the "
    "sentences of a voice are ranked, and a sentence's place is the mean of its ranks. Quality, "
    "intelligibility, likeness and trouble count alike, and so do the voices."
)
"""How sentences are ordered, in words."""


@dataclass(frozen=True)
class RankedSentence:
    """A sentence and how bad it is beside the others.

    Attributes:
        sentence: Which one.
        badness: 0 for the best of all in everything, 1 for the worst.
        stands_out: Label and score of what it is worst in, the worst first.
    """

    sentence: Sentence
    badness: float
    stands_out: tuple[tuple[str, Score], ...]


def rank_sentences(evaluation: Evaluation) -> list[RankedSentence]:
    """Return the sentences that systems spoke, the worst first; no words and letters."""
    sentences: dict[str, Sentence] = {}
    ranks: defaultdict[str, list[float]] = defaultdict(list)
    found: defaultdict[str, list[tuple[float, str, Score]]] = defaultdict(list)
    for system in evaluation.systems:
        sentences |= {
            spoken.sentence.name: spoken.sentence
            for spoken in system.spoken
            if spoken.sentence.kind is Kind.SENTENCE
        }
        groups: defaultdict[str, defaultdict[Group, list[float]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for score in evaluation.scores:
            for name, rank in _rank(system, score).items():
                groups[name][score.group].append(rank)
                if rank >= STANDS_OUT:
                    found[name].append((rank, system.label, score))
        for name, by_group in groups.items():
            ranks[name].append(float(np.mean([np.mean(some) for some in by_group.values()])))
    ranked = [
        RankedSentence(
            sentence,
            float(np.mean(ranks.get(name, [NO_CONCERN]))),
            tuple(
                (label, score)
                for _, label, score in sorted(found[name], key=lambda one: -one[0])[:MOST_NAMED]
            ),
        )
        for name, sentence in sentences.items()
    ]
    return sorted(ranked, key=lambda one: -one.badness)


def _rank(system: System, score: Score) -> Mapping[str, float]:
    """Return sentences' ranks by a score, 0 (best) to 1; equal ones share the mean of theirs.

    Nothing where the score has no better end, or all sentences are alike.
    """
    if score.is_lower_better is None or score.group is Group.COST:
        return {}
    values = {
        spoken.sentence.name: value
        for spoken in system.spoken
        if spoken.sentence.kind is Kind.SENTENCE
        and math.isfinite(value := spoken.values.get(score.name, math.nan))
    }
    array = np.array(list(values.values())) * (1 if score.is_lower_better else -1)
    distinct, places, counts = np.unique(array, return_inverse=True, return_counts=True)
    if len(distinct) < 2:
        return {}
    means = np.cumsum(counts) - (counts + 1) / 2
    ranks = means[places] / (len(array) - 1)
    return dict(zip(values, ranks.tolist(), strict=True))


MEANINGS: Mapping[str, str] = {
    "distillmos": "What listeners would give the sound on a scale from 1 (bad) to 5 (excellent), "
    "as a network predicts it. It hears noise and a mechanical tone; it does not know the text.",
    "per": "How many phonemes a recogniser that learnt on recordings heard wrongly, for each one "
    "that was to be said. It mishears recordings too: compare with theirs.",
    "wer": "How many words a speech recogniser heard wrongly, for each one of the text. Names and "
    "numbers may be right and written otherwise.",
    "cer": "How many characters a speech recogniser wrote wrongly, for each one of the text.",
    "similarity": "How alike the sentence's speaker and that of the recordings sound: the cosine "
    "of two speaker embeddings, 1 for the same sound.",
    "mel_cepstral_distance": "How far the sound lies from the recording, moment by moment after "
    "alignment. Another good reading of the sentence is far from it, too.",
    "pitch_error": "How far the pitch lies from the recording's where both have one, after "
    "alignment.",
    "voicing_error": "The share of moments that have a pitch in only one of voice and recording.",
    "duration_error": "How much longer or shorter a phoneme is than in the recording, on average.",
    "pause_error": "How much longer or shorter a pause is than in the recording, on average.",
    "speaking_rate": "Phonemes a second of speech, pauses left out. Neither end is better: the "
    "recordings' own is the measure.",
    "clipped_share": "Samples at full scale, where the sound is cut off.",
    "clicks": "Jumps of the signal that speech does not make, in a sentence.",
    "dc_offset": "How far the signal's middle lies from zero.",
    "silent_speech": "Silence where the text has a word, in a sentence.",
    "skipped_words": "Words of the text that were not said, in a sentence.",
    "repeated_words": "Words that were said again, in a sentence.",
    "lost_ends": "Whether a sentence lost its first or last phoneme: 0, 1 or 2 of them.",
    "loudness_spread": "How far the level of a sentence lies from the middle one's, on average.",
    "real_time_factor": "Time to speak, divided by the time of the speech; below 1 is faster than "
    "real time. It is that of the machine that measured.",
    "first_audio_seconds": "From the text to the first samples, on the machine that measured.",
    "size_megabytes": "The voice's file.",
    "memory_megabytes": "What the process took at most while it spoke.",
}
LOWER, HIGHER = "Lower is better.", "Higher is better."


def explain_score(score: Score) -> str:
    """Return what a score means, and which end of it is better."""
    meaning = MEANINGS.get(score.name, "A predictor of your own.")
    if score.is_lower_better is None:
        return meaning
    return f"{meaning} {LOWER if score.is_lower_better else HIGHER}"


def name_score(score: Score) -> str:
    """Return a score's title with its unit."""
    return f"{score.title}, {score.unit}" if score.unit else score.title


HEADLINES = ("distillmos", "per", "similarity")
"""What a voice is said to be in a sentence, where it was measured."""
NOTHING = "–"
LEAST_DOTS = 3
"""Sentences with a score, below which a drawing of it says no more than the table."""


def draw_verdict(evaluation: Evaluation) -> str:
    """Return what was found in sentences, one for each system."""
    lines = [
        _describe_comparisons(evaluation, system) if number else _describe(evaluation, system)
        for number, system in enumerate(evaluation.systems)
    ]
    shown = "".join(f"<p>{line}</p>\n" for line in lines)
    sentences = len(
        {
            spoken.sentence.name
            for system in evaluation.systems
            for spoken in system.spoken
            if spoken.sentence.kind is Kind.SENTENCE
        }
    )
    return (
        f'<div class="verdict note">\n{shown}<p class="faint">Sentences: {sentences:,}, of '
        f"<code>{escape(str(evaluation.dataset))}</code>. Behind each figure: its 95 % interval. "
        "Better or worse is said only where the interval of the difference excludes zero.</p>\n"
        "</div>\n"
    )


def draw_scores(evaluation: Evaluation) -> str:
    """Return the table of all scores by group: recordings, then each system."""
    systems = find_columns(evaluation)
    heads = "".join(f'<th scope="col">{escape(system.label)}</th>' for system in systems)
    parts = [f'<thead><tr><th scope="col">score</th>{heads}</tr></thead>\n']
    for group in Group:
        scores = [
            score
            for score in evaluation.scores
            if score.group is group and any(score.name in system.figures for system in systems)
        ]
        rows = "".join(_draw_score_row(evaluation, systems, score) for score in scores)
        if rows:
            span = len(systems) + 1
            head = f'<tr><th scope="rowgroup" colspan="{span}">{group.value}</th></tr>\n'
            parts.append(f"<tbody>\n{head}{rows}</tbody>\n")
    said = ""
    if evaluation.recordings is not None:
        said = (
            f"<p>{escape(evaluation.recordings.label)}: what people said, by the same judges. "
            "A voice is hardly expected to do better.</p>\n"
        )
    table = frame_table("Scores", "".join(parts))
    differences = _draw_differences(evaluation)
    return f'<h2>Scores</h2>\n{said}<div class="groups">\n{table}</div>\n{differences}'


def draw_meanings(scores: Sequence[Score]) -> str:
    """Return what each score means; the tables refer to it."""
    items = "".join(
        f'<dt id="{_find_anchor(score)}">{escape(name_score(score))}</dt>'
        f"<dd>{escape(explain_score(score))}</dd>\n"
        for score in scores
    )
    head = '<h2>What the figures mean</h2>\n<dl class="meanings">\n'
    return f"{head}{items}</dl>\n" if items else ""


def draw_distributions(evaluation: Evaluation) -> str:
    """Return how each score is spread over the sentences, systems above each other."""
    drawn = [_draw_distribution(evaluation, score) for score in evaluation.scores]
    if not any(drawn):
        return ""
    return (
        "<h2>Distributions</h2>\n<p>A dot is a sentence, the line their mean, the bar its "
        f'interval.</p>\n<div class="charts">\n{"".join(drawn)}</div>\n'
    )


def find_columns(evaluation: Evaluation) -> list[System]:
    """Return the recordings, where there are some, and the systems."""
    recordings = [evaluation.recordings] if evaluation.recordings is not None else []
    return [*recordings, *evaluation.systems]


def format_value(score: Score, value: float) -> str:
    """Return a value with as many digits as its score has."""
    # What is rounded to zero has no sign.
    text = f"{value:z,.{score.digits}f}" if math.isfinite(value) else NOTHING
    return text.replace("-", "−")


def _draw_score_row(evaluation: Evaluation, systems: Sequence[System], score: Score) -> str:
    end = {None: "", True: "lower is better", False: "higher is better"}[score.is_lower_better]
    cells = "".join(
        f'<td class="figure">{_draw_figure(score, system.figures.get(score.name))}'
        f"{_draw_mark(evaluation, score, system)}</td>"
        for system in systems
    )
    return (
        f'<tr><th scope="row"><a href="#{_find_anchor(score)}" '
        f'title="{escape(explain_score(score))}">{escape(name_score(score))}</a>'
        f'<span class="interval">{end}</span></th>{cells}</tr>\n'
    )


def _draw_figure(score: Score, figure: Figure | None) -> str:
    if figure is None:
        return NOTHING
    interval = ""
    if figure.low is not None and figure.high is not None:
        low, high = format_value(score, figure.low), format_value(score, figure.high)
        interval = f'<span class="interval">{low} to {high}</span>'
    return f"{format_value(score, figure.value)}{interval}"


def _draw_mark(evaluation: Evaluation, score: Score, system: System) -> str:
    comparison = _find_comparison(evaluation, score, system)
    if comparison is None or comparison.better is None:
        return ""
    is_better = comparison.better == system.label
    sign, word = ("▲", "better") if is_better else ("▼", "worse")
    than = escape(f"than {comparison.first}: {_describe_difference(score, comparison)}")
    return f'<span class="mark {word}" title="{than}">{sign} {word}</span>'


def _find_comparison(evaluation: Evaluation, score: Score, system: System) -> Comparison | None:
    for comparison in evaluation.comparisons:
        if comparison.second == system.label and comparison.score == score.name:
            return comparison
    return None


def _draw_differences(evaluation: Evaluation) -> str:
    scores = {score.name: score for score in evaluation.scores}
    rows = [
        [
            escape(f"{comparison.second} − {comparison.first}"),
            escape(name_score(scores[comparison.score])),
            _sign(scores[comparison.score], comparison.difference),
            *(
                "" if edge is None else _sign(scores[comparison.score], edge)
                for edge in (comparison.low, comparison.high)
            ),
            escape(f"{comparison.better} is better" if comparison.better else "not shown"),
            f"{comparison.count:,}",
        ]
        for comparison in evaluation.comparisons
        if comparison.score in scores
    ]
    if not rows:
        return ""
    heads = ["difference of", "score", "mean", "from", "to", "verdict", "sentences"]
    return fold(
        "Differences of the same sentences, with their 95 % intervals",
        draw_html_table("Differences", heads, rows),
    )


def _sign(score: Score, value: float) -> str:
    return f"{value:+z,.{score.digits}f}".replace("-", "−")


def _describe_difference(score: Score, comparison: Comparison) -> str:
    difference = _sign(score, comparison.difference)
    if comparison.low is None or comparison.high is None:
        return difference
    return f"{difference} ({_sign(score, comparison.low)} to {_sign(score, comparison.high)})"


def _describe(evaluation: Evaluation, system: System) -> str:
    scores = {score.name: score for score in evaluation.scores if score.name in system.figures}
    names = [name for name in HEADLINES if name in scores] or list(scores)[: len(HEADLINES)]
    said = []
    for name in names:
        value = format_value(scores[name], system.figures[name].value)
        text = f"<span>{escape(scores[name].title)}</span> {value}"
        recorded = evaluation.recordings and evaluation.recordings.figures.get(name)
        if recorded:
            value = format_value(scores[name], recorded.value)
            text += f" (<span>recordings</span> {value})"
        said.append(text)
    figures = ", ".join(said) or "<span>no figures</span>"
    return f"<strong>{escape(system.label)}</strong>: {figures}."


def _describe_comparisons(evaluation: Evaluation, system: System) -> str:
    first = evaluation.systems[0].label
    lists: dict[str, list[str]] = {"better in": [], "worse in": [], "no difference shown in": []}
    for score in evaluation.scores:
        comparison = _find_comparison(evaluation, score, system)
        if comparison is None:
            continue
        if comparison.better is None:
            lists["no difference shown in"].append(score.title)
        else:
            is_better = comparison.better == system.label
            lists["better in" if is_better else "worse in"].append(score.title)
    said = "; ".join(
        f"<span>{what}</span> {', '.join(f'<span>{escape(title)}</span>' for title in titles)}"
        for what, titles in lists.items()
        if titles
    )
    return (
        f"<strong>{escape(system.label)}</strong> <span>beside</span> {escape(first)}: "
        f"{said or '<span>nothing to compare</span>'}."
    )


def _draw_distribution(evaluation: Evaluation, score: Score) -> str:
    rows = []
    for system in find_columns(evaluation):
        values = [
            value
            for spoken in system.spoken
            if spoken.sentence.kind is Kind.SENTENCE
            and math.isfinite(value := spoken.values.get(score.name, math.nan))
        ]
        figure = system.figures.get(score.name)
        if len(values) >= LEAST_DOTS and figure is not None:
            rows.append(DotRow(system.label, values, figure.value, figure.low, figure.high))
    if len({value for row in rows for value in row.values}) < 2:
        return ""
    said = ", ".join(f"{row.name} {format_value(score, row.middle)}" for row in rows)
    drawing = draw_dots(rows, score.unit, f"{score.title} of each sentence; means: {said}")
    return f"<div>\n<h3>{escape(score.title)}</h3>\n<figure>\n{drawing}\n</figure>\n</div>\n"


def _find_anchor(score: Score) -> str:
    return f"meaning-{escape(score.name)}"


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


SILENT = "Some have no player, since the page would grow too large."


def draw_words(evaluation: Evaluation, room_bytes: int) -> str:
    """Return the table of words and letters; those that come when the room is full have no player.

    Args:
        evaluation: All that was found.
        room_bytes: What the table may take.
    """
    found = find_spoken(evaluation, (Kind.WORD, Kind.LETTER))
    if not found:
        return ""
    labels = list(dict.fromkeys(label for spoken in found.values() for label in spoken))
    rows, is_full = [], False
    room_bytes -= sum(
        len("".join(_draw_word_row(labels, spoken, number, has_sound=False)).encode())
        for number, spoken in enumerate(found.values())
    )
    for number, spoken in enumerate(found.values()):
        row = _draw_word_row(labels, spoken, number, has_sound=not is_full)
        silent = _draw_word_row(labels, spoken, number, has_sound=False)
        room_bytes -= len("".join(row).encode()) - len("".join(silent).encode())
        is_full = is_full or room_bytes < 0
        rows.append(silent if is_full else row)
    said = f" {SILENT}" if is_full else ""
    table = draw_html_table("Words and letters", ["text", *map(escape, labels)], rows)
    return (
        "<h2>Words and letters</h2>\n<p>Spoken alone; the figures above do not count them."
        f'{said}</p>\n<div class="short">\n{table}</div>\n'
    )


def _draw_word_row(
    labels: list[str], spoken: Mapping[str, SpokenSentence], number: int, *, has_sound: bool
) -> list[str]:
    text = next(iter(spoken.values())).sentence.text
    cells = [
        _draw_cell(spoken[label], label, f"word-{number}-{place}", has_sound)
        if label in spoken
        else ""
        for place, label in enumerate(labels)
    ]
    return [f'<span dir="auto">{escape(text)}</span>', *cells]


def _draw_cell(spoken: SpokenSentence, label: str, identifier: str, has_sound: bool) -> str:
    player = ""
    if has_sound:
        decoded = decode_spoken(spoken)
        audio = decoded[1].audio if decoded else None
        name = f"{label}, {spoken.sentence.text}"
        player = draw_player(audio, name, identifier) if audio else UNREADABLE
    return (
        f"{player}{draw_heard_phonemes(spoken.wanted, spoken.heard)}"
        f"{draw_heard_words(spoken.sentence.text, spoken.recognised)}{draw_troubles(spoken)}"
    )


WORDS_SHARE = 0.25
"""Of the page's room for single words and letters: theirs are short, sentences matter more."""


def write_report_page(
    evaluation: Evaluation, path: Path, *, budget_bytes: int = PAGE_BYTES
) -> None:
    """Write `report.html`: one file with all that it shows, audio included.

    Args:
        evaluation: What was found; the files of its speech are decoded again.
        path: The file.
        budget_bytes: What the file may take. The worst sentences get sound and pictures first;
            those that come when the page is full are listed, and the page says so.

    Raises:
        OSError: The file cannot be written.
    """
    ranked = rank_sentences(evaluation)
    room = budget_bytes - len(_draw_page(evaluation, "", "", ranked))
    words = draw_words(evaluation, round(WORDS_SHARE * room))
    room -= len(words.encode())
    spoken = find_spoken(evaluation, [Kind.SENTENCE])
    sentences = []
    for number, one in enumerate(ranked, start=1):
        sentence = draw_sentence(evaluation, one, spoken[one.sentence.name], number)
        room -= len(sentence.encode())
        if room < 0:
            break
        sentences.append(sentence)
    page = _draw_page(evaluation, "".join(sentences), words, ranked[len(sentences) :])
    with replace_on_success(path) as temporary:
        temporary.write_bytes(page)


def _draw_page(
    evaluation: Evaluation, sentences: str, words: str, listed: list[RankedSentence]
) -> bytes:
    parts = [
        draw_verdict(evaluation),
        draw_scores(evaluation),
        _draw_missing(evaluation),
        _draw_facts(evaluation),
        draw_distributions(evaluation),
        f"<h2>Sentences</h2>\n<p>{ORDER}</p>\n" if sentences or listed else "",
        sentences,
        _draw_listed(listed),
        words,
        draw_meanings(evaluation.scores),
    ]
    return draw_document(f"Voice: {_name(evaluation)}", "".join(parts), STYLE)


def _name(evaluation: Evaluation) -> str:
    return ", ".join(system.label for system in evaluation.systems)


def _draw_missing(evaluation: Evaluation) -> str:
    if not evaluation.missing:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>\n" for sentence in evaluation.missing)
    return f"<h2>What is missing</h2>\n<ul>\n{items}</ul>\n"


def _draw_listed(listed: list[RankedSentence]) -> str:
    if not listed:
        return ""
    rows = [
        [name_sentence(one.sentence), one.sentence.text, f"{one.badness:.2f}"] for one in listed
    ]
    table = draw_table("Other sentences", ["sentence", "text", "mean rank, 1 is worst"], rows)
    return fold(
        f"Sentences without sound and pictures, since the page would grow too large: {len(rows):,}",
        table,
    )


def _draw_facts(evaluation: Evaluation) -> str:
    parts = [_draw_list("How it was done", evaluation.facts)] if evaluation.facts else []
    for system in evaluation.systems:
        source = {} if system.source is None else {"file": str(system.source)}
        if source or system.details:
            parts.append(_draw_list(system.label, {**source, **system.details}))
    return f"<h2>Facts</h2>\n{''.join(parts)}" if parts else ""


def _draw_list(title: str, facts: Mapping[str, str]) -> str:
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in facts.items()
    )
    return f"<h3>{escape(title)}</h3>\n<dl>\n{items}</dl>\n"
