"""One sentence as it was said to its scores, beside its recording where there is one.

The distance is that of Kubichek (1993): 10 / ln 10 * sqrt(2 * sum of (c_k - c'_k)^2), in dB, the
mean over pairs of frames after dynamic time warping. Here c_k, k = 1 to 13, come from the
logarithms of 40 mel magnitudes, ln m_j, as 2 / 40 * sum of ln m_j * cos(pi * k * (j + 0.5) / 40),
so that the distance is the difference of two smoothed mel spectra in dB. c_0, the level, is left
out, and so are higher ones, where a high voice's pitch begins. Frames have 25 ms, every 10 ms, at
16 kHz, whatever rate the speech had. Other definitions give other figures: compare those of one
program only.

A click is a discontinuity of less than a millisecond. The fourth difference of the samples makes it
large beside speech, which has less and less sound the higher it gets, and it stands alone, whereas
the pulses of a voice come again within 20 ms, and the burst of a plosive or a fricative lasts. So
it is a click where the difference is several times as large as any other within 25 ms on each side.
A small click inside a loud fricative is not found, and hardly heard.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import numpy.typing as npt

from piper.errors import ConfigError, PiperError
from piper.train.aligner.aligner import Groups, UnitSpan
from piper.train.aligner.features import SAMPLE_RATE, resample
from piper.train.aligner.recogniser import find_phoneme_errors
from piper.train.aligner.words import SpokenWords, find_spoken_words
from piper.train.check.measuring import CLIPPED_RUN, FULL_SCALE
from piper.train.data.audio import (
    MIN_LEVEL_DB,
    FloatArray,
    LevelArray,
    find_speech,
    find_speech_threshold,
    level_hop,
    measure_levels,
    smooth_levels,
)
from piper.train.data.pitch import PitchRange, PitchTracker
from piper.train.evaluate.results import Kind, Sentence, SpokenSentence, Trouble
from piper.train.evaluate.systems import Speech
from piper.train.judges import QualityPredictor, SpeakerEncoder, measure_similarity
from piper.train.recognisers import (
    Recogniser,
    find_character_error,
    find_word_error,
    normalise_words,
)

if TYPE_CHECKING:
    from piper.train.aligner.recogniser import PhonemeRecogniser

HOP_SAMPLES = 160
HOP_SECONDS = HOP_SAMPLES / SAMPLE_RATE
WINDOW_SAMPLES = 400
FFT_SAMPLES = 512
MEL_CHANNELS = 40
COEFFICIENTS = 13
FLOOR_DB = -60.0
"""Of mel magnitudes, beneath the loudest: what is quieter is a room's noise, or a lack of it."""
MIN_POWER = 1e-12
"""Lest digital silence have no logarithm."""
DISTANCE_FACTOR = 10.0 / math.log(10.0) * math.sqrt(2.0)

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cepstra:
    """The sound of some speech, frame by frame.

    Attributes:
        coefficients: (T, 13) of every 10 ms; frame t is about the time (t + 0.5) * 10 ms.
        is_speech: (T,) whether a frame is loud enough for speech.
    """

    coefficients: LevelArray
    is_speech: npt.NDArray[np.bool_]


