"""Whether recordings that were joined come apart again: borders, words, doubts; a table, then JSON.

Joins recordings of a dataset to one file and their texts to another, splits them, and compares with
where they were joined. `--left-out N` leaves N texts out, `--added N` adds N that nobody says: how
many of the pieces beside them are doubted.
"""

from __future__ import annotations

import argparse
import bisect
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile

from piper.train.data.audio import find_speech

TOLERANCE_SECONDS = 0.15


@dataclass(frozen=True)
class Joined:
    """Recordings that were joined.

    Attributes:
        texts: Of each.
        borders: Where each begins in seconds, and where the last one ends.
        silences: From the end of the speech of each to the beginning of the next one's.
    """

    texts: list[str]
    borders: list[float]
    silences: list[tuple[float, float]]


def join_recordings(source: Path, first: int, count: int, folder: Path) -> Joined:
    """Write long.wav of so many recordings of a dataset; return what it is made of."""
    lines = (source / "metadata.csv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in lines[first : first + count]]
    parts, borders, speech = [], [0.0], []
    for name, *_ in rows:
        samples, rate = soundfile.read(source / "wavs" / name, dtype="float32")
        start, end = find_speech(samples, rate)
        speech.append((borders[-1] + start / rate, borders[-1] + end / rate))
        borders.append(borders[-1] + len(samples) / rate)
        parts.append(samples)
    soundfile.write(folder / "long.wav", np.concatenate(parts), rate, "PCM_16")
    silences = [(left[1], right[0]) for left, right in pairwise(speech)]
    return Joined([row[-1] for row in rows], borders, silences)


def write_text(joined: Joined, folder: Path, left_out: int, added: int, seed: int = 5) -> set[int]:
    """Write text.txt; return the numbers of the recordings that it is wrong at."""
    chance = random.Random(seed)
    numbers = chance.sample(range(1, len(joined.texts) - 1), left_out + added)
    texts = [[text] for text in joined.texts]
    for number in numbers[:left_out]:
        texts[number] = []
    for number in numbers[left_out:]:
        words = chance.choice(joined.texts).split()
        texts[number].append(" ".join(chance.sample(words, len(words))))
    lines = [line for group in texts for line in group]
    (folder / "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return set(numbers)


def read_words(text: str) -> list[str]:
    """Return the words of a text, small, without signs."""
    words = ("".join(sign for sign in word if sign.isalnum()) for word in text.split())
    return [word.lower() for word in words if word]


def count_borders(joined: Joined, pieces: list[dict[str, object]]) -> int:
    """Return how many borders were found: a cut within their silence, so much more or less.

    Where silence between two pieces is left out, its middle is where they part.
    """
    cuts = [(float(str(a["end"])) + float(str(b["start"]))) / 2 for a, b in pairwise(pieces)]
    return sum(
        any(start - TOLERANCE_SECONDS <= cut <= end + TOLERANCE_SECONDS for cut in cuts)
        for start, end in joined.silences
    )


def find_number(joined: Joined, start: float, end: float) -> int:
    """Return the number of the recording that a piece is of."""
    return bisect.bisect_right(joined.borders, (start + end) / 2) - 1


def is_part(words: list[str], whole: list[str]) -> bool:
    """Tell whether words stand in a text one after the other."""
    return any(whole[n : n + len(words)] == words for n in range(len(whole)))


def measure(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Join, split, compare."""
    joined = join_recordings(args.dataset, args.first, args.recordings, folder)
    wrong = write_text(joined, folder, args.left_out, args.added)
    command = [sys.executable, "-m", "piper.train", "split", str(folder / "long.wav")]
    command += [str(folder / "out"), "--text", str(folder / "text.txt")]
    begin = time.perf_counter()
    subprocess.run([*command, "--language", args.language], check=True)
    seconds = time.perf_counter() - begin
    pieces = json.loads((folder / "out" / "split.json").read_text(encoding="utf-8"))["pieces"]
    said: dict[int, list[str]] = {}
    doubted: set[int] = set()
    for piece in pieces:
        number = find_number(joined, piece["start"], piece["end"])
        said.setdefault(number, []).extend(read_words(piece["text"]))
        if piece["doubt"] is not None:
            doubted.add(number)
    wrongly_kept = [
        piece["text"]
        for piece in pieces
        if piece["doubt"] is None
        and not is_part(
            read_words(piece["text"]),
            read_words(joined.texts[find_number(joined, piece["start"], piece["end"])]),
        )
    ]
    good = [n for n in range(len(joined.texts)) if n not in wrong]
    lengths = [piece["end"] - piece["start"] for piece in pieces]
    return {
        "minutes": joined.borders[-1] / 60,
        "seconds_taken": seconds,
        "borders": len(joined.silences),
        "borders_found": count_borders(joined, pieces),
        "recordings": len(good),
        "recordings_with_exactly_their_words": sum(
            said.get(n, []) == read_words(joined.texts[n]) for n in good
        ),
        "pieces": len(pieces),
        "doubted_pieces": sum(piece["doubt"] is not None for piece in pieces),
        "pieces_kept_with_other_words": len(wrongly_kept),
        "wrong_texts": len(wrong),
        "wrong_texts_doubted": len(wrong & doubted),
        "good_recordings_doubted": len(doubted - wrong),
        "seconds_a_piece": [min(lengths), float(np.median(lengths)), max(lengths)],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, type=Path, help="as fetch_festvox_ru.py makes")
    parser.add_argument("--language", default="ru", help="default: %(default)s")
    parser.add_argument("--first", type=int, default=0, help="recording to begin with")
    parser.add_argument("--recordings", type=int, default=60, help="default: %(default)s")
    parser.add_argument("--left-out", type=int, default=0, help="texts that are left out")
    parser.add_argument("--added", type=int, default=0, help="texts that nobody says")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, Path(folder))
    for name, value in result.items():
        print(f"{name:38}{value}")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
