"""What a report comes to, as terminal and page both say it. Knows neither of the two."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from piper.progress import count_things
from piper.train.check.entries import Entry
from piper.train.check.findings import Finding, Rule, Severity, Verdict, group_by_rule
from piper.train.check.report import CheckReport
from piper.train.check.training import FRESH_HOURS

WARNINGS_NAMED = 3
"""Of the rules that only warn; those that stand in the way are all named."""


@dataclass(frozen=True)
class BrokenRule:
    """A rule, and what it found.

    Attributes:
        rule: Which.
        findings: The worst first.
        share: Of the recordings, 0 to 1; None where no finding is about a line.
    """

    rule: Rule
    findings: list[Finding]
    share: float | None


def find_broken_rules(report: CheckReport) -> list[BrokenRule]:
    """Return the rules that were broken, in the order of `group_by_rule`."""
    broken = []
    for rule, findings in group_by_rule(report.findings):
        lines = {finding.line for finding in findings if finding.line is not None}
        # A line that cannot be split into columns is no entry, so a share may go beyond the whole.
        share = min(1.0, len(lines) / max(1, len(report.entries))) if lines else None
        broken.append(BrokenRule(rule, findings, share))
    return broken


def describe_share(share: float | None) -> str:
    """Return a share in per cent, or nothing where there is none."""
    if share is None:
        return ""
    return "<0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def describe_counts(report: CheckReport) -> str:
    """Return how many findings there are of each severity: "3 errors, 1 warning"."""
    severities = [finding.rule.severity for finding in report.findings]
    counts = [(severities.count(severity), severity.value) for severity in Severity]
    return ", ".join(count_things(n, name) for n, name in counts if n) or "nothing found"


def describe_set(report: CheckReport) -> str:
    """Return how much there is: "620 recordings, 1.66 hours"."""
    text = count_things(len(report.entries), "recording")
    seconds = sum(measures.seconds for measures in report.audio.values())
    return f"{text}, {seconds / 3600:.2f} hours" if seconds else text


def list_next_steps(report: CheckReport) -> list[tuple[str, str]]:
    """Return what to do after the verdict: sentences, each with a command for a shell or none."""
    rules = [broken.rule for broken in find_broken_rules(report)]
    errors = [rule.name for rule in rules if rule.severity is Severity.ERROR]
    warnings = [rule.name for rule in rules if rule.severity is Severity.WARNING]
    review = _find_review_command(report)
    if report.verdict is Verdict.NOT_READY:
        subject = "1 rule stands" if len(errors) == 1 else f"{len(errors)} rules stand"
        sentence = (
            f"{subject} in the way: {', '.join(errors)}; mend what is named there, "
            "or have a copy mended by --fix OUT, then check again."
        )
        return [(sentence, ""), *([("Listen, and decide on a page:", review)] if review else [])]
    steps = []
    if report.verdict is Verdict.WARNINGS:
        named = ", ".join(warnings[:WARNINGS_NAMED])
        rest = len(warnings) - WARNINGS_NAMED
        more = f" and {rest} more" if rest > 0 else ""
        steps.append((f"Training can start; before it, look at {named}{more}:", review))
    else:
        steps.append(("Nothing stands in the way of training:", ""))
    if sum(measures.seconds for measures in report.audio.values()) < 3600 * FRESH_HOURS:
        warm = "Less than an hour is little: start from another voice, --model.warmstart=FILE."
        steps.append((warm, ""))
    return [*steps, ("", find_training_command(report) or "")]


def _find_review_command(report: CheckReport) -> str:
    """Return the command that opens what was found in lines; empty where there is no such."""
    serious = (Severity.ERROR, Severity.WARNING)
    lines = {entry.line for entry in report.entries}
    if not any(f.line in lines and f.rule.severity in serious for f in report.findings):
        return ""
    return shlex.join(["python", "-m", "piper.train", "review", str(report.folder)])


def describe_not_looked_at(report: CheckReport) -> str:
    """Return what the verdict says nothing of; empty where everything was looked at."""
    return f"Not looked at: {'; '.join(report.not_looked_at)}." if report.not_looked_at else ""


def find_training_command(report: CheckReport) -> str | None:
    """Return the command that trains, for a shell; None where the set is not ready."""
    if report.verdict is Verdict.NOT_READY:
        return None
    words = ["python", "-m", "piper.train", "fit", f"--data.dataset_dir={report.folder}"]
    speakers = {entry.speaker for entry in report.entries if entry.speaker is not None}
    if len(speakers) > 1:
        words.append(f"--model.num_speakers={len(speakers)}")
    return shlex.join(words)


def index_entries(report: CheckReport) -> dict[int, Entry]:
    """Return the entries by their lines."""
    return {entry.line: entry for entry in report.entries}
