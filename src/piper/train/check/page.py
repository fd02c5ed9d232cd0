"""The report as files: a page that opens without a network, and JSON."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from piper.files import replace_on_success
from piper.progress import count_things
from piper.train.check.entries import AudioMeasures, Entry
from piper.train.check.findings import CheckReport, Finding, Severity, Verdict
from piper.train.check.rules_audio import (
    EDGE_SILENCE_SECONDS,
    LEAST_SECONDS,
    LONG_SECONDS,
    NOISE,
    NOISE_DB,
    QUIET,
    QUIET_DB,
    START_SILENCE,
    TOO_LONG,
    TOO_SHORT,
    speech_seconds,
)
from piper.train.check.terminal import (
    BrokenRule,
    describe_counts,
    describe_not_looked_at,
    describe_set,
    describe_share,
    find_broken_rules,
    index_entries,
    list_next_steps,
)
from piper.train.pages.document import (
    PAGE_BYTES,
    PLAYER_BYTES,
    draw_document,
    draw_html_table,
    draw_table,
    escape,
    fold,
    write_json,
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


@dataclass
class RecordingFigures:
    """Draws recordings; what is shown a second time refers to the first.

    Attributes:
        media: Pictures and audio by excerpt.
        num_silent: How many are shown without audio, since the page is full.
    """

    media: Mapping[Excerpt, Media]
    num_silent: int = 0
    _places: dict[Excerpt, tuple[str, str]] = field(default_factory=dict)

    def draw(
        self,
        excerpt: Excerpt,
        measures: AudioMeasures,
        span: tuple[float, float] | None,
        *,
        name: str,
        section: str,
    ) -> str:
        """Return a figure of an excerpt, which is in `media`.

        Args:
            excerpt: What to show.
            measures: Of the whole recording.
            span: What to mark, in seconds of the whole recording.
            name: Of the recording.
            section: Title of the section, to which a second figure points back.
        """
        media = self.media[excerpt]
        first = self._places.get(excerpt)
        if first is None:
            self._places[excerpt] = (f"recording-{len(self._places) + 1}", section)
        identifier = self._places[excerpt][0]
        marked = f"; marked: {_name_seconds(*span)}" if span else ""
        share = find_share(span, excerpt) if span else None
        outline = _cut_outline(measures, excerpt)
        wave = draw_wave(outline, share, f"Waveform of {name}{marked}")
        picture = draw_picture(media, identifier) if first is None else _refer(identifier)
        shares = [share] if share else []
        return (
            f"<figure>\n{wave}\n"
            f"{draw_spectrogram(media, picture, shares, name, marked)}"
            f"{draw_times(excerpt)}{self._draw_audio(media, identifier, name, first)}"
            f"<figcaption>{_describe(excerpt, measures)}{marked}</figcaption>\n</figure>\n"
        )

    def _draw_audio(
        self, media: Media, identifier: str, name: str, first: tuple[str, str] | None
    ) -> str:
        if media.audio is None:
            self.num_silent += first is None
            return '<p class="faint">Without audio, since the page is full.</p>\n'
        if first is not None:
            return (
                f'<p><a href="#{identifier}-audio">Listen to it above</a>, '
                f"at “{escape(first[1])}”.</p>\n"
            )
        return draw_player(media.audio, name, f"{identifier}-audio")


def _refer(identifier: str) -> str:
    return f'<use href="#{identifier}"/>'


def _describe(excerpt: Excerpt, measures: AudioMeasures) -> str:
    whole = f"{measures.seconds:.1f} s at {measures.sample_rate:,} Hz"
    if excerpt.seconds >= measures.seconds:
        return whole
    end = excerpt.start_seconds + excerpt.seconds
    return f"{_name_seconds(excerpt.start_seconds, end)} of {whole}"


def _name_seconds(start: float, end: float) -> str:
    return f"{start:.2f} to {end:.2f} s"


def _cut_outline(measures: AudioMeasures, excerpt: Excerpt) -> tuple[float, ...]:
    per_second = len(measures.outline) / measures.seconds
    start = round(excerpt.start_seconds * per_second)
    return measures.outline[start : start + max(1, round(excerpt.seconds * per_second))]


WORST_SHOWN = 5
OTHERS_LISTED = 200
"""Of a rule's findings, beside those that are shown; report.json has all."""


