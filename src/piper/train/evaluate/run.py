"""An evaluation from its request to its result: speaks, measures, compares. Shows nothing.

Intervals come from the bootstrap over sentences, bias-corrected and accelerated (Efron and
Tibshirani 1993, chapter 14), by SciPy; where that has no number, plain percentiles.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import numpy.typing as npt

from piper.config import load_voice_config
from piper.errors import PiperError
from piper.files import append_record, digest_file, load_results, parse_json_object
from piper.progress import ProgressLine
from piper.text.frontend import Frontend, create_frontend
from piper.train.check.measuring import create_key
from piper.train.data.dataset_config import create_voice_config
from piper.train.evaluate.measuring import (
    Embedding,
    Metrics,
    Utterance,
    add_spread,
    measure_utterance,
)
from piper.train.evaluate.results import (
    Comparison,
    Evaluation,
    Figure,
    Group,
    Kind,
    Score,
    Sentence,
    SpokenSentence,
    System,
    Trouble,
    list_scores,
)
from piper.train.evaluate.scorers import (
    Request,
    check_unlearnt,
    find_digest,
    load_metrics,
    text_to_groups,
)
from piper.train.evaluate.systems import (
    RECORDINGS_LABEL,
    Source,
    SourceKind,
    Speech,
    describe_voice,
    find_singles,
    find_speech,
    load_rows,
    load_speech,
    load_texts,
    rows_to_sentences,
    speak_all,
    split_rows,
)
from piper.train.export import export_voice
from piper.train.judges import compare_with_others, create_reference
from piper.voices import find_voice

CONFIDENCE = 0.95
RESAMPLES = 9999
SEED = 20210611
MIN_SENTENCES = 5
"""Of fewer nothing can be said: resamples of four are 35 different ones."""


def summarise(values: npt.ArrayLike, weights: Sequence[float] | None = None) -> Figure:
    """Return the mean of sentences' values and its interval.

    Two systems are compared by the differences of the same sentences, since sentences differ more
    from each other than voices do.

    Args:
        weights: How much each counts, such as its number of phonemes; None counts all alike.
    """
    numbers = np.asarray(values, dtype=np.float64)
    shares = np.ones_like(numbers) if weights is None else np.asarray(weights, dtype=np.float64)
    if not shares.any():
        shares = np.ones_like(numbers)
    mean = float(np.average(numbers, weights=shares))
    if len(numbers) < MIN_SENTENCES:
        return Figure(mean, None, None, len(numbers))
    if np.ptp(numbers) == 0:
        return Figure(mean, mean, mean, len(numbers))
    # Imported here: it takes longer than `--help` should.
    from scipy.stats import bootstrap

    def average(
        sample: npt.NDArray[np.float64], share: npt.NDArray[np.float64], axis: int
    ) -> object:
        return (sample * share).sum(axis) / np.maximum(share.sum(axis), 1e-12)

    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            # Where nearly all values are equal it cannot correct for skewness, and gives no number.
            warnings.simplefilter("ignore")
            interval = bootstrap(
                (numbers, shares),
                average,
                paired=True,
                vectorized=True,
                n_resamples=RESAMPLES,
                confidence_level=CONFIDENCE,
                method=method,
                rng=np.random.default_rng(SEED),
            ).confidence_interval
        if np.isfinite([interval.low, interval.high]).all():
            break
    return Figure(mean, float(interval.low), float(interval.high), len(numbers))


WEIGHTS = {"per": "phonemes", "wer": "words", "cer": "letters"}
"""What a sentence's rate is weighted by, so that all errors are divided by the count of all."""


def create_system(
    label: str,
    source: Path | None,
    spoken: Sequence[SpokenSentence],
    cost: Mapping[str, Figure],
    details: Mapping[str, str],
) -> System:
    """Return a system with the figures of its sentences; words and letters stand apart."""
    sentences = [one for one in spoken if one.sentence.kind is Kind.SENTENCE]
    figures = {}
    for score in list_scores(name for one in sentences for name in one.values):
        having = [one for one in sentences if score.name in one.values]
        values = [one.values[score.name] for one in having]
        figures[score.name] = summarise(values, _find_weights(score, having))
    return System(label, source, tuple(spoken), {**figures, **cost}, details)


