"""Rules, the issues that they find in a dataset, and the report of a check."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from piper.train.check.entries import AudioMeasures, Entry


class Severity(StrEnum):
    """How much an issue matters; in falling order."""

    ERROR = "error"
    """Training would refuse the row, or learn something wrong from it."""
    WARNING = "warning"
    """Worth a look; the voice will do without a fix."""
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
        summary: What is wrong, a phrase: "Silence before the speech".
        threshold: When it is found, with its figures: "more than 1.5 s".
    """

    group: Group
    severity: Severity
    name: str
    summary: str
    threshold: str
    advice: str

    def at(
        self,
        entry: Entry,
        message: str,
        score: float = 0.0,
        span: tuple[float, float] | None = None,
        likely_line: int | None = None,
    ) -> Issue:
        """Return the issue of a line; see `Issue`."""
        return Issue(self, message, entry.line, entry.name, score, span, likely_line)


def rules_of(group: Group) -> tuple[partial[Rule], partial[Rule], partial[Rule]]:
    """Return what makes a group's rules: those of errors, of warnings, of notes."""
    error, warning, note = (partial(Rule, group, severity) for severity in Severity)
    return error, warning, note


@dataclass(frozen=True)
class Issue:
    """A rule that was broken, and where.

    Attributes:
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


@dataclass(frozen=True)
class BrokenRule:
    """A rule and its issues, the worst first.

    Attributes:
        share: Of the recordings, 0 to 1; None where no issue is about a line.
    """

    rule: Rule
    issues: list[Issue]
    share: float | None


RULE_FIELDS = ("group", "severity", "summary", "threshold", "advice")
ISSUE_FIELDS = ("line", "name", "message", "span", "likely_line")


@dataclass
class CheckReport:
    """The result of a check.

    Attributes:
        facts: What is good to know of the set: a title, and values by their names, in the order
            they are shown in.
        tables: Tables of the set: a title, the heads of the columns, the rows.
        held_out: Names of the recordings that training would validate on.
        not_looked_at: What the verdict says nothing of, and why, phrases.
    """

    folder: Path
    entries: list[Entry]
    issues: list[Issue]
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    tables: list[tuple[str, list[str], list[list[str]]]] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    not_looked_at: list[str] = field(default_factory=list)

    @property
    def audio(self) -> dict[Path, AudioMeasures]:
        """Measures by the path of a recording; those that cannot be read are not in it."""
        measured = ((entry.audio_path, entry.audio) for entry in self.entries)
        return {path: audio for path, audio in measured if path and audio}

    @property
    def verdict(self) -> Verdict:
        """What becomes of the dataset."""
        severities = {issue.rule.severity for issue in self.issues}
        if Severity.ERROR in severities:
            return Verdict.NOT_READY
        return Verdict.WARNINGS if Severity.WARNING in severities else Verdict.READY

    @property
    def broken_rules(self) -> list[BrokenRule]:
        """The rules that were broken, by severity, group and number of issues."""
        found: dict[Rule, list[Issue]] = {}
        for issue in sorted(self.issues, key=lambda one: (-one.score, one.line or 0)):
            found.setdefault(issue.rule, []).append(issue)
        broken = []
        for rule, issues in found.items():
            lines = {issue.line for issue in issues if issue.line is not None}
            # A line that cannot be split into columns is no entry: the share may exceed the whole.
            share = min(1.0, len(lines) / max(1, len(self.entries))) if lines else None
            broken.append(BrokenRule(rule, issues, share))
        severities, groups = list(Severity), list(Group)
        return sorted(
            broken,
            key=lambda one: (
                severities.index(one.rule.severity),
                groups.index(one.rule.group),
                -len(one.issues),
                one.rule.name,
            ),
        )

    @property
    def lines_with_errors(self) -> set[int]:
        """Lines of the CSV that have an error each."""
        errors = (issue for issue in self.issues if issue.rule.severity is Severity.ERROR)
        return {issue.line for issue in errors if issue.line is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return what report.json holds."""
        counts = Counter(issue.rule.severity for issue in self.issues)
        return {
            "dataset": str(self.folder),
            "verdict": self.verdict.value,
            "recordings": len(self.entries),
            "not_looked_at": self.not_looked_at,
            "counts": {severity.value: counts[severity] for severity in Severity},
            "facts": self.facts,
            "held_out": self.held_out,
            "tables": [
                {"title": title, "columns": heads, "rows": rows}
                for title, heads, rows in self.tables
            ],
            "rules": [
                {
                    "rule": one.rule.name,
                    **{name: getattr(one.rule, name) for name in RULE_FIELDS},
                    "findings": [
                        {name: getattr(issue, name) for name in ISSUE_FIELDS}
                        for issue in one.issues
                    ],
                }
                for one in self.broken_rules
            ],
        }