def find_worst(broken: BrokenRule) -> tuple[list[Finding], list[Finding]]:
    """Return the findings to show, of different recordings and the worst first, and the others."""
    worst: dict[object, Finding] = {}
    others = []
    for finding in broken.findings:
        key = (finding.line, finding.name)
        if len(worst) < WORST_SHOWN and key not in worst:
            worst[key] = finding
        else:
            others.append(finding)
    return list(worst.values()), others


def collect_excerpts(
    report: CheckReport, entries: dict[int, Entry], rules: list[BrokenRule]
) -> list[Excerpt]:
    """Return what is to be seen and heard: the worst of each rule, then the second of each."""
    worst = [find_worst(broken)[0] for broken in rules]
    found = [
        _find_excerpt(report, entries, findings[rank])
        for rank in range(WORST_SHOWN)
        for findings in worst
        if rank < len(findings)
    ]
    return list(dict.fromkeys(excerpt for excerpt in found if excerpt))


def find_anchor(broken: BrokenRule) -> str:
    """Return the id of a rule's section."""
    return f"rule-{broken.rule.name}"


def draw_rule(
    report: CheckReport, entries: dict[int, Entry], broken: BrokenRule, figures: RecordingFigures
) -> str:
    """Return the section of one rule."""
    rule = broken.rule
    worst, others = find_worst(broken)
    count = count_things(len(broken.findings), "finding")
    if broken.share is not None:
        count += f", {describe_share(broken.share)} of the recordings"
    parts = [
        f'<section class="{rule.severity.value}" id="{escape(find_anchor(broken))}">\n'
        f"<h3>{escape(rule.summary)}</h3>\n"
        f'<dl>\n<dt>Rule</dt><dd><span class="kind">{rule.severity.value}</span> '
        f"<code>{escape(rule.name)}</code></dd>\n"
        f"<dt>Found at</dt><dd>{escape(rule.threshold)}</dd>\n"
        f"<dt>Count</dt><dd>{escape(count)}</dd>\n"
        f"<dt>What to do</dt><dd>{escape(rule.advice)}</dd>\n</dl>\n"
    ]
    parts += [_draw_finding(report, entries, finding, figures) for finding in worst]
    if others:
        listed = others[:OTHERS_LISTED]
        rest = len(others) - len(listed)
        rows = [[_name_line(other), other.name, other.message] for other in listed]
        table = draw_table(f"More of {rule.name}", ["line", "recording", "what"], rows)
        more = f"; {rest:,} beside are in report.json" if rest else ""
        parts.append(fold(f"{len(listed):,} more{more}", table))
    return "".join(parts) + "</section>\n"


def _draw_finding(
    report: CheckReport, entries: dict[int, Entry], finding: Finding, figures: RecordingFigures
) -> str:
    entry = None if finding.line is None else entries.get(finding.line)
    line = f"line {finding.line}" if finding.line is not None else ""
    speaker = entry.speaker or "" if entry else ""
    title = " · ".join(part for part in (finding.name, line, speaker) if part)
    parts = ["<article>\n"]
    if title:
        parts.append(f'<h4 dir="auto">{escape(title)}</h4>\n')
    parts.append(f'<p dir="auto">{escape(finding.message)}</p>\n')
    if entry and entry.text:
        parts.append(f'<blockquote dir="auto">{escape(entry.text)}</blockquote>\n')
    if entry and entry.audio_path:
        excerpt = _find_excerpt(report, entries, finding)
        if excerpt is not None and excerpt in figures.media:
            measures = report.audio[excerpt.path]
            summary = finding.rule.summary
            parts.append(
                figures.draw(excerpt, measures, finding.span, name=entry.name, section=summary)
            )
        else:
            parts.append('<p class="faint">The recording cannot be decoded.</p>\n')
    return "".join(parts) + "</article>\n"


def _name_line(finding: Finding) -> str:
    return "" if finding.line is None else str(finding.line)


