"""Each broken rule with its worst findings, as HTML. Knows no other part of the page."""

from __future__ import annotations

from piper.progress import count_things
from piper.train.check.entries import Entry
from piper.train.check.findings import Finding
from piper.train.check.outcome import BrokenRule, describe_share
from piper.train.check.page_recordings import RecordingFigures
from piper.train.check.report import CheckReport
from piper.train.pages.excerpts import Excerpt, find_excerpt
from piper.train.pages.parts import draw_table, escape, fold

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
