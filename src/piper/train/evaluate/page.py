"""The report as a page that opens without a network."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from piper.files import replace_on_success
from piper.train.evaluate.results import (
    Evaluation,
    Group,
    Kind,
    Score,
    Sentence,
    SpokenSentence,
    System,
    Trouble,
)
from piper.train.pages.document import PAGE_BYTES, render, render_report
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


def compare_heard(wanted: Sequence[str], heard: Sequence[str]) -> list[tuple[str, str]]:
    """Return what was heard in pieces: `as wanted`, `found` instead, or `lost`, each with text."""
    if not wanted or list(wanted) == list(heard):
        whole = " ".join(heard)
        return [("same", f"{whole}, as wanted" if wanted else whole)] if heard else []
    if not heard:
        return []
    from rapidfuzz.distance import Levenshtein

    parts = []
    for step in Levenshtein.opcodes(wanted, heard):
        lost = " ".join(wanted[step.src_start : step.src_end])
        found = " ".join(heard[step.dest_start : step.dest_end])
        if step.tag == "equal":
            parts.append(("same", found))
        else:
            parts += [(kind, text) for kind, text in (("lost", lost), ("found", found)) if text]
    return parts


STANDS_OUT = 0.9
"""Share of the sentences that are better in a score, from which a sentence stands out by it."""
MAX_NAMED = 3
NO_CONCERN = 0.5
"""What a sentence gets that nothing is known of: it is neither good nor bad."""


@dataclass(frozen=True)
class RankedSentence:
    """A sentence and how bad it is beside the others.

    Attributes:
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
                for _, label, score in sorted(found[name], key=lambda one: -one[0])[:MAX_NAMED]
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
    if len(values) < 2 or np.ptp(array) == 0:
        return {}
    from scipy.stats import rankdata

    ranks = (rankdata(array) - 1) / (len(array) - 1)
    return dict(zip(values, ranks.tolist(), strict=True))


