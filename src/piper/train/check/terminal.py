"""A report as text for a terminal. Knows no files, and does not print."""

from __future__ import annotations

import textwrap
import unicodedata

from piper.messages import translate
from piper.train.check.findings import Finding, Severity, Verdict
from piper.train.check.outcome import (
    BrokenRule,
    describe_counts,
    describe_not_looked_at,
    describe_set,
    describe_share,
    find_broken_rules,
    list_next_steps,
)
from piper.train.check.report import CheckReport

MIN_EXAMPLE_COLUMNS = 40
"""Below this, an example gets a line of its own: it is a sentence with figures."""
FACT_LINES = 2
"""What a group of facts may take; the page has all of them."""
GAP = "  "
_COLOURS = {
    Severity.ERROR: "31",
    Severity.WARNING: "33",
    Severity.NOTE: "36",
    Verdict.NOT_READY: "1;31",
    Verdict.WARNINGS: "1;33",
    Verdict.READY: "1;32",
}
"""Codes of ECMA-48, `Select Graphic Rendition`."""


def report_to_text(report: CheckReport, columns: int = 80, *, has_colours: bool = False) -> str:
    """Return what the check prints: facts, the broken rules, the verdict and what to do next.

    No line is wider than `columns` (letters of East Asia count two); only the commands
    are never cut, since they are there to be copied. Signs that cannot be printed are shown as `�`.

    Args:
        report: What was found.
        columns: The terminal's width, at least 20.
        has_colours: Whether severities and the verdict are coloured.
    """
    columns = max(20, columns)
    lines = [_cut(f"{translate(describe_set(report))} {translate('in')} {report.folder}", columns)]
    for title, facts in report.facts.items():
        lines += _describe_facts(title, facts, columns)
    broken = find_broken_rules(report)
    if broken:
        lines += ["", *_draw_table(broken, columns, has_colours)]
    lines += ["", *_draw_verdict(report, columns, has_colours)]
    return "\n".join(lines)


def _describe_facts(title: str, facts: dict[str, str], columns: int) -> list[str]:
    told = (f"{translate(name)} {translate(value)}" for name, value in facts.items())
    text = _clean(f"{translate(title)}: " + "; ".join(told))
    lines = textwrap.wrap(text, columns, subsequent_indent=GAP)
    if len(lines) > FACT_LINES:
        rest = " ".join(line.strip() for line in lines[FACT_LINES - 1 :])
        lines[FACT_LINES - 1 :] = [GAP + rest]
    return [_cut(line, columns) for line in lines]


def _draw_table(broken: list[BrokenRule], columns: int, has_colours: bool) -> list[str]:
    severities = [translate(item.rule.severity.value) for item in broken]
    heads = [translate(head) for head in ("severity", "rule", "count", "share")]
    counts = [f"{len(item.findings):,}" for item in broken]
    shares = [describe_share(item.share) for item in broken]
    widths = [
        _widest(heads[0], severities),
        _widest(heads[1], [item.rule.name for item in broken]),
        _widest(heads[2], counts),
        _widest(heads[3], shares),
    ]
    others = widths[0] + widths[2] + widths[3] + 3 * len(GAP)
    widths[1] = max(4, min(widths[1], columns - others))
    room = columns - sum(widths) - 4 * len(GAP)
    is_wide = room >= MIN_EXAMPLE_COLUMNS
    head = _draw_row(heads, widths)
    lines = [_cut(head + GAP + translate("example") if is_wide else head, columns)]
    for item, severity, count, share in zip(broken, severities, counts, shares, strict=True):
        row = _cut(_draw_row([severity, item.rule.name, count, share], widths), columns)
        example = _describe_example(item.findings[0])
        if is_wide:
            row += GAP + _cut(example, room)
        if has_colours:
            row = _colour(severity, item.rule.severity) + row[len(severity) :]
        lines.append(row.rstrip())
        if not is_wide:
            lines.append(GAP + _cut(example, columns - len(GAP)))
    return lines


def _widest(head: str, cells: list[str]) -> int:
    return max(map(_measure, [head, *cells]))


def _draw_row(cells: list[str], widths: list[int]) -> str:
    severity, rule, count, share = cells
    return GAP.join(
        [
            _pad(severity, widths[0]),
            _pad(_cut(rule, widths[1]), widths[1]),
            count.rjust(widths[2]),
            share.rjust(widths[3]),
        ]
    )


def _describe_example(finding: Finding) -> str:
    place = finding.name if finding.line is None else f"{translate('line')} {finding.line}"
    message = translate(finding.message)
    return f"{place}: {message}" if place else message


def _draw_verdict(report: CheckReport, columns: int, has_colours: bool) -> list[str]:
    verdict = _cut(
        f"{translate('Verdict:')} {translate(report.verdict.value)} "
        f"({translate(describe_counts(report))})",
        columns,
    )
    lines = [_colour(verdict, report.verdict) if has_colours else verdict]
    for sentence, command in ((describe_not_looked_at(report), ""), *list_next_steps(report)):
        # An option is not broken at its hyphens: it is to be copied.
        wrapped = textwrap.wrap(translate(sentence), columns, break_on_hyphens=False)
        lines += [_cut(line, columns) for line in wrapped]
        lines += [GAP + _clean(command)] if command else []
    return lines


def _colour(text: str, kind: Severity | Verdict) -> str:
    return f"\033[{_COLOURS[kind]}m{text}\033[0m"


def _clean(text: str) -> str:
    # A name from a disk or a text from a CSV may hold line ends, escapes and lone surrogates.
    return "".join(
        sign if sign.isprintable() else " " if sign.isspace() else "\ufffd" for sign in text
    )


def _cut(text: str, columns: int) -> str:
    """Return the text, or as much of it as fits with `…` at the end."""
    text = _clean(text)
    if _measure(text) <= columns:
        return text
    kept, used = [], 1
    for sign in text:
        used += _measure(sign)
        if used > columns:
            break
        kept.append(sign)
    return "".join(kept).rstrip() + "…"


def _pad(text: str, columns: int) -> str:
    return text + " " * (columns - _measure(text))


def _measure(text: str) -> int:
    """Return how many columns a terminal takes for a text (UAX #11)."""
    columns = 0
    for sign in text:
        if unicodedata.combining(sign) == 0:
            columns += 2 if unicodedata.east_asian_width(sign) in "WF" else 1
    return columns
