"""Whether excerpts are cut in pauses, by hand-made labels; a table, then JSON.

Lets `python -m piper.train excerpts` list what it would cut out of a dataset and compares both edges
of each with Festival's labels, `NAME.lab` (festvox-ru has them): an edge is right where it lies in a
labelled pause, so much more or less, and the words are right where the labels have speech all
between the pauses of both edges, and no other pause that long.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE_SECONDS = 0.03
PAUSES = {"pau", "#"}


def read_pauses(path: Path) -> list[tuple[float, float]]:
    """Return start and end of each pause of a lab file, in seconds; pauses side by side are one."""
    lines = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    pauses: list[tuple[float, float]] = []
    start = 0.0
    for end, _, phone in (line for line in lines if len(line) == 3):
        if phone in PAUSES:
            begin = pauses.pop()[0] if pauses and pauses[-1][1] == start else start
            pauses.append((begin, float(end)))
        start = float(end)
    # The labels may end before the recording does.
    return [*pauses[:-1], (pauses[-1][0], float("inf"))]


def is_in_pause(seconds: float, pauses: list[tuple[float, float]]) -> bool:
    """Return whether a place lies in a pause."""
    return any(
        start - TOLERANCE_SECONDS <= seconds <= end + TOLERANCE_SECONDS for start, end in pauses
    )


def list_excerpts(dataset: Path, cache_dir: Path, flags: list[str]) -> list[dict[str, Any]]:
    """Return what excerpts.json says of a dataset's excerpts."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "piper.train", "excerpts", str(dataset), str(out)]
        subprocess.run([*command, "--cache-dir", str(cache_dir), *flags], check=True)
        text = (out / "excerpts.json").read_text(encoding="utf-8")
    return list(json.loads(text))


def compare(excerpts: list[dict[str, Any]], labels: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the figures, and the excerpts with an edge outside of a pause."""
    offenders = []
    for excerpt in excerpts:
        pauses = read_pauses(labels / f"{Path(excerpt['source']).stem}.lab")
        if not all(is_in_pause(excerpt[edge], pauses) for edge in ("start", "end")):
            offenders.append(f"{excerpt['name']} {excerpt['text']}")
    seconds = np.asarray([excerpt["end"] - excerpt["start"] for excerpt in excerpts])
    words = [excerpt["words"] for excerpt in excerpts]
    return {
        "excerpts": len(excerpts),
        "minutes": round(float(seconds.sum()) / 60, 2),
        "of one, two, three words": [words.count(number) for number in (1, 2, 3)],
        "that end a sentence": sum(excerpt["ends_sentence"] for excerpt in excerpts),
        "recordings they are of": len({excerpt["source"] for excerpt in excerpts}),
        "seconds: least, median, most": [
            round(float(value), 2) for value in np.percentile(seconds, [0, 50, 100])
        ],
        "with both edges in a labelled pause": len(excerpts) - len(offenders),
    }, offenders


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, type=Path, help="as fetch_festvox_ru.py makes")
    parser.add_argument("--labels", required=True, type=Path, metavar="DIR", help="NAME.lab files")
    parser.add_argument("--cache-dir", type=Path, metavar="DIR", help="default: the dataset's")
    parser.add_argument("--words", default="3", help="default: %(default)s")
    parser.add_argument("--most", help="so many at most")
    args = parser.parse_args()
    cache_dir = args.cache_dir or args.dataset / ".cache"
    flags = [f"--words={args.words}", *([f"--most={args.most}"] if args.most else [])]
    figures, offenders = compare(list_excerpts(args.dataset, cache_dir, flags), args.labels)
    for name, value in figures.items():
        print(f"{name:40}{value}")
    for offender in offenders:
        print(f"outside: {offender}")
    print(json.dumps({"benchmark": "excerpts", **figures, "outside": offenders}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
