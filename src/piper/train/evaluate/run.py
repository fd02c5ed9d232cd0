"""An evaluation from its request to its result: speaks, measures, compares. Shows nothing."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from piper.config import load_voice_config
from piper.errors import PiperError
from piper.progress import ProgressLine
from piper.text.frontend import Frontend, create_frontend
from piper.train.check.kept import keep_result, load_results
from piper.train.check.measuring import create_key
from piper.train.data.dataset_config import create_voice_config
from piper.train.data.settings import DataSettings
from piper.train.evaluate.comparing import compare_systems, create_system, find_scores
from piper.train.evaluate.cost import measure_cost
from piper.train.evaluate.judging import JudgeRequest, load_judges
from piper.train.evaluate.kept_measures import dict_to_spoken, spoken_to_dict
from piper.train.evaluate.kept_opinions import KeptOpinions
from piper.train.evaluate.measuring import (
    Embedding,
    Judges,
    Utterance,
    add_spread,
    add_value,
    measure_utterance,
)
from piper.train.evaluate.phonemes import check_unlearnt, find_digest, text_to_groups
from piper.train.evaluate.results import (
    Evaluation,
    Figure,
    Sentence,
    SpokenSentence,
    System,
)
from piper.train.evaluate.sentences import (
    find_singles,
    load_rows,
    load_texts,
    rows_to_sentences,
    split_rows,
)
from piper.train.evaluate.speaking import Speech, VoiceSpeaker, find_speech, load_speech
from piper.train.evaluate.systems import RECORDINGS_LABEL, Source, SourceKind, describe_voice
from piper.train.export import export_voice
from piper.train.judges.speaker import compare_with_others, create_reference
from piper.voices import find_voice

KEPT_NAME = "measures-1.jsonl"
"""In the output's folder; the number is raised when the measures change."""
SEED = 20210611
COST_SCORES = ("real_time_factor", "first_audio_seconds", "size_megabytes", "memory_megabytes")
_VERSIONED = ("piper-workshop", "torch", "onnxruntime", "distillmos", "Resemblyzer")


@dataclass(frozen=True)
class Request:
    """What is wanted.

    Attributes:
        sources: The systems, the first of which the others are compared with.
        folder: For speech, voices and what is kept.
        judging: Who hears.
        settings: Of the dataset; None with texts.
        texts: A file of sentences, where there is no dataset.
        held_out: Which of the dataset's lines, as `split_rows` takes it.
        num_sentences: At most so many.
        num_words: Single words; 0 leaves out words and letters.
        seed: Of the voices' noise.
    """

    sources: Sequence[Source]
    folder: Path
    judging: JudgeRequest
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
    judges: Judges
    missing: list[str]
    facts: dict[str, str]
    recorded: dict[str, Utterance] = field(default_factory=dict)
    references: dict[str | None, Embedding] = field(default_factory=dict)
    """What each speaker is like, by name; None in voices of one."""
    key: str = ""


def evaluate(request: Request) -> Evaluation:
    """Speak, score and compare; what was done before is not done again.

    Raises:
        PiperError: A voice, a dataset or a recogniser cannot be used.
    """
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
    judges, missing = load_judges(request.judging)
    judges = replace(
        judges,
        opinions={
            name: KeptOpinions(name, predictor, request.folder)
            for name, predictor in judges.opinions.items()
        },
    )
    if judges.phonemes is not None:
        groups = [text_to_groups(frontend, sentence.text) for sentence in sentences]
        warning = check_unlearnt(judges.phonemes, sentences, groups)
        missing += [warning] if warning else []
    facts = _find_facts(request, sentences, judges)
    return _State(request, sentences, frontend, judges, missing, facts)


def _find_frontend(sources: Sequence[Source]) -> Frontend:
    for source in sources:
        if source.kind is SourceKind.VOICE:
            return create_frontend(load_voice_config(find_voice(source.path).config))
    raise PiperError("--texts wants a --model, whose phonemes are those of the texts.")


def _find_facts(request: Request, sentences: Sequence[Sentence], judges: Judges) -> dict[str, str]:
    facts = {
        "sentences": str(len(sentences)),
        "intervals": "95 %, bootstrap over sentences",
        "seed": str(request.seed),
        "machine": f"{platform.system()} {platform.machine()}, CPU",
    }
    if judges.phonemes is not None:
        floor = judges.phonemes.floor
        if floor is not None:
            facts["phoneme recogniser's own error"] = (
                f"{floor.rate:.3f} of {floor.count:,} phonemes, recordings that it did not learn on"
            )
        facts |= {f"phoneme recogniser, {n}": v for n, v in judges.phonemes.details.items()}
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
    own = _find_references(utterances, state) if state.judges.wants("similarity") else {}
    state.key = _find_key(state)
    spoken = _measure_all(utterances, RECORDINGS_LABEL, state, is_recording=True)
    spoken = [
        add_value(one, "similarity", own[one.sentence.name]) if one.sentence.name in own else one
        for one in spoken
    ]
    return create_system(RECORDINGS_LABEL, None, add_spread(spoken), {}, {})


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
        if state.judges.wants(*COST_SCORES):
            cost = measure_cost(model, [sentence.text for sentence in state.sentences])
            cost = {name: value for name, value in cost.items() if state.judges.wants(name)}
    utterances = [
        _create_utterance(sentence, one, state)
        for sentence, one in zip(sentences, speech, strict=True)
    ]
    spoken = _measure_all(utterances, source.label, state, is_recording=False)
    return create_system(source.label, source.path, add_spread(spoken), cost, details)


def _export(source: Source, folder: Path) -> Path:
    path = folder / "voices" / f"{source.label}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    export_voice(source.path, path)
    return path


def _create_utterance(sentence: Sentence, speech: Speech, state: _State) -> Utterance:
    return Utterance(sentence, speech, text_to_groups(state.frontend, sentence.text), state.judges)


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
            result = measure_utterance(utterance, recorded, reference)
            kept[key] = spoken_to_dict(result)
            keep_result(path, key, kept[key])
        measured.append(dict_to_spoken(kept[key], utterance.sentence, utterance.speech))
        progress.show(done)
    progress.finish(len(utterances))
    return measured


def _find_key(state: _State) -> str:
    """Return what tells this evaluation's judges and recordings from others."""
    judges = state.judges
    parts = {
        "opinions": sorted(judges.opinions),
        "encoder": judges.encoder is not None,
        "phonemes": find_digest(judges.phonemes) if judges.phonemes is not None else "",
        "words": state.request.judging.words or "",
        "wanted": sorted(judges.wanted) if judges.wanted is not None else None,
        "recordings": sorted(create_key(one.speech.path) for one in state.recorded.values()),
    }
    if len(state.references) > 1:  # there was one of all of them once
        parts["references"] = "each speaker's"
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]
