"""Whether excerpts are cut in pauses, by hand-made labels; a table, then JSON.

Lets `python -m piper.train excerpts` cut them out of a dataset and compares both edges of each with
Festival's labels, `NAME.lab` (festvox-ru has them): an edge is right where it lies in a labelled
pause, so much more or less. Words are taken to be right where the labels have as many vowels
between the edges as the text has Russian vowel letters; so they have in all 620 whole recordings.
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
VOWEL_LETTERS = frozenset("аеёиоуыэюя")


def read_labels(path: Path) -> list[tuple[float, float, str]]:
    """Return start, end and phone of a lab file's lines; pauses side by side are one."""
    labels: list[tuple[float, float, str]] = []
    start = 0.0
    for line in path.read_text(encoding="ascii").splitlines():
        if len(columns := line.split()) == 3:
            end, phone = float(columns[0]), columns[2]
            if phone in PAUSES and labels and labels[-1][2] in PAUSES:
                start = labels.pop()[0]
            labels.append((start, end, phone))
            start = end
    # The last pause may end before the recording does.
    return [*labels[:-1], (labels[-1][0], float("inf"), labels[-1][2])]


def has_its_syllables(excerpt: dict[str, Any], labels: list[tuple[float, float, str]]) -> bool:
    """Return whether as many vowels are said in an excerpt as are written for it."""
    said = sum(
        phone[0] in "aeiouy" and excerpt["start"] <= (start + end) / 2 <= excerpt["end"]
        for start, end, phone in labels
        if phone not in PAUSES
    )
    return said == sum(letter in VOWEL_LETTERS for letter in excerpt["text"].lower())


def is_in_pause(seconds: float, labels: list[tuple[float, float, str]]) -> bool:
    """Return whether a place lies in a pause."""
    return any(
        start - TOLERANCE_SECONDS <= seconds <= end + TOLERANCE_SECONDS
        for start, end, phone in labels
        if phone in PAUSES
    )


def list_excerpts(dataset: Path, cache_dir: Path, flags: list[str]) -> list[dict[str, Any]]:
    """Return what excerpts.json says of a dataset's excerpts."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "piper.train", "excerpts", str(dataset), str(out)]
        subprocess.run([*command, "--cache-dir", str(cache_dir), *flags], check=True)
        text = (out / "excerpts.json").read_text(encoding="utf-8")
    return list(json.loads(text))


def compare(excerpts: list[dict[str, Any]], folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the figures, and the excerpts that the labels contradict."""
    outside, wrong = [], []
    for excerpt in excerpts:
        labels = read_labels(folder / f"{Path(excerpt['source']).stem}.lab")
        if not all(is_in_pause(excerpt[edge], labels) for edge in ("start", "end")):
            outside.append(f"edge: {excerpt['name']} {excerpt['text']}")
        if not has_its_syllables(excerpt, labels):
            wrong.append(f"syllables: {excerpt['name']} {excerpt['text']}")
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
        "with both edges in a labelled pause": len(excerpts) - len(outside),
        "with as many syllables as written": len(excerpts) - len(wrong),
    }, [*outside, *wrong]


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
        print(offender)
    print(json.dumps({"benchmark": "excerpts", **figures, "contradicted": offenders}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
