"""report.json of a check to doubts by line. Knows no recordings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from piper.errors import DatasetError
from piper.json_reader import load_json_object
from piper.train.check.entries import Entry
from piper.train.review.clips import Doubt

REPORT_NAME = Path("check") / "report.json"
"""Where `python -m piper.train check` writes it, in the dataset's folder."""


def load_doubts(path: Path, entries: Sequence[Entry]) -> dict[int, list[Doubt]]:
    """Return the findings of a check by line of the CSV; those about no entry are left out.

    Args:
        path: report.json.
        entries: Of the CSV as it is now.

    Raises:
        DatasetError: It is no such file, or it is of another metadata.csv.
    """
    names = {entry.line: entry.name for entry in entries}
    texts = {entry.line: entry.text for entry in entries}
    again = f"python -m piper.train check {path.parents[1]}"
    doubts: dict[int, list[Doubt]] = defaultdict(list)
    try:
        for rule in load_json_object(path)["rules"]:
            for finding in rule["findings"]:
                line, name = finding["line"], finding["name"]
                if line not in names:
                    continue
                if name and names[line] != name:
                    raise DatasetError(
                        f"{path} is of another metadata.csv (line {line} was {name}, and is "
                        f"{names[line]}); check again: {again}"
                    )
                fitting_text = texts.get(finding.get("likely_line"), "")
                doubts[line].append(_create_doubt(rule, finding, fitting_text))
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{path} is no report of a check ({type(error).__name__}: {error}); make it anew: "
            f"{again}"
        ) from None
    return doubts


def _create_doubt(rule: dict[str, Any], finding: dict[str, Any], fitting_text: str) -> Doubt:
    span = finding["span"]
    return Doubt(
        str(rule["rule"]),
        str(rule["severity"]),
        str(finding["message"]),
        str(rule["advice"]),
        (float(span[0]), float(span[1])) if span else None,
        fitting_text,
    )
