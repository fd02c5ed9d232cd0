"""How well a recogniser of phonemes hears, and finds what is planted: a table, then JSON.

Learns on a dataset but for some held-out recordings; then counts its errors on them, on each
other's texts and on what espeak-ng says, cuts and doubles words, and cuts first and last sounds.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import random
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from aligner import read_examples

from piper.train.aligner.aligner import Groups
from piper.train.aligner.features import SAMPLE_RATE, load_samples, resample
from piper.train.aligner.fitting import TrainingExample
from piper.train.aligner.recogniser import (
    BIGRAM_WEIGHT,
    UNIT_GAIN,
    PhonemeRecogniser,
    add_phoneme_errors,
    decode,
    find_phoneme_errors,
    fit_recogniser,
    load_phoneme_recogniser,
)
from piper.train.aligner.words import SpokenWords, find_spoken_words
from piper.train.data.audio import FloatArray
from piper.train.data.dataset_config import create_voice_config
from piper.train.data.prepare import load_rows
from piper.train.data.settings import resolve_settings

sys.path.insert(0, str(Path(__file__).parents[1] / "tools" / "datasets"))

from make_test_dataset import synthesize_speech

SEARCHES = ((0.0, 0.0), (BIGRAM_WEIGHT, UNIT_GAIN), (0.4, 1.5))
"""Weights of the bigrams, each with the gain that went best with it."""
FADE_SAMPLES = 80
WORDS_A_RECORDING = 6
STRESS_SIGN = "\u0301"


@dataclass
class Planted:
    """How much of what was planted is found, what is found beside it, and what is missed."""

    planted: int = 0
    found: int = 0
    wrong: int = 0
    missed: list[str] = field(default_factory=list)

    def note(self, is_found: bool, wrong: int, name: str) -> None:
        """Count one that was planted."""
        self.planted += 1
        self.found += is_found
        self.wrong += wrong
        if not is_found:
            self.missed.append(name)

    def describe(self) -> dict[str, object]:
        """Return the figures of a kind."""
        precision = self.found / max(1, self.found + self.wrong)
        recall = self.found / max(1, self.planted)
        figures: dict[str, object] = {"planted": self.planted, "found": self.found}
        return figures | {"wrong": self.wrong, "precision": precision, "recall": recall}


def join(parts: Sequence[FloatArray]) -> FloatArray:
    """Return parts of a recording one after another, faded into each other over 5 ms."""
    whole = parts[0]
    for part in parts[1:]:
        width = min(FADE_SAMPLES, len(whole), len(part))
        ramp = np.linspace(0, 1, width, dtype=np.float32)
        mixed = whole[len(whole) - width :] * (1 - ramp) + part[:width] * ramp
        whole = np.concatenate([whole[: len(whole) - width], mixed, part[width:]])
    return whole


def cut(samples: FloatArray, start_seconds: float, end_seconds: float) -> FloatArray:
    """Return a recording without a stretch."""
    start, end = round(start_seconds * SAMPLE_RATE), round(end_seconds * SAMPLE_RATE)
    return join([samples[:start], samples[end:]])


def double(samples: FloatArray, start_seconds: float, end_seconds: float) -> FloatArray:
    """Return a recording with a stretch twice."""
    start, end = round(start_seconds * SAMPLE_RATE), round(end_seconds * SAMPLE_RATE)
    return join([samples[:end], samples[start:]])


def list_units(groups: Groups) -> list[str]:
    return [unit for group in groups for unit in group]


def plant_words(
    groups: Groups, samples: FloatArray, recogniser: PhonemeRecogniser, chance: random.Random
) -> Iterator[tuple[str, int, int, SpokenWords]]:
    """Cut and double some words; give what was done, to which group, its units, what is found."""
    spans = find_spoken_words(groups, samples, recogniser).groups
    places = [number for number, span in enumerate(spans) if span is not None]
    for number in chance.sample(places, min(WORDS_A_RECORDING, len(places))):
        span = spans[number]
        assert span is not None
        for kind, change in (("cut", cut), ("doubled", double)):
            changed = change(samples, span.start_seconds, span.end_seconds)
            found = find_spoken_words(groups, changed, recogniser)
            yield kind, number, len(groups[number]), found


def plant_all(
    examples: Sequence[TrainingExample], recogniser: PhonemeRecogniser, seed: int
) -> dict[str, dict[str, object]]:
    """Return by kind how much of what was planted is found."""
    chance = random.Random(seed)
    kinds: dict[str, Planted] = {}
    for example in examples:
        samples, groups, name = load_samples(example.path), example.groups, example.path.stem
        whole = find_spoken_words(groups, samples, recogniser)
        untouched = kinds.setdefault("untouched, words", Planted())
        untouched.wrong += len(whole.skipped) + len(whole.repeated)
        untouched.planted += len(groups)
        ends = kinds.setdefault("untouched, ends", Planted())
        ends.wrong += (not whole.has_first) + (not whole.has_last)
        ends.planted += 2
        for kind, number, units, found in plant_words(groups, samples, recogniser, chance):
            size = "1 or 2 units" if units < 3 else "3 or more units"
            if kind == "cut":
                hits = found.skipped
            else:
                hits = tuple(one.first for one in found.repeated)
            others = found.repeated if kind == "cut" else found.skipped
            wrong = len([hit for hit in hits if hit != number]) + len(others)
            planted = kinds.setdefault(f"word {kind}, {size}", Planted())
            planted.note(number in hits, wrong, f"{name} {''.join(groups[number])}")
        first, last = whole.units[0], whole.units[-1]
        found = find_spoken_words(groups, cut(samples, 0.0, first.end_seconds), recogniser)
        unit = f"{name} {recogniser.inventory[first.unit]}"
        kinds.setdefault("first cut", Planted()).note(not found.has_first, not found.has_last, unit)
        end = len(samples) / SAMPLE_RATE
        found = find_spoken_words(groups, cut(samples, last.start_seconds, end), recogniser)
        unit = f"{name} {recogniser.inventory[last.unit]}"
        kinds.setdefault("last cut", Planted()).note(not found.has_last, not found.has_first, unit)
    for kind, planted in kinds.items():
        print(f"{kind}: missed {', '.join(planted.missed)}", file=sys.stderr)
    return {kind: planted.describe() for kind, planted in sorted(kinds.items())}


def speak_others(dataset: Path, examples: Sequence[TrainingExample]) -> list[FloatArray]:
    """Return what espeak-ng makes of the texts, at `SAMPLE_RATE`."""
    settings = resolve_settings(dataset_dir=dataset)
    rows = load_rows(settings)
    texts = {row.audio_path: row.text.replace(STRESS_SIGN, "") for row in rows}
    some = [texts[example.path] for example in examples]
    voices = [create_voice_config(settings, rows).espeak_voice] * len(some)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        job = executor.submit(synthesize_speech, some, voices, [150] * len(some))
        spoken, rate = job.result()
    return [resample(samples.astype(np.float32) / 32768, rate) for samples in spoken]


def find_likeliest(rows: FloatArray) -> list[int]:
    """Return each frame's likeliest unit, written once between blanks."""
    best = rows.argmax(axis=1)
    return [int(unit) for unit in best[np.diff(best, prepend=0) != 0] if unit != 0]


