"""The report as a page that opens without a network."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from markupsafe import Markup

from piper.files import replace_on_success
from piper.progress import count_things
from piper.train.check.entries import AudioMeasures, Entry
from piper.train.check.issues import BrokenRule, CheckReport, Issue, Severity, Verdict
from piper.train.check.rules_audio import (
    EDGE_SILENCE_SECONDS,
    LONG_SECONDS,
    MIN_SECONDS,
    NOISE,
    NOISE_DB,
    QUIET,
    QUIET_DB,
    START_SILENCE,
    TOO_LONG,
    TOO_SHORT,
)
from piper.train.check.terminal import (
    describe_counts,
    describe_not_looked_at,
    describe_set,
    describe_share,
    list_next_steps,
)
from piper.train.pages.document import (
    PAGE_BYTES,
    PLAYER_BYTES,
    render_report,
)
from piper.train.pages.drawings import (
    draw_histogram,
    draw_picture,
    draw_player,
    draw_spectrogram,
    draw_times,
    draw_wave,
    find_share,
    format_number,
)
from piper.train.pages.excerpts import Excerpt, Media, collect_media, drop_audio, find_excerpt

WORST_SHOWN = 5
OTHERS_LISTED = 200
"""Of a rule's issues, beside those that are shown; report.json has all."""
_VERDICT_CLASSES = {
    Verdict.NOT_READY: Severity.ERROR.value,
    Verdict.WARNINGS: Severity.WARNING.value,
    Verdict.READY: "ready",
}


def write_report_page(report: CheckReport, path: Path, *, budget_bytes: int = PAGE_BYTES) -> None:
    """Write `report.html`: one file with all that it shows, audio included.

    Args:
        budget_bytes: What the file may take. The worst recordings of all rules get audio first;
            those that come when the page is full are shown without, and the page says so.
    """
    entries = {entry.line: entry for entry in report.entries}
    broken = report.broken_rules
    worst = [_choose_worst(one)[0] for one in broken]
    # The worst of each rule, then the second of each.
    ranked = filter(None, chain.from_iterable(zip_longest(*worst)))
    excerpts = [found for issue in ranked if (found := _find_excerpt(entries, issue))]
    media = collect_media(dict.fromkeys(excerpts), budget_bytes)

    def render(media: dict[Excerpt, Media]) -> bytes:
        figures = _Figures(entries, media)
        return render_report(
            "check.html",
            f"Dataset check: {report.folder.name}",
            report=report,
            verdict_class=_VERDICT_CLASSES[report.verdict],
            next_steps=list_next_steps(report),
            not_looked_at=describe_not_looked_at(report),
            set=describe_set(report),
            counts=describe_counts(report),
            rules=[_show_rule(one, figures) for one in broken],
            charts=[_draw_distribution(one) for one in collect_distributions(report)],
            num_silent=figures.num_silent,
        )

    room = budget_bytes - len(render(drop_audio(media, -1))) - PLAYER_BYTES * len(media)
    page = render(drop_audio(media, room))
    with replace_on_success(path) as temporary:
        temporary.write_bytes(page)


class _Figures:
    """Shows issues and draws their recordings; one that comes again refers to the first."""

    def __init__(self, entries: Mapping[int, Entry], media: Mapping[Excerpt, Media]) -> None:
        self.num_silent = 0
        self._entries = entries
        self._media = media
        self._places: dict[Excerpt, tuple[str, str]] = {}

    def show(self, issue: Issue) -> dict[str, Any]:
        """Return what the template shows of an issue."""
        entry = self._entries.get(issue.line or 0)
        line = f"line {issue.line}" if issue.line is not None else ""
        excerpt = _find_excerpt(self._entries, issue)
        figure = None
        if entry and entry.audio and excerpt is not None and excerpt in self._media:
            figure = self._draw(excerpt, entry.audio, issue)
        parts = (issue.name, line, (entry and entry.speaker) or "")
        return {
            "title": " · ".join(part for part in parts if part),
            "message": issue.message,
            "text": entry.text if entry else "",
            "figure": figure,
            "is_broken": entry is not None and entry.audio_path is not None,
        }

    def _draw(self, excerpt: Excerpt, measures: AudioMeasures, issue: Issue) -> dict[str, Any]:
        media, span, name = self._media[excerpt], issue.span, issue.name
        is_first = excerpt not in self._places
        place = (f"recording-{len(self._places) + 1}", issue.rule.summary)
        identifier, section = self._places.setdefault(excerpt, place)
        self.num_silent += is_first and media.audio is None
        marked = f"; marked: {_name_seconds(*span)}" if span else ""
        shares = [find_share(span, excerpt)] if span else []
        per_second = len(measures.outline) / measures.seconds
        start = round(excerpt.start_seconds * per_second)
        outline = measures.outline[start : start + max(1, round(excerpt.seconds * per_second))]
        again = Markup('<use href="#{}"/>').format(identifier)
        picture = draw_picture(media, identifier) if is_first else again
        return {
            "identifier": identifier,
            "section": section,
            "is_silent": media.audio is None,
            "wave": draw_wave(outline, shares[0] if span else None, f"Waveform of {name}{marked}"),
            "spectrogram": draw_spectrogram(media, picture, shares, name, marked),
            "times": draw_times(excerpt),
            "player": draw_player(media.audio, name, f"{identifier}-audio")
            if media.audio and is_first
            else None,
            "caption": f"{_describe(excerpt, measures)}{marked}",
        }


