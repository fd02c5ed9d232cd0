"""Rules, and what they find. Knows nothing of how anything is found or shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters; in falling order."""

    ERROR = "error"
    """Training would refuse the row, or learn something wrong from it."""
    WARNING = "warning"
    """Worth a look; the voice will do without a mend."""
    NOTE = "note"
    """Good to know."""


class Group(StrEnum):
    """What a rule looks at; also the order of the report."""

    STRUCTURE = "structure"
    AUDIO = "audio"
    TEXT = "text"
    MATCH = "match"
    SET = "set"


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong.

    Attributes:
        name: Words joined by hyphens, as scripts and `--ignore` have it.
        group: What it looks at.
        severity: How much it matters.
        summary: What is wrong, a phrase: "Silence before the speech".
        threshold: When it is found, with its figures: "more than 1.5 s".
        advice: What to do, a sentence.
    """

    name: str
    group: Group
    severity: Severity
    summary: str
    threshold: str
    advice: str


def create_rule(
    group: Group, name: str, severity: Severity, summary: str, threshold: str, advice: str
) -> Rule:
    """Return a rule; the group comes first, since a module has rules of one group alone."""
    return Rule(name, group, severity, summary, threshold, advice)


@dataclass(frozen=True)
class Finding:
    """A rule that was broken, and where.

    Attributes:
        rule: Which.
        message: What was found there, with figures: "2.3 s of silence at the start".
        line: Line of the CSV, counted from 1; None where it is about no line.
        name: The recording's name as the CSV has it; empty where it is about none.
        score: How bad, to show the worst first; comparable within a rule only.
        span: Seconds of the recording that it is about.
        likely_line: The line whose text fits instead, where that was found.
    """

    rule: Rule
    message: str
    line: int | None = None
    name: str = ""
    score: float = 0.0
    span: tuple[float, float] | None = None
    likely_line: int | None = None


class Verdict(StrEnum):
    """What becomes of a dataset."""

    READY = "ready"
    WARNINGS = "ready with warnings"
    NOT_READY = "not ready"


def judge(findings: Iterable[Finding]) -> Verdict:
    """Return the verdict on a dataset with these findings."""
    severities = {finding.rule.severity for finding in findings}
    if Severity.ERROR in severities:
        return Verdict.NOT_READY
    return Verdict.WARNINGS if Severity.WARNING in severities else Verdict.READY


def group_by_rule(findings: Iterable[Finding]) -> list[tuple[Rule, list[Finding]]]:
    """Return the findings of each rule, the worst first; rules by severity, group and number."""
    found: dict[Rule, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.rule, []).append(finding)
    severities, groups = list(Severity), list(Group)
    ranked = sorted(
        found.items(),
        key=lambda item: (
            severities.index(item[0].severity),
            groups.index(item[0].group),
            -len(item[1]),
            item[0].name,
        ),
    )
    return [(rule, sort_worst_first(some)) for rule, some in ranked]


def sort_worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Return a rule's findings, the worst first, then in the order of the CSV."""
    return sorted(findings, key=lambda finding: (-finding.score, finding.line or 0))
