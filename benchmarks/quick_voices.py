"""How good a quick voice is after given minutes: a table of the goals' figures, then JSON.

Recordings are fetched into the folder (festvox-ru, telephone prompts, or two speakers together), 30
sentences of each speaker are held out, voices are trained as a user would
(`fit --model.quality=quick --trainer.max_time=…`), alone or beside other busy processes, exported
and evaluated beside the speaker's recordings; phonemes by a recogniser that learns once on what is
not held out of them. Each line goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tools" / "voices"))
sys.path.append(str(Path(__file__).parents[1] / "tools" / "datasets"))

from asterisk_prompts import fetch_asterisk_prompts
from festvox_ru import (
    HELD_OUT,
    RECORDINGS,
    TRAINING,
    divide_recordings,
    make_datasets,
    read_lines,
    write_dataset,
)
from train_programs import busy_processes

from piper.train.checkpoints import find_last_checkpoint, load_checkpoint
from piper.train.data.audio import decode
from piper.train.evaluate.measuring import HOP_SECONDS, find_pitch
from piper.train.judges import create_reference, load_speaker_encoder

RATE = 16000
RIGHT_SPEAKER = "right speaker"
COLUMNS = ("per", "distillmos", "similarity", "pitch spread", RIGHT_SPEAKER)
HELD_OUT_PROMPTS = 30
SHORTEST_PROMPT = 2.0
"""Seconds: of those that are held out, a word alone says little."""
READER, BOTH = "festvox-ru", "both"
SPEAKERS = {READER: "reader", "prompts-ru": "prompts"}
"""Of the dataset of both: the speakers' names there by those of the recordings."""


class Speaker(NamedTuple):
    """Whose recordings a voice is compared with: a dataset to speak, and one to hear by."""

    name: str
    held_out: Path
    learnt: Path


def make_sets(folder: Path, recordings: str) -> tuple[Path, list[Speaker]]:
    """Fetch and divide recordings; return what is trained on, and who is compared with it."""
    if recordings == BOTH:
        singles = [make_sets(folder, name)[1][0] for name in SPEAKERS]
        return join_speakers(folder / BOTH, singles)
    own = folder if recordings == READER else folder / recordings
    if not (own / TRAINING / "metadata.csv").is_file():
        own.mkdir(parents=True, exist_ok=True)
        if recordings == READER:
            make_datasets(own, "quick", RATE)
        else:
            make_prompts(own, recordings.removeprefix("prompts-"))
    return own / TRAINING, [Speaker(recordings, own / HELD_OUT, own / TRAINING)]


def make_prompts(folder: Path, language: str) -> None:
    """Fetch the telephone prompts of a language, and hold some of the longer ones out."""
    source = folder / RECORDINGS
    fetch_asterisk_prompts(source, language)
    names = [line.partition("|")[0] for line in read_lines(source)]
    longer = [name for name in names if measure_seconds(source / "wavs" / name) >= SHORTEST_PROMPT]
    held_out = random.Random(1).sample(longer, HELD_OUT_PROMPTS)
    divide_recordings(source, held_out, f"{language}-prompts-quick", "quick", RATE)


def join_speakers(folder: Path, speakers: Sequence[Speaker]) -> tuple[Path, list[Speaker]]:
    """Make one dataset of several speakers, and their held-out sentences with their names."""
    wavs = folder / "wavs"
    wavs.mkdir(parents=True, exist_ok=True)
    config = json.loads((speakers[0].learnt / "config.json").read_text(encoding="utf-8"))
    config |= {"num_speakers": len(speakers), "dataset": folder.name}

    def write(dataset: Path, chosen: Mapping[str, Path]) -> Path:
        lines = []
        for speaker, source in chosen.items():
            for line in read_lines(source):
                name, _, text = line.partition("|")
                lines.append(f"{speaker}-{name}|{speaker}|{text}")
                if not (wavs / f"{speaker}-{name}").exists():
                    path = (source / "wavs" / name).resolve()
                    (wavs / f"{speaker}-{name}").symlink_to(path)
        write_dataset(dataset, lines, config, wavs)
        return dataset

    training = write(folder / TRAINING, {SPEAKERS[one.name]: one.learnt for one in speakers})
    joined = []
    for one in speakers:
        name = SPEAKERS[one.name]
        held_out = write(folder / f"{HELD_OUT}-{name}", {name: one.held_out})
        joined.append(Speaker(name, held_out, one.learnt))
    return training, joined