def compare_systems(systems: Sequence[System], scores: Sequence[Score]) -> list[Comparison]:
    """Return each system after the first beside the first, by every score of sentences."""
    found = [
        _compare(systems[0], other, score)
        for other in systems[1:]
        for score in scores
        if score.group is not Group.COST
    ]
    return [comparison for comparison in found if comparison is not None]


def _compare(first: System, second: System, score: Score) -> Comparison | None:
    ours, theirs = (
        {
            one.sentence.name: one
            for one in system.spoken
            if one.sentence.kind is Kind.SENTENCE and score.name in one.values
        }
        for system in (first, second)
    )
    names = [name for name in ours if name in theirs]
    if not names:
        return None
    differences = [
        theirs[name].values[score.name] - ours[name].values[score.name] for name in names
    ]
    figure = summarise(differences, _find_weights(score, [ours[name] for name in names]))
    low, high = figure.low, figure.high
    better = None
    if low is not None and high is not None and (low > 0 or high < 0):
        is_first = score.is_lower_better is (low > 0)
        better = None if score.is_lower_better is None else (first if is_first else second).label
    return Comparison(
        first.label, second.label, score.name, figure.value, low, high, better, figure.count
    )


def _find_weights(score: Score, spoken: Sequence[SpokenSentence]) -> list[float] | None:
    key = WEIGHTS.get(score.name)
    return None if key is None else [one.sizes.get(key, 1.0) for one in spoken]


ROUNDS = 3
"""Of each sentence; the first is left out, since memory is still being taken."""
MAX_SENTENCES = 5
_PROCESS = """
import json, sys, time
from piper import PiperVoice
from piper.system import peak_resident_bytes

spec = json.load(sys.stdin)
begin = time.perf_counter()
voice = PiperVoice.load(spec["model"])
loaded = time.perf_counter() - begin
factors, firsts = [], []
for round_number in range(spec["rounds"]):
    for text in spec["texts"]:
        begin = time.perf_counter()
        samples, first = 0, None
        for chunk in voice.synthesize_stream(text):
            first = time.perf_counter() - begin if first is None else first
            samples += len(chunk.audio_float_array)
        seconds = time.perf_counter() - begin
        if round_number and samples:
            factors.append(seconds * voice.config.sample_rate / samples)
            firsts.append(first)
peak = peak_resident_bytes()
print(json.dumps({"loaded": loaded, "factors": factors, "firsts": firsts, "peak": peak}))
"""


def measure_cost(model_path: Path, texts: Sequence[str]) -> Mapping[str, Figure]:
    """Return real-time factor, seconds to the first audio (medians), megabytes of file and memory.

    A process of its own speaks the first few texts, which loads what a user's would: no torch is
    in its memory.
    """
    # Graphs of published voices are made clean once, by a process that needs more memory.
    _speak_apart(model_path, texts[:1], 1)
    result = _speak_apart(model_path, texts[:MAX_SENTENCES], ROUNDS)
    figures = {"size_megabytes": Figure(model_path.stat().st_size / 1e6, None, None, 1)}
    for name, values in (
        ("real_time_factor", result["factors"]),
        ("first_audio_seconds", result["firsts"]),
    ):
        if values:
            figures[name] = Figure(median(values), min(values), max(values), len(values))
    if result["peak"]:  # Windows does not say
        figures["memory_megabytes"] = Figure(result["peak"] / 1e6, None, None, 1)
    return figures


def _speak_apart(model_path: Path, texts: Sequence[str], rounds: int) -> dict[str, Any]:
    spec = json.dumps({"model": str(model_path), "texts": list(texts), "rounds": rounds})
    process = subprocess.run(
        [sys.executable, "-c", _PROCESS], input=spec, capture_output=True, text=True
    )
    if process.returncode != 0:
        said = (process.stderr.strip().splitlines() or ["no word"])[-1]
        raise PiperError(f"{model_path} cannot be measured: {said}")
    return parse_json_object(process.stdout.splitlines()[-1], "the measurement")


KEPT_NAME = "measures-2.jsonl"
"""In the output's folder; the number is raised when the measures change."""
COST_SCORES = ("real_time_factor", "first_audio_seconds", "size_megabytes", "memory_megabytes")
_VERSIONED = ("piper-workshop", "torch", "onnxruntime", "distillmos", "Resemblyzer")


