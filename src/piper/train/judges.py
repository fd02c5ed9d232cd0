"""What is said of speech by networks that others have trained: an opinion, whose voice it is.

Nothing is ever downloaded: DistillMOS is used where it is installed or `make judges` put it, and
others by their names.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import math
import os
import pickle
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import entry_points
from multiprocessing.connection import Connection
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from piper.errors import ConfigError, PiperError, describe_briefly
from piper.jobs import end_with_parent
from piper.system import available_cores

_LOGGER = logging.getLogger(__name__)
FOLDER_VARIABLE = "PIPER_JUDGES_DIR"
"""Names another folder, or, empty, none."""
FOLDER_NAME = "judges"


@dataclass(frozen=True)
class JudgePackage:
    """A network that others trained, as a Python package.

    Attributes:
        title: In sentences.
        purpose: What there is not without it.
        modules: All that have to be there.
        requirements: For pip, without their dependencies.
        unused: A module that it imports, of which nothing is used here.
    """

    title: str
    purpose: str
    modules: tuple[str, ...]
    requirements: tuple[str, ...]
    unused: str

    @property
    def lacking(self) -> str:
        """Its purpose without an article, after "no"."""
        return self.purpose.removeprefix("a ").removeprefix("the ")

    @property
    def way_to_get(self) -> str:
        """The commands that bring it, for the end of a sentence."""
        return f"`make judges`, or by `pip install --no-deps {' '.join(self.requirements)}`"


DISTILLMOS = JudgePackage(
    title="DistillMOS",
    purpose="a predicted mean opinion score",
    modules=("distillmos", "xls_r_sqa"),
    requirements=("distillmos==0.9.1", "xls-r-sqa==0.1.0"),
    # It serves its command line only, and its wheels are bound to one version of torch each.
    unused="torchaudio",
)
RESEMBLYZER = JudgePackage(
    title="Resemblyzer",
    purpose="the speaker's similarity",
    modules=("resemblyzer", "webrtcvad"),
    # webrtcvad itself has no wheels.
    requirements=("Resemblyzer==0.1.4", "webrtcvad-wheels==2.0.14.post1"),
    # For its reading of files and its spectrograms; it would bring numba.
    unused="librosa",
)
JUDGES = (DISTILLMOS, RESEMBLYZER)
REQUIREMENTS = tuple(requirement for judge in JUDGES for requirement in judge.requirements)
"""What `make judges` installs."""


def find_judges_folder() -> Path | None:
    """Return the folder that `PIPER_JUDGES_DIR` names, else `judges` of this Python's environment.

    The packages have a folder of their own, since their dependencies would bring another torch and
    NumPy. It is at the end of the path where modules are looked for, so that it hides nothing.

    None where it does not exist, or the variable is empty.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    folder = Path(sys.prefix) / FOLDER_NAME if named is None else Path(named)
    return folder if named != "" and folder.is_dir() else None


def is_judge_here(judge: JudgePackage) -> bool:
    """Tell whether a judge can be imported, from the judges' folder or as any other package."""
    add_judges_folder()
    return all(_is_module_here(module) for module in judge.modules)


def add_judges_folder() -> None:
    """Let modules be imported from the judges' folder, after all other places."""
    folder = find_judges_folder()
    if folder is not None and str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()


def list_missing_judges(judges: Sequence[JudgePackage] = JUDGES) -> list[str]:
    """Return a sentence for each judge that is not here: what lacks without it, how to get it."""
    return [explain_missing_judge(judge) for judge in judges if not is_judge_here(judge)]


def explain_missing_judge(judge: JudgePackage) -> str:
    """Return what there is not without a judge, and how to get it."""
    return (
        f"{judge.title} is not installed, so there is no {judge.lacking}; "
        f"get it by {judge.way_to_get}."
    )


@contextlib.contextmanager
def stand_in_for(name: str) -> Iterator[None]:
    """Let a judge be imported without a module that it imports and that is not used here.

    Where the module is there, nothing is replaced; afterwards nothing stays behind.
    """
    if _is_module_here(name):
        yield
        return
    stand_in = ModuleType(name)
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


Loaded = TypeVar("Loaded")


def load_judge(judge: JudgePackage, create: Callable[[Any], Loaded]) -> Loaded | None:
    """Return what is made of a judge's package; None where it is not here or cannot be used."""
    if not is_judge_here(judge):
        return None
    try:
        # A network may tell standard output where its weights lie.
        with stand_in_for(judge.unused), contextlib.redirect_stdout(io.StringIO()):
            return create(importlib.import_module(judge.modules[0]))
    except (ImportError, AttributeError, RuntimeError, OSError, pickle.UnpicklingError) as error:
        _LOGGER.warning(
            "%s is installed but cannot be used (%s), so there is no %s; install it anew by %s.",
            judge.title,
            error,
            judge.lacking,
            judge.way_to_get,
        )
        return None