def measure_seconds(path: Path) -> float:
    """Return how long a recording is."""
    audio = decode(path)
    return len(audio.mix()) / audio.sample_rate


def take_minutes(training: Path, minutes: float, seed: int) -> Path:
    """Return a dataset of so many minutes out of another: a fixed choice, a part of any longer."""
    part = training.with_name(f"{training.name}-{minutes:g}")
    lines = read_lines(training)
    random.Random(seed).shuffle(lines)
    seconds, count = 0.0, 0
    while seconds < 60 * minutes and count < len(lines):
        seconds += measure_seconds(training / "wavs" / lines[count].partition("|")[0])
        count += 1
    config = json.loads((training / "config.json").read_text(encoding="utf-8"))
    write_dataset(part, lines[:count], config, training / "wavs")
    return part


def run(*arguments: object) -> tuple[float, float]:
    """Run `python -m piper.train`; return the seconds by the clock, and the processor's."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "piper.train", *map(str, arguments)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - begin, spent


def train(
    dataset: Path, run_folder: Path, minutes: float, busy: int, flags: Sequence[str]
) -> dict[str, float]:
    """Train a voice, aligner and pitch included; return its times and updates."""
    kept = run_folder / "times.json"
    if not kept.is_file():
        clock = time.strftime("00:%H:%M:%S", time.gmtime(round(60 * minutes)))
        with busy_processes(busy):
            wall, processor = run(
                *("fit", "--model.quality=quick", f"--data.dataset_dir={dataset}"),
                *(f"--data.cache_dir={run_folder / 'cache'}", f"--trainer.max_time={clock}"),
                *(f"--trainer.default_root_dir={run_folder}", "--trainer.max_epochs=1000000"),
                *flags,
            )
        updates = load_checkpoint(find_last_checkpoint(str(run_folder)))["global_step"] // 2
        times = {"s": round(wall), "processor s": round(processor), "updates": updates}
        kept.write_text(json.dumps(times), encoding="utf-8")
    return dict(json.loads(kept.read_text(encoding="utf-8")))


def measure_spread(paths: list[Path]) -> float:
    """Return the mean over sentences of the pitch's standard deviation, in semitones."""
    spreads = []
    for path in paths:
        audio = decode(path)
        samples = audio.mix()
        frames = int(len(samples) / audio.sample_rate / HOP_SECONDS)
        pitch = find_pitch(samples, audio.sample_rate, frames)
        if (pitch > 0).any():
            spreads.append(np.std(12 * np.log2(pitch[pitch > 0])))
    return float(np.mean(spreads)) if spreads else float("nan")


