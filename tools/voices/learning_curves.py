#!/usr/bin/env python3
"""Learning curves of trainings: reads evaluations of what was spoken on the way, draws them.

As a command it draws several trainings' curves together.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from piper.files import replace_on_success
from piper.train.evaluate.results import SCORES

Curve = list[dict[str, float]]
"""A row for each point: `seconds`, and for each score its value, `…_low` and `…_high`."""
RECORDINGS = "recordings"
SCORES_SHOWN = ("distillmos", "per", "mel_cepstral_distance")


def load_curve(report: Path, scores: Sequence[str]) -> Curve:
    """Return the curve of an evaluation whose systems are labelled by their seconds.

    The recordings' own scores come with each row, as `recordings_…`.
    """
    systems = json.loads(report.read_text(encoding="utf-8"))["systems"]
    figures = {system["label"]: system["figures"] for system in systems}
    ceiling = figures.pop(RECORDINGS, {})
    curve = []
    for label, own in sorted(figures.items(), key=lambda item: int(item[0])):
        row = {"seconds": float(int(label))}
        for score in scores:
            if score in own:
                row[score] = own[score]["value"]
                for end in ("low", "high"):
                    if own[score][end] is not None:
                        row[f"{score}_{end}"] = own[score][end]
            if score in ceiling:
                row[f"recordings_{score}"] = ceiling[score]["value"]
        curve.append(row)
    return curve


def write_curve(curve: Curve, path: Path) -> None:
    """Write a curve as CSV."""
    names = list(dict.fromkeys(name for row in curve for name in row))
    with replace_on_success(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(curve)


def read_curve(path: Path) -> Curve:
    """Return a curve that was written."""
    with path.open(newline="") as file:
        return [
            {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        ]


def draw_curves(curves: Mapping[str, Curve], path: Path, *, clock: str) -> None:
    """Draw a panel for each score, a line for each training, the recordings' own as a dashed one.

    Args:
        curves: By the trainings' names.
        path: A PNG.
        clock: What the minutes are: `wall` or `processor`.
    """
    from matplotlib.figure import Figure

    shown = [
        name for name in SCORES_SHOWN if any(name in row for c in curves.values() for row in c)
    ]
    figure = Figure(figsize=(4.2 * max(1, len(shown)), 3.4), layout="constrained")
    for place, score in enumerate(shown, 1):
        axes = figure.add_subplot(1, len(shown), place)
        for label, curve in curves.items():
            rows = [row for row in curve if score in row]
            minutes = [row["seconds"] / 60 for row in rows]
            [line] = axes.plot(minutes, [row[score] for row in rows], marker="o", label=label)
            lows, highs = (
                [row.get(f"{score}_{end}", row[score]) for row in rows] for end in ("low", "high")
            )
            axes.fill_between(minutes, lows, highs, alpha=0.15, color=line.get_color())
        ceiling = [
            r[f"recordings_{score}"]
            for c in curves.values()
            for r in c
            if f"recordings_{score}" in r
        ]
        if ceiling:
            axes.axhline(ceiling[0], color="grey", linestyle="--", label=RECORDINGS)
        unit = f", {SCORES[score].unit}" if SCORES[score].unit else ""
        axes.set_title(f"{SCORES[score].title}{unit}")
        axes.set_xlabel(f"minutes of training ({clock})")
        axes.grid(alpha=0.3)
    if shown:
        axes.legend()
    with replace_on_success(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curves", nargs="+", metavar="LABEL=CSV", help="as a training left them")
    parser.add_argument("--clock", default="wall", help="default: %(default)s")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the picture, a PNG")
    arguments = parser.parse_args()
    pairs = [text.partition("=")[::2] for text in arguments.curves]
    curves = {label: read_curve(Path(path)) for label, path in pairs}
    draw_curves(curves, arguments.output, clock=arguments.clock)
    return 0


if __name__ == "__main__":
    sys.exit(main())
