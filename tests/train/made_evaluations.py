"""Evaluations with figures that are made up, of speech that is real. For tests."""

from __future__ import annotations

import wave
from dataclasses import replace
from pathlib import Path
from statistics import mean

import soundfile

from piper import PiperVoice, SynthesisConfig
from piper.train.evaluate.results import (
    SCORES,
    Comparison,
    Evaluation,
    Figure,
    Kind,
    Score,
    Sentence,
    SpokenSentence,
    System,
    Trouble,
)

EVIL = '<script>alert(1)</script> & "quoted" | `code` *bold*'
PLUGGED_IN = Score("mine:judge", "mine:judge", "", SCORES["distillmos"].group, False)
WORDS = (Sentence("word_yes", "да", Kind.WORD), Sentence("letter_a", "А", Kind.LETTER))
VALUES = {
    "recordings": {"distillmos": 4.1, "per": 0.05, "similarity": 0.9},
    "anna": {"distillmos": 3.5, "per": 0.1, "similarity": 0.8, "mine:judge": 7.0},
    "boris": {"distillmos": 3.0, "per": 0.1, "similarity": 0.85, "mine:judge": 8.0},
}
CLICK = Trouble("clicks", "click at a joint", 0.1, 0.1)


def read_sentences(dataset: Path, count: int) -> list[Sentence]:
    """Return a dataset's first sentences with their recordings."""
    lines = (dataset / "metadata.csv").read_text(encoding="utf-8").splitlines()[:count]
    rows = [line.split("|") for line in lines]
    return [Sentence(row[0], row[-1], recording=_find_wav(dataset, row[0])) for row in rows]


def speak(voice: PiperVoice, sentence: Sentence, path: Path) -> Path:
    """Speak a sentence to a WAV."""
    config = SynthesisConfig(noise_scale=0, noise_w_scale=0, length_scale=0.5)
    with wave.open(str(path), "wb") as wav:
        voice.synthesize_wav(sentence.text, wav, config)
    return path


def make_system(
    label: str, source: Path | None, audio: dict[str, Path], said: list[Sentence]
) -> System:
    """Return a system whose sentences get a little worse one after the other."""
    spoken = []
    for number, sentence in enumerate(said):
        has_click = number == 1 and source is not None
        worse = {name: number if name == "per" else -number for name in VALUES[label]}
        values = {name: value * (1 + worse[name] / 100) for name, value in VALUES[label].items()}
        spoken.append(
            SpokenSentence(
                sentence,
                audio[sentence.name],
                soundfile.info(audio[sentence.name]).duration,
                values | {"clicks": float(has_click)},
                (CLICK,) if has_click else (),
                wanted="d a ʂ a",
                heard="d a a" if number == 2 else "d a ʂ a",
            )
        )
    figures = {}
    for name in [*VALUES[label], "clicks"]:
        value = mean(one.values[name] for one in spoken if one.sentence.kind is Kind.SENTENCE)
        figures[name] = Figure(value, value - 0.01, value + 0.01, 3)
    if source is not None:
        figures["size_megabytes"] = Figure(63.2, None, None, 1)
    return System(label, source, tuple(spoken), figures, {"quality": "medium"} if source else {})


def make_evaluation(dataset: Path, voice_path: Path, folder: Path) -> Evaluation:
    """Return recordings and two systems that spoke four sentences, a word and a letter."""
    voice = PiperVoice.load(voice_path)
    sentences = read_sentences(dataset, 4)
    sentences[3] = replace(sentences[3], text=EVIL)
    said = [*sentences, *WORDS]
    audio = {one.name: speak(voice, one, folder / f"{one.name}.wav") for one in said}
    recorded = {one.name: one.recording for one in sentences if one.recording}
    recordings = make_system("recordings", None, recorded, sentences)
    systems = [make_system(name, Path(f"{name}.onnx"), audio, said) for name in ("anna", "boris")]
    comparisons = (
        Comparison("anna", "boris", "distillmos", -0.5, -0.6, -0.4, "anna", 4),
        Comparison("anna", "boris", "per", 0.0, -0.01, 0.01, None, 4),
        Comparison("anna", "boris", "similarity", 0.05, 0.04, 0.06, "boris", 4),
    )
    names = ("distillmos", "per", "similarity", "clicks", "size_megabytes")
    return Evaluation(
        dataset,
        recordings,
        tuple(systems),
        comparisons,
        (*(SCORES[name] for name in names), PLUGGED_IN),
        ("The loudness is not measured; install pyloudnorm.",),
        {"seed": "1234", "note": EVIL},
    )


def _find_wav(dataset: Path, name: str) -> Path:
    path = dataset / "wavs" / name
    return path if path.is_file() else path.with_name(f"{name}.wav")
