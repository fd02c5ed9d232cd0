"""All that a check found, as data. Knows no rules, and shows nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from piper.train.check.entries import AudioMeasures, Entry, TextMeasures
from piper.train.check.findings import Finding, Severity, Verdict, group_by_rule, judge


@dataclass(frozen=True)
class CheckReport:
    """The result of a check.

    Attributes:
        folder: The dataset.
        entries: Its lines.
        audio: Measures by the path of a recording; those that cannot be read are not in it.
        texts: Measures by line.
        findings: What is wrong.
        facts: What is good to know of the set: a title, and values by their names, in the order
            they are shown in.
        tables: Tables of the set: a title, the heads of the columns, the rows.
        held_out: Names of the recordings that training would validate on.
        not_looked_at: What the verdict says nothing of, and why, phrases.
    """

    folder: Path
    entries: list[Entry]
    audio: Mapping[Path, AudioMeasures]
    texts: Mapping[int, TextMeasures]
    findings: list[Finding]
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    tables: list[tuple[str, list[str], list[list[str]]]] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    not_looked_at: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What becomes of the dataset."""
        return judge(self.findings)

    @property
    def lines_with_errors(self) -> set[int]:
        """Lines of the CSV that have an error each."""
        errors = (f for f in self.findings if f.rule.severity is Severity.ERROR)
        return {finding.line for finding in errors if finding.line is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return what report.json holds."""
        counts = Counter(finding.rule.severity for finding in self.findings)
        return {
            "dataset": str(self.folder),
            "verdict": self.verdict.value,
            "recordings": len(self.entries),
            "not_looked_at": list(self.not_looked_at),
            "counts": {severity.value: counts[severity] for severity in Severity},
            "facts": self.facts,
            "held_out": self.held_out,
            "tables": [
                {"title": title, "columns": heads, "rows": rows}
                for title, heads, rows in self.tables
            ],
            "rules": [
                {
                    "rule": rule.name,
                    "group": rule.group.value,
                    "severity": rule.severity.value,
                    "summary": rule.summary,
                    "threshold": rule.threshold,
                    "advice": rule.advice,
                    "findings": [
                        {
                            "line": finding.line,
                            "name": finding.name,
                            "message": finding.message,
                            "span": finding.span,
                            "likely_line": finding.likely_line,
                        }
                        for finding in found
                    ],
                }
                for rule, found in group_by_rule(self.findings)
            ],
        }
