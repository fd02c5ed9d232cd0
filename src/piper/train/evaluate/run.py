"""An evaluation from its request to its result: speaks, measures, compares. Shows nothing.

Intervals come from the bootstrap over sentences, bias-corrected and accelerated (Efron and
Tibshirani 1993, chapter 14), by SciPy; where that has no number, plain percentiles.
"""

from __future__ import annotations

import hashlib
import json
import platform
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from piper.config import load_voice_config
from piper.errors import PiperError
from piper.files import append_record, digest_file, load_results
from piper.progress import ProgressLine
from piper.text.frontend import Frontend, create_frontend
from piper.train.check.measuring import create_key
from piper.train.data.dataset_config import create_voice_config
from piper.train.data.settings import DataSettings
from piper.train.evaluate.cost import measure_cost
from piper.train.evaluate.judging import (
    MetricRequest,
    check_unlearnt,
    find_digest,
    load_metrics,
    text_to_groups,
)
from piper.train.evaluate.measuring import (
    Embedding,
    Metrics,
    Utterance,
    add_spread,
    measure_utterance,
)
from piper.train.evaluate.results import (
    SCORES,
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
)
from piper.train.evaluate.systems import (
    RECORDINGS_LABEL,
    Source,
    SourceKind,
    Speech,
    VoiceSpeaker,
    describe_voice,
    find_singles,
    find_speech,
    load_rows,
    load_speech,
    load_texts,
    rows_to_sentences,
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


def summarise(values: Sequence[float], weights: Sequence[float] | None = None) -> Figure:
    """Return the mean of sentences' values and its interval.

    Args:
        weights: How much each counts, such as its number of phonemes; None counts all alike.
    """
    value, low, high = _find_mean(values, weights)
    return Figure(value, low, high, len(values))


def find_difference(
    first: Sequence[float], second: Sequence[float], weights: Sequence[float] | None = None
) -> tuple[float, float | None, float | None]:
    """Return the mean of second minus first over the same sentences, and its interval.

    Pairs, since sentences differ more from each other than voices do.

    Args:
        second: The other system's, in the same order.
    """
    return _find_mean(np.subtract(second, first), weights)


def _find_mean(
    values: npt.ArrayLike, weights: Sequence[float] | None
) -> tuple[float, float | None, float | None]:
    numbers = np.asarray(values, dtype=np.float64)
    shares = np.ones_like(numbers) if weights is None else np.asarray(weights, dtype=np.float64)
    if not shares.any():
        shares = np.ones_like(numbers)
    mean = float(np.average(numbers, weights=shares))
    if len(numbers) < MIN_SENTENCES:
        return mean, None, None
    if np.ptp(numbers) == 0:
        return mean, mean, mean
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
    return mean, float(interval.low), float(interval.high)


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
    names = {name for one in sentences for name in one.values}
    figures = {}
    for name in sorted(names, key=_rank):
        having = [one for one in sentences if name in one.values]
        values = [one.values[name] for one in having]
        figures[name] = summarise(values, _find_weights(name, having))
    return System(label, source, tuple(spoken), {**figures, **cost}, details)


def compare_systems(systems: Sequence[System], scores: Sequence[Score]) -> list[Comparison]:
    """Return each system after the first beside the first, by every score of sentences."""
    return [
        comparison
        for other in systems[1:]
        for score in scores
        if score.group is not Group.COST
        for comparison in [_compare(systems[0], other, score)]
        if comparison is not None
    ]


def _compare(first: System, second: System, score: Score) -> Comparison | None:
    ours, theirs = ({one.sentence.name: one for one in system.spoken} for system in (first, second))
    names = [
        name
        for name, one in ours.items()
        if one.sentence.kind is Kind.SENTENCE
        and name in theirs
        and score.name in one.values
        and score.name in theirs[name].values
    ]
    if not names:
        return None
    pairs = [(ours[name], theirs[name]) for name in names]
    difference, low, high = find_difference(
        [one.values[score.name] for one, _ in pairs],
        [other.values[score.name] for _, other in pairs],
        _find_weights(score.name, [one for one, _ in pairs]),
    )
    better = None
    if low is not None and high is not None and (low > 0 or high < 0):
        is_first = score.is_lower_better is (low > 0)
        better = None if score.is_lower_better is None else (first if is_first else second).label
    return Comparison(
        first.label, second.label, score.name, difference, low, high, better, len(names)
    )


def find_scores(systems: Sequence[System]) -> list[Score]:
    """Return the scores that any system has, in the order of tables."""
    names = {name for system in systems for name in system.figures}
    return [create_score(name) for name in sorted(names, key=_rank)]


def create_score(name: str) -> Score:
    """Return a score by name; one that a user plugged in is an opinion, higher is better."""
    return SCORES.get(name) or Score(name, name, "", Group.QUALITY, False)


def _rank(name: str) -> tuple[int, str]:
    names = list(SCORES)
    return (names.index(name), "") if name in SCORES else (len(names), name)


def _find_weights(name: str, spoken: Sequence[SpokenSentence]) -> list[float] | None:
    key = WEIGHTS.get(name)
    return None if key is None else [one.sizes.get(key, 1.0) for one in spoken]


KEPT_NAME = "measures-1.jsonl"
"""In the output's folder; the number is raised when the measures change."""
COST_SCORES = ("real_time_factor", "first_audio_seconds", "size_megabytes", "memory_megabytes")
_VERSIONED = ("piper-workshop", "torch", "onnxruntime", "distillmos", "Resemblyzer")


@dataclass(frozen=True)
class Request:
    """What is wanted.

    Attributes:
        sources: The systems, the first of which the others are compared with.
        settings: Of the dataset; None with texts.
        texts: A file of sentences, where there is no dataset.
        held_out: Which of the dataset's lines, as `split_rows` takes it.
        num_words: Single words; 0 leaves out words and letters.
    """

    sources: Sequence[Source]
    folder: Path
    judging: MetricRequest
    settings: DataSettings | None = None
    texts: Path | None = None
    held_out: str = "split"
    num_sentences: int = 30
    num_words: int = 10
    seed: int = SEED


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
    scores = find_scores(everything)
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
    metrics, missing = load_metrics(request.judging)
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
    having = [sentence for sentence in state.sentences if sentence.recording is not None]
    if not having:
        return None
    for sentence in having:
        assert sentence.recording is not None
        state.recorded[sentence.name] = _create_utterance(
            sentence, load_speech(sentence.recording), state
        )
    utterances = list(state.recorded.values())
    own = _find_references(utterances, state) if state.metrics.wants("similarity") else {}
    state.key = _find_key(state)
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
    state.key = state.key or _find_key(state)
    cost: Mapping[str, Figure] = {}
    details: dict[str, str] = {}
    if source.kind is SourceKind.SPEECH:
        sentences = state.sentences
        speech = find_speech(source.path, sentences)
    else:
        model = source.path
        if source.kind is SourceKind.CHECKPOINT:
            model = _export(source, request.folder)
        details = describe_voice(model)
        sentences = [*state.sentences, *find_singles(state.sentences, request.num_words)]
        folder = request.folder / "speech" / f"{source.label}-{_digest_file(model)}-{request.seed}"
        speech = VoiceSpeaker(model, folder, request.seed).speak_all(sentences, source.label)
        if state.metrics.wants(*COST_SCORES):
            cost = measure_cost(model, [sentence.text for sentence in state.sentences])
            cost = {name: value for name, value in cost.items() if state.metrics.wants(name)}
    utterances = [
        _create_utterance(sentence, one, state)
        for sentence, one in zip(sentences, speech, strict=True)
    ]
    spoken = _measure_all(utterances, source.label, state, is_recording=False)
    add_spread(spoken)
    return create_system(source.label, source.path, spoken, cost, details)


def _export(source: Source, folder: Path) -> Path:
    path = folder / "voices" / f"{source.label}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    export_voice(source.path, path)
    return path


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


def _find_key(state: _State) -> str:
    """Return what tells this evaluation's metrics and recordings from others."""
    metrics = state.metrics
    parts = {
        "opinions": sorted(metrics.predictors),
        "encoder": metrics.encoder is not None,
        "phonemes": find_digest(metrics.phonemes) if metrics.phonemes is not None else "",
        "words": state.request.judging.words or "",
        "wanted": sorted(metrics.wanted) if metrics.wanted is not None else None,
        "recordings": sorted(create_key(one.speech.path) for one in state.recorded.values()),
    }
    if len(state.references) > 1:  # there was one of all of them once
        parts["references"] = "by-speaker"
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _digest_file(path: Path) -> str:
    return digest_file(path)[:8]
