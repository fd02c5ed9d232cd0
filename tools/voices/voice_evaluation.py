"""What a trained voice is worth, and how it came to that: scores, card, curves. Trains nothing."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile
from carrying import join_parts
from festvox_ru import HELD_OUT, TRAINING, load_held_out_names
from learning_curves import draw_curves, load_curve, write_curve

from piper.errors import PiperError
from piper.train.checkpoints import find_last_checkpoint

CURVE_SCORES = ("distillmos", "per", "mel_cepstral_distance")


def evaluate_voice(folder: Path, run_name: str) -> None:
    """Write a training's `evaluation/` with report and card, its curve as table and picture.

    Args:
        folder: The work folder, with `training` and `held_out`.
        run_name: The training's folder in it.

    Raises:
        PiperError: There is no checkpoint, or something cannot be scored.
    """
    run = folder / run_name
    checkpoint = _find_checkpoint(run)
    common = [
        *("--dataset", folder / HELD_OUT),
        *("--held-out", "all"),
        # It learns on what the voice may know, and never on what is spoken here.
        *("--fit-recogniser", folder / TRAINING),
    ]
    facts = json.loads((run / "facts.json").read_text(encoding="utf-8"))
    _write_card_facts(folder, run, facts)
    voice = ["--checkpoint", f"voice={checkpoint}", "--card-facts", run / "card.json"]
    _evaluate([*common, *voice, "--output-dir", run / "evaluation"])
    points = sorted(path.parent for path in (run / "curve").glob("*/done"))
    if not points:
        return
    _evaluate(
        [
            *common,
            *(flag for point in points for flag in ("--speech", f"{point.name}={point}")),
            *("--scores", ",".join(CURVE_SCORES)),
            *("--output-dir", run / "curve_evaluation"),
        ]
    )
    curve = load_curve(run / "curve_evaluation" / "report.json", CURVE_SCORES)
    write_curve(curve, run / "curve.csv")
    draw_curves({run_name: curve}, run / "curve.png", clock=facts["clock"])
    print(f"   curve: {run / 'curve.csv'}, {run / 'curve.png'}", flush=True)


def _write_card_facts(folder: Path, run: Path, facts: Mapping[str, Any]) -> None:
    """Write what the card says of data and training."""
    lines = (folder / TRAINING / "metadata.csv").read_text(encoding="utf-8").splitlines()
    paths = [folder / TRAINING / "wavs" / line.partition("|")[0] for line in lines]
    clock = " of the processor's time" if facts["clock"] == "processor" else ""
    told = {
        "name": f"ru_RU-festvox-{facts['quality']}",
        "language": "ru",
        "license": "BSD-like",
        "speaker": "one man, who reads literature",
        "dataset": "festvox-ru",
        "dataset_address": "https://packages.debian.org/festvox-ru",
        "dataset_license": "BSD-like; the copyright notice goes with the recordings",
        "utterances": len(paths),
        "hours": round(sum(soundfile.info(path).duration for path in paths) / 3600, 2),
        "held_out": len(load_held_out_names()),
        "quality": facts["quality"],
        "started_from": "" if facts["start"] == "none" else facts["start"],
        "training_seconds": json.loads((run / "time.json").read_text())["seconds"],
        "device": facts["device"] + clock,
        "versions": facts["versions"],
        "seed": 1234,
        "command": shlex.join(facts["command"]),
    }
    text = json.dumps(told, ensure_ascii=False, indent=2)
    (run / "card.json").write_text(text + "\n", encoding="utf-8")


def _find_checkpoint(run: Path) -> Path:
    found = find_last_checkpoint(str(run)) if (run / "lightning_logs").is_dir() else None
    if found is not None:
        return Path(found)
    return join_parts(run / "parts", run / "voice.ckpt")


def _evaluate(arguments: Sequence[object]) -> None:
    command = [sys.executable, "-m", "piper.train", "evaluate", *map(str, arguments)]
    if subprocess.run(command).returncode != 0:
        raise PiperError("The voice cannot be evaluated; see above.")
