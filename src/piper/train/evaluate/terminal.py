"""An evaluation as text for a terminal. Knows no files, and does not print."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from piper.messages import translate
from piper.train.evaluate.results import Comparison, Evaluation, Figure, Group, Score, System

GAP = "  "


def evaluation_to_text(evaluation: Evaluation, columns: int = 100) -> str:
    """Return what `evaluate` prints: figures by group, what is better, what could not be had.

    Args:
        evaluation: What was found.
        columns: The terminal's width; tables are never cut.
    """
    systems = list(evaluation.systems)
    if evaluation.recordings is not None:
        systems.insert(0, evaluation.recordings)
    rows = [["", *(translate(system.label) for system in systems)]]
    for group in Group:
        scores = [score for score in evaluation.scores if score.group is group]
        if scores:
            rows.append([translate(group.value)])
            rows += [_describe_score(score, systems) for score in scores]
    lines = _draw_table(rows)
    lines += _describe_comparisons(evaluation)
    for sentence in evaluation.missing:
        lines += ["", *textwrap.wrap(translate(sentence), columns)]
    return "\n".join(lines)


def format_figure(figure: Figure | None, score: Score) -> str:
    """Return a figure with its interval: `3.62 (3.51 to 3.70)`; a dash where there is none."""
    if figure is None:
        return "-"
    text = f"{figure.value:.{score.digits}f}"
    if figure.low is None or figure.high is None:
        return text
    interval = f"{figure.low:.{score.digits}f} to {figure.high:.{score.digits}f}"
    return f"{text} ({translate(interval)})"


def name_score(score: Score) -> str:
    """Return a score's title with its unit."""
    return f"{score.title}, {score.unit}" if score.unit else score.title


def _describe_score(score: Score, systems: Sequence[System]) -> list[str]:
    cells = [format_figure(system.figures.get(score.name), score) for system in systems]
    return [f"{GAP}{translate(name_score(score))}", *cells]


def _draw_table(rows: Sequence[Sequence[str]]) -> list[str]:
    count = max(len(row) for row in rows)
    widths = [max(len(row[place]) for row in rows if place < len(row)) for place in range(count)]
    return [
        GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    ]


def _describe_comparisons(evaluation: Evaluation) -> list[str]:
    lines: list[str] = []
    for label in dict.fromkeys(comparison.second for comparison in evaluation.comparisons):
        some = [one for one in evaluation.comparisons if one.second == label]
        first = some[0].first
        lines += ["", translate(f"{label} beside {first}, {some[0].count} sentences in pairs:")]
        scores = {score.name: score for score in evaluation.scores}
        found = [_describe_comparison(one, scores[one.score]) for one in some if one.better]
        lines += found or [GAP + translate("no difference that could not be chance")]
    return lines


def _describe_comparison(comparison: Comparison, score: Score) -> str:
    difference = Figure(comparison.difference, comparison.low, comparison.high, comparison.count)
    sign = "+" if comparison.difference > 0 else ""
    return (
        f"{GAP}{translate(name_score(score))}: {sign}{format_figure(difference, score)}, "
        + translate(f"{comparison.better} is better")
    )
