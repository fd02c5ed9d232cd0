"""Held-out sentences: spoken by the demo's voice into files, and judged beside their recordings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean

import numpy as np
import soundfile

from piper import PiperVoice, SynthesisConfig
from piper.progress import ProgressLine
from piper.train.aligner.aligner import Aligner, Groups, load_aligner, phonemes_to_groups
from piper.train.aligner.features import load_samples
from piper.train.data.metadata import Row
from piper.train.data.settings import resolve_settings
from piper.train.evaluate.systems import load_rows
from piper.train.judges import AUTO, find_quality_predictor

SEED = 1


def speak_sentences(voice_path: Path, dataset: Path, folder: Path) -> None:
    """Say a dataset's sentences into a folder, a WAV each, named as its recording."""
    voice = PiperVoice.load(voice_path)
    rows = _load_rows(dataset)
    folder.mkdir(exist_ok=True)
    progress = ProgressLine("Speaking", len(rows), "sentences")
    for done, row in enumerate(rows, 1):
        chunks = list(voice.synthesize(row.text, SynthesisConfig(seed=SEED)))
        samples = np.concatenate([chunk.audio_int16_array for chunk in chunks])
        soundfile.write(folder / row.audio_path.name, samples, voice.config.sample_rate)
        progress.show(done)
    progress.finish(len(rows))


def judge_sentences(
    voice_path: Path, dataset: Path, folder: Path, aligner_path: Path
) -> dict[str, dict[str, float]]:
    """Return scores by name: means over the sentences, of what was spoken and of the recordings.

    `DistillMOS`, where that is installed, is a predicted listeners' score. `aligner` is the
    share of a text's phonemes that the aligner hears where they should be.
    """
    voice, aligner = PiperVoice.load(voice_path), load_aligner(aligner_path)
    predict = find_quality_predictor(AUTO)
    rows = _load_rows(dataset)
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    progress = ProgressLine("Measuring", len(rows), "sentences")
    for done, row in enumerate(rows, 1):
        signs = [sign for phonemes in voice.phonemize(row.text) for sign in [*phonemes, " "]]
        groups = phonemes_to_groups(signs)
        paths = {"spoken": folder / row.audio_path.name, "recordings": row.audio_path}
        for whose, path in paths.items():
            scores["aligner"][whose].append(find_share_found(aligner, path, groups))
            if predict is not None:
                samples, rate = soundfile.read(path, dtype="float32")
                scores["DistillMOS"][whose].append(predict(samples, rate))
        progress.show(done)
    progress.finish(len(rows))
    return {
        name: {whose: mean(values) for whose, values in each.items()}
        for name, each in scores.items()
    }


def find_share_found(aligner: Aligner, path: Path, groups: Groups) -> float:
    """Return the share of phonemes that are likelier than all others somewhere in their place."""
    alignment = aligner.align(aligner.score_frames(load_samples(path)), groups)
    edges = [*np.flatnonzero(np.diff(alignment.states, prepend=-1)), len(alignment.states)]
    found = [
        bool((alignment.scores[start:end] >= 0).any())
        for start, end in pairwise(edges)
        if alignment.units[start] != 0
    ]
    return mean(found)


def _load_rows(dataset: Path) -> Sequence[Row]:
    return load_rows(resolve_settings(dataset_dir=dataset))
