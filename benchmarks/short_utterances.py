"""Single words, digits and letters: is a sound cut at either end? A table, then one JSON line.

Each text is spoken without noise, as it is typed, in three ways: as the existing client does it,
with `--whole-ends`, and by `piper-tts` where it is given. Energies are in decibels below the
loudest 10 ms of the utterance. Where the first or last 10 ms are loud, sound begins or ends with
the file and not in silence: it is cut. Where the span of the first or last phoneme is faint, that
phoneme is swallowed; `piper-tts` does not say where phonemes are in a published voice.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from piper import PhonemeAlignment, PiperVoice, SynthesisConfig

PEER = "piper-tts==1.8.0"
CUT_DECIBELS = -40.0
"""Speech's noise floor lies below -60, the weakest consonants between -40 and -30."""
MIN_SECONDS = 0.15
ENGLISH = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ENGLISH_WORDS = "yes no stop cat six help books she chair strength"
RUSSIAN = "0123456789абвгдежзиклмнопрстуфхцчшщэюя"
RUSSIAN_WORDS = "да нет стоп кот час хлеб шесть семья"
TEXTS = {
    "en": [*ENGLISH, *ENGLISH_WORDS.split()],
    "ru": [*RUSSIAN, *RUSSIAN_WORDS.split()],
}
OTHER_TEXTS = [*ENGLISH]
MARKS = frozenset(" .?!,:;…")
MODIFIERS = frozenset("ˈˌː")
"""Stress stands before a phoneme, length after it, and each has a part of its sound."""

MEASURE_PEER = """
import json, sys
import numpy
from piper import PiperVoice, SynthesisConfig
model, out = sys.argv[1:3]
voice = PiperVoice.load(model)
config = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0, normalize_audio=False)
chunks = [[c.audio_float_array for c in voice.synthesize(text, config)] for text in sys.argv[3:]]
numpy.savez(out, *[numpy.concatenate(chunk) for chunk in chunks])
"""


@dataclass(frozen=True)
class Ends:
    """What was measured of an utterance; energies in decibels below its loudest 10 ms."""

    seconds: float
    first_10_ms: float
    last_10_ms: float
    first_phoneme: float | None
    last_phoneme: float | None

    def judge(self) -> str:
        """Return what is wrong with it; `whole` where nothing is."""
        first, last = self.first_phoneme, self.last_phoneme
        found = {
            "start cut": self.first_10_ms > CUT_DECIBELS,
            "end cut": self.last_10_ms > CUT_DECIBELS,
            "first faint": first is not None and first < CUT_DECIBELS,
            "last faint": last is not None and last < CUT_DECIBELS,
            "too short": self.seconds < MIN_SECONDS,
        }
        return ", ".join(name for name, is_so in found.items() if is_so) or "whole"


def measure_decibels(samples: npt.NDArray[np.float32]) -> float:
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return 10 * float(np.log10(max(power, 1e-18)))


def find_span(alignments: Sequence[PhonemeAlignment], *, is_last: bool) -> tuple[int, int]:
    """Return first and last sample of the first or last phoneme, its stress and length included."""
    ends = np.cumsum([alignment.num_samples for alignment in alignments])
    spoken = [n for n in range(1, len(alignments) - 1) if alignments[n].phoneme not in MARKS]
    letters = [n for n in spoken if alignments[n].phoneme not in MODIFIERS]
    first = last = letters[-1 if is_last else 0]
    while first - 1 in spoken and alignments[first - 1].phoneme in "ˈˌ":
        first -= 1
    while last + 1 in spoken and alignments[last + 1].phoneme == "ː":
        last += 1
    return int(ends[first - 1]), int(ends[last])