def _find_excerpt(
    report: CheckReport, entries: dict[int, Entry], finding: Finding
) -> Excerpt | None:
    entry = None if finding.line is None else entries.get(finding.line)
    if entry is None or entry.audio_path is None:
        return None
    measures = report.audio.get(entry.audio_path)
    if measures is None or not measures.seconds > 0:
        return None
    return find_excerpt(entry.audio_path, measures.seconds, finding.span)


@dataclass(frozen=True)
class Distribution:
    """Values of one kind, over a dataset.

    Attributes:
        title: What it is.
        unit: Of the values.
        values: Finite ones.
        limits: Thresholds by the names of their rules.
    """

    title: str
    unit: str
    values: list[float]
    limits: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _AudioKind:
    title: str
    unit: str
    measure: Callable[[AudioMeasures], float]
    limits: dict[str, float]


_AUDIO_KINDS = (
    _AudioKind(
        "Length of the recordings",
        "s",
        lambda audio: audio.seconds,
        {TOO_SHORT.name: LEAST_SECONDS, TOO_LONG.name: LONG_SECONDS},
    ),
    _AudioKind(
        "Level of the loudest 50 ms",
        "dB of full scale",
        lambda audio: audio.loud_db,
        {QUIET.name: QUIET_DB},
    ),
    _AudioKind(
        "Noise below the speech",
        "dB",
        lambda audio: audio.speech_db - audio.floor_db,
        {NOISE.name: NOISE_DB},
    ),
    _AudioKind(
        "Silence before the speech",
        "s",
        lambda audio: audio.start_silence_seconds,
        {START_SILENCE.name: EDGE_SILENCE_SECONDS},
    ),
)


def find_distributions(report: CheckReport) -> list[Distribution]:
    """Return what can be drawn of a dataset; what was not measured is left out."""
    found = [
        Distribution(
            kind.title,
            kind.unit,
            _keep_finite(map(kind.measure, report.audio.values())),
            kind.limits,
        )
        for kind in _AUDIO_KINDS
    ]
    name = "Phonemes" if report.texts else "Characters"
    # Its thresholds follow each speaker's own pace, so there is no line to draw.
    rates = [rate for entry in report.entries if (rate := _find_rate(report, entry)) is not None]
    found.append(
        Distribution(f"{name} a second of speech", f"{name.lower()} a second", _keep_finite(rates))
    )
    return [distribution for distribution in found if distribution.values]


def _keep_finite(values: Iterable[float]) -> list[float]:
    return [float(value) for value in values if math.isfinite(value)]


def _find_rate(report: CheckReport, entry: Entry) -> float | None:
    measures = report.audio.get(entry.audio_path) if entry.audio_path else None
    if measures is None:
        return None
    seconds = speech_seconds(measures)
    if not report.texts:
        count = len(entry.text)
    elif entry.line in report.texts:
        count = len(report.texts[entry.line].phonemes)
    else:
        return None
    return count / seconds if seconds > 0 else None


LONG_TABLE_ROWS = 20
"""A table above this is folded."""
_VERDICT_CLASSES = {
    Verdict.NOT_READY: Severity.ERROR.value,
    Verdict.WARNINGS: Severity.WARNING.value,
    Verdict.READY: "ready",
}


def write_report_page(report: CheckReport, path: Path, *, budget_bytes: int = PAGE_BYTES) -> None:
    """Write `report.html`: one file with all that it shows, audio included.

    Args:
        report: What was found; its recordings are decoded again, at most five of each rule.
        path: The file.
        budget_bytes: What the file may take. The worst recordings of all rules get audio first;
            those that come when the page is full are shown without, and the page says so.

    Raises:
        OSError: The file cannot be written.
    """
    entries = index_entries(report)
    media = collect_media(
        collect_excerpts(report, entries, find_broken_rules(report)), budget_bytes
    )
    silent = drop_audio(media, -1)
    room = budget_bytes - len(_draw_page(report, silent)) - PLAYER_BYTES * len(media)
    page = _draw_page(report, drop_audio(media, room))
    with replace_on_success(path) as temporary:
        temporary.write_bytes(page)


def write_report_json(report: CheckReport, path: Path) -> None:
    """Write `report.json`: `CheckReport.to_dict`, UTF-8.

    Raises:
        OSError: The file cannot be written.
    """
    write_json(report.to_dict(), path)


