"""A report as text for a terminal."""

from __future__ import annotations

import shlex
import textwrap
import unicodedata
from itertools import accumulate

from piper.errors import name_some
from piper.messages import translate
from piper.progress import count_things
from piper.train.check.issues import BrokenRule, CheckReport, Issue, Severity, Verdict
from piper.train.check.training import FRESH_HOURS
from piper.train.presets import DEFAULT_QUALITY, QUICK

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


def describe_share(share: float | None) -> str:
    """Return a share in per cent, or nothing where there is none."""
    if share is None:
        return ""
    return "<0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def describe_counts(report: CheckReport) -> str:
    """Return how many issues there are of each severity: "3 errors, 1 warning"."""
    severities = [issue.rule.severity for issue in report.issues]
    counts = [(severities.count(severity), severity.value) for severity in Severity]
    return ", ".join(count_things(n, name) for n, name in counts if n) or "nothing found"


def describe_set(report: CheckReport) -> str:
    """Return how much there is: "620 recordings, 1.66 hours"."""
    text = count_things(len(report.entries), "recording")
    seconds = sum(measures.seconds for measures in report.audio.values())
    return f"{text}, {seconds / 3600:.2f} hours" if seconds else text


def list_next_steps(report: CheckReport) -> list[tuple[str, str]]:
    """Return what to do after the verdict: sentences, each with a command for a shell or none."""
    names: dict[Severity, list[str]] = {severity: [] for severity in Severity}
    for broken in report.broken_rules:
        names[broken.rule.severity].append(broken.rule.name)
    errors, warnings = names[Severity.ERROR], names[Severity.WARNING]
    lines = {entry.line for entry in report.entries}
    serious = (Severity.ERROR, Severity.WARNING)
    can_review = any(f.line in lines and f.rule.severity in serious for f in report.issues)
    command = ["python", "-m", "piper.train"]
    review = shlex.join([*command, "review", str(report.folder)]) if can_review else ""
    if errors:
        subject = "1 rule stands" if len(errors) == 1 else f"{len(errors)} rules stand"
        sentence = (
            f"{subject} in the way: {', '.join(errors)}; correct what is named there, "
            "or have a copy corrected by --fix OUT, then check again."
        )
        return [(sentence, ""), *([("Listen, and decide on a page:", review)] if review else [])]
    steps = []
    if warnings:
        named = name_some(warnings, 3)
        steps.append((f"Training can start; before it, look at {named}:", review))
    else:
        steps.append(("Nothing stands in the way of training:", ""))
    preset = report.facts.get("Training", {}).get("preset", "").partition(",")[0]
    seconds = sum(measures.seconds for measures in report.audio.values())
    if preset != QUICK and seconds < 3600 * FRESH_HOURS:
        warm = "Less than an hour is little: start from another voice, --model.warmstart=FILE."
        steps.append((warm, ""))
    command += ["fit", f"--data.dataset_dir={report.folder}"]
    if preset not in ("", DEFAULT_QUALITY):
        command.append(f"--model.quality={preset}")
    speakers = {entry.speaker for entry in report.entries if entry.speaker is not None}
    if len(speakers) > 1:
        command.append(f"--model.num_speakers={len(speakers)}")
    return [*steps, ("", shlex.join(command))]


def describe_not_looked_at(report: CheckReport) -> str:
    """Return what the verdict says nothing of; empty where everything was looked at."""
    return f"Not looked at: {'; '.join(report.not_looked_at)}." if report.not_looked_at else ""


def report_to_text(report: CheckReport, columns: int = 80, *, has_colours: bool = False) -> str:
    """Return what the check prints: facts, the broken rules, the verdict and what to do next.

    No line is wider than `columns` (letters of East Asia count two); only the commands
    are never cut, since they are there to be copied. Signs that cannot be printed are shown as `�`.

    Args:
        columns: The terminal's width, at least 20.
    """
    columns = max(20, columns)
    lines = [_cut(f"{translate(describe_set(report))} {translate('in')} {report.folder}", columns)]
    for title, facts in report.facts.items():
        lines += _describe_facts(title, facts, columns)
    broken = report.broken_rules
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
    heads = [translate(head) for head in ("severity", "rule", "count", "share")]
    rows = [
        [
            translate(one.rule.severity.value),
            one.rule.name,
            f"{len(one.issues):,}",
            describe_share(one.share),
        ]
        for one in broken
    ]
    widths = [max(map(_measure, cells)) for cells in zip(heads, *rows, strict=True)]
    others = widths[0] + widths[2] + widths[3] + 3 * len(GAP)
    widths[1] = max(4, min(widths[1], columns - others))
    room = columns - sum(widths) - 4 * len(GAP)
    is_wide = room >= MIN_EXAMPLE_COLUMNS
    head = _draw_row(heads, widths)
    lines = [_cut(head + GAP + translate("example") if is_wide else head, columns)]
    for one, cells in zip(broken, rows, strict=True):
        row = _cut(_draw_row(cells, widths), columns)
        example = _describe_example(one.issues[0])
        if is_wide:
            row += GAP + _cut(example, room)
        if has_colours:
            row = _colour(cells[0], one.rule.severity) + row[len(cells[0]) :]
        lines.append(row.rstrip())
        if not is_wide:
            lines.append(GAP + _cut(example, columns - len(GAP)))
    return lines


def _draw_row(cells: list[str], widths: list[int]) -> str:
    severity, rule, count, share = cells
    left = [_pad(severity, widths[0]), _pad(_cut(rule, widths[1]), widths[1])]
    return GAP.join([*left, count.rjust(widths[2]), share.rjust(widths[3])])


def _describe_example(issue: Issue) -> str:
    place = issue.name if issue.line is None else f"{translate('line')} {issue.line}"
    message = translate(issue.message)
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
    widths = accumulate(map(_measure, text), initial=1)
    fitting = sum(width <= columns for width in widths) - 1
    return text[: max(0, fitting)].rstrip() + "…"


def _pad(text: str, columns: int) -> str:
    return text + " " * (columns - _measure(text))


def _measure(text: str) -> int:
    """Return how many columns a terminal takes for a text (UAX #11)."""
    spaced = (sign for sign in text if unicodedata.combining(sign) == 0)
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in spaced)
