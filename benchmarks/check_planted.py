"""How much of what is planted the dataset check finds: 46 defects of 26 kinds among 300 recordings.

Copies recordings of a real dataset, spoils some of them, checks, and prints a table of the kinds,
then JSON; besides, how many of the untouched recordings are called wrong.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from piper.train.check.issues import Severity
from piper.train.check.run import check_dataset
from piper.train.data.settings import resolve_settings

Samples = npt.NDArray[np.float64]
EACH = 2
"""Of each kind."""


@dataclass
class Line:
    """A line of the CSV to be, and its recording."""

    name: str
    text: str
    source: Path


Planted = list[tuple[str, int, frozenset[str]]]
"""What was spoilt: kinds and lines, each with the rules that may name it."""


def clip(samples: Samples, drive_db: float) -> Samples:
    """Return a recording driven so far over full scale, and cut there."""
    return np.clip(samples * (10 ** (drive_db / 20) / np.abs(samples).max()), -1.0, 1.0)


def encode(samples: Samples, rate: int, kind: str, subtype: str) -> Samples:
    """Return a recording as it comes out of a lossy codec: no two of its tops are equal."""
    coded = 48000 if subtype == "OPUS" else rate
    content = io.BytesIO()
    soundfile.write(content, soxr.resample(samples, rate, coded), coded, subtype, format=kind)
    content.seek(0)
    decoded, _ = soundfile.read(content)
    return np.asarray(soxr.resample(decoded, coded, rate))[: len(samples)]


def spoil_audio(kind: str, samples: Samples, rate: int, chance: np.random.Generator) -> Samples:
    """Return a recording with one thing wrong."""
    quiet = 0.0003 * chance.standard_normal(2 * rate)
    middle = len(samples) // 2
    changes: dict[str, Callable[[], Samples]] = {
        "silence": lambda: 0.0001 * chance.standard_normal(len(samples)),
        "clipping": lambda: np.clip(samples * (4.0 / np.abs(samples).max()), -1.0, 1.0),
        # The gains are those of programs that bring recordings to one loudness.
        "clipped-mp3": lambda: 0.75 * encode(clip(samples, 8), rate, "MP3", "MPEG_LAYER_III"),
        "clipped-opus": lambda: 0.3 * encode(0.9 * clip(samples, 8), rate, "OGG", "OPUS"),
        "clipped-resampled": lambda: (
            0.7
            * soxr.resample(soxr.resample(clip(samples, 6), rate, 44100), 44100, rate)[
                : len(samples)
            ]
        ),
        "quiet": lambda: samples * 0.01,
        "dc-offset": lambda: 0.5 * samples + 0.1,
        "noise": lambda: samples + 0.05 * chance.standard_normal(len(samples)),
        "start-silence": lambda: np.concatenate([quiet, samples]),
        "end-silence": lambda: np.concatenate([samples, quiet]),
        "inner-silence": lambda: np.concatenate([samples[:middle], quiet, samples[middle:]]),
        "upsampled": lambda: soxr.resample(
            soxr.resample(samples, rate, rate // 3), rate // 3, rate
        )[: len(samples)],
        "not-mono": lambda: np.stack([samples, 0.9 * samples], axis=1),
    }
    return changes[kind]()


AUDIO_KINDS = {
    "silence": {"silence", "no-speech"},
    "clipping": {"clipping", "heavy-clipping"},
    "clipped-mp3": {"clipping", "heavy-clipping"},
    "clipped-opus": {"clipping", "heavy-clipping"},
    "clipped-resampled": {"clipping", "heavy-clipping"},
    "quiet": {"quiet", "silence", "loudness-spread"},
    "dc-offset": {"dc-offset"},
    "noise": {"noise"},
    "start-silence": {"start-silence"},
    "end-silence": {"end-silence"},
    "inner-silence": {"inner-silence"},
    "upsampled": {"upsampled"},
    "not-mono": {"not-mono"},
}


def spoil_text(kind: str, text: str) -> str:
    """Return a text with one thing wrong."""
    words = text.split()
    if kind == "mixed-scripts":
        return text.replace("о", "o", 1).replace("а", "a", 1)
    if kind == "half-the-text":
        return " ".join(words[: max(1, len(words) // 3)])
    added = {"numbers": "25", "foreign-words": "Windows", "odd-characters": "*", "empty-text": ""}
    if kind == "missing-words":
        middle = len(words) // 2
        return " ".join(words[: middle - 1] + words[middle + 2 :])
    return "" if kind == "empty-text" else f"{text} {added[kind]}"


TEXT_KINDS = {
    "mixed-scripts": {"mixed-scripts"},
    "numbers": {"numbers"},
    "foreign-words": {"foreign-words"},
    "odd-characters": {"odd-characters"},
    "empty-text": {"empty-text"},
}
QUICK_TEXT_KINDS = {"half-the-text": {"rate", "wrong-rate"}}
"""Found by the pace; what only an aligner finds is `ALIGNED_TEXT_KINDS`."""
ALIGNED_TEXT_KINDS = {"missing-words": {"words-off", "poor-fit", "other-text", "rate"}}


def plant(
    lines: list[Line], folder: Path, seed: int = 20210611, *, is_quick: bool = False
) -> Planted:
    """Write a dataset of these lines in which some are spoilt.

    Args:
        lines: Of good recordings.
        folder: Gets metadata.csv and wavs/.
        seed: Of the choice.
        is_quick: Whether only that is planted which is found without an aligner: the swapped texts
            are of different lengths then, else of equal ones.
    """
    (folder / "wavs").mkdir(parents=True)
    planted: Planted = []
    chance = np.random.default_rng(seed)
    order = random.Random(seed).sample(range(len(lines)), len(lines))
    by_length = sorted(order[:60], key=lambda index: len(lines[index].text))
    swapped = [by_length[0], by_length[-1]] if is_quick else by_length[30:32]
    free = [index for index in order if index not in swapped]
    texts, names = [line.text for line in lines], [line.name for line in lines]
    texts[swapped[0]], texts[swapped[1]] = texts[swapped[1]], texts[swapped[0]]

    def note(kind: str, index: int, rules: set[str]) -> None:
        planted.append((kind, index + 1, frozenset(rules)))

    for index in swapped:
        rules = {"rate", "wrong-rate", "too-short-for-text"} if is_quick else {"other-text"}
        note("swapped-texts", index, rules)
    spoilt = {}
    for kind, rules in AUDIO_KINDS.items():
        for index in (free.pop() for _ in range(EACH)):
            spoilt[index] = kind
            note(kind, index, rules)
    text_kinds = TEXT_KINDS | (QUICK_TEXT_KINDS if is_quick else ALIGNED_TEXT_KINDS)
    for kind, rules in text_kinds.items():
        for index in (free.pop() for _ in range(EACH)):
            texts[index] = spoil_text(kind, texts[index])
            note(kind, index, rules)
    for index, line in enumerate(lines):
        target = folder / "wavs" / line.name
        if index not in spoilt:
            shutil.copy(line.source, target)
            continue
        samples, rate = soundfile.read(line.source)
        soundfile.write(target, spoil_audio(spoilt[index], samples, rate, chance), rate, "PCM_16")
    plant_in_files(folder, names, free, note)
    csv = "".join(f"{name}|{text}\n" for name, text in zip(names, texts, strict=True))
    (folder / "metadata.csv").write_text(csv, encoding="utf-8")
    return planted


def plant_in_files(
    folder: Path, names: list[str], free: list[int], note: Callable[[str, int, set[str]], None]
) -> None:
    """Spoil names and files themselves."""
    cut, garbage, gone, twice, windows, same, original = (free.pop() for _ in range(7))
    path = folder / "wavs" / names[cut]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    note("truncated", cut, {"truncated"})
    (folder / "wavs" / names[garbage]).write_bytes(b"no recording at all" * 100)
    note("unreadable", garbage, {"unreadable"})
    (folder / "wavs" / names[gone]).unlink()
    note("missing-file", gone, {"missing-file"})
    names[twice] = names[original]
    note("duplicate-name", max(twice, original), {"duplicate-name"})
    names[windows] = f"C:\\voice\\{names[windows]}"
    note("windows-path", windows, {"other-name"})
    shutil.copy(folder / "wavs" / names[original], folder / "wavs" / names[same])
    note("same-audio", same, {"same-audio", "same-audio-other-text"})


def read_lines(source: Path, count: int) -> list[Line]:
    """Return the first lines of a dataset with texts that none of the others has."""
    lines: dict[str, Line] = {}
    for row in (source / "metadata.csv").read_text(encoding="utf-8").splitlines():
        name, _, text = row.partition("|")
        lines.setdefault(text, Line(name, text, source / "wavs" / name))
    return list(lines.values())[:count]


def measure(source: Path, count: int, folder: Path, *, is_quick: bool = False) -> dict[str, object]:
    """Return what was planted, found, and wrongly called an error."""
    lines = read_lines(source, count)
    planted = plant(lines, folder, is_quick=is_quick)
    shutil.copy(source / "config.json", folder / "config.json")
    report = check_dataset(resolve_settings(dataset_dir=folder), is_quick=is_quick)
    said: dict[int | None, set[str]] = {}
    for issue in report.issues:
        said.setdefault(issue.line, set()).add(issue.rule.name)
    kinds: dict[str, list[bool]] = {}
    for kind, line, rules in planted:
        kinds.setdefault(kind, []).append(bool(rules & said.get(line, set())))
    spoilt = {line for _, line, _ in planted}
    wrong = {
        issue.line
        for issue in report.issues
        if issue.rule.severity is Severity.ERROR and issue.line not in (None, *spoilt)
    }
    found = sum(sum(results) for results in kinds.values())
    return {
        "planted": len(planted),
        "found": found,
        "kinds": {kind: f"{sum(results)}/{len(results)}" for kind, results in kinds.items()},
        "untouched": len(lines) - len(spoilt),
        "wrongly_errors": len(wrong),
        "missed": [line for _, line, rules in planted if not rules & said.get(line, set())],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, type=Path, help="as fetch_festvox_ru.py makes")
    parser.add_argument("--recordings", type=int, default=300, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="without the aligner")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(
            args.dataset, args.recordings, Path(folder) / "planted", is_quick=args.quick
        )
    kinds = result["kinds"]
    assert isinstance(kinds, dict)
    for kind, share in kinds.items():
        print(f"{kind:20}{share:>8}")
    print(f"{'all':20}{result['found']:>4}/{result['planted']}")
    print(f"{'untouched, error':20}{result['wrongly_errors']:>4}/{result['untouched']}")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