def measure_errors(
    recogniser: PhonemeRecogniser, examples: Sequence[TrainingExample], others: Sequence[FloatArray]
) -> dict[str, float]:
    """Return error rates: of recordings, of each other's texts, of another voice; the speed."""
    figures: dict[str, float] = {}
    spoken = [load_samples(example.path) for example in examples]
    heard = [recogniser.compute_log_probabilities(samples) for samples in spoken]
    references = [list_units(example.groups) for example in examples]
    for search in (None, *SEARCHES):
        decoded = [
            find_likeliest(rows) if search is None else decode(rows, recogniser.bigrams, *search)
            for rows in heard
        ]
        errors = add_phoneme_errors(
            find_phoneme_errors(reference, [recogniser.inventory[unit] for unit in units])
            for reference, units in zip(references, decoded, strict=True)
        )
        name = "each frame's likeliest" if search is None else f"search, bigrams {search[0]}"
        figures[f"error rate, {name}"] = errors.rate
    recognised = [recogniser.recognise(samples) for samples in spoken]
    by_length = sorted(range(len(examples)), key=lambda place: len(references[place]))
    swapped = [
        find_phoneme_errors(references[other], recognised[place]).rate
        for place, other in zip(by_length, by_length[1:] + by_length[:1], strict=True)
    ]
    figures["error rate, swapped texts, median"] = float(np.median(swapped))
    figures["error rate, swapped texts, least"] = min(swapped)
    figures["error rate, espeak-ng"] = add_phoneme_errors(
        find_phoneme_errors(reference, recogniser.recognise(samples))
        for reference, samples in zip(references, others, strict=True)
    ).rate
    started = time.perf_counter()
    for samples in spoken:
        recogniser.recognise(samples)
    seconds = sum(len(samples) for samples in spoken) / SAMPLE_RATE
    figures["times real time, recognising"] = seconds / (time.perf_counter() - started)
    started = time.perf_counter()
    for samples, example in zip(spoken, examples, strict=True):
        find_spoken_words(example.groups, samples, recogniser)
    figures["times real time, words"] = seconds / (time.perf_counter() - started)
    return figures


def measure(args: argparse.Namespace) -> dict[str, object]:
    """Learn, hear, plant."""
    examples = sorted(read_examples(args.dataset), key=lambda example: example.path.name)
    result: dict[str, object] = {}
    if args.recogniser is not None and args.recogniser.is_file():
        recogniser = load_phoneme_recogniser(args.recogniser)
        unknown = [example for example in examples if example.path.stem not in recogniser.seen]
        held_out = random.Random(args.seed).sample(unknown, min(args.held_out, len(unknown)))
    else:
        held_out = random.Random(args.seed).sample(examples, args.held_out)
        started = time.perf_counter()
        before = time.process_time()
        path = args.recogniser
        state_path = None if path is None else path.with_name(f"{path.name}.part")
        recogniser = fit_recogniser(examples, held_out, state_path)
        result["seconds to learn"] = time.perf_counter() - started
        result["processor seconds to learn"] = time.process_time() - before
        if path is not None and state_path is not None:
            recogniser.save(path)
            state_path.unlink(missing_ok=True)
    torch.set_num_threads(1)
    others = speak_others(args.dataset, held_out)
    result |= {"held out": len(held_out)} | recogniser.details
    result |= measure_errors(recogniser, held_out, others)
    return result | plant_all(held_out, recogniser, args.seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, type=Path, help="as fetch_festvox_ru.py makes")
    parser.add_argument("--held-out", type=int, default=30, help="default: %(default)s")
    parser.add_argument("--recogniser", type=Path, help="file to keep it in, or to take")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    result = measure(parser.parse_args())
    for name, value in result.items():
        print(f"{name:45}{value}")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