def _is_module_here(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # None, or a module without a specification, stands in sys.modules
        return False


QualityPredictor = Callable[[npt.NDArray[np.float32], int], float]
"""Samples (S,) within 1 and their rate in hertz to a score; higher is better."""

ENTRY_POINT_GROUP = "piper.quality"
"""Packages may offer a `QualityPredictor` under a name in this group of entry points."""

AUTO, OFF, UTMOSV2 = "auto", "off", "utmosv2"
UTMOSV2_RATE = 16000
DISTILLMOS_RATE = 16000
DISTILLMOS_SAMPLES = 491_520
"""30.72 s; of longer speech the beginning is judged, lest its features take all memory (8 MB a
second)."""
FEATURE_SAMPLES = 320
WINDOW_FEATURES = 384
"""What the network judges at once, 7.68 s."""
HOP_FEATURES = 50
"""The most from one window to the next, a second, as the package has it."""
EDGE_FEATURES = 8
"""0.16 s; a feature depends on 4 others at each side."""


def find_quality_predictor(
    name: str, flag: str = "--validation_quality"
) -> QualityPredictor | None:
    """Return the predictor that a flag names.

    Args:
        name: `auto` (DistillMOS where it is installed), `off`, `utmosv2`, the name of an entry
            point in the group `piper.quality`, or `package.module:function`.
        flag: Named where it is wrong.

    Returns:
        The predictor, or None where there is none to use.
    """
    if name == OFF:
        return None
    if name == AUTO:
        return _load_distillmos()
    if name == UTMOSV2:
        return _Utmosv2(flag)
    if ":" in name:
        return import_plugin(name, flag)
    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in found:
        raise ConfigError(
            f'{flag}: there is no predictor "{name}"; give auto, off, utmosv2, '
            "package.module:function"
            + (f", or one of {', '.join(sorted(found))}." if found else ".")
        )
    return _load_function(name, flag, found[name].load)


def import_plugin(name: str, flag: str) -> Callable[..., Any]:
    """Return the function that a flag names as `package.module:function`."""
    module, _, attribute = name.partition(":")
    return _load_function(
        name, flag, lambda: attrgetter(attribute)(importlib.import_module(module))
    )


def _load_function(name: str, flag: str, load: Callable[[], Any]) -> Callable[..., Any]:
    try:
        function = load()
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{flag}={name} cannot be imported ({error}); check the name, and that "
            "its package is installed."
        ) from None
    if not callable(function):
        raise ConfigError(
            f"{flag}={name} is no function; it has to take samples and their rate in hertz."
        )
    return function


def _load_distillmos() -> QualityPredictor | None:
    """Return DistillMOS (Stahl and Gamper 2025, 1 to 5, any language) where it is installed."""
    return load_judge(
        DISTILLMOS, lambda package: _Distillmos(package.ConvTransformerSQAModel().eval())
    )