def _describe(excerpt: Excerpt, measures: AudioMeasures) -> str:
    whole = f"{measures.seconds:.1f} s at {measures.sample_rate:,} Hz"
    if excerpt.seconds >= measures.seconds:
        return whole
    end = excerpt.start_seconds + excerpt.seconds
    return f"{_name_seconds(excerpt.start_seconds, end)} of {whole}"


def _name_seconds(start: float, end: float) -> str:
    return f"{start:.2f} to {end:.2f} s"


def _find_excerpt(entries: Mapping[int, Entry], issue: Issue) -> Excerpt | None:
    entry = entries.get(issue.line or 0)
    if entry is None or entry.audio_path is None or not entry.audio or not entry.audio.seconds > 0:
        return None
    return find_excerpt(entry.audio_path, entry.audio.seconds, issue.span)


def _choose_worst(broken: BrokenRule) -> tuple[list[Issue], list[Issue]]:
    """Return the issues to show, of different recordings and the worst first, and the others."""
    worst: dict[object, Issue] = {}
    others = []
    for issue in broken.issues:
        key = (issue.line, issue.name)
        if len(worst) < WORST_SHOWN and key not in worst:
            worst[key] = issue
        else:
            others.append(issue)
    return list(worst.values()), others


def _show_rule(broken: BrokenRule, figures: _Figures) -> dict[str, Any]:
    """Return what the template shows of a rule."""
    worst, others = _choose_worst(broken)
    count = count_things(len(broken.issues), "issue")
    if broken.share is not None:
        count += f", {describe_share(broken.share)} of the recordings"
    rest = len(others) - OTHERS_LISTED
    more = f"; {rest:,} beside are in report.json" if rest > 0 else ""
    listed = others[:OTHERS_LISTED]
    return {
        **vars(broken.rule),
        "num_issues": len(broken.issues),
        "share": describe_share(broken.share),
        "count": count,
        "worst": [figures.show(issue) for issue in worst],
        "more": f"{len(listed):,} more{more}",
        "table_title": f"More of {broken.rule.name}",
        "others": [
            ["" if one.line is None else str(one.line), one.name, one.message] for one in listed
        ],
    }


@dataclass(frozen=True)
class Distribution:
    """Values of one kind over a dataset, and thresholds by the names of their rules."""

    title: str
    unit: str
    values: list[float]
    limits: dict[str, float] = field(default_factory=dict)


def collect_distributions(report: CheckReport) -> list[Distribution]:
    """Return what can be drawn of a dataset; what was not measured is left out."""
    audio = report.audio.values()
    has_phonemes = any(entry.read for entry in report.entries)
    name = "Phonemes" if has_phonemes else "Characters"
    # Its thresholds follow each speaker's own pace, so there is no line to draw.
    rates = [
        len(entry.read.phonemes if entry.read else entry.text) / entry.audio.speech_seconds
        for entry in report.entries
        if entry.audio and (entry.read or not has_phonemes) and entry.audio.speech_seconds > 0
    ]
    found = [
        Distribution(
            "Length of the recordings",
            "s",
            [one.seconds for one in audio],
            {TOO_SHORT.name: MIN_SECONDS, TOO_LONG.name: LONG_SECONDS},
        ),
        Distribution(
            "Level of the loudest 50 ms",
            "dB of full scale",
            [one.loud_db for one in audio],
            {QUIET.name: QUIET_DB},
        ),
        Distribution(
            "Noise below the speech",
            "dB",
            [one.speech_db - one.floor_db for one in audio],
            {NOISE.name: NOISE_DB},
        ),
        Distribution(
            "Silence before the speech",
            "s",
            [one.start_silence_seconds for one in audio],
            {START_SILENCE.name: EDGE_SILENCE_SECONDS},
        ),
        Distribution(f"{name} a second of speech", f"{name.lower()} a second", rates),
    ]
    # What is no number (digital silence between the words) is not drawn.
    finite = [replace(one, values=list(filter(math.isfinite, one.values))) for one in found]
    return [one for one in finite if one.values]


def _draw_distribution(distribution: Distribution) -> dict[str, str]:
    values, unit, limits = distribution.values, distribution.unit, distribution.limits
    caption = (
        f"Recordings: {len(values):,}; median {format_number(statistics.median(values))}, "
        f"{format_number(min(values))} to {format_number(max(values))} {unit}."
    )
    if limits:
        named = ", ".join(f"{name} {format_number(limit)}" for name, limit in limits.items())
        caption += f" Thresholds, dashed where they are near: {named}."
    drawing = draw_histogram(values, unit, limits, f"{distribution.title}. {caption}")
    return {"title": distribution.title, "drawing": drawing, "caption": caption}
