"""The report's figures: systems beside each other, differences, meanings. Knows no audio."""

from __future__ import annotations

import math
from collections.abc import Sequence

from piper.train.evaluate.meanings import explain_score, name_score
from piper.train.evaluate.results import Comparison, Evaluation, Figure, Group, Kind, Score, System
from piper.train.pages.drawings import DotRow, draw_dots
from piper.train.pages.parts import draw_html_table, escape, fold, frame_table

HEADLINES = ("distillmos", "per", "similarity")
"""What a voice is said to be in a sentence, where it was measured."""
NOTHING = "–"
LEAST_DOTS = 3
"""Sentences with a score, below which a drawing of it says no more than the table."""


def draw_verdict(evaluation: Evaluation) -> str:
    """Return what was found in sentences, one for each system."""
    lines = [
        _describe_comparisons(evaluation, system) if number else _describe(evaluation, system)
        for number, system in enumerate(evaluation.systems)
    ]
    shown = "".join(f"<p>{line}</p>\n" for line in lines)
    sentences = len(
        {
            spoken.sentence.name
            for system in evaluation.systems
            for spoken in system.spoken
            if spoken.sentence.kind is Kind.SENTENCE
        }
    )
    return (
        f'<div class="verdict note">\n{shown}<p class="faint">Sentences: {sentences:,}, of '
        f"<code>{escape(str(evaluation.dataset))}</code>. Behind each figure: its 95 % interval. "
        "Better or worse is said only where the interval of the difference excludes zero.</p>\n"
        "</div>\n"
    )


def draw_scores(evaluation: Evaluation) -> str:
    """Return the table of all scores by group: recordings, then each system."""
    systems = find_columns(evaluation)
    heads = "".join(f'<th scope="col">{escape(system.label)}</th>' for system in systems)
    parts = [f'<thead><tr><th scope="col">score</th>{heads}</tr></thead>\n']
    for group in Group:
        scores = [
            score
            for score in evaluation.scores
            if score.group is group and any(score.name in system.figures for system in systems)
        ]
        rows = "".join(_draw_row(evaluation, systems, score) for score in scores)
        if rows:
            span = len(systems) + 1
            head = f'<tr><th scope="rowgroup" colspan="{span}">{group.value}</th></tr>\n'
            parts.append(f"<tbody>\n{head}{rows}</tbody>\n")
    said = ""
    if evaluation.recordings is not None:
        said = (
            f"<p>{escape(evaluation.recordings.label)}: what people said, by the same judges. "
            "A voice is hardly expected to do better.</p>\n"
        )
    table = frame_table("Scores", "".join(parts))
    differences = _draw_differences(evaluation)
    return f'<h2>Scores</h2>\n{said}<div class="groups">\n{table}</div>\n{differences}'


def draw_meanings(scores: Sequence[Score]) -> str:
    """Return what each score means; the tables refer to it."""
    items = "".join(
        f'<dt id="{_find_anchor(score)}">{escape(name_score(score))}</dt>'
        f"<dd>{escape(explain_score(score))}</dd>\n"
        for score in scores
    )
    head = '<h2>What the figures mean</h2>\n<dl class="meanings">\n'
    return f"{head}{items}</dl>\n" if items else ""


def draw_distributions(evaluation: Evaluation) -> str:
    """Return how each score is spread over the sentences, systems above each other."""
    drawn = [_draw_distribution(evaluation, score) for score in evaluation.scores]
    if not any(drawn):
        return ""
    return (
        "<h2>Distributions</h2>\n<p>A dot is a sentence, the line their mean, the bar its "
        f'interval.</p>\n<div class="charts">\n{"".join(drawn)}</div>\n'
    )


def find_columns(evaluation: Evaluation) -> list[System]:
    """Return the recordings, where there are some, and the systems."""
    recordings = [evaluation.recordings] if evaluation.recordings is not None else []
    return [*recordings, *evaluation.systems]


def format_value(score: Score, value: float) -> str:
    """Return a value with as many digits as its score has."""
    # What is rounded to zero has no sign.
    text = f"{value:z,.{score.digits}f}" if math.isfinite(value) else NOTHING
    return text.replace("-", "−")


def _draw_row(evaluation: Evaluation, systems: Sequence[System], score: Score) -> str:
    end = {None: "", True: "lower is better", False: "higher is better"}[score.is_lower_better]
    cells = "".join(
        f'<td class="figure">{_draw_figure(score, system.figures.get(score.name))}'
        f"{_draw_mark(evaluation, score, system)}</td>"
        for system in systems
    )
    return (
        f'<tr><th scope="row"><a href="#{_find_anchor(score)}" '
        f'title="{escape(explain_score(score))}">{escape(name_score(score))}</a>'
        f'<span class="interval">{end}</span></th>{cells}</tr>\n'
    )