def extract_cepstra(samples: FloatArray) -> Cepstra:
    """Return the mel cepstra of speech.

    Args:
        samples: (S,) at 16,000 Hz; at least one frame is made of them.
    """
    count = max(1, len(samples) // HOP_SAMPLES)
    margin = (WINDOW_SAMPLES - HOP_SAMPLES) // 2
    wanted = (count - 1) * HOP_SAMPLES + WINDOW_SAMPLES
    padded = np.zeros(max(wanted, margin + len(samples)), dtype=np.float64)
    padded[margin : margin + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded[:wanted], WINDOW_SAMPLES)
    window = np.hanning(WINDOW_SAMPLES + 1)[:-1]
    spectra = np.abs(np.fft.rfft(frames[::HOP_SAMPLES] * window, FFT_SAMPLES, axis=1))
    mels = spectra @ _create_filters()
    floor = max(float(mels.max()) * 10 ** (FLOOR_DB / 20), MIN_POWER)
    logarithms = np.log(np.maximum(mels, floor))
    power = np.square(spectra).sum(axis=1) + MIN_POWER
    levels = smooth_levels(10 * np.log10(power))
    return Cepstra(logarithms @ _create_cosines(), levels > find_speech_threshold(levels))


def pair_frames(first: Cepstra, second: Cepstra) -> IntArray:
    """Return the numbers of frames that belong together, (N, 2), by dynamic time warping.

    They are in order, each of both once at least. Where both are silent they are left out, so that
    neither pauses nor the silence around speech count for anything.
    """
    try:
        from dtw import dtw
    except ImportError:
        raise ConfigError(
            "Speech is compared with recordings by the library dtw-python, which is not "
            "installed: pip install 'piper-workshop[evaluate]'."
        ) from None
    path = dtw(first.coefficients, second.coefficients)
    pairs = np.stack([path.index1, path.index2], axis=1)
    return pairs[first.is_speech[pairs[:, 0]] | second.is_speech[pairs[:, 1]]]


def measure_distance(first: Cepstra, second: Cepstra, pairs: IntArray) -> float:
    """Return the mel-cepstral distance in dB, the mean over the pairs; NaN without any."""
    differences = first.coefficients[pairs[:, 0]] - second.coefficients[pairs[:, 1]]
    return _find_mean(DISTANCE_FACTOR * np.sqrt(np.square(differences).sum(axis=1)))


def _create_filters() -> LevelArray:
    """Return the mel filters, (F, M)."""
    from piper.train.vits.mel import mel_filterbank

    filters = mel_filterbank(SAMPLE_RATE, FFT_SAMPLES, MEL_CHANNELS, 0.0, SAMPLE_RATE / 2)
    return np.asarray(filters.numpy().T, dtype=np.float64)


def _create_cosines() -> LevelArray:
    """Return what makes coefficients of logarithms of mel magnitudes, (M, 13)."""
    channels = np.arange(MEL_CHANNELS)[:, None] + 0.5
    orders = np.arange(1, COEFFICIENTS + 1)[None]
    return 2.0 / MEL_CHANNELS * np.cos(np.pi * orders * channels / MEL_CHANNELS)


EVERYONES_RANGE = PitchRange(60.0, 600.0)
SPEAKERS_RANGE = (0.75, 2.5)
"""Of the first and third quartile of a first look: where this speaker's pitch lies, up to lively
speech. It keeps most errors by an octave out."""
SEMITONES = 12.0
FEWEST_VOICED = 20
"""Frames of 10 ms that a spread of pitch is measured of."""


def find_pitch(samples: FloatArray, rate: int, frames: int) -> LevelArray:
    """Return the pitch of every 10 ms in hertz, (T,); 0 where there is no voice.

    Args:
        samples: (S,), 1 is full scale.
        frames: T; frame t is about the time (t + 0.5) * 10 ms.
    """
    tracker = PitchTracker(samples, rate, HOP_SECONDS, "evaluate")
    found = tracker.look(EVERYONES_RANGE)
    voiced = found.selected_array["frequency"] if found is not None else np.zeros(0)
    voiced = voiced[voiced > 0]
    if len(voiced):
        found = tracker.look(EVERYONES_RANGE.narrow(voiced, SPEAKERS_RANGE)) or found
    return tracker.to_frames(found, frames)


def measure_pitch_spread(spoken: FloatArray, rate: int) -> float:
    """Return the standard deviation of speech's pitch in semitones; NaN where little is voiced.

    Args:
        spoken: (S,), 1 is full scale.
        rate: Hertz.
    """
    samples = _prepare(spoken, rate)
    pitch = find_pitch(samples, SAMPLE_RATE, int(len(samples) / SAMPLE_RATE / HOP_SECONDS))
    voiced = pitch[pitch > 0]
    if len(voiced) < FEWEST_VOICED:
        return math.nan
    return float(np.std(SEMITONES * np.log2(voiced)))


def compare_pitch(first: LevelArray, second: LevelArray, pairs: IntArray) -> dict[str, float]:
    """Return how two pitches differ; NaN where no frame is voiced in both.

    `pitch_error` is the mean absolute difference in semitones, `pitch_shift` the median of first
    minus second, `pitch_contour_error` the mean absolute difference from that shift, all over pairs
    that are voiced in both; `voicing_error` is the share of all pairs that are voiced in one only.

    Args:
        first: Hertz of every 10 ms, (T,), 0 where there is no voice.
        pairs: Of `pair_frames`.
    """
    own, other = first[pairs[:, 0]], second[pairs[:, 1]]
    is_voiced, is_other_voiced = own > 0, other > 0
    both = is_voiced & is_other_voiced
    semitones = SEMITONES * np.log2(own[both] / other[both])
    shift = float(np.median(semitones)) if len(semitones) else math.nan
    return {
        "pitch_error": _find_mean(np.abs(semitones)),
        "pitch_shift": shift,
        "pitch_contour_error": _find_mean(np.abs(semitones - shift)),
        "voicing_error": _find_mean(is_voiced != is_other_voiced),
    }


def _find_mean(values: npt.NDArray[Any]) -> float:
    """Return the mean; NaN of nothing."""
    return float(values.mean()) if len(values) else math.nan


MIN_PAUSE_SECONDS = 0.06
"""Three frames of the aligner's; shorter silence belongs to the sounds, such as a stop's."""
MARGIN_SECONDS = 0.05
"""What stays around the speech on both sides."""


def measure_likeness(
    spoken: FloatArray, spoken_rate: int, recorded: FloatArray, recorded_rate: int
) -> dict[str, float]:
    """Return how near speech is to a recording of the same words; NaN for what it has nothing of.

    `mel_cepstral_distance` in dB, and what `compare_pitch` gives.

    Args:
        spoken: (S,), 1 is full scale.
        recorded: (S,) likewise, of its own length.
    """
    speech = [_prepare(*one) for one in ((spoken, spoken_rate), (recorded, recorded_rate))]
    first, second = (extract_cepstra(samples) for samples in speech)
    pairs = pair_frames(first, second)
    pitch = compare_pitch(
        find_pitch(speech[0], SAMPLE_RATE, len(first.is_speech)),
        find_pitch(speech[1], SAMPLE_RATE, len(second.is_speech)),
        pairs,
    )
    return {"mel_cepstral_distance": measure_distance(first, second, pairs), **pitch}


def compare_timing(spoken: Sequence[UnitSpan], recorded: Sequence[UnitSpan]) -> dict[str, float]:
    """Return `duration_error` and `pause_error` in ms, where there is something to compare.

    Mean absolute differences: of phonemes' lengths, and of pauses that either of both has.

    Args:
        recorded: Likewise, of the same text; what only one of both has is left out.
    """
    matches = _match_units(spoken, recorded)
    lengths = [abs(_length(spoken[i]) - _length(recorded[j])) for i, j in matches]
    pauses = [
        (_gap(spoken, i), _gap(recorded, j))
        for (i, j), following in pairwise(matches)
        if following == (i + 1, j + 1)
    ]
    gaps = [abs(own - other) for own, other in pauses if _is_pause(max(own, other))]
    errors = {"duration_error": lengths, "pause_error": gaps}
    return {name: 1000.0 * fmean(some) for name, some in errors.items() if some}


def measure_speaking_rate(spans: Sequence[UnitSpan]) -> float | None:
    """Return phonemes per second of speech, pauses left out; None without any."""
    gaps = [_gap(spans, number) for number in range(len(spans) - 1)]
    seconds = sum(_length(span) for span in spans)
    seconds += sum(gap for gap in gaps if not _is_pause(gap))
    return len(spans) / seconds if seconds > 0 else None


def _match_units(first: Sequence[UnitSpan], second: Sequence[UnitSpan]) -> list[tuple[int, int]]:
    """Return the numbers of units that belong together: the longest common subsequence."""
    from rapidfuzz.distance import Indel

    matches: list[tuple[int, int]] = []
    for code in Indel.opcodes([span.unit for span in first], [span.unit for span in second]):
        if code.tag == "equal":
            own = range(code.src_start, code.src_end)
            matches += zip(own, range(code.dest_start, code.dest_end), strict=True)
    return matches


def _is_pause(seconds: float) -> bool:
    return seconds >= MIN_PAUSE_SECONDS - 1e-6


def _length(span: UnitSpan) -> float:
    return span.end_seconds - span.start_seconds


def _gap(spans: Sequence[UnitSpan], number: int) -> float:
    """Return the silence after a unit that another one follows, in seconds."""
    return max(0.0, spans[number + 1].start_seconds - spans[number].end_seconds)


def _prepare(samples: FloatArray, rate: int) -> FloatArray:
    """Return speech at the common rate, without the silence before and after it."""
    import soxr

    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    start, end = find_speech(samples, SAMPLE_RATE)
    margin = round(MARGIN_SECONDS * SAMPLE_RATE)
    return np.asarray(samples[max(0, start - margin) : end + margin], dtype=np.float32)


CLICK_RATIO = 4.0
"""To the largest other difference around it: see docs/RESULTS.md, "Clicks"."""
JOINT_CLICK_RATIO = 2.0
"""At a joint, where a click is to be feared, half as much is enough."""
JOINT_SECONDS = 0.002
"""How near to a joint a click is one of it."""
NEAR_SECONDS = 0.0005
FAR_SECONDS = 0.025
MIN_CLICK = 0.02
"""Of the speech's peak, -34 dB."""
IMPULSE_GAIN = 6.0
"""The fourth difference of a single sample of 1."""
MIN_NEIGHBOUR = 1e-4
"""Three steps of 16 bits: rounding stands in for silence."""
MIN_SILENCE_SECONDS = 0.2
"""Between the pauses of 150 recordings of festvox-ru, as people marked them, none is longer than
0.14 s: the closures of stops."""

Stretch = tuple[float, float]
"""Where something begins and ends, in seconds."""


@dataclass(frozen=True)
class SignalMeasures:
    """What is measured of speech as a signal.

    Attributes:
        clipped_share: Percent of the samples that are, or will be in 16 bits, at full scale: all
            beyond it, and those in runs of three and more.
        clicks_seconds: When there are clicks.
        dc_offset: Mean of the samples in percent of full scale.
        level_db: Of the speech without its pauses, in dB of full scale.
    """

    clipped_share: float
    clicks_seconds: tuple[float, ...]
    dc_offset: float
    level_db: float


def measure_signal(
    samples: FloatArray, rate: int, joints_seconds: Sequence[float] = ()
) -> SignalMeasures:
    """Measure speech as a signal.

    Args:
        samples: (S,), 1 is full scale; speech may go beyond it before it becomes 16 bits.
        joints_seconds: Where pieces were put together: less is a click there.
    """
    if len(samples) == 0:
        return SignalMeasures(0.0, (), 0.0, MIN_LEVEL_DB)
    levels = measure_levels(samples, rate)
    smooth = smooth_levels(levels)
    active = levels[smooth > find_speech_threshold(smooth)]
    power = np.mean(10 ** ((active if len(active) else levels) / 10))
    return SignalMeasures(
        clipped_share=100.0 * _find_clipped_share(samples),
        clicks_seconds=tuple(_find_clicks(samples, rate, joints_seconds)),
        dc_offset=100.0 * float(np.mean(samples, dtype=np.float64)),
        level_db=float(10 * np.log10(power)),
    )


def find_silent_speech(
    samples: FloatArray, rate: int, words: Sequence[Stretch]
) -> tuple[Stretch, ...]:
    """Return where words are silent for 0.2 s and more.

    Args:
        samples: (S,), 1 is full scale.
        words: Where each lies, in seconds.
    """
    if len(samples) == 0:
        return ()
    levels = smooth_levels(measure_levels(samples, rate))
    is_silent = levels <= find_speech_threshold(levels)
    hop_seconds = level_hop(rate) / rate
    found: list[Stretch] = []
    for start, end in words:
        first, last = (max(0, round(seconds / hop_seconds)) for seconds in (start, end))
        edges = np.flatnonzero(np.diff(is_silent[first:last].astype(int), prepend=0, append=0))
        for begin, stop in edges.reshape(-1, 2) + first:
            if (stop - begin) * hop_seconds >= MIN_SILENCE_SECONDS:
                found.append((float(begin * hop_seconds), float(stop * hop_seconds)))
    return tuple(found)


def _find_clipped_share(samples: FloatArray) -> float:
    """Return the share of samples beyond full scale, or in runs at it."""
    sizes = np.abs(samples)
    is_clipped = sizes > 1.0
    is_full = sizes >= FULL_SCALE
    runs = len(samples) - CLIPPED_RUN + 1
    if runs > 0:
        is_run = np.lib.stride_tricks.sliding_window_view(is_full, CLIPPED_RUN).all(axis=1)
        for offset in range(CLIPPED_RUN):
            is_clipped[offset : offset + runs] |= is_run
    return float(is_clipped.mean())


def _find_clicks(samples: FloatArray, rate: int, joints_seconds: Sequence[float]) -> list[float]:
    """Return when there are clicks, in seconds."""
    peak = float(np.abs(samples).max())
    sizes, ratios = _isolate(np.asarray(samples, dtype=np.float64), rate)
    least = np.full(len(samples), CLICK_RATIO)
    reach = round(JOINT_SECONDS * rate)
    for joint in joints_seconds:
        middle = round(joint * rate)
        least[max(0, middle - reach) : middle + reach + 1] = JOINT_CLICK_RATIO
    places = np.flatnonzero((sizes > IMPULSE_GAIN * MIN_CLICK * peak) & (ratios > least))
    # A click is a few samples.
    starts = places[np.diff(places, prepend=-rate) > NEAR_SECONDS * rate]
    return [float(start) / rate for start in starts]


def _isolate(samples: LevelArray, rate: int) -> tuple[LevelArray, npt.NDArray[np.float64]]:
    """Return fourth differences, (S,), and each beside the largest of those around it, (S,)."""
    from scipy.ndimage import maximum_filter1d

    # As if the sound went on as it begins and ends: its edges are no clicks.
    sizes = np.abs(np.diff(np.pad(samples, 2, mode="edge"), 4))
    near, far = round(NEAR_SECONDS * rate), round(FAR_SECONDS * rate)
    highest = np.pad(maximum_filter1d(sizes, far - near + 1, mode="constant"), far)
    middle = (near + far) // 2
    before = highest[far - middle : far - middle + len(sizes)]
    after = highest[far + middle : far + middle + len(sizes)]
    return sizes, sizes / (np.maximum(before, after) + MIN_NEIGHBOUR)


MAX_SKIPPED = 0.25
"""Of the words; recordings have 0.02 of theirs that the recogniser misses."""


def has_times(words: SpokenWords | None) -> TypeGuard[SpokenWords]:
    """Tell whether enough was said for times to mean something.

    Where most words are missing, the few others are laid over the sounds of all.
    """
    if words is None or not words.units:
        return False
    return len(words.skipped) <= MAX_SKIPPED * len(words.groups)


Embedding = FloatArray
LEVEL = "level_db"
"""Of speech; asked for by the spread."""
_SPECTRAL = ("mel_cepstral_distance", "pitch_error", "pitch_contour_error", "voicing_error")
_WORDS = ("skipped_words", "repeated_words", "lost_ends", "silent_speech", "speaking_rate")


@dataclass(frozen=True)
class Metrics:
    """All that scores speech here; what is not there is None.

    Attributes:
        wanted: Scores to give; None gives all.
    """

    predictors: Mapping[str, QualityPredictor] = field(default_factory=dict)
    encoder: SpeakerEncoder | None = None
    phonemes: PhonemeRecogniser | None = None
    words: Recogniser | None = None
    wanted: Collection[str] | None = None

    def wants(self, *names: str) -> bool:
        """Tell whether any of these scores is to be given."""
        return self.wanted is None or any(name in self.wanted for name in names)


@dataclass(frozen=True)
class Utterance:
    """A sentence as it was said, and what is heard of it once."""

    sentence: Sentence
    speech: Speech
    groups: Groups
    metrics: Metrics

    @cached_property
    def low_rate_samples(self) -> FloatArray:
        """(S,) at the recogniser's rate."""
        return resample(self.speech.samples, self.speech.sample_rate)

    @cached_property
    def spoken_words(self) -> SpokenWords | None:
        """Where words and phonemes lie; None without a recogniser."""
        if self.metrics.phonemes is None or not self.groups:
            return None
        return find_spoken_words(self.groups, self.low_rate_samples, self.metrics.phonemes)

    @cached_property
    def embedding(self) -> Embedding | None:
        """Whose voice it is; None without an encoder."""
        if self.metrics.encoder is None:
            return None
        return self.metrics.encoder.embed(self.speech.samples, self.speech.sample_rate)


def measure_utterance(
    utterance: Utterance, recorded: Utterance | None, reference: Embedding | None
) -> SpokenSentence:
    """Return a sentence's scores and troubles.

    Args:
        recorded: Its recording, None where there is none or it is the recording itself.
        reference: What the speaker is like, None where nobody knows.
    """
    metrics, speech = utterance.metrics, utterance.speech
    wanted = " ".join(unit for group in utterance.groups for unit in group)
    found = SpokenSentence(utterance.sentence, speech.path, speech.seconds, wanted=wanted)
    _measure_signal(utterance, found)
    _measure_words(utterance, found)
    if utterance.sentence.kind is Kind.SENTENCE:
        for name, predictor in metrics.predictors.items():
            if metrics.wants(name):
                found.values[name] = _ask(name, predictor, speech)
        if (
            reference is not None
            and utterance.embedding is not None
            and metrics.wants("similarity")
        ):
            found.values["similarity"] = measure_similarity(utterance.embedding, reference)
        if metrics.wants("pitch_spread"):
            spread = measure_pitch_spread(speech.samples, speech.sample_rate)
            found.values["pitch_spread"] = spread
        if recorded is not None:
            _measure_likeness(utterance, recorded, found)
    found.values = {
        name: value
        for name, value in found.values.items()
        if metrics.wants(name) and not math.isnan(value)
    }
    found.troubles.sort(key=lambda trouble: trouble.start_seconds)
    return found


def add_spread(spoken: Sequence[SpokenSentence]) -> None:
    """Say how far each sentence's level is from the middle one's, which is its share in the spread.

    The levels themselves, which no table has, are taken out.
    """
    levels = [(one, one.values.pop(LEVEL)) for one in spoken if LEVEL in one.values]
    levels = [(one, level) for one, level in levels if one.sentence.kind is Kind.SENTENCE]
    middle = median(level for _, level in levels) if levels else 0.0
    for one, level in levels:
        one.values["loudness_spread"] = abs(level - middle)


def _ask(name: str, predictor: QualityPredictor, speech: Speech) -> float:
    try:
        return float(predictor(speech.samples, speech.sample_rate))
    except PiperError:
        raise
    except Exception as error:  # whatever a plug-in raises
        raise ConfigError(
            f"The predictor {name} failed on {speech.path} ({type(error).__name__}: {error}); "
            "leave it out, or correct it."
        ) from error


def _measure_words(utterance: Utterance, found: SpokenSentence) -> None:
    metrics = utterance.metrics
    if metrics.phonemes is not None and utterance.groups:
        reference = [unit for group in utterance.groups for unit in group]
        found.sizes["phonemes"] = len(reference)
        if metrics.wants("per"):
            recognised = metrics.phonemes.recognise(utterance.low_rate_samples)
            found.heard = " ".join(recognised)
            found.values["per"] = find_phoneme_errors(reference, recognised).rate
        if metrics.wants(*_WORDS):
            _measure_troubles_of_words(utterance, found)
    if metrics.words is not None and metrics.wants("wer", "cer"):
        text = metrics.words(utterance.low_rate_samples, SAMPLE_RATE)
        found.recognised = text
        wanted, heard_words = normalise_words(utterance.sentence.text), normalise_words(text)
        found.sizes["words"], found.sizes["letters"] = len(wanted), sum(map(len, wanted))
        found.values["wer"] = find_word_error(wanted, heard_words)
        found.values["cer"] = find_character_error(wanted, heard_words)


def _measure_troubles_of_words(utterance: Utterance, found: SpokenSentence) -> None:
    words, speech = utterance.spoken_words, utterance.speech
    if words is None:
        return

    def note(name: str, message: str, start: float, end: float) -> None:
        found.troubles.append(Trouble(name, message, start, end))

    def spell(first: int, last: int) -> str:
        return " ".join("".join(group) for group in utterance.groups[first : last + 1])

    for number in words.skipped:
        # Where it should be: between the words around it.
        before = [span.end_seconds for span in words.groups[:number] if span is not None]
        after = [span.start_seconds for span in words.groups[number + 1 :] if span is not None]
        place = (before or [0.0])[-1], (after or [speech.seconds])[0]
        note("skipped_words", f"[{spell(number, number)}] was not said", *place)
    for said in words.repeated:
        message = f"[{spell(said.first, said.last)}] was said twice"
        note("repeated_words", message, said.start_seconds, said.end_seconds)
    if not words.has_first:
        note("lost_ends", "the first phoneme is missing", 0.0, 0.0)
    if not words.has_last:
        note("lost_ends", "the last phoneme is missing", speech.seconds, speech.seconds)
    spans = [(span.start_seconds, span.end_seconds) for span in words.groups if span is not None]
    silences = find_silent_speech(speech.samples, speech.sample_rate, spans)
    for start, end in silences:
        note("silent_speech", "silence inside a word", start, end)
    found.values |= {
        "skipped_words": float(len(words.skipped)),
        "repeated_words": float(len(words.repeated)),
        "lost_ends": float((not words.has_first) + (not words.has_last)),
        "silent_speech": sum(end - start for start, end in silences),
    }
    rate = measure_speaking_rate(words.units) if has_times(words) else None
    if rate is not None:
        found.values["speaking_rate"] = rate


def _measure_signal(utterance: Utterance, found: SpokenSentence) -> None:
    speech = utterance.speech
    measures = measure_signal(speech.samples, speech.sample_rate, speech.joints_seconds)
    found.values["clipped_share"] = measures.clipped_share
    found.values["clicks"] = float(len(measures.clicks_seconds))
    found.values["dc_offset"] = abs(measures.dc_offset)
    found.values[LEVEL] = measures.level_db
    for place in measures.clicks_seconds:
        found.troubles.append(Trouble("clicks", "a click", place, place))


def _measure_likeness(utterance: Utterance, recorded: Utterance, found: SpokenSentence) -> None:
    metrics = utterance.metrics
    if metrics.wants(*_SPECTRAL):
        likeness = measure_likeness(
            utterance.speech.samples,
            utterance.speech.sample_rate,
            recorded.speech.samples,
            recorded.speech.sample_rate,
        )
        found.values |= {name: likeness[name] for name in _SPECTRAL}
    if not metrics.wants("duration_error", "pause_error"):
        return
    ours, theirs = utterance.spoken_words, recorded.spoken_words
    if has_times(ours) and has_times(theirs):
        found.values |= compare_timing(ours.units, theirs.units)