class _Distillmos:
    """Up to 30.72 s of speech to a predicted mean opinion score.

    The network sees 7.68 s at once; its own `forward` takes the mean over windows of longer speech,
    a second from each other, and computes each anew, 4 times real time. Here the convolutions, nine
    tenths of the work, run once over all of the speech, and over padding not at all.
    """

    def __init__(self, network: Any) -> None:
        # Samples (B, S) to features (B, C, T), 20 ms each; those of 7.68 s, (B, T, C), to a score
        # within 0 and 1, (B, 1).
        self._convolutions, self._transformer = network.cnn, network.transformer_pool_attn

    def __call__(self, audio: npt.NDArray[np.float32], rate: int) -> float:
        import soxr
        import torch

        if rate != DISTILLMOS_RATE:
            audio = soxr.resample(audio, rate, DISTILLMOS_RATE)
        samples = np.asarray(audio[:DISTILLMOS_SAMPLES], dtype=np.float32)
        samples = samples / (np.abs(samples).max(initial=0.0) + np.float32(1e-8))
        with torch.inference_mode():
            features = self._extract(samples)
            spare = len(features) - WINDOW_FEATURES
            starts = np.linspace(0, spare, math.ceil(spare / HOP_FEATURES) + 1).astype(int)
            windows = torch.stack([features[start : start + WINDOW_FEATURES] for start in starts])
            return 1.0 + 4.0 * float(self._transformer(windows).mean())

    def _extract(self, samples: npt.NDArray[np.float32]) -> Any:
        """Return features (T, C) of speech and of the silence that fills it up to one window."""
        import torch

        spoken = -(-len(samples) // FEATURE_SAMPLES)
        wanted = max(spoken, WINDOW_FEATURES)
        # All of silence is alike but its end, where the convolutions look beyond it.
        computed = min(wanted, spoken + 2 * EDGE_FEATURES)
        padded = np.pad(samples, (0, computed * FEATURE_SAMPLES - len(samples)))
        features = self._convolutions(torch.from_numpy(padded)[None])[0].T
        if computed == wanted:
            return features
        body, end = features[:-EDGE_FEATURES], features[-EDGE_FEATURES:]
        return torch.cat([body, body[-1:].expand(wanted - computed, -1), end])


class _Utmosv2:
    """UTMOSv2 (Baba et al. 2024, 1 to 5), by the package that its authors publish.

    Its networks are loaded, and at first downloaded, with the first speech.
    """

    def __init__(self, flag: str) -> None:
        if not _is_module_here(UTMOSV2):
            raise ConfigError(
                f"{flag}={UTMOSV2}: UTMOSv2 is not installed; run "
                "`pip install git+https://github.com/sarulab-speech/UTMOSv2.git`."
            )
        self._model: Any = None

    def __call__(self, audio: npt.NDArray[np.float32], rate: int) -> float:
        import soxr
        import torch

        if self._model is None:
            with contextlib.redirect_stdout(io.StringIO()):  # it says where its weights lie
                self._model = importlib.import_module(UTMOSV2).create_model(pretrained=True)
        if rate != UTMOSV2_RATE:
            audio = soxr.resample(audio, rate, UTMOSV2_RATE)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        # It judges pieces that NumPy draws: the same ones each time, so that voices compare.
        state = np.random.get_state()
        np.random.seed(0)
        try:
            scores = self._model.predict(data=audio, device=device, num_workers=0, verbose=False)
        finally:
            np.random.set_state(state)
        return float(np.ravel(scores)[0])


FloatArray = npt.NDArray[np.float32]

SAMPLE_RATE = 16000
FFT_SAMPLES = 400
HOP_SAMPLES = 160
MEL_CHANNELS = 40
WINDOWS_A_SECOND = 1.3
"""Resemblyzer's default: windows of 1.6 s that overlap by half."""
LEVEL_DB = -20.0
"""Resemblyzer only raises speech below -30 dB, so a recording beside itself 20 dB quieter had a
similarity of 0.85 to 0.92; at one level it has 1, and other speakers are not nearer (0.46 to 0.64,
with the package's own rule 0.47 to 0.66)."""
MIN_COVERAGE = 0.75
"""Of the last window, likewise."""
MIN_LENGTH = 1e-12
"""Of a vector before it gets length 1: embeddings of what is no sound may be all zero."""
MIN_SAMPLES = 480
"""The shortest that its detector of speech looks at, 30 ms."""


def load_speaker_encoder() -> SpeakerEncoder | None:
    """Return Resemblyzer, or None where it is not installed or cannot be used."""
    return load_judge(RESEMBLYZER, SpeakerEncoder)


class SpeakerEncoder:
    """Speech to what tells a speaker from others.

    Resemblyzer is the encoder of "Generalized End-to-End Loss for Speaker Verification" (Wan and
    others 2018), trained on thousands of English speakers at 16 kHz.
    """

    def __init__(self, package: Any) -> None:
        self._package = package
        self._network = package.VoiceEncoder("cpu", verbose=False).eval()

    def embed(self, samples: FloatArray, rate: int) -> FloatArray:
        """Return the embedding of some speech, (256,), none below 0, of length 1.

        Its long pauses are left out. Speech of less than 1.6 s is padded with silence, and says
        less of the speaker.
        """
        import torch

        speech = self._prepare(samples, rate)
        samples_of, frames_of = self._network.compute_partial_slices(
            len(speech), WINDOWS_A_SECOND, MIN_COVERAGE
        )
        speech = np.pad(speech, (0, max(0, samples_of[-1].stop - len(speech))))
        mels = _extract_mels(speech)
        windows = torch.stack([mels[frames] for frames in frames_of])
        with torch.inference_mode():
            embeddings = self._network(windows).numpy()
        return _normalise(embeddings.mean(axis=0))

    def _prepare(self, samples: FloatArray, rate: int) -> FloatArray:
        """Return speech as the network likes it: 16 kHz, at one level, without long pauses."""
        import soxr

        speech = np.asarray(samples, dtype=np.float32)
        if rate != SAMPLE_RATE:
            speech = soxr.resample(speech, rate, SAMPLE_RATE)
        if not speech.any():
            return speech
        audio = self._package.audio
        loud = audio.normalize_volume(speech, LEVEL_DB).clip(-1.0, 1.0)
        if len(loud) < MIN_SAMPLES:
            return np.asarray(loud, dtype=np.float32)
        without_pauses = audio.trim_long_silences(loud)
        # Whispers and noise may have no speech for the detector; then all of it is embedded.
        return np.asarray(without_pauses if len(without_pauses) else loud, dtype=np.float32)


def create_reference(embeddings: FloatArray) -> FloatArray:
    """Return what a speaker is like, from recordings (N, 256): their mean direction, (256,)."""
    return _normalise(embeddings.mean(axis=0))


def compare_with_others(embeddings: FloatArray) -> FloatArray:
    """Return each recording's similarity to the reference of all others, (N, 256) to (N,).

    The ceiling for a voice: a recording in its own reference would come too near to it.
    """
    total = embeddings.sum(axis=0)
    others = [_normalise(total - own) for own in embeddings]
    return np.asarray(np.sum(embeddings * np.stack(others), axis=1), dtype=np.float32)


def measure_similarity(embedding: FloatArray, reference: FloatArray) -> float:
    """Return the cosine of two embeddings, 0 to 1.

    In the mean, sentences have 0.93 to 0.96 with the reference of their speaker's others, and 0.46
    to 0.64 with another's (festvox-ru, telephone prompts, espeak-ng).
    """
    return float(embedding @ reference)


def _extract_mels(speech: FloatArray) -> Any:
    """Return mel energies as librosa's `melspectrogram` has them, (T, M): power, centred frames."""
    import torch

    from piper.train.vits.mel import mel_filterbank

    bins = torch.stft(
        torch.from_numpy(speech),
        FFT_SAMPLES,
        hop_length=HOP_SAMPLES,
        window=torch.hann_window(FFT_SAMPLES),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    filters = mel_filterbank(SAMPLE_RATE, FFT_SAMPLES, MEL_CHANNELS, 0.0, SAMPLE_RATE / 2)
    return (filters @ (bins.real.square() + bins.imag.square())).T


def _normalise(vector: FloatArray) -> FloatArray:
    length = max(float(np.linalg.norm(vector)), MIN_LENGTH)
    return np.asarray(vector / length, dtype=np.float32)


OPINION, ERRORS, SIMILARITY = "distillmos", "per", "similarity"
RECOGNISER_RATE = 16000


@dataclass(frozen=True)
class Reference:
    """What a test sentence should be like.

    Attributes:
        recording: (S,) as it is trained on.
        units: Its phonemes, as `aligner/units` has them.
        speaker: The speaker's number; 0 where there is one.
    """

    recording: FloatArray
    units: tuple[str, ...]
    speaker: int = 0


@dataclass(frozen=True)
class MetricSettings:
    """Which metrics there are.

    Attributes:
        names: Predictors by the title of their score: those above, or plug-ins.
        sample_rate: Hertz of what they hear.
        recogniser_path: A phoneme recogniser's file; only for the phoneme error rate.
    """

    names: Mapping[str, str]
    sample_rate: int
    recogniser_path: Path | None = None


@dataclass(frozen=True)
class MetricScores:
    """Scores of sentences.

    Attributes:
        scores: By name; one that could not be had is not in it.
        issues: Why not, by name.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    issues: Mapping[str, str] = field(default_factory=dict)


def score_title(name: str) -> str:
    """Return the name of a score in the log, after `val_`: of `package.module:function` the last.

    It stands in names of files, too, so it is one word.
    """
    return re.sub(r"\W", "_", name.rpartition(":")[2])


class Metric(ABC):
    """Scores all test sentences together, given what each should be like."""

    def __init__(self, references: Sequence[Reference], settings: MetricSettings) -> None:
        self.references = references
        self.rate = settings.sample_rate

    @abstractmethod
    def score(self, spoken: Sequence[FloatArray]) -> float:
        """Return the score of the sentences, (S,) each, as they are spoken."""

    def score_recordings(self) -> float:
        """Return what the recordings themselves get; NaN where that means nothing."""
        return self.score([reference.recording for reference in self.references])


class QualityMetric(Metric):
    """The mean of a predictor's scores."""

    def __init__(
        self, references: Sequence[Reference], settings: MetricSettings, name: str
    ) -> None:
        super().__init__(references, settings)
        self._predictor = _require(find_quality_predictor(AUTO if name == OPINION else name))

    def score(self, spoken: Sequence[FloatArray]) -> float:
        """Return the mean score."""
        return float(np.mean([self._predictor(samples, self.rate) for samples in spoken]))


class PhonemeMetric(Metric):
    """Errors of what a recogniser hears, as a share of the phonemes of all texts."""

    def __init__(self, references: Sequence[Reference], settings: MetricSettings) -> None:
        from piper.train.aligner.recogniser import load_phoneme_recogniser

        super().__init__(references, settings)
        assert settings.recogniser_path is not None
        self._recogniser = load_phoneme_recogniser(settings.recogniser_path)

    def score(self, spoken: Sequence[FloatArray]) -> float:
        """Return the phoneme error rate."""
        import soxr

        from piper.train.aligner.recogniser import add_phoneme_errors, find_phoneme_errors

        errors = []
        for reference, samples in zip(self.references, spoken, strict=True):
            if self.rate != RECOGNISER_RATE:
                samples = soxr.resample(samples, self.rate, RECOGNISER_RATE)
            errors.append(find_phoneme_errors(reference.units, self._recogniser.recognise(samples)))
        return add_phoneme_errors(errors).rate


class SpeakerMetric(Metric):
    """How near sentences are to the recordings of their speakers."""

    def __init__(self, references: Sequence[Reference], settings: MetricSettings) -> None:
        super().__init__(references, settings)
        self._encoder = _require(load_speaker_encoder())
        embeddings = self._embed([reference.recording for reference in references])
        numbers = np.asarray([reference.speaker for reference in references])
        self._recorded = {number: embeddings[numbers == number] for number in numbers.tolist()}
        self._likes = {number: create_reference(own) for number, own in self._recorded.items()}

    def score(self, spoken: Sequence[FloatArray]) -> float:
        """Return the mean similarity of sentences to their speakers."""
        pairs = zip(self._embed(spoken), self.references, strict=True)
        return float(np.mean([measure_similarity(e, self._likes[one.speaker]) for e, one in pairs]))

    def score_recordings(self) -> float:
        """Return the mean similarity of recordings to the others of their speaker."""
        several = [own for own in self._recorded.values() if len(own) > 1]
        if not several:
            return math.nan
        return float(np.mean(np.concatenate([compare_with_others(own) for own in several])))

    def _embed(self, spoken: Sequence[FloatArray]) -> FloatArray:
        return np.stack([self._encoder.embed(samples, self.rate) for samples in spoken])


def _require(found: Loaded | None) -> Loaded:
    if found is None:
        raise PiperError("it is not installed")
    return found


class Metrics:
    """All metrics that are wanted of a training."""

    def __init__(self, settings: MetricSettings, references: Sequence[Reference]) -> None:
        self._metrics: dict[str, Metric] = {}
        self._issues: dict[str, str] = {}
        known = {ERRORS: PhonemeMetric, SIMILARITY: SpeakerMetric}
        for title, name in settings.names.items():
            create = known.get(name) or partial(QualityMetric, name=name)
            try:
                self._metrics[title] = create(references, settings)
            except Exception as error:  # someone else's code, and only a figure
                self._issues[title] = describe_briefly(error)

    def score(self, spoken: Sequence[FloatArray]) -> MetricScores:
        """Score the sentences, (S,) each, as they are spoken."""
        return self._ask(lambda metric: metric.score(spoken))

    def score_recordings(self) -> MetricScores:
        """Score the recordings of the sentences: what a voice can hope for."""
        return self._ask(lambda metric: metric.score_recordings())

    def _ask(self, ask: Callable[[Metric], float]) -> MetricScores:
        scores: dict[str, float] = {}
        issues = dict(self._issues)
        for title, metric in self._metrics.items():
            try:
                scores[title] = float(ask(metric))
            except Exception as error:  # likewise
                issues[title] = describe_briefly(error)
        return MetricScores({t: s for t, s in scores.items() if math.isfinite(s)}, issues)


NICENESS = 10
"""A tenth of the processor's time where a training wants all of it."""
CORES_A_THREAD = 4
"""A thread for so many cores: the others are the training's."""
MAX_THREADS = 4


def serve_scores(
    connection: Connection, settings: MetricSettings, references: Sequence[Reference]
) -> None:
    """Score what comes through a connection, until it is closed.

    A process that takes few threads of a low priority, sees no GPU, and ends with the one that
    started it.
    """
    end_with_parent()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    import torch

    torch.set_num_threads(max(1, min(MAX_THREADS, available_cores() // CORES_A_THREAD)))
    metrics = Metrics(settings, references)
    while True:
        try:
            spoken, with_recordings = connection.recv()
            recorded = metrics.score_recordings() if with_recordings else MetricScores()
            connection.send((metrics.score(spoken), recorded))
        except (EOFError, OSError):
            return