def _draw_figure(score: Score, figure: Figure | None) -> str:
    if figure is None:
        return NOTHING
    interval = ""
    if figure.low is not None and figure.high is not None:
        low, high = format_value(score, figure.low), format_value(score, figure.high)
        interval = f'<span class="interval">{low} to {high}</span>'
    return f"{format_value(score, figure.value)}{interval}"


def _draw_mark(evaluation: Evaluation, score: Score, system: System) -> str:
    comparison = _find_comparison(evaluation, score, system)
    if comparison is None or comparison.better is None:
        return ""
    is_better = comparison.better == system.label
    sign, word = ("▲", "better") if is_better else ("▼", "worse")
    than = escape(f"than {comparison.first}: {_describe_difference(score, comparison)}")
    return f'<span class="mark {word}" title="{than}">{sign} {word}</span>'


def _find_comparison(evaluation: Evaluation, score: Score, system: System) -> Comparison | None:
    for comparison in evaluation.comparisons:
        if comparison.second == system.label and comparison.score == score.name:
            return comparison
    return None


def _draw_differences(evaluation: Evaluation) -> str:
    scores = {score.name: score for score in evaluation.scores}
    rows = [
        [
            escape(f"{comparison.second} − {comparison.first}"),
            escape(name_score(scores[comparison.score])),
            _sign(scores[comparison.score], comparison.difference),
            *(
                "" if edge is None else _sign(scores[comparison.score], edge)
                for edge in (comparison.low, comparison.high)
            ),
            escape(f"{comparison.better} is better" if comparison.better else "not shown"),
            f"{comparison.count:,}",
        ]
        for comparison in evaluation.comparisons
        if comparison.score in scores
    ]
    if not rows:
        return ""
    heads = ["difference of", "score", "mean", "from", "to", "verdict", "sentences"]
    return fold(
        "Differences of the same sentences, with their 95 % intervals",
        draw_html_table("Differences", heads, rows),
    )


def _sign(score: Score, value: float) -> str:
    return f"{value:+z,.{score.digits}f}".replace("-", "−")


def _describe_difference(score: Score, comparison: Comparison) -> str:
    difference = _sign(score, comparison.difference)
    if comparison.low is None or comparison.high is None:
        return difference
    return f"{difference} ({_sign(score, comparison.low)} to {_sign(score, comparison.high)})"


def _describe(evaluation: Evaluation, system: System) -> str:
    scores = {score.name: score for score in evaluation.scores if score.name in system.figures}
    names = [name for name in HEADLINES if name in scores] or list(scores)[: len(HEADLINES)]
    said = []
    for name in names:
        value = format_value(scores[name], system.figures[name].value)
        text = f"<span>{escape(scores[name].title)}</span> {value}"
        recorded = evaluation.recordings and evaluation.recordings.figures.get(name)
        if recorded:
            value = format_value(scores[name], recorded.value)
            text += f" (<span>recordings</span> {value})"
        said.append(text)
    figures = ", ".join(said) or "<span>no figures</span>"
    return f"<strong>{escape(system.label)}</strong>: {figures}."


def _describe_comparisons(evaluation: Evaluation, system: System) -> str:
    first = evaluation.systems[0].label
    lists: dict[str, list[str]] = {"better in": [], "worse in": [], "no difference shown in": []}
    for score in evaluation.scores:
        comparison = _find_comparison(evaluation, score, system)
        if comparison is None:
            continue
        if comparison.better is None:
            lists["no difference shown in"].append(score.title)
        else:
            is_better = comparison.better == system.label
            lists["better in" if is_better else "worse in"].append(score.title)
    said = "; ".join(
        f"<span>{what}</span> {', '.join(f'<span>{escape(title)}</span>' for title in titles)}"
        for what, titles in lists.items()
        if titles
    )
    return (
        f"<strong>{escape(system.label)}</strong> <span>beside</span> {escape(first)}: "
        f"{said or '<span>nothing to compare</span>'}."
    )


def _draw_distribution(evaluation: Evaluation, score: Score) -> str:
    rows = []
    for system in find_columns(evaluation):
        values = [
            value
            for spoken in system.spoken
            if spoken.sentence.kind is Kind.SENTENCE
            and math.isfinite(value := spoken.values.get(score.name, math.nan))
        ]
        figure = system.figures.get(score.name)
        if len(values) >= LEAST_DOTS and figure is not None:
            rows.append(DotRow(system.label, values, figure.value, figure.low, figure.high))
    if len({value for row in rows for value in row.values}) < 2:
        return ""
    said = ", ".join(f"{row.name} {format_value(score, row.middle)}" for row in rows)
    drawing = draw_dots(rows, score.unit, f"{score.title} of each sentence; means: {said}")
    return f"<div>\n<h3>{escape(score.title)}</h3>\n<figure>\n{drawing}\n</figure>\n</div>\n"


def _find_anchor(score: Score) -> str:
    return f"meaning-{escape(score.name)}"