def _draw_page(report: CheckReport, media: dict[Excerpt, Media]) -> bytes:
    broken = find_broken_rules(report)
    parts = [
        _draw_verdict(report),
        _draw_broken(broken),
        _draw_facts(report),
        _draw_distributions(report),
        _draw_details(report, broken, media),
    ]
    return draw_document(f"Dataset check: {report.folder.name}", "".join(parts))


def _draw_verdict(report: CheckReport) -> str:
    shown = "".join(
        (f"<p>{escape(sentence)}</p>\n" if sentence else "")
        + (f"<pre><code>{escape(command)}</code></pre>\n" if command else "")
        for sentence, command in list_next_steps(report)
    )
    return (
        f'<div class="verdict {_VERDICT_CLASSES[report.verdict]}">\n'
        f"<p><strong>{report.verdict.value.capitalize()}</strong></p>\n"
        f"{shown}"
        f"<p>{escape(describe_not_looked_at(report))}</p>\n"
        f'<p class="faint">{escape(describe_set(report))}; {escape(describe_counts(report))}. '
        f"<code>{escape(str(report.folder))}</code></p>\n</div>\n"
    )


def _draw_broken(broken: list[BrokenRule]) -> str:
    if not broken:
        return ""
    rows = []
    for item in broken:
        severity = item.rule.severity.value
        rows.append(
            [
                f'<span class="kind {severity}">{severity}</span>',
                f'<a href="#{escape(find_anchor(item))}">{escape(item.rule.summary)}</a>',
                f"{len(item.findings):,}",
                escape(describe_share(item.share)),
            ]
        )
    heads = ["severity", "what", "count", "share"]
    return f"<h2>What was found</h2>\n{draw_html_table('What was found', heads, rows)}"


def _draw_facts(report: CheckReport) -> str:
    parts = ["<h2>Facts</h2>\n"] if report.facts or report.tables else []
    for title, facts in report.facts.items():
        items = "".join(
            f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in facts.items()
        )
        parts.append(f"<h3>{escape(title)}</h3>\n<dl>\n{items}</dl>\n")
    for title, heads, rows in report.tables:
        table = draw_table(title, heads, rows)
        if len(rows) > LONG_TABLE_ROWS:
            table = fold(count_things(len(rows), "row"), table)
        parts.append(f"<h3>{escape(title)}</h3>\n{table}")
    return "".join(parts)


def _draw_distributions(report: CheckReport) -> str:
    figures = [_draw_distribution(distribution) for distribution in find_distributions(report)]
    if not figures:
        return ""
    return f'<h2>Distributions</h2>\n<div class="charts">\n{"".join(figures)}</div>\n'


def _draw_distribution(distribution: Distribution) -> str:
    values, unit, limits = distribution.values, distribution.unit, distribution.limits
    caption = (
        f"Recordings: {len(values):,}; median {format_number(statistics.median(values))}, "
        f"{format_number(min(values))} to {format_number(max(values))} {unit}."
    )
    if limits:
        named = ", ".join(f"{name} {format_number(limit)}" for name, limit in limits.items())
        caption += f" Thresholds, dashed where they are near: {named}."
    drawing = draw_histogram(values, unit, limits, f"{distribution.title}. {caption}")
    return (
        f"<div>\n<h3>{escape(distribution.title)}</h3>\n<figure>\n{drawing}\n"
        f"<figcaption>{escape(caption)}</figcaption>\n</figure>\n</div>\n"
    )


def _draw_details(
    report: CheckReport, broken: list[BrokenRule], media: dict[Excerpt, Media]
) -> str:
    if not broken:
        return ""
    figures = RecordingFigures(media)
    entries = index_entries(report)
    sections = "".join(draw_rule(report, entries, item, figures) for item in broken)
    said = ""
    if figures.num_silent:
        said = (
            f"<p>Without audio: {count_things(figures.num_silent, 'recording')} of those below, "
            "since the page would grow too large. They lie in the dataset's folder.</p>\n"
        )
    return f"<h2>Findings, the worst recordings of each rule</h2>\n{said}{sections}"
