"""What trimming cuts off a dataset's recordings, and what it leaves: a table, then JSON.

Each recording is compared with what `train/data/audio` leaves of it. Levels are those of 20 ms,
every 5 ms; the floor is the quietest tenth of them. A sound that is cut away is one of 30 ms and
more (a click is shorter) that is 12 dB above the recording's own floor. It is

- lost speech where it is at most 35 dB below the loudest level and less than 150 ms lie between it
  and what is kept: the closure before the release of a final /t/ or /k/ is shorter;
- a breath where it is 35 to 45 dB below, or lies farther away. `--labels` tells how true that is:
  festvox-ru has hand-made ones, which say where phonemes begin and end.

An edge is quiet where its 20 ms are less than 12 dB above the floor: then the cut runs through
silence. What is left of silence counts from the edge to the first level above the speech's
threshold; it may be `keep_seconds` and one hop long.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from piper.train.data.audio import (
    LEVEL_HOP_SECONDS,
    TrimSettings,
    decode,
    find_speech,
    trim_silence,
)

HOP_SECONDS = 0.005
FRAME_SECONDS = 0.02
FLOOR_PERCENTILE = 10
ABOVE_FLOOR_DB = 12.0
SPEECH_BELOW_LOUD_DB = 35.0
BREATH_BELOW_LOUD_DB = 45.0
SOUND_SECONDS = 0.03
GAP_SECONDS = 0.15
QUIETEST_DB = -90.0
PAUSES = {"pau", "#"}

Levels = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trimmed:
    """What became of one recording.

    Attributes:
        name: Of its file.
        cut_seconds: At both ends together.
        lost_start_db: The loudest lost speech before the start, above the floor; 0 for none.
        lost_end_db: After the end.
        has_breath: Whether a sound was cut that is no speech.
        start_edge_db: Of the first 20 ms that are left, above the floor.
        end_edge_db: Of the last 20 ms.
        is_cut_at_start: Whether anything was cut there; else the edge is the recording's own.
        is_cut_at_end: Likewise.
        silence_before_seconds: From the new start to the first level that counts as speech.
        silence_after_seconds: From the last one to the new end.
        kept_before_seconds: From the new start to the first phoneme, by the labels.
        kept_after_seconds: From the last phoneme to the new end.
    """

    name: str
    cut_seconds: float
    lost_start_db: float
    lost_end_db: float
    has_breath: bool
    start_edge_db: float
    end_edge_db: float
    is_cut_at_start: bool
    is_cut_at_end: bool
    silence_before_seconds: float
    silence_after_seconds: float
    kept_before_seconds: float | None = None
    kept_after_seconds: float | None = None


def measure_levels(samples: npt.NDArray[np.float32], sample_rate: int) -> Levels:
    """Return levels over 20 ms every 5 ms, in dB of full scale."""
    hop, frame = (round(seconds * sample_rate) for seconds in (HOP_SECONDS, FRAME_SECONDS))
    power = (samples.astype(np.float64) - samples.mean()) ** 2
    padded = np.pad(power, (0, max(0, frame - len(power))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, frame)[::hop]
    return np.asarray(10 * np.log10(windows.mean(axis=1) + 10 ** (QUIETEST_DB / 10)))


def find_sounds(is_loud: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return begin and end of runs that are long enough for a sound, in levels."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_loud, [False]]).astype(int)))
    runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    # A sound of 30 ms is seen by every level that touches it.
    shortest = round((SOUND_SECONDS + FRAME_SECONDS) / HOP_SECONDS)
    return [(begin, end) for begin, end in runs if end - begin >= shortest]


def find_lost(levels: Levels, floor: float, loud: float) -> tuple[float, bool]:
    """Return how loud the lost speech of a cut part is, and whether a breath was cut.

    Args:
        levels: Of the cut part, from the speech outwards.
        floor: Of the recording.
        loud: Its loudest level.
    """
    lost, reach, has_breath = 0.0, round(GAP_SECONDS / HOP_SECONDS), False
    threshold = max(floor + ABOVE_FLOOR_DB, loud - BREATH_BELOW_LOUD_DB)
    for begin, end in find_sounds(levels > threshold):
        top = float(levels[begin:end].max())
        if begin <= reach and top > loud - SPEECH_BELOW_LOUD_DB:
            lost = max(lost, top - floor)
            reach = end + round(GAP_SECONDS / HOP_SECONDS)
        else:
            has_breath = True
    return lost, has_breath


def read_phonemes(path: Path) -> tuple[float, float]:
    """Return the seconds at which the first phoneme begins and the last one ends, by a lab file."""
    lines = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    ends = [(float(line[0]), line[2]) for line in lines if len(line) == 3]
    begins = [0.0, *(end for end, _ in ends[:-1])]
    spoken = [place for place, (_, name) in enumerate(ends) if name not in PAUSES]
    return begins[spoken[0]], ends[spoken[-1]][0]


def measure(path: Path, keep: float, labels: Path | None) -> Trimmed:
    """Return what trimming does to a recording."""
    decoded = decode(path)
    samples, rate = decoded.mix(), decoded.sample_rate
    trimmed = compare(path.name, samples, rate, find_speech(samples, rate), keep)
    kept = trim_silence(samples, rate, TrimSettings(True, keep, keep))
    if abs(len(samples) / rate - len(kept) / rate - trimmed.cut_seconds) > 0.5 / rate:
        raise SystemExit(f"{path}: trim_silence cuts elsewhere than find_speech says.")
    if labels is None:
        return trimmed
    begin, end = read_phonemes(labels / f"{path.stem}.lab")
    first, last = find_edges(len(samples), rate, find_speech(samples, rate), keep)
    return replace(
        trimmed, kept_before_seconds=begin - first / rate, kept_after_seconds=last / rate - end
    )


def find_edges(
    num_samples: int, rate: int, speech: tuple[int, int], keep: float
) -> tuple[int, int]:
    """Return the first sample that is kept and the one after the last, with so much silence."""
    margin = round(keep * rate)
    return max(0, speech[0] - margin), min(num_samples, speech[1] + margin)


def compare(
    name: str, samples: npt.NDArray[np.float32], rate: int, speech: tuple[int, int], keep: float
) -> Trimmed:
    """Return what is lost where speech lies between these two samples."""
    first, last = find_edges(len(samples), rate, speech, keep)
    levels = measure_levels(samples, rate)
    floor, loud = float(np.percentile(levels, FLOOR_PERCENTILE)), float(levels.max())
    hop = HOP_SECONDS * rate
    before, after = levels[: round(first / hop)][::-1], levels[round(last / hop) :]
    (lost_start, breath_start), (lost_end, breath_end) = (
        find_lost(part, floor, loud) for part in (before, after)
    )
    edges = measure_levels(samples[first:last], rate)
    return Trimmed(
        name,
        (len(samples) - (last - first)) / rate,
        lost_start,
        lost_end,
        breath_start or breath_end,
        float(edges[0]) - floor,
        float(edges[-1]) - floor,
        first > 0,
        last < len(samples),
        (speech[0] - first) / rate,
        (last - speech[1]) / rate,
    )


def count(trimmed: list[Trimmed], keep: float) -> dict[str, float]:
    """Return the figures of the table."""
    most = keep + LEVEL_HOP_SECONDS
    labelled = [
        kept
        for t in trimmed
        for kept in (t.kept_before_seconds, t.kept_after_seconds)
        if kept is not None
    ]
    silences = [s for t in trimmed for s in (t.silence_before_seconds, t.silence_after_seconds)]
    return {
        "recordings": len(trimmed),
        "cut anywhere": sum(t.is_cut_at_start or t.is_cut_at_end for t in trimmed),
        "median cut, seconds": float(np.median([t.cut_seconds for t in trimmed])),
        "first phoneme lost": sum(t.lost_start_db > 0 for t in trimmed),
        "last phoneme lost": sum(t.lost_end_db > 0 for t in trimmed),
        "breaths and the like cut": sum(t.has_breath for t in trimmed),
        "cut at the start, edge loud": sum(
            t.is_cut_at_start and t.start_edge_db > ABOVE_FLOOR_DB for t in trimmed
        ),
        "cut at the end, edge loud": sum(
            t.is_cut_at_end and t.end_edge_db > ABOVE_FLOOR_DB for t in trimmed
        ),
        "longest silence left, seconds": max(silences),
        f"silence longer than {most:.2f} s": sum(s > most for s in silences),
        **(
            {
                "by labels: first or last phoneme cut": sum(kept < 0 for kept in labelled),
                "by labels: least kept around, seconds": min(labelled),
                "by labels: most kept around, seconds": max(labelled),
            }
            if labelled
            else {}
        ),
    }


def draw(path: Path, trimmed: Trimmed, keep: float, target: Path) -> None:
    """Draw a recording's levels and where it was cut."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    decoded = decode(path)
    samples, rate = decoded.mix(), decoded.sample_rate
    start, end = find_speech(samples, rate)
    figure, axes = pyplot.subplots(2, 1, figsize=(12, 6), sharex=True)
    levels = measure_levels(samples, rate)
    axes[0].plot(np.arange(len(levels)) * HOP_SECONDS, levels, linewidth=0.8)
    axes[1].specgram(samples + 1e-6, NFFT=256, noverlap=192, Fs=rate, vmin=-140)
    for axis in axes:
        for place in (start / rate, end / rate):
            axis.axvline(place, color="green")
        for place in (max(0, start / rate - keep), min(len(samples) / rate, end / rate + keep)):
            axis.axvline(place, color="red")
    lost = f"{trimmed.lost_start_db:.0f} and {trimmed.lost_end_db:.0f} dB above the floor"
    axes[0].set_title(f"{trimmed.name}: lost {lost}")
    figure.savefig(target / f"{path.stem}.png", dpi=70)
    pyplot.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True, type=Path, help="folder with wavs/")
    parser.add_argument("--keep-seconds", type=float, default=0.25, help="default: %(default)s")
    parser.add_argument("--labels", type=Path, metavar="DIR", help="Festival's labels, NAME.lab")
    parser.add_argument("--draw", type=Path, metavar="DIR", help="pictures of what lost speech")
    args = parser.parse_args()
    paths = sorted((args.dataset / "wavs").rglob("*.wav"))
    if not paths:
        parser.error(f"{args.dataset / 'wavs'} holds no WAV files.")
    trimmed = [measure(path, args.keep_seconds, args.labels) for path in paths]
    figures = count(trimmed, args.keep_seconds)
    for name, value in figures.items():
        print(f"{name:40}{value:>10.4g}")
    lost = [t for t in trimmed if max(t.lost_start_db, t.lost_end_db) > 0]
    for one in sorted(lost, key=lambda t: -max(t.lost_start_db, t.lost_end_db)):
        print(f"lost: {one.name}: {one.lost_start_db:.0f} dB before, {one.lost_end_db:.0f} after")
    if args.draw:
        args.draw.mkdir(parents=True, exist_ok=True)
        by_name = {path.name: path for path in paths}
        for one in lost:
            draw(by_name[one.name], one, args.keep_seconds, args.draw)
    print(json.dumps({"benchmark": "trimming", **figures, "lost": [asdict(one) for one in lost]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