@dataclass
class _State:
    """What an evaluation has so far."""

    request: Request
    sentences: list[Sentence]
    frontend: Frontend
    metrics: Metrics
    missing: list[str]
    facts: dict[str, str]
    recorded: dict[str, Utterance] = field(default_factory=dict)
    references: dict[str | None, Embedding] = field(default_factory=dict)
    """What each speaker is like, by name; None in voices of one."""
    key: str = ""


def evaluate(request: Request) -> Evaluation:
    """Speak, score and compare; what was done before is not done again."""
    state = _prepare(request)
    recordings = _measure_recordings(state)
    systems = [_measure_system(source, state) for source in request.sources]
    everything = [*([recordings] if recordings else []), *systems]
    scores = list_scores(name for system in everything for name in system.figures)
    return Evaluation(
        dataset=request.settings.csv_path.parent if request.settings else Path(request.texts or ""),
        recordings=recordings,
        systems=tuple(systems),
        comparisons=tuple(compare_systems(systems, scores)),
        scores=tuple(scores),
        missing=tuple(state.missing),
        facts=state.facts,
    )


def _prepare(request: Request) -> _State:
    request.folder.mkdir(parents=True, exist_ok=True)
    if request.settings is not None:
        rows = load_rows(request.settings)
        _, held_out = split_rows(rows, request.held_out, request.settings)
        sentences = rows_to_sentences(held_out, request.num_sentences)
        frontend = create_frontend(create_voice_config(request.settings, rows))
    else:
        assert request.texts is not None
        sentences = load_texts(request.texts, request.num_sentences)
        frontend = _find_frontend(request.sources)
    metrics, missing = load_metrics(request)
    if metrics.phonemes is not None:
        groups = [text_to_groups(frontend, sentence.text) for sentence in sentences]
        warning = check_unlearnt(metrics.phonemes, sentences, groups)
        missing += [warning] if warning else []
    facts = _find_facts(request, sentences, metrics)
    return _State(request, sentences, frontend, metrics, missing, facts)


def _find_frontend(sources: Sequence[Source]) -> Frontend:
    for source in sources:
        if source.kind is SourceKind.VOICE:
            return create_frontend(load_voice_config(find_voice(source.path).config))
    raise PiperError("--texts wants a --model, whose phonemes are those of the texts.")


def _find_facts(
    request: Request, sentences: Sequence[Sentence], metrics: Metrics
) -> dict[str, str]:
    facts = {
        "sentences": str(len(sentences)),
        "intervals": "95 %, bootstrap over sentences",
        "seed": str(request.seed),
        "readings of each sentence": str(request.num_readings),
        "machine": f"{platform.system()} {platform.machine()}, CPU",
    }
    if metrics.phonemes is not None:
        floor = metrics.phonemes.floor
        if floor is not None:
            facts["phoneme recogniser's own error"] = (
                f"{floor.rate:.3f} of {floor.count:,} phonemes, recordings that it did not learn on"
            )
        facts |= {f"phoneme recogniser, {n}": v for n, v in metrics.phonemes.details.items()}
    for package in _VERSIONED:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    return facts


def _measure_recordings(state: _State) -> System | None:
    """Measure the recordings as a system of their own, and keep what voices are compared with."""
    for sentence in state.sentences:
        if sentence.recording is not None:
            speech = load_speech(sentence.recording)
            state.recorded[sentence.name] = _create_utterance(sentence, speech, state)
    utterances = list(state.recorded.values())
    own = _find_references(utterances, state) if state.metrics.wants("similarity") else {}
    state.key = _create_key(state)
    if not utterances:
        return None
    spoken = _measure_all(utterances, RECORDINGS_LABEL, state, is_recording=True)
    for one in spoken:
        if one.sentence.name in own:
            one.values["similarity"] = own[one.sentence.name]
    add_spread(spoken)
    return create_system(RECORDINGS_LABEL, None, spoken, {}, {})


def _find_references(utterances: Sequence[Utterance], state: _State) -> dict[str, float]:
    """Keep what each speaker is like; return how alike recordings are to the speaker's others."""
    by_speaker: dict[str | None, list[tuple[str, Embedding]]] = {}
    for one in utterances:
        if one.embedding is not None:
            group = by_speaker.setdefault(one.sentence.speaker, [])
            group.append((one.sentence.name, one.embedding))
    own: dict[str, float] = {}
    for speaker, named in by_speaker.items():
        embeddings = np.stack([embedding for _, embedding in named])
        state.references[speaker] = create_reference(embeddings)
        if len(named) > 1:
            names = [name for name, _ in named]
            own |= zip(names, compare_with_others(embeddings).tolist(), strict=True)
    return own