def measure_ends(
    audio: npt.NDArray[np.float32],
    sample_rate: int,
    alignments: Sequence[PhonemeAlignment] | None = None,
) -> Ends:
    width = sample_rate // 100
    frames = audio[: len(audio) // width * width].reshape(-1, width)
    peak = max(measure_decibels(frame) for frame in frames)
    spans = []
    for is_last in (False, True):
        energy = None
        if alignments is not None:
            start, end = find_span(alignments, is_last=is_last)
            energy = measure_decibels(audio[start:end]) - peak
        spans.append(energy)
    edges = (measure_decibels(audio[:width]) - peak, measure_decibels(audio[-width:]) - peak)
    return Ends(len(audio) / sample_rate, *edges, *spans)


def measure_ours(voice: PiperVoice, texts: Sequence[str], *, whole_ends: bool | None) -> list[Ends]:
    config = SynthesisConfig(
        noise_scale=0.0, noise_w_scale=0.0, normalize="off", whole_ends=whole_ends
    )
    found = []
    for text in texts:
        chunks = list(voice.synthesize(text, config, include_alignments=True))
        audio = np.concatenate([chunk.audio_float_array for chunk in chunks])
        alignments = chunks[0].phoneme_alignments if len(chunks) == 1 else None
        found.append(measure_ends(audio, voice.config.sample_rate, alignments))
    return found


def measure_peer(python: Path, model: Path, sample_rate: int, texts: Sequence[str]) -> list[Ends]:
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder, "audio.npz"))
        # An empty folder: a checkout's own packages must not be found in the current one.
        command = [str(python), "-c", MEASURE_PEER, str(model), out, *texts]
        subprocess.run(command, check=True, cwd=folder, capture_output=True)
        with np.load(out) as audio:
            return [measure_ends(audio[f"arr_{n}"], sample_rate) for n in range(len(texts))]


def print_table(texts: Sequence[str], ways: dict[str, list[Ends]]) -> None:
    def show(energy: float | None) -> str:
        return "     " if energy is None else f"{energy:5.0f}"

    print("seconds; decibels of the first and last 10 ms, of the first and last phoneme; verdict")
    print(f"{'text':9}" + "".join(f" | {way:42}" for way in ways))
    for number, text in enumerate(texts):
        cells = []
        for found in ways.values():
            ends = found[number]
            energies = [ends.first_10_ms, ends.last_10_ms, ends.first_phoneme, ends.last_phoneme]
            cell = f"{ends.seconds:.2f} {' '.join(map(show, energies))}  {ends.judge()}"
            cells.append(f" | {cell:42}")
        print(f"{text:9}" + "".join(cells).rstrip())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="the voice's ONNX")
    parser.add_argument(
        "--peer-python", type=Path, help=f"Python of an environment that has {PEER}"
    )
    args = parser.parse_args()
    model = args.model.resolve()
    voice = PiperVoice.load(model)
    texts = TEXTS.get(voice.config.espeak_voice.partition("-")[0], OTHER_TEXTS)
    ways = {
        "ours": measure_ours(voice, texts, whole_ends=None),
        "ours, --whole-ends": measure_ours(voice, texts, whole_ends=True),
        "ours, --no-whole-ends": measure_ours(voice, texts, whole_ends=False),
    }
    if args.peer_python is not None:
        # Not resolved: an environment's python is a link, and its path names the environment.
        python = args.peer_python.absolute()
        ways[PEER] = measure_peer(python, model, voice.config.sample_rate, texts)
    else:
        print(f"{PEER} is not measured; install it in an environment and give --peer-python")
    print_table(texts, ways)
    counts: dict[str, dict[str, int]] = {}
    for way, found in ways.items():
        verdicts = [verdict for ends in found for verdict in ends.judge().split(", ")]
        counts[way] = {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))}
        print(f"{way}: {', '.join(f'{count} {name}' for name, count in counts[way].items())}")
    figures = {way: [asdict(ends) for ends in found] for way, found in ways.items()}
    result = {"benchmark": "short_utterances", "voice": model.stem, "counts": counts}
    print(json.dumps({**result, "texts": texts, "ends": figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
