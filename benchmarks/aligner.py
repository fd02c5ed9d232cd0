"""How well an aligner tells right texts from wrong, and finds pauses: a table, then JSON.

Learns on a dataset (at most `--minutes` of it), lays each text over its own recording and over the
one that is next in length, and compares the silences that it finds with hand-made labels.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile

from piper.errors import DatasetError
from piper.text.frontend import create_frontend
from piper.train.aligner.aligner import (
    Aligner,
    Alignment,
    FrameProbabilities,
    Groups,
    phonemes_to_groups,
)
from piper.train.aligner.features import FRAME_SECONDS, load_samples
from piper.train.aligner.fitting import TrainingExample, create_example_key, fit_aligner
from piper.train.data.dataset_config import create_voice_config
from piper.train.data.prepare import load_rows
from piper.train.data.settings import resolve_settings

MIN_PAUSE_SECONDS = 0.1


def read_examples(dataset: Path) -> list[TrainingExample]:
    """Return a dataset's recordings with the units of their texts."""
    settings = resolve_settings(dataset_dir=dataset)
    rows = load_rows(settings)
    frontend = create_frontend(create_voice_config(settings, rows))
    examples = []
    for row in rows:
        sentences = frontend.text_to_phonemes(row.text)
        groups = phonemes_to_groups([phoneme for sentence in sentences for phoneme in sentence])
        if groups:
            key = create_example_key(row.audio_path, groups)
            examples.append(TrainingExample(key, row.audio_path, groups))
    return sorted(examples, key=lambda example: example.key)


def score_wrong(aligner: Aligner, frames: FrameProbabilities, groups: Groups) -> float:
    """Return the score of another's text; NaN where it is too long for the recording."""
    try:
        return aligner.align(frames, groups).score
    except DatasetError:
        return float("nan")


def find_silences(alignment: Alignment) -> list[tuple[float, float]]:
    """Return start and end of each silence, in seconds."""
    is_silent = np.concatenate([[0], (alignment.units == 0).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(is_silent)) * FRAME_SECONDS
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def read_pauses(path: Path) -> list[tuple[float, float]]:
    """Return start and end of the pauses inside a recording, by lines `end 125 phone`."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    phones = [(float(line[0]), line[2]) for line in lines if len(line) == 3]
    return [
        (start, end)
        for (start, _), (end, phone) in pairwise(phones)
        if phone == "pau" and end - start >= MIN_PAUSE_SECONDS and (end, phone) != phones[-1]
    ]


def measure(args: argparse.Namespace) -> dict[str, object]:
    """Learn, align, compare."""
    examples = read_examples(args.dataset)
    seconds = {example.key: soundfile.info(example.path).duration for example in examples}
    total, chosen = 0.0, []
    for example in examples:
        if total < 60 * args.minutes:
            chosen.append(example)
            total += seconds[example.key]
    begin = time.perf_counter()
    aligner = fit_aligner(chosen)
    took = time.perf_counter() - begin
    by_length = sorted(examples, key=lambda example: seconds[example.key])
    right, wrong, errors = [], [], []
    for number, example in enumerate(by_length):
        other = by_length[number + 1 if number + 1 < len(by_length) else number - 1]
        frames = aligner.score_frames(load_samples(example.path))
        alignment = aligner.align(frames, example.groups)
        right.append(alignment.score)
        if other.groups != example.groups:
            wrong.append(score_wrong(aligner, frames, other.groups))
        if args.labels is not None:
            silences = find_silences(alignment)
            for start, end in read_pauses(args.labels / f"{example.path.stem}.lab"):
                errors.append(min(max(abs(start - a), abs(end - b)) for a, b in silences))
    return {
        "recordings": len(examples),
        "minutes_learnt_on": total / 60,
        "seconds_to_learn": took,
        "right_median": float(np.median(right)),
        "right_worst": min(right),
        "wrong_median": float(np.nanmedian(wrong)),
        "wrong_best": float(np.nanmax(wrong)),
        "pauses": len(errors),
        "pauses_within_100_ms": float(np.mean(np.asarray(errors) <= 0.1)) if errors else None,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, type=Path, help="as fetch_festvox_ru.py makes")
    parser.add_argument("--minutes", type=float, default=30.0, help="default: %(default)s")
    parser.add_argument("--labels", type=Path, help="folder of hand-made labels, NAME.lab")
    result = measure(parser.parse_args())
    for name, value in result.items():
        print(f"{name:24}{value}")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