def _measure_system(source: Source, state: _State) -> System:
    request = state.request
    cost: Mapping[str, Figure] = {}
    details: dict[str, str] = {}
    if source.kind is SourceKind.SPEECH:
        spoken = _measure_speech(
            state.sentences, find_speech(source.path, state.sentences), source.label, state
        )
    else:
        model = source.path
        if source.kind is SourceKind.CHECKPOINT:
            model = request.folder / "voices" / f"{source.label}.onnx"
            model.parent.mkdir(parents=True, exist_ok=True)
            export_voice(source.path, model)
        details = describe_voice(model)
        sentences = [*state.sentences, *find_singles(state.sentences, request.num_words)]
        stem = f"{source.label}-{digest_file(model)[:8]}"
        readings = []
        for seed in range(request.seed, request.seed + request.num_readings):
            folder = request.folder / "speech" / f"{stem}-{seed}"
            speech = speak_all(model, sentences, folder, seed, source.label)
            readings.append(_measure_speech(sentences, speech, source.label, state))
        spoken = average_readings(readings)
        if state.metrics.wants(*COST_SCORES):
            cost = measure_cost(model, [sentence.text for sentence in state.sentences])
            cost = {name: value for name, value in cost.items() if state.metrics.wants(name)}
    return create_system(source.label, source.path, spoken, cost, details)


def _measure_speech(
    sentences: Sequence[Sentence], speech: Sequence[Speech], label: str, state: _State
) -> list[SpokenSentence]:
    utterances = [
        _create_utterance(sentence, one, state)
        for sentence, one in zip(sentences, speech, strict=True)
    ]
    spoken = _measure_all(utterances, label, state, is_recording=False)
    add_spread(spoken)
    return spoken


def average_readings(readings: Sequence[Sequence[SpokenSentence]]) -> list[SpokenSentence]:
    """Return the sentences of the first reading, with the means of all readings' values.

    What was heard, and where, stays that of the first, which is the one that a report plays.
    """
    for first, *others in zip(*readings, strict=True):
        for name, value in first.values.items():
            rest = [one.values[name] for one in others if name in one.values]
            first.values[name] = fmean([value, *rest])
    return list(readings[0])


def _create_utterance(sentence: Sentence, speech: Speech, state: _State) -> Utterance:
    return Utterance(sentence, speech, text_to_groups(state.frontend, sentence.text), state.metrics)


def _measure_all(
    utterances: Sequence[Utterance], label: str, state: _State, *, is_recording: bool
) -> list[SpokenSentence]:
    path = state.request.folder / KEPT_NAME
    kept = load_results(path, dict)
    progress = ProgressLine(f"Measuring ({label})", len(utterances), "sentences")
    measured = []
    for done, utterance in enumerate(utterances, 1):
        key = f"{state.key}|{is_recording}|{create_key(utterance.speech.path)}"
        key += f"|{utterance.sentence.name}|{utterance.sentence.text}"
        if key not in kept:
            recorded = None if is_recording else state.recorded.get(utterance.sentence.name)
            speaker = utterance.sentence.speaker
            reference = None if is_recording else state.references.get(speaker)
            kept[key] = measure_utterance(utterance, recorded, reference).measured()
            append_record(path, [key, kept[key]])
        speech = utterance.speech
        spoken = SpokenSentence(utterance.sentence, speech.path, speech.seconds, **kept[key])
        spoken.troubles = [Trouble(**trouble) for trouble in kept[key]["troubles"]]
        measured.append(spoken)
        progress.show(done)
    progress.finish(len(utterances))
    return measured


def _create_key(state: _State) -> str:
    """Return what tells this evaluation's metrics and recordings from others."""
    metrics = state.metrics
    parts = {
        "opinions": sorted(metrics.predictors),
        "encoder": metrics.encoder is not None,
        "phonemes": find_digest(metrics.phonemes) if metrics.phonemes is not None else "",
        "words": state.request.words or "",
        "wanted": sorted(metrics.wanted) if metrics.wanted is not None else None,
        "recordings": sorted(create_key(one.speech.path) for one in state.recorded.values()),
    }
    if len(state.references) > 1:  # there was one of all of them once
        parts["references"] = "by-speaker"
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