def read_figures(report: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return each system's figures, the recordings' first."""
    found = {}
    for system in report["systems"]:
        figures = {name: figure["value"] for name, figure in system["figures"].items()}
        spoken = [one for one in system["sentences"] if one["kind"] == "sentence"]
        figures["pitch spread"] = measure_spread([Path(one["audio"]) for one in spoken])
        found[system["label"]] = figures
    return found


def evaluate(speaker: Speaker, output: Path, checkpoints: Sequence[str]) -> dict[str, Any]:
    """Let voices speak what was held out of a speaker; return the report."""
    run(
        *("evaluate", "--dataset", speaker.held_out, "--held-out", "all", "--words", 0),
        *("--scores", "quality,intelligibility,likeness"),
        *("--fit-recogniser", speaker.learnt, "--output-dir", output, *checkpoints),
    )
    return dict(json.loads((output / "report.json").read_text(encoding="utf-8")))


def find_right_speakers(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return in how many sentences of each speaker a voice sounds more like that speaker's
    recordings than like another's: shares by speaker and system.
    """
    encoder = load_speaker_encoder()
    if encoder is None:
        return {}
    embeddings: dict[str, dict[str, Any]] = {}
    for name, report in reports.items():
        for system in report["systems"]:
            heard = [decode(Path(one["audio"])) for one in system["sentences"]]
            own = np.stack([encoder.embed(one.mix(), one.sample_rate) for one in heard])
            embeddings.setdefault(name, {})[system["label"]] = own
    recorded = next(iter(reports.values()))["systems"][0]["label"]
    names = list(reports)
    references = np.stack([create_reference(embeddings[name][recorded]) for name in names])
    return {
        name: {
            label: float(((own @ references.T).argmax(axis=1) == names.index(name)).mean())
            for label, own in embeddings[name].items()
        }
        for name in names
    }


def show(systems: Mapping[str, Mapping[str, float]], times: Mapping[str, Any]) -> None:
    """Print figures, and below them multiples of the recordings'."""
    recorded = next(iter(systems.values()))
    columns = [name for name in COLUMNS if name in recorded]
    spent = ("processor s", "updates")
    print(f"{'':20}" + "".join(f"{name:>14}" for name in (*columns, *spent)))
    for label, figures in systems.items():
        row = "".join(f"{figures.get(name, float('nan')):14.3f}" for name in columns)
        row += "".join(f"{times.get(label, {}).get(name, ''):>14}" for name in spent)
        shares = "".join(f"{figures[name] / recorded[name]:13.2f}x" for name in columns)
        print(f"{label:20}{row}\n{'':20}{shares}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for recordings, trainings and the report")
    parser.add_argument(
        "--recordings", choices=(READER, "prompts-en", "prompts-ru", BOTH), default=READER
    )
    parser.add_argument(
        "--minutes", type=float, nargs="+", default=[4, 8], help="of training; default: 4 8"
    )
    parser.add_argument(
        "--data-minutes", type=float, nargs="+", help="of recordings; default: all of them"
    )
    parser.add_argument(
        "--busy", type=int, default=0, help="processes that compute beside the training"
    )
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.epilog = "Other flags are those of fit."
    args, more = parser.parse_known_args()
    whole, speakers = make_sets(args.folder, args.recordings)
    more.append(f"--model.num_speakers={len(speakers)}")
    times, checkpoints = {}, []
    for data_minutes in args.data_minutes or [None]:
        training = whole if data_minutes is None else take_minutes(whole, data_minutes, args.seed)
        for minutes in args.minutes:
            name = f"{training.name}-{minutes:g}-minutes"
            name += f"-busy-{args.busy}" if args.busy else ""
            run_folder = whole.parent / f"{name}-{args.seed}"
            flags = [f"--seed_everything={args.seed}", *more]
            times[name] = train(training, run_folder, minutes, args.busy, flags)
            checkpoint = find_last_checkpoint(str(run_folder))
            checkpoints += ["--checkpoint", f"{name}={checkpoint}"]
    reports = {
        one.name: evaluate(one, whole.parent / f"evaluation-{one.name}", checkpoints)
        for one in speakers
    }
    right = find_right_speakers(reports) if len(speakers) > 1 else {}
    figures = {name: read_figures(report) for name, report in reports.items()}
    for name, systems in figures.items():
        for label, share in right.get(name, {}).items():
            systems[label][RIGHT_SPEAKER] = share
        print(name)
        show(systems, times)
    facts = next(iter(reports.values()))["facts"]
    print(json.dumps({"times": times, "speakers": figures, "facts": facts}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