MEANINGS: Mapping[str, str] = {
    "distillmos": "What listeners would give the sound on a scale from 1 (bad) to 5 (excellent), "
    "as a network predicts it. It notices noise and a mechanical tone; it does not know the text.",
    "per": "How many phonemes a recogniser that was trained on recordings recognised wrongly, for "
    "each one that was to be said. It errs with recordings, too: compare with theirs.",
    "wer": "How many words a speech recogniser heard wrongly, for each one of the text. Names and "
    "numbers may be right and written otherwise.",
    "cer": "How many characters a speech recogniser wrote wrongly, for each one of the text.",
    "similarity": "How alike the sentence's speaker and that of the recordings sound: the cosine "
    "of two speaker embeddings, 1 for the same sound.",
    "mel_cepstral_distance": "How far the sound lies from the recording, moment by moment after "
    "alignment. Another good reading of the sentence is far from it, too.",
    "pitch_error": "How far the pitch lies from the recording's where both have one, after "
    "alignment.",
    "pitch_spread": "How far the pitch goes up and down in a sentence, as a standard deviation. "
    "Neither end is better: the recordings' own is the measure, and a smaller one sounds flat.",
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


HEADLINES = ("distillmos", "per", "similarity")
"""What a voice is said to be in a sentence, where it was measured."""
MIN_DOTS = 3
"""Sentences with a score, below which a drawing of it says no more than the table."""
NO_LIMIT = 1 << 60
"""Bytes; the page counts what it draws."""
SHOWN_GROUPS = (Group.QUALITY, Group.INTELLIGIBILITY)
"""Whose values stand below a player; the others are folded."""
WORDS_SHARE = 0.25
"""Of the page's room for single words and letters: theirs are short, sentences matter more."""


def write_report_page(
    evaluation: Evaluation, path: Path, *, budget_bytes: int = PAGE_BYTES
) -> None:
    """Write `report.html`: one file with all that it shows, audio included.

    Args:
        budget_bytes: What the file may take. The worst sentences get sound and pictures first;
            those that come when the page is full are listed, and the page says so.
    """
    ranked = rank_sentences(evaluation)
    room = budget_bytes - len(_render(evaluation, [], Markup(), ranked))
    words = _render_words(evaluation, round(WORDS_SHARE * room))
    room -= len(words.encode())
    spoken = find_spoken(evaluation, [Kind.SENTENCE])
    sentences: list[Markup] = []
    for number, one in enumerate(ranked, start=1):
        sentence = _render_sentence(evaluation, one, spoken[one.sentence.name], number)
        room -= len(sentence.encode())
        if room < 0:
            break
        sentences.append(sentence)
    page = _render(evaluation, sentences, words, ranked[len(sentences) :])
    with replace_on_success(path) as temporary:
        temporary.write_bytes(page)


def _render(
    evaluation: Evaluation, sentences: list[Markup], words: Markup, listed: list[RankedSentence]
) -> bytes:
    systems = evaluation.systems
    details = [("How it was done", evaluation.facts)] if evaluation.facts else []
    for system in systems:
        source = {} if system.source is None else {"file": str(system.source)}
        if source or system.details:
            details.append((system.label, {**source, **system.details}))
    rows = [
        [name_sentence(one.sentence), one.sentence.text, f"{one.badness:.2f}"] for one in listed
    ]
    charts = [(score.title, _draw_distribution(evaluation, score)) for score in evaluation.scores]
    columns = evaluation.all_systems
    measured = [s for s in evaluation.scores if any(s.name in one.figures for one in columns)]
    own = [score for score in measured if score.name in systems[0].figures]
    return render_report(
        "evaluation.html",
        f"Voice: {', '.join(system.label for system in systems)}",
        evaluation=evaluation,
        systems=systems,
        headlines=[one for one in own if one.name in HEADLINES] or own[: len(HEADLINES)],
        verdicts=_collect_verdicts(evaluation),
        num_sentences=len(find_spoken(evaluation, [Kind.SENTENCE])),
        columns=columns,
        groups=[(group.value, [s for s in measured if s.group is group]) for group in Group],
        marks=_collect_marks(evaluation),
        differences=_tabulate_differences(evaluation),
        details=details,
        charts=[(title, drawing) for title, drawing in charts if drawing],
        sentences=sentences,
        listed=rows,
        listed_title="Sentences without sound and pictures, since the page would grow too large: "
        f"{len(rows):,}",
        words=words,
        explain=explain_score,
    )


def name_sentence(sentence: Sentence) -> str:
    """Return a sentence's name, with its speaker in voices of several."""
    return f"{sentence.name} · {sentence.speaker}" if sentence.speaker else sentence.name


def find_spoken(
    evaluation: Evaluation, kinds: Iterable[Kind]
) -> dict[str, dict[str, SpokenSentence]]:
    """Return what was spoken, by sentence's name and system's label."""
    names = {
        spoken.sentence.name: spoken.sentence.kind
        for system in evaluation.systems
        for spoken in system.spoken
    }
    wanted = set(kinds)
    found: dict[str, dict[str, SpokenSentence]] = {
        name: {} for name, kind in names.items() if kind in wanted
    }
    for system in evaluation.all_systems:
        for spoken in system.spoken:
            # Recordings of sentences that no system spoke are not asked for.
            if spoken.sentence.name in found:
                found[spoken.sentence.name][system.label] = spoken
    return found


def _collect_verdicts(evaluation: Evaluation) -> dict[str, list[tuple[str, list[str]]]]:
    """Return by system what it is better and worse in, and what shows no difference."""
    titles = {score.name: score.title for score in evaluation.scores}
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for system in evaluation.systems[1:]:
        lists: dict[str, list[str]] = {
            "better in": [],
            "worse in": [],
            "no difference shown in": [],
        }
        for one in evaluation.comparisons:
            if one.second == system.label and one.score in titles:
                what = "better in" if one.better == system.label else "worse in"
                what = what if one.better else "no difference shown in"
                lists[what].append(titles[one.score])
        found[system.label] = [(what, some) for what, some in lists.items() if some]
    return found


def _collect_marks(evaluation: Evaluation) -> dict[tuple[str, str], tuple[bool, str]]:
    """Return by system and score whether it is better than the first, and by how much."""
    scores = {score.name: score for score in evaluation.scores}
    marks = {}
    for one in evaluation.comparisons:
        if one.better is not None and one.score in scores:
            score = scores[one.score]
            interval = score.format_interval(one.low, one.high, "+")
            than = f"than {one.first}: {score.format(one.difference, '+')} ({interval})"
            marks[one.second, one.score] = (one.better == one.second, than)
    return marks


def _tabulate_differences(evaluation: Evaluation) -> list[list[str]]:
    scores = {score.name: score for score in evaluation.scores}
    return [
        [
            f"{one.second} − {one.first}",
            score.name_with_unit,
            score.format(one.difference, "+"),
            *("" if edge is None else score.format(edge, "+") for edge in (one.low, one.high)),
            f"{one.better} is better" if one.better else "not shown",
            f"{one.count:,}",
        ]
        for one in evaluation.comparisons
        if (score := scores.get(one.score)) is not None
    ]


def _draw_distribution(evaluation: Evaluation, score: Score) -> Markup | None:
    """Return how a score is spread over the sentences, systems above each other."""
    rows = []
    for system in evaluation.all_systems:
        values = [
            value
            for spoken in system.spoken
            if spoken.sentence.kind is Kind.SENTENCE
            and math.isfinite(value := spoken.values.get(score.name, math.nan))
        ]
        figure = system.figures.get(score.name)
        if len(values) >= MIN_DOTS and figure is not None:
            rows.append(DotRow(system.label, values, figure.value, figure.low, figure.high))
    if len({value for row in rows for value in row.values}) < 2:
        return None
    said = ", ".join(f"{row.name} {score.format(row.middle)}" for row in rows)
    return draw_dots(rows, score.unit, f"{score.title} of each sentence; means: {said}")


def _render_sentence(
    evaluation: Evaluation,
    ranked: RankedSentence,
    spoken: Mapping[str, SpokenSentence],
    number: int,
) -> Markup:
    """Return a sentence with sound and picture of all that spoke it; its files are decoded."""
    sentence = ranked.sentence
    longest = max((one.seconds for one in spoken.values()), default=0.0)
    rows = [
        [
            score.name_with_unit,
            *(
                score.format(one.values[score.name]) if score.name in one.values else ""
                for one in spoken.values()
            ),
        ]
        for score in evaluation.scores
        if any(score.name in one.values for one in spoken.values())
    ]
    return render(
        "sentence.html",
        number=number,
        name=name_sentence(sentence),
        text=sentence.text,
        reasons=[
            (score, score.format(spoken[label].values[score.name]), label)
            for label, score in ranked.stands_out
        ],
        spoken=[
            _show_spoken(evaluation, label, one, f"sentence-{number}-{place}", longest)
            for place, (label, one) in enumerate(spoken.items())
        ],
        table_title=f"Values of {sentence.name}",
        labels=list(spoken),
        rows=rows,
    )


def _show_spoken(
    evaluation: Evaluation, label: str, spoken: SpokenSentence, identifier: str, longest: float
) -> dict[str, Any]:
    values = [
        (score.title, score.format(spoken.values[score.name]))
        for score in evaluation.scores
        if score.group in SHOWN_GROUPS and score.name in spoken.values
    ]
    media = _draw_media(spoken, f"{label}, {spoken.sentence.name}", identifier, longest)
    return {"label": label, "figures": values, **media, **_show_heard(spoken)}


def _show_heard(spoken: SpokenSentence) -> dict[str, Any]:
    texts = (spoken.sentence.text.casefold(), spoken.recognised.casefold())
    return {
        "phonemes": compare_heard(spoken.wanted.split(), spoken.heard.split()),
        "words": compare_heard(*map(_WORD.findall, texts)),
        "troubles": [f"{trouble.message}, {_name_times(trouble)}" for trouble in spoken.troubles],
    }


def _decode(spoken: SpokenSentence) -> tuple[Excerpt, Media] | None:
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


def _draw_media(
    spoken: SpokenSentence, name: str, identifier: str, longest: float
) -> dict[str, Any]:
    """Return spectrogram and player; all of a sentence's pictures have one scale of time."""
    decoded = _decode(spoken)
    if decoded is None:
        return {"spectrogram": None}
    excerpt, media = decoded
    end = excerpt.start_seconds + excerpt.seconds
    shares = [
        find_share(
            (max(one.start_seconds, excerpt.start_seconds), min(one.end_seconds, end)), excerpt
        )
        for one in spoken.troubles
        if one.end_seconds >= excerpt.start_seconds and one.start_seconds <= end
    ]
    messages = ", ".join(trouble.message for trouble in spoken.troubles)
    marked = f"; marked: {messages}" if messages else ""
    picture = draw_picture(media, identifier)
    return {
        "spectrogram": draw_spectrogram(media, picture, shares, name, marked),
        "times": draw_times(excerpt),
        "width": f"{100 * min(1.0, excerpt.seconds / longest):.0f}",
        "player": draw_player(media.audio, name, f"{identifier}-audio") if media.audio else "",
    }


def _name_times(trouble: Trouble) -> str:
    start, end = f"{trouble.start_seconds:.2f}", f"{trouble.end_seconds:.2f}"
    return f"at {start} s" if start == end else f"{start} to {end} s"


def _render_words(evaluation: Evaluation, room_bytes: int) -> Markup:
    """Return the table of words and letters; when the room is full they have no player."""
    found = find_spoken(evaluation, (Kind.WORD, Kind.LETTER))
    if not found:
        return Markup()
    labels = list(dict.fromkeys(label for spoken in found.values() for label in spoken))
    rows = [
        _render_word(labels, spoken, number, has_sound=False)
        for number, spoken in enumerate(found.values())
    ]
    room_bytes -= sum(len(row.encode()) for row in rows)
    is_full = False
    for number, spoken in enumerate(found.values()):
        row = _render_word(labels, spoken, number, has_sound=True)
        room_bytes -= len(row.encode()) - len(rows[number].encode())
        if room_bytes < 0:
            is_full = True
            break
        rows[number] = row
    return render("words.html", labels=labels, rows=rows, is_full=is_full)


def _render_word(
    labels: list[str], spoken: Mapping[str, SpokenSentence], number: int, *, has_sound: bool
) -> Markup:
    text = next(iter(spoken.values())).sentence.text
    cells: list[dict[str, Any] | None] = []
    for place, label in enumerate(labels):
        one = spoken.get(label)
        if one is None:
            cells.append(None)
            continue
        decoded = _decode(one) if has_sound else None
        audio = decoded[1].audio if decoded else None
        player = draw_player(audio, f"{label}, {text}", f"word-{number}-{place}") if audio else ""
        cells.append({"has_sound": has_sound, "player": player, **_show_heard(one)})
    return render("word.html", text=text, cells=cells)
