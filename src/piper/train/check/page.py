"""The report as files: a page that opens without a network, and JSON. Knows no rules of its own."""

from __future__ import annotations

import statistics
from pathlib import Path

from piper.atomic import replace_on_success
from piper.progress import count_things
from piper.train.check.distributions import Distribution, find_distributions
from piper.train.check.findings import Severity, Verdict
from piper.train.check.outcome import (
    BrokenRule,
    describe_counts,
    describe_not_looked_at,
    describe_set,
    describe_share,
    find_broken_rules,
    index_entries,
    list_next_steps,
)
from piper.train.check.page_recordings import RecordingFigures
from piper.train.check.page_rules import collect_excerpts, draw_rule, find_anchor
from piper.train.check.report import CheckReport
from piper.train.pages.document import PAGE_BYTES, PLAYER_BYTES, draw_document, write_json
from piper.train.pages.drawings import draw_histogram, format_number
from piper.train.pages.excerpts import Excerpt, Media, collect_media, drop_audio
from piper.train.pages.parts import draw_html_table, draw_table, escape, fold

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
